//! Boots that fail, and VMs that die.

use crate::{
    TURN,
    fixture::{Fixture, PIPES, programs},
};
use hako_model::ErrorKind;
use hako_qemu::{Accelerator, Board, ProbeRequest, probe_accelerator};
use hako_sandbox::Sandbox;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn a_guest_that_cannot_boot_is_explained() {
    let _turn = TURN.lock().await;
    let mut fixture = Fixture::new(None);
    // A kernel, but no init that is one.
    let initramfs = fixture.dir.path().join("empty.cpio");
    fs::write(&initramfs, [0; 512]).unwrap();
    fixture.vm().boot.initramfs = initramfs;
    let err = fixture.sandbox().create(fixture.request(&["true"], PIPES)).await.err().unwrap();
    println!("{err}");
    assert!(err.message.contains("before the guest's agent answered") && err.message.contains("panic"), "{err}");

    // One that hangs is tried again, and then given up.
    fixture.vm().boot.kernel_args.push("panic=0".to_owned());
    fixture.vm().boot.deadline_ms = 2500;
    let err = fixture.sandbox().create(fixture.request(&["true"], PIPES)).await.err().unwrap();
    assert_eq!(err.kind, ErrorKind::DeadlineExceeded);
    assert!(err.message.contains("the last of 2 attempts"), "{err}");
    // On a busy host it is given longer.
    let (_, after) = err.message.split_once("did not answer within ").unwrap_or_else(|| panic!("{err}"));
    let seconds: f32 = after.split(' ').next().unwrap().parse().unwrap();
    assert!((2.5..13.0).contains(&seconds), "{err}");
    assert_eq!(vms(), 0);

    // No kernel at all.
    let garbage = fixture.dir.path().join("garbage");
    fs::write(&garbage, vec![0x5a; 1 << 20]).unwrap();
    fixture.vm().boot.kernel = garbage;
    fixture.vm().boot.deadline_ms = 1500;
    let start = Instant::now();
    let err = fixture.sandbox().create(fixture.request(&["true"], PIPES)).await.err().unwrap();
    println!("{err}");
    assert!(err.message.contains("the virtual machine did not start"), "{err}");
    assert!(start.elapsed() < Duration::from_secs(10));

    fixture.vm().boot.kernel = "/nonexistent/vmlinux".into();
    let err = fixture.sandbox().create(fixture.request(&["true"], PIPES)).await.err().unwrap();
    assert!(err.message.contains("open /nonexistent/vmlinux"), "{err}");
}

#[tokio::test]
async fn an_absent_qemu_is_named() {
    let _turn = TURN.lock().await;
    let mut fixture = Fixture::new(None);
    fixture.vm().boot.qemu = "qemu-system-nowhere".into();
    let err = fixture.sandbox().create(fixture.request(&["true"], PIPES)).await.err().unwrap();
    assert_eq!(err.kind, ErrorKind::Unavailable);
    assert!(err.message.contains("qemu-system-nowhere is not installed"), "{err}");
}

#[tokio::test]
async fn a_missing_command_leaves_no_vm() {
    let _turn = TURN.lock().await;
    let fixture = Fixture::new(None);
    let sandbox = fixture.sandbox();
    let err = sandbox.create(fixture.request(&["nosuch"], PIPES)).await.err().unwrap();
    assert!(err.message.contains("exec: \"nosuch\": executable file not found in $PATH"), "{err}");
    assert_eq!(sandbox.vm(), None);
    assert_eq!(vms(), 0);
}

/// QEMU processes of this test.
fn vms() -> usize {
    let me = std::process::id().to_string();
    let is_mine = |dir: &Path| {
        let status = fs::read_to_string(dir.join("status")).unwrap_or_default();
        status.contains(&format!("PPid:\t{me}\n")) && status.contains("Name:\tqemu-system")
    };
    fs::read_dir("/proc").unwrap().flatten().filter(|entry| is_mine(&entry.path())).count()
}

#[tokio::test]
async fn a_vm_that_dies_ends_every_wait() {
    let _turn = TURN.lock().await;
    let fixture = Fixture::new(None);
    let (sandbox, mut streams) = fixture.start(&["sh", "-c", "echo up; sleep 100"], PIPES).await;
    let stdout = streams.stdout.as_mut().unwrap();
    let mut up = [0; 3];
    stdout.read_exact(&mut up).await.unwrap();
    let pid = nix::unistd::Pid::from_raw(sandbox.vm().unwrap().pid);
    let waited = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    };
    let (exit, ()) = tokio::join!(sandbox.wait(None), waited);
    let exit = exit.unwrap();
    assert_eq!(exit.exit_code, 137);
    assert!(exit.error.as_ref().unwrap().contains("the virtual machine died"), "{exit:?}");
    // An end that is the VM's is no end of the stream.
    let mut rest = Vec::new();
    let err = stdout.read_to_end(&mut rest).await.err().unwrap();
    assert!(err.to_string().contains("virtual machine"), "{err}");
    assert_eq!(sandbox.pids().await.unwrap_err().kind, ErrorKind::Unavailable);
    sandbox.delete(None).await.unwrap();
    assert_eq!(vms(), 0);
}

#[tokio::test]
async fn the_accelerator_is_proved_and_remembered() {
    let _turn = TURN.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let guest = programs().join("guest");
    let request = ProbeRequest {
        qemu: "qemu-system-x86_64".into(),
        board: Board::Microvm,
        hz: None,
        kernel: guest.join("vmlinux"),
        initramfs: guest.join("initramfs.cpio"),
        deadline: Duration::from_secs(3),
        cache: dir.path().join("accelerator.json"),
    };
    let probe = probe_accelerator(&request).await.unwrap();
    println!("{probe:?}");
    assert!(probe.accelerator == Accelerator::Kvm || probe.reason.contains("/dev/kvm"), "{probe:?}");
    let start = Instant::now();
    assert_eq!(probe_accelerator(&request).await.unwrap(), probe);
    assert!(start.elapsed() < Duration::from_millis(100));
    assert_eq!(vms(), 0);
}
