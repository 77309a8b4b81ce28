//! Limits mean the same behind both walls: what is counted exactly is the
//! container's own cgroup, and what compares containers with each other is set
//! on the host, behind the hyperv wall on the machine's process.

use hako_tests::{Case, Wall, both_walls, wait_until, with_wall};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The host's group of the container `name`, for a controller of version 1.
fn group(case: &Case, name: &str, controller: &str) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    let root = if unified() { root.to_owned() } else { root.join(controller) };
    root.join(case.engine.name()).join(case.inspect(name, "{{.Id}}"))
}

/// A file of that group: version 1's, as `controller.rest`, or version 2's.
fn on_host(case: &Case, name: &str, v1: &str, v2: &str) -> String {
    let controller = v1.split('.').next().unwrap();
    let file = group(case, name, controller).join(if unified() { v2 } else { v1 });
    fs::read_to_string(&file).unwrap_or_else(|err| panic!("{}: {err}", file.display())).trim().to_owned()
}

/// A file of the container's own cgroup, as it sees it itself.
fn inside(case: &Case, name: &str, v1: &str, v2: &str) -> String {
    let controller = v1.split('.').next().unwrap();
    let script =
        format!("cd /sys/fs/cgroup; if [ -e cgroup.controllers ]; then cat {v2}; else cat {controller}/{v1}; fi");
    case.exec(name, &script).ok().to_owned()
}

/// What the shim of the container says of itself.
fn shim(case: &Case, name: &str) -> Value {
    let dir = case.engine.exec_root().join("shims").join(case.inspect(name, "{{.Id}}"));
    serde_json::from_slice(&fs::read(dir.join("state.json")).unwrap()).unwrap()
}

fn pid_of(value: &Value) -> i32 {
    i32::try_from(value.as_i64().expect("a pid")).unwrap()
}

/// A block device of the host, whose numbers a group's file can name.
fn block_device() -> (String, String) {
    let devices = fs::read_dir("/dev").unwrap().filter_map(Result::ok);
    let device = devices.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_block_device()));
    let device = device.map(|entry| entry.path()).min().expect("a block device");
    let number = fs::metadata(&device).unwrap().rdev();
    let numbers = format!("{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number));
    (device.display().to_string(), numbers)
}

