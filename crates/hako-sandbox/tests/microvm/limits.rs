//! `-m` means the same as behind the process wall: the workload has all of it,
//! and who takes more is killed by the cgroup.

use crate::{
    TURN,
    fixture::{Fixture, PIPES, texts},
};
use hako_qemu::Accelerator;
use hako_sandbox::{
    Sandbox,
    microvm::sizing::{Host, sizing},
};

const MIB: u64 = 1024 * 1024;

/// A little of the limit is the kernel's own, charged to the cgroup: page
/// tables and the like. The rest is filled.
async fn the_limit_can_be_used(limit_mib: u64) {
    let fixture = Fixture::new(Some(limit_mib * MIB));
    let most = limit_mib - 4 - limit_mib / 64;
    let fill = format!("dd if=/dev/zero of=/dev/null bs={most}M count=1 2>/dev/null && echo filled");
    // And more than the limit may pass through the page cache.
    let file_mib = limit_mib.min(48) * 2;
    let script = format!("{fill}; dd if=/dev/zero of=/big bs=1M count={} 2>/dev/null && cat /big | wc -c", file_mib);
    let (sandbox, streams) = fixture.start(&["sh", "-c", &script], PIPES).await;
    let (out, err) = texts(streams).await;
    let exit = sandbox.wait(None).await.unwrap();
    println!("{limit_mib} MiB: {out:?} {exit:?}");
    sandbox.delete(None).await.unwrap();
    assert_eq!(out, format!("filled\n{}\n", file_mib * MIB), "{err}");
    assert_eq!((exit.exit_code, exit.oom_killed), (0, false));
}

async fn beyond_it_is_death(limit_mib: u64) {
    dies_of_memory(&Fixture::new(Some(limit_mib * MIB))).await;
}

async fn dies_of_memory(fixture: &Fixture) {
    let (sandbox, streams) = fixture.start(&["tail", "/dev/zero"], PIPES).await;
    texts(streams).await;
    let exit = sandbox.wait(None).await.unwrap();
    println!("{:?}: {exit:?}", fixture.memory);
    // The guest as a whole never ran out: its agent still answers.
    sandbox.stats().await.unwrap();
    sandbox.delete(None).await.unwrap();
    assert_eq!((exit.exit_code, exit.oom_killed), (137, true));
    let console = std::fs::read_to_string(fixture.dir.path().join("console.log")).unwrap();
    assert!(!console.contains("Out of memory"), "{console}");
}

#[tokio::test]
async fn memory_16_mib() {
    let _turn = TURN.lock().await;
    the_limit_can_be_used(16).await;
    beyond_it_is_death(16).await;
}

#[tokio::test]
async fn memory_64_mib() {
    let _turn = TURN.lock().await;
    the_limit_can_be_used(64).await;
    beyond_it_is_death(64).await;
}

#[tokio::test]
async fn memory_256_mib() {
    let _turn = TURN.lock().await;
    the_limit_can_be_used(256).await;
    beyond_it_is_death(256).await;
}

#[tokio::test]
async fn memory_1_gib() {
    let _turn = TURN.lock().await;
    the_limit_can_be_used(1024).await;
    beyond_it_is_death(1024).await;
}

#[tokio::test]
async fn memory_without_a_limit() {
    let _turn = TURN.lock().await;
    // A host of 8 GiB gives 2 GiB, all but the VM's own need for the workload.
    let host = Host { memory: 8 * 1024 * MIB, cpus: 1, accelerator: Accelerator::Tcg };
    let size = sizing(host, None, None);
    let mut fixture = Fixture::new(Some(size.workload_limit));
    fixture.vm().memory_mib = size.memory_mib;
    dies_of_memory(&fixture).await;
}
