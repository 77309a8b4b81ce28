//! Namespaces of the host and of other containers: shared behind the process
//! wall; behind the other the refusal says why.

use hako_tests::{Case, Wall, both_walls, wait_until, with_wall};
use serde_json::json;
use std::{fs, time::Duration};

/// The test's own namespace, which is the host's.
fn hosts(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_string_lossy().into_owned()
}

/// Whether this wall refuses `flags`, as the hyperv wall does, naming `field` and itself.
fn refused(case: &Case, flags: &[&str], field: &str) -> bool {
    if case.wall == Wall::Process {
        return false;
    }
    let output = case.walled("create", flags).arg("busybox").run();
    output.fails(1, &format!("not supported: HostConfig.{field} behind the hyperv wall: "));
    assert_eq!(case.docker(["ps", "-aq"]).text(), "");
    true
}

/// Whether a process of the host has exactly these arguments.
fn host_runs(arguments: &[&str]) -> bool {
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|b| *b == 0).filter(|word| !word.is_empty()).collect();
        words == arguments.iter().map(|word| word.as_bytes()).collect::<Vec<_>>()
    })
}

both_walls! {
    fn pid_of_the_host(case) {
        if refused(case, &["--pid=host"], "PidMode") {
            return;
        }
        let mine = std::process::id();
        // An init would be another process among the host's: none is added.
        let flags = ["--pid=host", "--init"];
        let script = format!("readlink /proc/self/ns/pid; cat /proc/{mine}/stat | cut -d' ' -f1; cat /proc/$$/comm; true");
        let text = case.sh(&flags, &script).text();
        assert_eq!(text.lines().collect::<Vec<_>>(), [&hosts("pid"), &mine.to_string(), "sh"]);
        // What a container leaves running ends with it all the same.
        let seconds = format!("{}", 200_000 + mine);
        let _ = case.sh(&["--pid=host"], &format!("sleep {seconds} >/dev/null 2>&1 & echo up")).text();
        assert!(!host_runs(&["sleep", &seconds]));
    }

    fn pid_of_a_container(case) {
        if hako_tests::not_on_reference("its texts are a newer dockerd's") {
            return;
        }
        if refused(case, &["--pid=container:donor"], "PidMode") {
            return;
        }
        case.daemon("donor", &["busybox", "sleep", "1001"]);
        let theirs = case.exec("donor", "readlink /proc/self/ns/pid").ok();
        let text = case.sh(&["--pid=container:donor"], "readlink /proc/self/ns/pid; cat /proc/1/comm").text();
        assert_eq!(text, format!("{theirs}\nsleep"));
        let id = case.inspect("donor", "{{.Id}}");
        let _ = case.walled("create", &["--name", "joiner", "--pid=container:donor", "busybox", "cat", "/proc/1/comm"]).text();
        assert_eq!(case.inspect("joiner", "{{.HostConfig.PidMode}}"), format!("container:{id}"));
        // It is the container that is joined, not its name.
        let _ = case.docker(["rename", "donor", "renamed"]).text();
        assert_eq!(case.docker(["start", "-a", "joiner"]).text(), "sleep");
        let _ = case.docker(["kill", "renamed"]).text();
        let output = case.docker(["start", "joiner"]).run();
        output.fails(1, &format!("container {id} is not running"));
        assert!(output.err().contains("PID"), "{output}");
        let _ = case.docker(["start", "renamed"]).text();
        assert_eq!(case.docker(["start", "-a", "joiner"]).text(), "sleep");
        // With a pid namespace ends everyone who is in it.
        case.daemon("guest", &["--pid=container:renamed", "busybox", "sleep", "1002"]);
        let _ = case.docker(["rm", "-f", "renamed"]).text();
        case.wait_for("guest", "exited");
        assert_eq!(case.inspect("guest", "{{.State.ExitCode}}"), "137");
    }

    fn a_container_that_is_not_there(case) {
        if case.wall == Wall::Hyperv {
            return;
        }
        for flag in ["--pid=container:nobody", "--ipc=container:nobody"] {
            let output = case.walled("run", &["--rm", flag, "busybox", "true"]).run();
            output.fails(125, "No such container: nobody");
            assert!(!output.err().contains("Unable to find image"), "{output}");
        }
    }

    fn ipc_of_the_host(case) {
        if refused(case, &["--ipc=host"], "IpcMode") {
            return;
        }
        let name = format!("hako-test-{}", std::process::id());
        let file = format!("/dev/shm/{name}");
        fs::write(&file, "host").unwrap();
        let text = case.sh(&["--ipc=host"], &format!("readlink /proc/self/ns/ipc; cat {file}; rm {file}")).run();
        let left = fs::remove_file(&file);
        assert_eq!(text.ok(), format!("{}\nhost", hosts("ipc")));
        assert!(left.is_err(), "the container has a /dev/shm of its own");
    }

    fn ipc_of_a_container(case) {
        if refused(case, &["--ipc=container:donor"], "IpcMode") {
            return;
        }
        case.daemon("donor", &["--ipc=shareable", "--shm-size=1m", "busybox", "sh", "-c", "echo given > /dev/shm/x; exec sleep 1000"]);
        wait_until(Duration::from_secs(20), "the file", || case.exec("donor", "cat /dev/shm/x").out() == "given");
        let theirs = case.exec("donor", "readlink /proc/self/ns/ipc").ok();
        let script = "readlink /proc/self/ns/ipc; cat /dev/shm/x; echo taken > /dev/shm/y";
        let text = case.sh(&["--ipc=container:donor"], script).text();
        assert_eq!(text, format!("{theirs}\ngiven"));
        assert_eq!(case.exec("donor", "cat /dev/shm/y").ok(), "taken");
        // A joiner shares on what it has joined.
        case.daemon("second", &["--ipc=container:donor", "busybox", "sleep", "1000"]);
        assert_eq!(case.sh(&["--ipc=container:second"], "cat /dev/shm/y").text(), "taken");
        // Its mounts are its own: the donor keeps its own.
        let _ = case.docker(["rm", "-f", "second"]).text();
        assert_eq!(case.exec("donor", "cat /dev/shm/y").ok(), "taken");
    }

    fn ipc_is_private_unless_asked(case) {
        if case.wall == Wall::Hyperv {
            return;
        }
        for (mode, name) in [("private", "alone"), ("none", "bare")] {
            case.daemon(name, &[&format!("--ipc={mode}"), "busybox", "sleep", "1000"]);
            let output = case.run(&[&format!("--ipc=container:{name}"), "busybox", "true"]).run();
            assert_eq!(output.code, 125, "{output}");
            assert!(output.err().contains("non-shareable IPC (hint: use IpcMode:shareable for the donor container)"), "{output}");
        }
    }

    fn no_shared_memory(case) {
        assert_eq!(case.sh(&["--ipc=none"], "ls -d /dev/shm 2>/dev/null; grep -c ' /dev/shm ' /proc/mounts").run().out(), "0");
        let shown = |flags: &[&str]| {
            let id = case.walled("create", flags).args(["busybox"]).text();
            case.inspect(&id, "{{.HostConfig.IpcMode}}")
        };
        assert_eq!(shown(&[]), "private");
        assert_eq!(shown(&["--ipc=shareable"]), "shareable");
    }

    fn uts_of_the_host(case) {
        if refused(case, &["--uts=host"], "UTSMode") {
            return;
        }
        let text = case.sh(&["--uts=host"], "readlink /proc/self/ns/uts; hostname").text();
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(text, format!("{}\n{}", hosts("uts"), name.trim()));
        let output = case.walled("create", &["--uts=host", "-h", "named", "busybox"]).run();
        output.fails(1, "conflicting options: hostname and the UTS mode");
    }

    fn user_namespace_of_the_host(case) {
        // There is no other, so there is nothing to be refused.
        let text = case.sh(&["--userns=host"], "cat /proc/self/uid_map").text();
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"]);
    }

    fn cgroup_namespaces(case) {
        if hako_tests::not_on_reference("it looks at the engine's own cgroups") {
            return;
        }
        let memberships = |flags: &[&str]| case.sh(flags, "cut -d: -f2- /proc/self/cgroup").text();
        let own = memberships(&["--cgroupns=private"]);
        // Beside version 1's controllers nobody uses the others: names alone, and cgroup2.
        let unused = |line: &str| line.starts_with("name=") || (line.starts_with(':') && own.lines().count() > 1);
        assert!(own.lines().all(|line| line.ends_with(":/") || unused(line)), "{own}");
        if refused(case, &["--cgroupns=host"], "CgroupnsMode") {
            return;
        }
        let shown = memberships(&["--cgroupns=host"]);
        assert!(shown.contains(&format!("/{}/", case.engine.name())), "{shown}");
    }

    /// What namespaces have of their own can be set, the rest not.
    fn sysctls(case) {
        let flags = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=4321"];
        let text = case.sh(&flags, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax").text();
        assert_eq!(text, "1\n4321");
        if hako_tests::not_on_reference("its texts are a newer dockerd's") {
            return;
        }
        let body = |sysctl: &str, more: serde_json::Value| {
            let mut host = json!({ "Isolation": case.wall.to_string(), "Sysctls": { sysctl: "1" } });
            host.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            json!({ "Image": "busybox", "HostConfig": host })
        };
        let answer = case.engine.http("POST", "/containers/create", Some(&body("vm.swappiness", json!({}))));
        assert_eq!((answer.status, answer.message().as_str()), (400, "sysctl \"vm.swappiness\" is not in a separate kernel namespace"));
        if case.wall == Wall::Process {
            let answer = case.engine.http("POST", "/containers/create", Some(&body("kernel.msgmax", json!({"IpcMode": "host"}))));
            assert_eq!((answer.status, answer.message().as_str()), (400, "sysctl \"kernel.msgmax\" is not allowed in the hosts ipc namespace"));
        }
    }
}

/// Modes that do not exist are refused in moby's words.
#[test]
fn modes_that_are_none() {
    if hako_tests::not_on_reference("its texts are a newer dockerd's") {
        return;
    }
    with_wall(Wall::Process, |case| {
        for (field, mode, text) in [
            ("PidMode", "private", "invalid PID mode: private"),
            ("IpcMode", "container:", "invalid IPC mode: container:"),
            ("UTSMode", "container:x", "invalid UTS mode: container:x"),
            ("CgroupnsMode", "own", "invalid cgroup namespace mode: own"),
        ] {
            let body = json!({ "Image": "busybox", "HostConfig": { field: mode } });
            let answer = case.engine.http("POST", "/containers/create", Some(&body));
            assert_eq!((answer.status, answer.message().as_str()), (400, text));
        }
    });
}