both_walls! {
    fn shares(case) {
        if hako_tests::not_on_reference("it looks at the engine's own cgroups") {
            return;
        }
        case.daemon("box", &["--cpu-shares=512", "busybox", "sleep", "1000"]);
        assert_eq!(on_host(case, "box", "cpu.shares", "cpu.weight"), if unified() { "20" } else { "512" });
        let members = fs::read_to_string(group(case, "box", "memory").join("cgroup.procs")).unwrap();
        let first: i32 = members.lines().next().expect("a process in the group").parse().unwrap();
        let expected = match case.wall {
            Wall::Process => first,
            Wall::Hyperv => pid_of(&shim(case, "box")["vm_pid"]),
        };
        assert_eq!(first, expected);
        // There is no limit of memory on a machine's process.
        if case.wall == Wall::Hyperv {
            let limit = on_host(case, "box", "memory.limit_in_bytes", "memory.max");
            assert!(limit == "max" || limit.parse::<u64>().unwrap() > 1 << 60, "{limit}");
        }
        let _ = case.docker(["rm", "-f", "box"]).text();
        assert_eq!(case.engine.traces().cgroups.len(), 0);
    }

    /// Which CPUs; a machine has no more of its own than it is given of the host's.
    fn cpu_sets(case) {
        if hako_tests::not_on_reference("it looks at the engine's own cgroups") {
            return;
        }
        case.daemon("box", &["--cpuset-cpus=0", "--cpuset-mems=0", "busybox", "sleep", "1000"]);
        assert_eq!(on_host(case, "box", "cpuset.cpus", "cpuset.cpus"), "0");
        assert_eq!(on_host(case, "box", "cpuset.mems", "cpuset.mems"), "0");
        assert_eq!(case.exec("box", "nproc").ok(), "1");
        let refused = |flag: &str, text: &str| case.walled("create", &[flag, "busybox"]).run().fails(1, text);
        refused("--cpuset-cpus=8000", "Requested CPUs are not available - requested 8000, available: 0");
        refused("--cpuset-mems=700", "Requested memory nodes are not available - requested 700, available: 0");
        refused("--cpuset-cpus=0-x", "Invalid value 0-x for cpuset cpus: ");
    }

    fn cpu_time(case) {
        let quota = |flags: &[&str]| {
            let script = "cd /sys/fs/cgroup; if [ -e cpu.max ]; then cat cpu.max; \
                          else echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us); fi";
            case.sh(flags, script).text()
        };
        assert_eq!(quota(&["--cpus=0.5"]), "50000 100000");
        assert_eq!(quota(&["--cpu-period=20000", "--cpu-quota=10000"]), "10000 20000");
        let refused = |flags: &[&str], text: &str| case.walled("create", flags).arg("busybox").run().fails(1, text);
        refused(&["--cpu-period=10"], "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
        refused(&["--cpu-quota=10"], "CPU cfs quota can not be less than 1ms (i.e. 1000)");
        refused(&["--cpus=0.5", "--cpu-period=20000"], "Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }

    fn block_devices(case) {
        if hako_tests::not_on_reference("it looks at the engine's own cgroups") {
            return;
        }
        let (device, numbers) = block_device();
        let flags = ["--device-read-bps", &format!("{device}:1mb"), "--device-write-iops", &format!("{device}:77")];
        let mut arguments = flags.to_vec();
        arguments.extend(["busybox", "sleep", "1000"]);
        case.daemon("box", &arguments);
        let bytes = on_host(case, "box", "blkio.throttle.read_bps_device", "io.max");
        assert!(bytes.contains(&numbers) && bytes.contains("1048576"), "{bytes}");
        let requests = on_host(case, "box", "blkio.throttle.write_iops_device", "io.max");
        assert!(requests.contains(&numbers) && requests.contains("77"), "{requests}");
        let output = case.run(&["--device-read-bps", "/dev/no-such-disk:1mb", "busybox", "true"]).run();
        assert!(output.err().contains("stat /dev/no-such-disk: no such file or directory"), "{output}");
        let output = case.walled("create", &["--blkio-weight=5", "busybox"]).run();
        // The client knows the range too.
        assert!(output.code != 0 && output.err().to_lowercase().contains("weight is from 10 to 1000"), "{output}");
    }

    fn block_weight(case) {
        let output = case.walled("run", &["-d", "--name", "box", "--blkio-weight=300", "busybox", "sleep", "1000"]).run();
        assert_eq!(output.code, 0, "{output}");
        if output.err().contains("does not support Block I/O weight") {
            assert_eq!(case.inspect("box", "{{.HostConfig.BlkioWeight}}"), "0");
            return;
        }
        let dir = group(case, "box", "blkio");
        let files = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"].map(|file| dir.join(file));
        let found: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
        let set = |text: &String| text.trim() == "300" || text.trim() == "default 300" || text.trim() == "default 2930";
        assert!(found.iter().any(set), "{found:?}");
    }

    fn memory_beside_the_limit(case) {
        let flags = ["-m", "100m", "--memory-reservation", "40m", "--memory-swap", "100m"];
        let mut arguments = flags.to_vec();
        arguments.extend(["busybox", "sleep", "1000"]);
        case.daemon("box", &arguments);
        assert_eq!(inside(case, "box", "memory.soft_limit_in_bytes", "memory.low"), "41943040");
        let refused = |flags: &[&str], text: &str| case.walled("create", flags).arg("busybox").run().fails(1, text);
        refused(&["-m", "40m", "--memory-reservation", "50m"], "Minimum memory limit can not be less than memory reservation limit");
        refused(&["-m", "4m"], "Minimum memory limit allowed is 6MB");
        refused(&["-m", "40m", "--memory-swap", "30m"], "Minimum memoryswap limit should be larger than memory limit");
    }

    /// What this wall's kernel cannot do is said and goes on, as in dockerd.
    fn discarded_with_a_warning(case) {
        let able = case.wall == Wall::Process && !unified();
        let create = |name: &str, flag: &str| {
            let output = case.walled("create", &["--name", name, "-m", "40m", flag, "busybox"]).run();
            assert_eq!(output.code, 0, "{output}");
            output.err().contains("discarded")
        };
        assert_eq!(create("swappy", "--memory-swappiness=7"), !able);
        assert_eq!(create("immortal", "--oom-kill-disable"), !able);
        let shown = |name: &str| case.inspect(name, "{{json .HostConfig.MemorySwappiness}} {{json .HostConfig.OomKillDisable}}");
        assert_eq!(shown("swappy"), if able { "7 false" } else { "null null" });
        assert_eq!(shown("immortal"), if able { "null true" } else { "null null" });
        if able {
            case.daemon("box", &["-m", "40m", "--memory-swappiness=7", "--oom-kill-disable", "busybox", "sleep", "1000"]);
            assert_eq!(inside(case, "box", "memory.swappiness", ""), "7");
            assert!(inside(case, "box", "memory.oom_control", "").contains("oom_kill_disable 1"));
        }
    }

    /// Another place in the host's tree, behind both walls, and gone afterwards.
    fn cgroup_parent(case) {
        if hako_tests::not_on_reference("it looks at the engine's own cgroups") {
            return;
        }
        let parent = format!("{}/inner/most", case.engine.name());
        case.daemon("box", &["--cgroup-parent", &parent, "busybox", "sleep", "1000"]);
        let root = if unified() { PathBuf::from("/sys/fs/cgroup") } else { PathBuf::from("/sys/fs/cgroup/memory") };
        let group = root.join(&parent).join(case.inspect("box", "{{.Id}}"));
        assert!(!fs::read_to_string(group.join("cgroup.procs")).unwrap().is_empty());
        let _ = case.docker(["rm", "-f", "box"]).text();
        assert!(!root.join(&parent).exists());
    }

    /// A shim that is killed leaves no group, whether hakod sees it die or not.
    fn a_killed_shim_leaves_no_group(case) {
        if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
            return;
        }
        let end = |name: &str| kill(Pid::from_raw(pid_of(&shim(case, name)["shim_pid"])), Signal::SIGKILL).unwrap();
        case.daemon("seen", &["--cpu-shares=7", "busybox", "sleep", "1000"]);
        end("seen");
        case.wait_for("seen", "exited");
        wait_until(Duration::from_secs(20), "the groups to go", || case.engine.traces().cgroups.is_empty());
        case.daemon("unseen", &["--cpu-shares=7", "busybox", "sleep", "1000"]);
        let pid = pid_of(&shim(case, "unseen")["shim_pid"]);
        case.engine.end_by(Signal::SIGKILL);
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        assert!(!case.engine.traces().cgroups.is_empty());
        case.engine.launch();
        assert_eq!(case.inspect("unseen", "{{.State.Status}}"), "exited");
        assert_eq!(case.engine.traces().cgroups.len(), 0);
    }
}

/// The machine's process is as likely to be killed as the workload asked for.
#[test]
fn out_of_memory_score_of_the_machine() {
    if hako_tests::not_on_reference("there is no hyperv wall") {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        case.daemon("box", &["--oom-score-adj=222", "busybox", "sleep", "1000"]);
        let machine = pid_of(&shim(case, "box")["vm_pid"]);
        assert_eq!(fs::read_to_string(format!("/proc/{machine}/oom_score_adj")).unwrap().trim(), "222");
        assert_eq!(case.exec("box", "cat /proc/1/oom_score_adj").ok(), "222");
    });
}
