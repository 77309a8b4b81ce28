//! A real VM with busybox in it. Needs `cargo xtask guest`, QEMU, mkfs.erofs,
//! mkfs.ext4 and a static busybox; one VM at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod failures;
mod fixture;
mod limits;
mod network;
mod template;

use fixture::{Fixture, PIPES, TTY, WITH_STDIN, process, texts};
use hako_sandbox::Sandbox;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// VMs are heavy: the tests take turns. Each runs on its own runtime and thread,
/// which outlives its VM, as the parent-death signal wants.
pub static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn runs_a_command_on_its_own_kernel() {
    let _turn = TURN.lock().await;
    let fixture = Fixture::new(None);
    let start = Instant::now();
    let (sandbox, streams) = fixture.start(&["sh", "-c", "uname -r; echo no >&2; exit 3"], PIPES).await;
    println!("started: {:?}", start.elapsed());
    assert!(sandbox.vm().is_some());
    let (out, err) = texts(streams).await;
    let exit = sandbox.wait(None).await.unwrap();
    println!("ended: {:?}", start.elapsed());
    sandbox.delete(None).await.unwrap();
    println!("deleted: {:?}", start.elapsed());
    assert!(out.trim_end().ends_with("-hako"), "{out:?}");
    assert_eq!((err.as_str(), exit.exit_code, exit.oom_killed), ("no\n", 3, false));
    assert!(sandbox.vm().is_none());
    assert!(sandbox.start(None).await.is_err());
}

#[tokio::test]
async fn ten_megabytes_pass_unchanged() {
    let _turn = TURN.lock().await;
    let fixture = Fixture::new(None);
    let (sandbox, streams) = fixture.start(&["cat"], WITH_STDIN).await;
    let mut state = 1_u32;
    let sent: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(10_000_000)
    .collect();
    let (mut stdin, mut stdout) = (streams.stdin.unwrap(), streams.stdout.unwrap());
    let start = Instant::now();
    let feed = async {
        stdin.write_all(&sent).await.unwrap();
        drop(stdin);
    };
    let mut received = Vec::new();
    let (read, ()) = tokio::join!(stdout.read_to_end(&mut received), feed);
    read.unwrap();
    println!("10 MB there and back: {:?}", start.elapsed());
    assert!(received == sent, "{} bytes came back", received.len());
    assert_eq!(sandbox.wait(None).await.unwrap().exit_code, 0);
    sandbox.delete(None).await.unwrap();
}

#[tokio::test]
async fn a_terminal_has_a_size_and_exec_works() {
    let _turn = TURN.lock().await;
    let fixture = Fixture::new(None);
    let (sandbox, mut streams) = fixture.start(&["sh"], TTY).await;
    assert!(streams.stderr.is_none());
    sandbox.resize(None, 101, 37).await.unwrap();
    let mut stdin = streams.stdin.take().unwrap();
    stdin.write_all(b"stty size; echo do''ne\n").await.unwrap();
    let seen = read_until(streams.stdout.as_mut().unwrap(), "done").await;
    assert!(seen.contains("37 101"), "{seen:?}");

    let spec = serde_json::to_vec(&process(&["sh", "-c", "cat; exit 7"], false)).unwrap();
    let mut exec = sandbox.exec("e1", spec, WITH_STDIN).await.unwrap();
    assert!(sandbox.start(Some("e1")).await.unwrap() > 1);
    exec.stdin.take().unwrap().write_all(b"to an exec").await.unwrap();
    let (out, _) = texts(exec).await;
    assert_eq!((out.as_str(), sandbox.wait(Some("e1")).await.unwrap().exit_code), ("to an exec", 7));
    sandbox.delete(Some("e1")).await.unwrap();

    let missing = serde_json::to_vec(&process(&["nosuch"], false)).unwrap();
    let _streams = sandbox.exec("e2", missing, PIPES).await.unwrap();
    let err = sandbox.start(Some("e2")).await.err().unwrap();
    assert!(err.message.contains("executable file not found in $PATH"), "{err}");

    assert!(!sandbox.pids().await.unwrap().is_empty());
    sandbox.kill(None, 9, false).await.unwrap();
    assert_eq!(sandbox.wait(None).await.unwrap().exit_code, 137);
    sandbox.delete(None).await.unwrap();
}

async fn read_until(from: &mut hako_sandbox::Output, mark: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    let read = async {
        while !seen.contains(mark) {
            let n = from.read(&mut buffer).await.unwrap();
            assert_ne!(n, 0, "{seen:?}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
    seen
}

#[tokio::test]
async fn what_is_written_lasts() {
    let _turn = TURN.lock().await;
    let mut fixture = Fixture::new(None);
    fixture.config.ephemeral = false;
    let (_, err, code) = fixture.run(&["sh", "-c", "echo kept > /kept; echo changed > /etc/group"]).await;
    assert_eq!((err.as_str(), code), ("", 0));
    let (out, err, code) = fixture.run(&["cat", "/kept", "/etc/group"]).await;
    assert_eq!((out.as_str(), err.as_str(), code), ("kept\nchanged\n", "", 0));
}

#[tokio::test]
async fn pauses_and_resumes() {
    let _turn = TURN.lock().await;
    let fixture = Fixture::new(None);
    let (sandbox, mut streams) = fixture.start(&["sh", "-c", "while :; do echo tick; sleep 0.05; done"], PIPES).await;
    let stdout = streams.stdout.as_mut().unwrap();
    read_until(stdout, "tick").await;
    sandbox.pause().await.unwrap();
    let mut buffer = [0; 4096];
    // What was on its way still arrives; then nothing does.
    while let Ok(read) = tokio::time::timeout(Duration::from_millis(600), stdout.read(&mut buffer)).await {
        assert_ne!(read.unwrap(), 0);
    }
    sandbox.resume().await.unwrap();
    read_until(stdout, "tick").await;
    let figures = sandbox.stats().await.unwrap();
    assert!(!figures.type_url.is_empty() && !figures.metrics.is_empty());
    sandbox.delete(None).await.unwrap();
}

#[tokio::test]
async fn twenty_boots_in_a_row() {
    let _turn = TURN.lock().await;
    let fixture = Fixture::new(None);
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let (out, err, code) = fixture.run(&["true"]).await;
        assert_eq!((out.as_str(), err.as_str(), code), ("", "", 0));
        times.push(start.elapsed());
    }
    times.sort();
    println!("run to completion: min {:?} median {:?} max {:?}", times[0], times[10], times[19]);
}
