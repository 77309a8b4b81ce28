//! Further processes.

use crate::{
    bundle::Options,
    harness::{Shim, ctx, demux, feed},
};
use hako_task::task as api;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn sleeper() -> Shim {
    let shim = Shim::create(Options::args(&["sleep", "60"])).await;
    shim.run("").await.unwrap();
    shim
}

async fn end(shim: Shim) {
    shim.kill("", 9, true).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    shim.finish().await;
}

#[tokio::test]
async fn an_exec_has_streams_and_an_exit_code_of_its_own() {
    let shim = sleeper().await;
    shim.exec("one", &["sh", "-c", "cat; echo err >&2; exit 5"], false, true).await.unwrap();
    let client = shim.attach("one", true).await;
    assert!(shim.run("one").await.unwrap() > 0);
    let (mut source, sink) = client.into_split();
    feed(sink, b"in\n".to_vec()).await;
    let mut all = Vec::new();
    source.read_to_end(&mut all).await.unwrap();
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains("in\n") && text.contains("err\n"));
    assert_eq!(shim.wait("one").await, 5);
    assert_eq!(shim.delete("one").await.unwrap(), 5);
    assert!(shim.delete("one").await.is_err());
    assert!(shim.log().is_empty(), "an exec is not logged");
    end(shim).await;
}

#[tokio::test]
async fn an_exec_that_cannot_start_says_why_and_ends_its_client() {
    let shim = sleeper().await;
    for (name, terminal, want) in [
        ("no-such-program", false, "exec: \"no-such-program\": executable file not found in $PATH"),
        ("no-such-program", true, "exec: \"no-such-program\": executable file not found in $PATH"),
        ("/bin/not-executable", false, "exec: \"/bin/not-executable\": permission denied"),
    ] {
        shim.exec("bad", &[name], terminal, false).await.unwrap();
        let mut client = shim.attach("bad", false).await;
        assert_eq!(shim.run("bad").await.unwrap_err(), want);
        let (out, err) = demux(&mut client).await;
        assert!(out.is_empty() && err.is_empty(), "the text is not output");
        shim.delete("bad").await.unwrap();
    }
    end(shim).await;
}

#[tokio::test]
async fn an_exec_with_a_tty() {
    let shim = sleeper().await;
    shim.exec("tty", &["sh", "-c", "read line; stty size; echo got $line; exit 3"], true, true).await.unwrap();
    let mut client = shim.attach("tty", true).await;
    shim.run("tty").await.unwrap();
    let mut req = api::ResizePtyRequest::new();
    req.id.clone_from(&shim.id);
    req.exec_id = "tty".to_owned();
    (req.width, req.height) = (99, 11);
    shim.task.resize_pty(ctx(), &req).await.unwrap();
    client.write_all(b"hello\n").await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("11 99\r\n") && text.contains("got hello\r\n"), "{text:?}");
    assert_eq!(shim.wait("tty").await, 3);
    end(shim).await;
}

#[tokio::test]
async fn many_execs_at_once_and_quick_ones() {
    let shim = sleeper().await;
    let run = |number: u32| {
        let shim = &shim;
        async move {
            let id = format!("e{number}");
            shim.exec(&id, &["sh", "-c", &format!("exit {number}")], false, false).await.unwrap();
            shim.run(&id).await.unwrap();
            assert_eq!(shim.wait(&id).await, number);
            shim.delete(&id).await.unwrap();
        }
    };
    futures::future::join_all((0..20).map(run)).await;
    end(shim).await;
}

#[tokio::test]
async fn an_execs_end_is_the_containers_end() {
    let shim = sleeper().await;
    shim.exec("long", &["sleep", "60"], false, false).await.unwrap();
    shim.run("long").await.unwrap();
    assert!(shim.delete("long").await.unwrap_err().contains("running"));
    shim.kill("", 9, false).await.unwrap();
    assert_eq!(shim.wait("long").await, 137);
    assert_eq!(shim.wait("").await, 137);
    shim.finish().await;
}

#[tokio::test]
async fn an_exec_can_be_killed_alone() {
    let shim = sleeper().await;
    shim.exec("long", &["sleep", "60"], false, false).await.unwrap();
    assert!(shim.kill("long", 9, false).await.is_err(), "not started");
    shim.run("long").await.unwrap();
    shim.kill("long", 15, false).await.unwrap();
    assert_eq!(shim.wait("long").await, 143);
    assert_eq!(shim.state().await.exit_status, 0);
    end(shim).await;
}

#[tokio::test]
async fn a_descendant_that_holds_the_pipe_delays_wait_by_two_seconds() {
    let shim = sleeper().await;
    shim.exec("leaves", &["sh", "-c", "sleep 30 & echo out"], false, false).await.unwrap();
    let mut client = shim.attach("leaves", false).await;
    shim.run("leaves").await.unwrap();
    let start = std::time::Instant::now();
    assert_eq!(shim.wait("leaves").await, 0);
    assert!((1900..4000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(demux(&mut client).await.0, b"out\n");
    end(shim).await;
}
