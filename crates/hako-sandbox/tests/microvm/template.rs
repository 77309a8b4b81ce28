//! Machines that are copies of a template.

use crate::{
    TURN,
    fixture::{Fixture, PIPES, WITH_STDIN, texts},
};
use hako_model::{Origin, VmProcess};
use hako_sandbox::{
    Sandbox,
    microvm::template::{self, Template},
};
use std::{collections::HashSet, fs, time::Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The fixture with a template of its machine.
async fn templated() -> (Fixture, Template) {
    let mut fixture = Fixture::new(None);
    fs::File::options().write(true).open(fixture.dir.path().join("rootfs.erofs")).unwrap().set_len(1 << 36).unwrap();
    let folder = fixture.dir.path().join("template");
    fs::create_dir(&folder).unwrap();
    let template = template::make(fixture.vm(), &folder, std::future::pending()).await.unwrap();
    fixture.vm().template = Some(template.files());
    (fixture, template)
}

#[tokio::test]
async fn containers_run_in_copies() {
    let _turn = TURN.lock().await;
    let (mut fixture, template) = templated().await;
    template::probe(fixture.vm(), &template).await.unwrap();
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let begin = Instant::now();
        let script = "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | sha256sum; date +%s; echo >/x";
        let (sandbox, streams) = fixture.start(&["sh", "-c", script], PIPES).await;
        let (out, err) = texts(streams).await;
        assert!(matches!(sandbox.vm(), Some(VmProcess { origin: Origin::Template, .. })), "{:?}", sandbox.vm());
        sandbox.delete(None).await.unwrap();
        eprintln!("a copy's container took {:?}", begin.elapsed());
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines.len() == 3 && err.is_empty(), "{out} {err}");
        assert!(seen.insert(lines[0].to_owned()) && seen.insert(lines[1].to_owned()), "said twice: {out}");
        let now = chrono::Utc::now().timestamp();
        assert!((lines[2].parse::<i64>().unwrap() - now).abs() < 5, "{out}");
    }
}

/// What a guest frees goes back to the host, and is not taken from the template.
#[tokio::test]
async fn freed_memory_goes_back() {
    let _turn = TURN.lock().await;
    let (fixture, template) = templated().await;
    let size = template.size();
    let script =
        "exec 3<&0; dd if=/dev/zero bs=100M count=1 2>/dev/null | { read x <&3; cat >/dev/null; }; echo empty; read x";
    let (sandbox, streams) = fixture.start(&["sh", "-c", script], WITH_STDIN).await;
    let (mut stdin, mut stdout) = (streams.stdin.unwrap(), streams.stdout.unwrap());
    let pid = sandbox.vm().unwrap().pid;
    until(pid, |kib| kib > 100 << 10).await;
    // All of it, by then.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let full = anonymous(pid);
    stdin.write_all(b"\n").await.unwrap();
    let mut word = [0; 5];
    stdout.read_exact(&mut word).await.unwrap();
    let least = until(pid, |kib| kib + (24 << 10) < full).await;
    sandbox.delete(None).await.unwrap();
    eprintln!("{full} KiB, {least} KiB after");
    assert!(full > 100 << 10 && least + (24 << 10) < full, "{full} KiB, and {least} KiB after all is freed");
    // No holes; the file system may write its own of it late.
    assert!(template.size().abs_diff(size) < 1 << 20, "{size} bytes, now {}", template.size());
    let (out, ..) = fixture.run(&["echo", "still"]).await;
    assert_eq!(out, "still\n");
}

/// What QEMU has, once it is so, or after ten seconds.
async fn until(pid: i32, so: impl Fn(u64) -> bool) -> u64 {
    for _ in 0..100 {
        if so(anonymous(pid)) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anonymous(pid)
}

fn anonymous(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn without_its_template_a_machine_boots() {
    let _turn = TURN.lock().await;
    let (mut fixture, template) = templated().await;
    // Nobody has it any more: no fault of anybody's.
    drop(template);
    let (sandbox, streams) = fixture.start(&["true"], PIPES).await;
    texts(streams).await;
    assert_eq!(sandbox.vm().unwrap().origin, Origin::Boot);
    sandbox.delete(None).await.unwrap();
    // One of another machine does not serve.
    let folder = fixture.dir.path().join("other");
    fs::create_dir(&folder).unwrap();
    let template = template::make(&fixture.config.vm.clone().unwrap(), &folder, std::future::pending()).await.unwrap();
    fixture.vm().template = Some(template.files());
    fixture.vm().memory_mib *= 2;
    let (sandbox, streams) = fixture.start(&["true"], PIPES).await;
    texts(streams).await;
    assert!(matches!(&sandbox.vm().unwrap().origin, Origin::Failed { why } if why.contains("template")));
    sandbox.delete(None).await.unwrap();
}

#[test]
fn keys() {
    let mut fixture = Fixture::new(None);
    let key = template::key(fixture.vm(), false).unwrap();
    assert_eq!(template::key(fixture.vm(), false).unwrap(), key);
    fixture.vm().cpus += 1;
    assert_ne!(template::key(fixture.vm(), false).unwrap(), key);
    fixture.vm().cpus -= 1;
    let serial = std::mem::replace(&mut fixture.vm().disks[0].serial, "another".to_owned());
    assert_ne!(template::key(fixture.vm(), false).unwrap(), key);
    fixture.vm().disks[0].serial = serial;
    let path = fixture.dir.path().join("scratch.img");
    fs::File::options().write(true).open(path).unwrap().set_len(5 << 30).unwrap();
    assert_ne!(template::key(fixture.vm(), false).unwrap(), key);
    assert_ne!(template::key(fixture.vm(), true).unwrap(), template::key(fixture.vm(), false).unwrap());
    assert_eq!([1, 256, 257, 4096].map(template::memory_class), [256, 256, 512, 4096]);
}
