//! Create to delete: exit codes, signals, failures, state.

use crate::{
    bundle::Options,
    harness::{Shim, ctx, demux},
};
use hako_model::ShimPhase;
use hako_task::{extra::ProcessRef, task as api};
use std::time::Duration;

async fn exit_of(script: &str) -> u32 {
    let shim = Shim::create(Options::sh(script)).await;
    shim.run("").await.unwrap();
    let code = shim.wait("").await;
    assert_eq!(shim.wait("").await, code, "a second wait");
    shim.finish().await;
    code
}

#[tokio::test]
async fn exit_codes_are_the_processs() {
    for code in [0, 1, 42, 126, 127, 137, 255] {
        assert_eq!(exit_of(&format!("exit {code}")).await, code);
    }
}

#[tokio::test]
async fn death_by_signal_is_128_and_the_signal() {
    let shim = Shim::create(Options::args(&["sleep", "60"])).await;
    shim.run("").await.unwrap();
    shim.kill("", 9, false).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    assert_eq!(shim.kill("", 9, false).await.unwrap_err(), "process already finished");
    shim.finish().await;
}

#[tokio::test]
async fn what_is_created_can_be_deleted_unstarted() {
    let shim = Shim::create(Options::args(&["true"])).await;
    assert!(matches!(shim.saved().phase, ShimPhase::Created { pid } if pid > 0));
    shim.finish().await;
}

#[tokio::test]
async fn state_is_durable_in_every_phase() {
    let shim = Shim::create(Options::args(&["sleep", "60"])).await;
    let pid = shim.run("").await.unwrap();
    assert!(matches!(shim.saved().phase, ShimPhase::Running { pid: saved } if saved == pid as i32));
    assert_eq!(shim.state().await.pid, pid);
    assert!(shim.shutdown(false).await.unwrap_err().contains("running"));
    assert!(shim.delete("").await.unwrap_err().contains("running"));
    shim.kill("", 15, true).await.ok();
    shim.kill("", 9, true).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    assert!(matches!(shim.saved().phase, ShimPhase::Exited(details) if details.exit_code == 137));
    let details = shim.extra.exit_details(&ProcessRef { id: shim.id.clone(), exec_id: String::new() }).await.unwrap();
    assert!(!details.oom_killed);
    shim.finish().await;
}

#[tokio::test]
async fn shutdown_now_ends_what_runs() {
    let shim = Shim::create(Options::args(&["sleep", "60"])).await;
    shim.run("").await.unwrap();
    shim.shutdown(true).await.unwrap();
    shim.check_clean();
}

#[tokio::test]
async fn a_missing_command_fails_create_and_leaves_nothing() {
    for (name, want) in [
        ("no-such-program", "exec: \"no-such-program\": executable file not found in $PATH"),
        ("/bin/no-such", "exec: \"/bin/no-such\": stat /bin/no-such: no such file or directory"),
        ("/bin/not-executable", "exec: \"/bin/not-executable\": permission denied"),
        ("/bin", "exec: \"/bin\": is a directory"),
    ] {
        let options = Options::args(&[name]);
        let shim = Shim::start(&options).await;
        assert_eq!(shim.try_create(&options).await.unwrap_err(), want);
        shim.shutdown(false).await.unwrap();
        shim.check_clean();
    }
}

#[tokio::test]
async fn out_of_memory_is_told() {
    let mut options = Options::sh("x=x; while true; do x=$x$x; done");
    options.memory = Some(16 << 20);
    let shim = Shim::create(options).await;
    shim.run("").await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    let details = shim.extra.exit_details(&ProcessRef { id: shim.id.clone(), exec_id: String::new() }).await.unwrap();
    assert!(details.oom_killed);
    shim.finish().await;
}

