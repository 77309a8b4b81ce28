//! One folder in several containers, behind either wall, and on the host.

use super::{
    Folder,
    probe::{isolation, lock, probe},
};
use hako_tests::{Case, Wall, both_walls, wait_until};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// Longer than a guest believes what it has cached.
const SETTLED: Duration = Duration::from_millis(1500);

/// A container that waits, with the folder at `/mnt`.
fn idle(case: &Case, name: &str, folder: &Folder) {
    let script = "trap 'exit 0' TERM; while :; do sleep 1 & wait; done";
    case.daemon(name, &["-v", &folder.at("/mnt"), "-w", "/mnt", "busybox", "sh", "-c", script]);
}

fn other(wall: Wall) -> Wall {
    if wall == Wall::Process { Wall::Hyperv } else { Wall::Process }
}

/// The same behind the other wall.
fn idle_behind_the_other(case: &Case, name: &str, folder: &Folder) {
    let script = "trap 'exit 0' TERM; while :; do sleep 1 & wait; done";
    let volume = folder.at("/mnt");
    let wall = isolation(other(case.wall));
    let flags = ["run", "-d", "--name", name, &wall, "--network=none", "-v", &volume, "-w", "/mnt"];
    let _ = case.docker(flags).args(["busybox", "sh", "-c", script]).text();
}

both_walls! {
    /// Who opens a file sees what was written before, whoever wrote it.
    fn written_by_others(case) {
        let folder = Folder::new();
        folder.write("file", "one");
        idle(case, "one", &folder);
        idle_behind_the_other(case, "two", &folder);
        let read = |name: &str| case.exec(name, "cat /mnt/file").ok();
        for text in ["first", "second, longer", "third"] {
            // At once, although the other has it in its cache.
            folder.write("file", text);
            assert_eq!((read("one").as_str(), read("two").as_str()), (text, text));
        }
        for n in 0..3 {
            let _ = case.exec("one", &format!("echo a{n} > /mnt/file")).ok();
            assert_eq!(read("two"), format!("a{n}"));
            let _ = case.exec("two", &format!("echo b{n} > /mnt/file")).ok();
            assert_eq!((read("one"), folder.read("file")), (format!("b{n}"), format!("b{n}\n")));
        }
        // Names are believed for a second.
        let _ = case.exec("one", "ls /mnt && echo x > /mnt/from-a && mv /mnt/file /mnt/moved").ok();
        thread::sleep(SETTLED);
        assert_eq!(case.exec("two", "ls /mnt").ok(), "from-a\nmoved");
        let _ = case.exec("two", "rm /mnt/from-a").ok();
        thread::sleep(SETTLED);
        assert_eq!(case.exec("one", "ls /mnt; cat /mnt/from-a 2>&1 | grep -c 'No such'").ok(), "moved\n1");
        // A new name is found at once, and one that replaces another within that second.
        folder.write("new", "new");
        assert_eq!(case.exec("one", "cat /mnt/new").ok(), "new");
        folder.write("newer", "newer");
        fs::rename(folder.path("newer"), folder.path("new")).unwrap();
        thread::sleep(SETTLED);
        assert_eq!(case.exec("one", "cat /mnt/new").ok(), "newer");
        // A file that is open here and removed there is read on.
        let script = "(exec 3</mnt/moved; while [ ! -e /tmp/go ]; do sleep 0.1; done; cat <&3 > /tmp/out) >/dev/null 2>&1 & sleep 0.5";
        let _ = case.exec("one", script).ok();
        fs::remove_file(folder.path("moved")).unwrap();
        let script = "touch /tmp/go; i=0; while [ ! -s /tmp/out ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done; cat /tmp/out";
        assert_eq!(case.exec("one", script).ok(), "b2");
        let _ = case.docker(["rm", "-f", "one", "two"]).text();
    }

    /// Locks of containers behind both walls and of the host stand in each other's way.
    fn locks(case) {
        let folder = Folder::new();
        // The host holds.
        let file = fs::File::create(folder.path("posix")).unwrap();
        let flock = fs::File::create(folder.path("flock")).unwrap();
        fcntl(&file, FcntlArg::F_SETLK(&lock(libc::F_WRLCK))).unwrap();
        flock.lock().unwrap();
        let waiting = probe(case, case.wall, &folder, "lock-wait").start();
        wait_until(Duration::from_secs(100), "a container that waits", || folder.path("waits").exists());
        thread::sleep(Duration::from_millis(300));
        assert!(!folder.path("got").exists());
        fcntl(&file, FcntlArg::F_SETLK(&lock(libc::F_UNLCK))).unwrap();
        flock.unlock().unwrap();
        let _ = waiting.end().ok();
        assert!(folder.path("got").exists());
        // A container holds: the host sees it, and one behind the other wall waits.
        for name in ["waits", "got"] {
            fs::remove_file(folder.path(name)).unwrap();
        }
        let holding = probe(case, case.wall, &folder, "lock-hold").start();
        wait_until(Duration::from_secs(100), "a container that holds", || folder.path("held").exists());
        let mut seen = lock(libc::F_WRLCK);
        fcntl(&file, FcntlArg::F_GETLK(&mut seen)).unwrap();
        assert_eq!(i32::from(seen.l_type), libc::F_WRLCK);
        assert!(flock.try_lock().is_err());
        let other = other(case.wall);
        let waiting = probe(case, other, &folder, "lock-wait").start();
        wait_until(Duration::from_secs(100), "a container that waits", || folder.path("waits").exists());
        assert!(!folder.path("got").exists());
        folder.write("release", "");
        let _ = holding.end().ok();
        let _ = waiting.end().ok();
        assert!(folder.path("got").exists());
        // With the containers their locks are gone.
        fcntl(&file, FcntlArg::F_SETLK(&lock(libc::F_WRLCK))).unwrap();
        flock.try_lock().unwrap();
    }

    /// Lines that several append at a time are all there, and whole.
    fn appended(case) {
        let folder = Folder::new();
        let other = other(case.wall);
        let running = [probe(case, case.wall, &folder, "append").start(), probe(case, other, &folder, "append").start(), probe(case, case.wall, &folder, "append").start()];
        for one in running {
            let _ = one.end().ok();
        }
        let text = folder.read("log");
        let mut numbers = [0; 200];
        for line in text.lines() {
            assert_eq!(line.len(), 100, "{line}");
            numbers[line.parse::<usize>().unwrap()] += 1;
        }
        assert_eq!(numbers, [3; 200]);
    }

    /// What was synced is on the host's disk when the container is killed in the next moment.
    fn killed(case) {
        let folder = Folder::new();
        idle(case, "one", &folder);
        let _ = case.exec("one", "echo kept | dd of=/mnt/file conv=fsync 2>/dev/null && dd if=/dev/zero of=/mnt/big bs=64k count=20 conv=fsync 2>/dev/null").ok();
        let _ = case.docker(["kill", "one"]).text();
        assert_eq!((folder.read("file").as_str(), fs::metadata(folder.path("big")).unwrap().len()), ("kept\n", 20 << 16));
        let _ = case.docker(["start", "one"]).text();
        assert_eq!(case.exec("one", "cat /mnt/file").ok(), "kept");
        let _ = case.docker(["rm", "-f", "one"]).text();
    }

    /// The engine is killed and comes back: the folder was there all the time.
    fn without_the_engine(case) {
        if hako_tests::not_on_reference("it kills the engine") {
            return;
        }
        let folder = Folder::new();
        let script = "i=0; while :; do i=$((i+1)); echo $i > /mnt/count.new; mv /mnt/count.new /mnt/count; sleep 0.1; done";
        case.daemon("one", &["-v", &folder.at("/mnt"), "busybox", "sh", "-c", script]);
        wait_until(Duration::from_secs(30), "the first count", || folder.path("count").exists());
        case.engine.end_by(Signal::SIGKILL);
        let count = || folder.read("count").trim().parse::<u32>().unwrap_or(0);
        let before = count();
        wait_until(Duration::from_secs(30), "more counts", || count() > before + 3);
        case.engine.launch();
        let _ = case.exec("one", "echo back > /mnt/back").ok();
        assert_eq!(folder.read("back"), "back\n");
        let _ = case.docker(["rm", "-f", "one"]).text();
        let last = count();
        thread::sleep(Duration::from_millis(300));
        assert_eq!(count(), last);
    }
}

