//! Flags of `docker run` that change what the process sees.

use hako_tests::{Image, Layer, Wall, both_walls, busybox, wait_until, with_wall};
use serde_json::json;
use std::time::Duration;

both_walls! {
    fn environment(case) {
        let script = "echo $A-$B-$HOME-$PATH; hostname";
        let output = case.sh(&["-e", "A=1 2", "-e", "B=x=y", "-h", "box"], script).text();
        assert_eq!(output, "1 2-x=y-/root-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nbox");
        let forwarded = case.sh(&["-e", "FROM_CLIENT"], "echo $FROM_CLIENT").env("FROM_CLIENT", "here").text();
        assert_eq!(forwarded, "here");
    }

    fn working_folder(case) {
        assert_eq!(case.sh(&["-w", "/usr"], "pwd").text(), "/usr");
        assert_eq!(case.sh(&["-w", "/made/for/it"], "pwd").text(), "/made/for/it");
    }

    fn user(case) {
        let id = |user: &str| case.run(&["-u", user, "busybox", "sh", "-c", "id -u; id -g; id -G; echo $HOME"]).text();
        assert_eq!(id("someone"), "1000\n1000\n1000 2000\n/home/someone");
        assert_eq!(id("1234"), "1234\n0\n0\n/");
        assert_eq!(id("someone:extra"), "1000\n2000\n2000\n/home/someone");
        assert_eq!(id("1000:77"), "1000\n77\n77\n/home/someone");
    }

    fn host_name(case) {
        let text = case.sh(&["-h", "named"], "hostname; cat /etc/hostname; grep named /etc/hosts | wc -l").text();
        assert_eq!(text.lines().take(2).collect::<Vec<_>>(), ["named", "named"]);
        let id = case.walled("create", &["--name", "box", "busybox", "hostname"]).text();
        let name = case.docker(["start", "-a", "box"]).text();
        assert_eq!(name, id[..12]);
        let _ = case.docker(["rm", "box"]).text();
    }

    fn entrypoint(case) {
        let output = case.run(&["--entrypoint", "echo", "busybox", "a", "b"]).text();
        assert_eq!(output, "a b");
        case.engine.load(
            &Image::new("entry:latest", busybox().layers().to_vec())
                .with("Entrypoint", json!(["echo", "from"]))
                .with("Cmd", json!(["default"])),
        );
        assert_eq!(case.run(&["entry"]).text(), "from default");
        assert_eq!(case.run(&["entry", "other"]).text(), "from other");
        let cleared = case.run(&["--entrypoint", "", "entry", "echo", "alone"]).text();
        assert_eq!(cleared, "alone");
    }

    fn image_config(case) {
        case.engine.load(
            &Image::new("configured:latest", vec![busybox().layers()[0].clone(), Layer::new().dir("data/", 0o755).finish()])
                .with("User", json!("someone"))
                .with("WorkingDir", json!("/data"))
                .with("Env", json!(["PATH=/bin", "GREETING=hi"]))
                .with("Labels", json!({"from": "image"}))
                .with("Cmd", json!(["sh", "-c", "id -un; pwd; echo $GREETING"])),
        );
        assert_eq!(case.run(&["configured"]).text(), "someone\n/data\nhi");
        let _ = case.walled("create", &["--name", "box", "--label", "own=1", "configured"]).text();
        assert_eq!(case.inspect("box", "{{.Config.Labels.from}} {{.Config.Labels.own}} {{.Config.User}}"), "image 1 someone");
        let _ = case.docker(["rm", "box"]).text();
    }

    fn read_only(case) {
        let output = case.sh(&["--read-only"], "touch /file").run();
        output.fails(1, "Read-only file system");
        let output = case.sh(&["--read-only", "--tmpfs", "/scratch"], "echo kept > /scratch/f && cat /scratch/f").text();
        assert_eq!(output, "kept");
    }

    fn tmpfs(case) {
        let script = "grep ' /t ' /proc/mounts; touch /t/x && ls -ld /t | cut -c1-10";
        let output = case.sh(&["--tmpfs", "/t:rw,noexec,size=64k,mode=0700"], script).text();
        let (mount, mode) = output.rsplit_once('\n').unwrap();
        assert!(mount.starts_with("tmpfs /t tmpfs rw,"), "{mount}");
        assert!(mount.contains("noexec") && mount.contains("size=64k"), "{mount}");
        assert_eq!(mode, "drwx------");
        let full = case.sh(&["--tmpfs", "/t:size=64k"], "dd if=/dev/zero of=/t/x bs=1k count=100").run();
        full.fails(1, "No space left on device");
    }

    /// Docker's fourteen by default; more and less by request.
    fn capabilities(case) {
        let set = |flags: &[&str]| case.sh(flags, "grep CapBnd /proc/self/status | cut -f2").text();
        assert_eq!(set(&[]), "00000000a80425fb");
        assert_eq!(set(&["--cap-drop", "ALL"]), "0000000000000000");
        assert_eq!(set(&["--cap-drop", "ALL", "--cap-add", "CHOWN"]), "0000000000000001");
        assert_eq!(set(&["--cap-add", "SYS_TIME"]), "00000000aa0425fb");
        let output = case.sh(&["--cap-drop", "CHOWN"], "chown 1:1 /etc/passwd").run();
        output.fails(1, "Operation not permitted");
        let _ = case.sh(&[], "chown 1:1 /etc/passwd").text();
        let effective = case.sh(&["-u", "someone"], "grep CapEff /proc/self/status | cut -f2").text();
        assert_eq!(effective, "0000000000000000");
    }

    fn ulimit(case) {
        let text = case.sh(&["--ulimit", "nofile=512:1024", "--ulimit", "core=0"], "ulimit -Sn; ulimit -Hn; ulimit -c").text();
        assert_eq!(text, "512\n1024\n0");
    }

    /// `--init`: a first process that reaps and passes signals on.
    fn init(case) {
        let script = "sh -c 'sleep 0.1 &'; sleep 1; ps -o pid,stat,comm";
        let processes = case.sh(&["--init"], script).text();
        let first = processes.lines().nth(1).unwrap_or_default();
        assert!(first.contains("init"), "{processes}");
        assert!(!processes.contains(" Z "), "a zombie: {processes}");
        case.daemon("box", &["--init", "busybox", "sh", "-c", "echo up; exec sleep 1000"]);
        // A first process that does not listen yet does not hear.
        wait_until(Duration::from_secs(60), "the command", || case.docker(["logs", "box"]).text() == "up");
        let _ = case.docker(["stop", "-t", "20", "box"]).text();
        assert_eq!(case.inspect("box", "{{.State.ExitCode}}"), "143");
        let _ = case.docker(["rm", "box"]).text();
    }

    /// What Docker hides of the kernel stays hidden.
    fn masked_paths(case) {
        let output = case.sh(&[], "ls /sys/firmware | wc -l; cat /proc/keys /proc/timer_list 2>/dev/null | wc -c").text();
        assert_eq!(output, "0\n0");
        for file in ["/proc/sys/kernel/hostname", "/sys/kernel/mm/anything"] {
            let output = case.sh(&[], &format!("echo x > {file}")).run();
            output.fails(1, "Read-only file system");
        }
    }

    /// A container sees its own cgroup and cannot change its limits.
    fn cgroups_are_read_only(case) {
        // Version 1 has a folder for each controller, version 2 has the files here.
        let script = "cd /sys/fs/cgroup; [ -e cgroup.controllers ] && tops=. || tops='memory pids'; \
                      for top in $tops; do mkdir $top/new && echo made; \
                      for file in $top/*.limit_in_bytes $top/*.max; do [ -e $file ] && echo 1 > $file && echo changed $file; done; \
                      find $top -mindepth 1 -type d; done; echo seen $tops";
        let output = case.sh(&["-m", "100m"], script).text();
        assert!(output == "seen ." || output == "seen memory pids", "{output}");
    }

    /// The seccomp profile holds: mount and keyctl are refused even where the
    /// capability is there.
    fn seccomp(case) {
        let mode = case.sh(&[], "grep Seccomp: /proc/self/status | cut -f2").text();
        assert_eq!(mode, "2");
        let refused = case.sh(&[], "mount -t tmpfs none /tmp").run();
        assert_ne!(refused.code, 0, "{refused}");
        let off = case.sh(&["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status | cut -f2").text();
        assert_eq!(off, "0");
    }

    fn devices(case) {
        let script = "ls /dev | grep -E '^(null|zero|full|tty|random|urandom|ptmx|pts|shm|mqueue|fd|stdin|stdout|stderr|core|console)$' | sort | tr '\\n' ' '; head -c 3 /dev/zero | wc -c; echo x > /dev/null";
        let text = case.sh(&[], script).text();
        assert!(text.contains("fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"), "{text}");
        let refused = case.sh(&["--cap-add", "MKNOD"], "mknod /tmp/d b 8 0 && cat /tmp/d").run();
        assert_ne!(refused.code, 0, "a block device of the host can be read: {refused}");
    }
}

/// `--storage-opt size=` is the size of a disk, where there is one.
#[test]
fn storage_size() {
    if hako_tests::not_on_reference("there is no hyperv wall") {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        let script = "df -m / | tail -1 | awk '{print $2}'";
        let size: u32 = case.sh(&["--storage-opt", "size=200m"], script).text().parse().unwrap();
        assert!((150..=200).contains(&size), "{size} MiB");
        let full = case.sh(&["--storage-opt", "size=32M"], "dd if=/dev/zero of=/f bs=1M count=40").run();
        full.fails(1, "No space left on device");
        case.walled("create", &["--storage-opt", "size=7", "busybox"]).run().fails(1, "storage option size=7");
        case.walled("create", &["--storage-opt", "size=many", "busybox"]).run().fails(1, "invalid size: 'many'");
    });
}

/// What is not built says so by name, and nothing is created.
#[test]
fn what_is_not_supported_is_named() {
    if hako_tests::not_on_reference("it is of Hako's own refusals") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let refused = |flags: &[&str], text: &str| {
            let output = case.docker(["create"]).args(flags).arg("busybox").run();
            assert_eq!(output.code, 1, "{output}");
            assert!(output.err().contains("not supported"), "{output}");
            assert!(output.err().contains(text), "{output}");
        };
        refused(&["--isolation=hyperv", "--network", "host"], "host");
        refused(&["--isolation=hyperv", "--pid", "host"], "PidMode");
        assert_eq!(case.docker(["ps", "-aq"]).text(), "");
        let output = case.docker(["top", "x"]).run();
        assert_ne!(output.code, 0, "{output}");
    });
}