#[tokio::test]
async fn pause_stops_and_resume_goes_on() {
    let shim = Shim::create(Options::sh("while true; do echo x; sleep 0.02; done")).await;
    shim.run("").await.unwrap();
    let mut req = api::PauseRequest::new();
    req.id.clone_from(&shim.id);
    shim.task.pause(ctx(), &req).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = shim.log().len();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(shim.log().len(), before);
    let mut req = api::ResumeRequest::new();
    req.id.clone_from(&shim.id);
    shim.task.resume(ctx(), &req).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(shim.log().len() > before);
    let mut req = api::PauseRequest::new();
    req.id.clone_from(&shim.id);
    shim.task.pause(ctx(), &req).await.unwrap();
    shim.kill("", 9, false).await.unwrap();
    assert_eq!(shim.wait("").await, 137, "a frozen container dies, too");
    shim.finish().await;
}

#[tokio::test]
async fn figures_and_pids_are_told() {
    let shim = Shim::create(Options::sh("sleep 60 & sleep 60; true")).await;
    shim.run("").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut req = api::PidsRequest::new();
    req.id.clone_from(&shim.id);
    assert_eq!(shim.task.pids(ctx(), &req).await.unwrap().processes.len(), 3);
    let mut req = api::StatsRequest::new();
    req.id.clone_from(&shim.id);
    let stats = shim.task.stats(ctx(), &req).await.unwrap().stats.unwrap();
    assert!(stats.type_url.starts_with("io.containerd.cgroups.v"));
    assert!(stats.value.len() > 50);
    shim.kill("", 9, true).await.unwrap();
    shim.wait("").await;
    shim.finish().await;
}

#[tokio::test]
async fn update_changes_a_limit() {
    let shim = Shim::create(Options::args(&["sleep", "60"])).await;
    shim.run("").await.unwrap();
    let mut req = api::UpdateTaskRequest::new();
    req.id.clone_from(&shim.id);
    let mut any = hako_task::protos::protobuf::well_known_types::any::Any::new();
    any.value = br#"{"memory":{"limit":33554432}}"#.to_vec();
    req.resources = hako_task::protos::protobuf::MessageField::some(any);
    shim.task.update(ctx(), &req).await.unwrap();
    let mut req = api::StatsRequest::new();
    req.id.clone_from(&shim.id);
    let stats = shim.task.stats(ctx(), &req).await.unwrap().stats.unwrap();
    // 33554432 as a varint.
    assert!(stats.value.windows(4).any(|bytes| bytes == [0x80, 0x80, 0x80, 0x10]), "the limit is in the figures");
    shim.kill("", 9, true).await.unwrap();
    shim.wait("").await;
    shim.finish().await;
}

#[tokio::test]
async fn signals_do_not_end_a_shim_nor_reach_its_container() {
    let shim = Shim::create(Options::sh("trap 'exit 7' TERM HUP INT; while true; do sleep 0.05; done")).await;
    shim.run("").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for signal in [nix::libc::SIGTERM, nix::libc::SIGHUP, nix::libc::SIGINT] {
        hako_os::process::kill(shim.pid() as i32, signal).unwrap();
    }
    assert_eq!(shim.state().await.exit_status, 0);
    shim.kill("", 15, false).await.unwrap();
    assert_eq!(shim.wait("").await, 7, "signals have their default in the container");
    shim.finish().await;
}

#[tokio::test]
async fn no_descriptor_of_the_shim_reaches_the_container() {
    let shim = Shim::create(Options::sh("echo /proc/self/fd/*").stdin(true)).await;
    let mut first = shim.attach("", false).await;
    shim.run("").await.unwrap();
    // The shell itself holds 3 while it reads the folder.
    let want = "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n";
    assert_eq!(String::from_utf8(demux(&mut first).await.0).unwrap(), want);
    shim.wait("").await;
    shim.finish().await;
}

#[tokio::test]
async fn many_at_once() {
    // An emulated VM takes a whole CPU while it boots.
    let count = if crate::WALL == hako_model::Isolation::Process { 20 } else { 3 };
    let run = |number: u32| async move {
        let shim = Shim::create(Options::sh(&format!("echo {number}; exit {number}"))).await;
        shim.run("").await.unwrap();
        assert_eq!(shim.wait("").await, number);
        assert_eq!(shim.log(), [("stdout".to_owned(), format!("{number}\n"))]);
        shim.finish().await;
    };
    futures::future::join_all((0..count).map(run)).await;
}
