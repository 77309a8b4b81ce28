//! Nothing is left behind: by runs that end well, and by starts that fail.

use hako_tests::{Case, Engine, Options, Traces, Wall, both_walls, busybox};
use std::{fs, path::Path, time::Duration};

/// What is new since `before`, after the engine had a moment to clean up.
fn left_since(engine: &Engine, before: &Traces) -> Traces {
    let mut left = Traces::default();
    for _ in 0..200 {
        left = engine.traces().since(before);
        left.ignore_durable(&engine.data_root());
        if left.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    left
}

/// Compares before and after `work`, which leaves no container.
fn leaves_nothing(engine: &Engine, work: impl FnOnce()) {
    let before = engine.traces();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", engine.pid())).unwrap().count();
    let open = descriptors();
    work();
    let left = left_since(engine, &before);
    assert!(left.is_empty(), "left behind:\n{left}");
    hako_tests::wait_until(Duration::from_secs(10), "hakod to close its files", || descriptors() <= open + 4);
}

both_walls! {
    /// 100 runs in a row.
    fn a_hundred_runs(case) {
        // The first run makes what is kept for all: compiled filters, disk images.
        assert_eq!(case.sh(&[], "echo warm").text(), "warm");
        if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
            return;
        }
        leaves_nothing(&case.engine, || {
            for number in 0..100 {
                assert_eq!(case.sh(&[], &format!("echo {number}")).text(), number.to_string());
            }
        });
    }

    /// A missing command, a missing image, a bad mount, a missing user.
    fn failed_starts(case) {
        assert_eq!(case.sh(&[], "echo warm").text(), "warm");
        if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
            return;
        }
        leaves_nothing(&case.engine, || {
            for _ in 0..3 {
                case.run(&["busybox", "no-such-command"]).run().fails(127, "executable file not found");
                case.run(&["--pull=never", "no-such-image"]).run().fails(125, "");
                case.run(&["--user", "nobody-knows", "busybox"]).run().fails(125, "unable to find user");
                let mount = "type=bind,source=/no/such/folder,target=/mnt";
                let output = case.run(&["--mount", mount, "busybox", "true"]).run();
                output.fails(125, "");
                assert!(!output.err().is_empty());
                let output = case.run(&["--tmpfs", "/t:no-such-option", "busybox", "true"]).run();
                assert_ne!(output.code, 0, "{output}");
            }
        });
    }
}

/// Starts an engine whose virtual machines cannot start, and demands an error
/// with `text`, in time, that leaves nothing; the other wall is not harmed.
fn broken_vm(options: Options, texts: &[&str]) {
    if hako_tests::not_on_reference("there is no hyperv wall") {
        return;
    }
    let engine = Engine::with(options);
    engine.load(&busybox());
    let run = |wall: &str| engine.docker(["run", "--rm", &format!("--isolation={wall}"), "busybox", "echo", "ran"]);
    assert_eq!(run("process").text(), "ran");
    // Images of root filesystems are made by the first try and kept.
    let _ = run("hyperv").deadline(Duration::from_secs(180)).run();
    leaves_nothing(&engine, || {
        let output = run("hyperv").deadline(Duration::from_secs(180)).run();
        assert_eq!(output.code, 125, "{output}");
        for text in texts {
            assert!(output.err().contains(text), "{text:?} is missing: {output}");
        }
    });
    assert_eq!(run("process").text(), "ran");
    engine.finish();
}

/// The programs in a folder of their own, with `file` replaced by `content`.
fn programs_with(dir: &Path, file: &str, content: &[u8]) -> Options {
    fs::create_dir(dir.join("guest")).unwrap();
    for name in ["hakod", "hako-shim", "hako-runtime", "hako-init", "guest/vmlinux", "guest/initramfs.cpio"] {
        let from = hako_tests::bin_dir().join(name);
        if name != file && from.exists() {
            fs::copy(from, dir.join(name)).unwrap();
        }
    }
    fs::write(dir.join(file), content).unwrap();
    let args = ["--exec-opt", "accelerator=tcg"].map(str::to_owned).to_vec();
    Options { programs: Some(dir.to_path_buf()), args, ..Options::default() }
}

/// A kernel that is none: the error names it.
#[test]
fn a_guest_that_cannot_boot() {
    let dir = tempfile::tempdir().unwrap();
    broken_vm(programs_with(dir.path(), "guest/vmlinux", b"no kernel"), &["kernel"]);
}

/// A kernel that boots and finds no agent: the error shows the console's last lines.
#[test]
fn a_guest_without_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    broken_vm(programs_with(dir.path(), "guest/initramfs.cpio", &[0; 512]), &["Kernel panic"]);
}

#[test]
fn qemu_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["mkfs.erofs", "mke2fs"] {
        std::os::unix::fs::symlink(hako_tests::on_path(name).unwrap(), dir.path().join(name)).unwrap();
    }
    let env = vec![("PATH".to_owned(), dir.path().to_string_lossy().into_owned())];
    let args = ["--exec-opt", "accelerator=tcg"].map(str::to_owned).to_vec();
    broken_vm(Options { env, args, ..Options::default() }, &["qemu-system-x86_64"]);
}

/// `rm -f` of a running container, and a client that is killed, leave nothing.
fn ends_of_every_kind(case: &Case) {
    assert_eq!(case.sh(&[], "echo warm").text(), "warm");
    leaves_nothing(&case.engine, || {
        case.idle("forced");
        let exec = case.docker(["exec", "forced", "sleep", "1000"]).start();
        std::thread::sleep(Duration::from_millis(500));
        let _ = case.docker(["rm", "-f", "forced"]).text();
        let _ = exec.end();
        let running = case.walled("run", &["-i", "--rm", "--name", "orphan", "busybox", "cat"]).start();
        case.wait_for_name("orphan");
        let _ = running.kill();
        let _ = case.docker(["rm", "-f", "orphan"]).run();
    });
}

#[test]
fn forced_ends_process() {
    if !Engine::is_reference() {
        hako_tests::with_wall(Wall::Process, ends_of_every_kind);
    }
}

#[test]
fn forced_ends_hyperv() {
    hako_tests::with_wall(Wall::Hyperv, ends_of_every_kind);
}
