//! A real VM with busybox in it. Needs `cargo xtask guest`, QEMU, mkfs.erofs,
//! mkfs.ext4 and a static busybox; one VM at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;

use fixture::{Fixture, PIPES};
use hako_sandbox::Sandbox;
use std::time::Instant;

/// VMs are heavy: the tests take turns. Each runs on its own runtime and thread,
/// which outlives its VM, as the parent-death signal wants.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn runs_a_command() {
    let _turn = TURN.lock().await;
    let fixture = Fixture::new(None);
    let start = Instant::now();
    let (sandbox, streams) = fixture.start(&["uname", "-r"], PIPES).await;
    println!("create + start: {:?}", start.elapsed());
    let (out, err) = fixture::texts(streams).await;
    let exit = sandbox.wait(None).await.unwrap();
    println!("ended: {:?} {out:?} {err:?} {exit:?}", start.elapsed());
    sandbox.delete(None).await.unwrap();
    println!("deleted: {:?}", start.elapsed());
    assert!(out.trim_end().ends_with("-hako"), "{out:?}");
    assert_eq!((err.as_str(), exit.exit_code), ("", 0));
}
