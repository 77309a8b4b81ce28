//! Streams, the log, and attached clients.

use crate::{
    bundle::Options,
    harness::{Shim, ctx, demux, feed},
};
use hako_task::task as api;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn stdout_and_stderr_come_apart_and_are_logged() {
    let shim = Shim::create(Options::sh("echo out; echo err >&2; printf end")).await;
    let mut client = shim.attach("", false).await;
    shim.run("").await.unwrap();
    let (out, err) = demux(&mut client).await;
    assert_eq!((out.as_slice(), err.as_slice()), (&b"out\nend"[..], &b"err\n"[..]));
    assert_eq!(shim.wait("").await, 0);
    let mut log = shim.log();
    log.sort();
    let entry = |stream: &str, text: &str| (stream.to_owned(), text.to_owned());
    assert_eq!(log, [entry("stderr", "err\n"), entry("stdout", "end"), entry("stdout", "out\n")]);
    shim.finish().await;
}

#[tokio::test]
async fn ten_megabytes_go_through_cat_byte_exact() {
    let shim = Shim::create(Options::args(&["cat"]).stdin(true)).await;
    let data: Vec<u8> = (0..10_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (mut source, sink) = shim.attach("", true).await.into_split();
    shim.run("").await.unwrap();
    let start = Instant::now();
    let writer = tokio::spawn(feed(sink, data.clone()));
    let (out, err) = demux(&mut source).await;
    writer.await.unwrap();
    eprintln!("10 MiB through cat: {:?}", start.elapsed());
    assert!(out == data && err.is_empty());
    assert_eq!(shim.wait("").await, 0);
    shim.finish().await;
}

#[tokio::test]
async fn a_tty_is_one_stream_and_has_a_size() {
    let shim = Shim::create(Options::sh("tty; read line; stty size; echo got $line").tty().stdin(false)).await;
    let mut client = shim.attach("", true).await;
    let mut req = api::ResizePtyRequest::new();
    req.id.clone_from(&shim.id);
    (req.width, req.height) = (101, 33);
    shim.task.resize_pty(ctx(), &req).await.unwrap();
    shim.run("").await.unwrap();
    client.write_all(b"hello\n").await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("/dev/") && text.contains("33 101\r\n") && text.contains("got hello\r\n"), "{text:?}");
    assert_eq!(shim.wait("").await, 0);
    shim.finish().await;
}

#[tokio::test]
async fn stdin_stays_open_unless_it_is_once() {
    let shim = Shim::create(Options::sh("while read line; do echo got $line; done; echo end").stdin(false)).await;
    shim.run("").await.unwrap();
    for word in ["one", "two"] {
        let mut client = shim.attach("", true).await;
        client.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut frame = [0; 8 + 8];
        client.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame[8..], format!("got {word}\n").as_bytes());
    }
    let mut req = api::CloseIORequest::new();
    req.id.clone_from(&shim.id);
    req.stdin = true;
    shim.task.close_io(ctx(), &req).await.unwrap();
    assert_eq!(shim.wait("").await, 0);
    assert_eq!(shim.log().last().unwrap().1, "end\n");
    shim.finish().await;
}

#[tokio::test]
async fn clients_come_and_go_and_late_ones_get_their_end() {
    let shim = Shim::create(Options::sh("seq 1 2000; sleep 0.3; echo last")).await;
    let gone = shim.attach("", false).await;
    let mut stays = shim.attach("", false).await;
    shim.run("").await.unwrap();
    drop(gone);
    let (out, _) = demux(&mut stays).await;
    assert!(out.ends_with(b"2000\nlast\n") && out.starts_with(b"1\n2\n"));
    assert_eq!(shim.wait("").await, 0);
    assert_eq!(shim.log().len(), 2001);
    let (out, _) = demux(&mut shim.attach("", false).await).await;
    assert!(out.is_empty());
    shim.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_container_and_loses_nothing() {
    let shim = Shim::create(Options::sh("head -c 3000000 /dev/zero; echo done >&2")).await;
    let mut client = shim.attach("", false).await;
    shim.run("").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(shim.log().iter().all(|(stream, _)| stream == "stdout"), "it waits for its client");
    let (out, err) = demux(&mut client).await;
    assert_eq!((out.len(), err.as_slice()), (3_000_000, &b"done\n"[..]));
    assert_eq!(shim.wait("").await, 0);
    shim.finish().await;
}

#[tokio::test]
async fn unread_stdin_does_not_take_the_output() {
    let shim = Shim::create(Options::sh("echo early").stdin(true)).await;
    let (mut source, mut sink) = shim.attach("", true).await.into_split();
    let writer = tokio::spawn(async move {
        // It may break when the shim ends.
        let _ = sink.write_all(&vec![b'x'; 4 << 20]).await;
    });
    shim.run("").await.unwrap();
    let mut all = Vec::new();
    source.read_to_end(&mut all).await.unwrap();
    assert_eq!(&all[8..], b"early\n");
    assert_eq!(shim.wait("").await, 0);
    shim.finish().await;
    writer.await.unwrap();
}

#[tokio::test]
async fn output_is_logged_without_any_client() {
    let shim = Shim::create(Options::sh("head -c 40000 /dev/zero; echo; printf '\\377<'")).await;
    shim.run("").await.unwrap();
    assert_eq!(shim.wait("").await, 0);
    let sizes: Vec<_> = shim.log().iter().map(|(_, text)| text.len()).collect();
    assert_eq!(sizes, [16384, 16384, 7233, 4]);
    assert_eq!(shim.log()[3].1, "\u{fffd}<");
    shim.finish().await;
}