/// A guest whose processes cannot die (the folder's server answers no more, so
/// that they wait in their kernel) loses its machine.
#[test]
fn what_does_not_die_loses_its_machine() {
    hako_tests::with_wall(Wall::Hyperv, |case| {
        if hako_tests::not_on_reference("it has no machines") {
            return;
        }
        for (verb, patience) in [(&["rm", "-f", "one"][..], 9), (&["kill", "one"], 30)] {
            let folder = Folder::new();
            folder.write("file", "text");
            let script = "echo ready; while [ ! -e /tmp/go ]; do sleep 0.1; done; exec cat /mnt/file";
            case.daemon("one", &["-v", &folder.at("/mnt"), "busybox", "sh", "-c", script]);
            let server = server(&folder);
            kill(server, Signal::SIGSTOP).unwrap();
            let _ = case.exec("one", "touch /tmp/go; sleep 1").ok();
            let start = Instant::now();
            let out = case.docker(verb).run();
            let took = start.elapsed();
            assert!(took < Duration::from_secs(patience), "{verb:?} took {took:?}: {out:?}");
            if verb[0] == "kill" {
                wait_until(Duration::from_secs(30), "the end", || case.inspect("one", "{{.State.Running}}") == "false");
                assert_eq!(case.inspect("one", "{{.State.ExitCode}}"), "137");
                // What is on its disk is whole, and it starts again.
                let _ = case.docker(["start", "one"]).text();
                let _ = case.docker(["rm", "-f", "one"]).text();
            } else {
                let _ = out.ok();
            }
        }
    });
}

/// The process that serves the folder to a guest.
fn server(folder: &Folder) -> Pid {
    let path = folder.path("").display().to_string();
    let path = path.trim_end_matches('/');
    let serves = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.nth(1) == Some(b"fs") && words.any(|word| word == path.as_bytes())
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Pid::from_raw({ pids }.find(serves).expect("a server"))
}
