//! `docker update`: on a container that runs, is paused, or is stopped.

use hako_tests::{Case, Wall, both_walls, with_wall};
use nix::sys::signal::Signal;
use serde_json::json;

const MIB: u64 = 1 << 20;

/// The memory limit that the container sees.
fn memory(case: &Case, name: &str) -> u64 {
    let script = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
    case.exec(name, script).ok().parse().expect("a number")
}

/// Quota and period.
fn quota(case: &Case, name: &str) -> String {
    let script = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us)";
    case.exec(name, script).ok().to_owned()
}

/// Whether a process of the container can have so many MiB.
fn holds(case: &Case, name: &str, mib: u64) -> bool {
    case.exec(name, &format!("dd if=/dev/zero of=/dev/null bs={mib}M count=1 2>/dev/null")).code == 0
}

both_walls! {
    /// More than it began with, and less again.
    fn memory_of_a_running_container(case) {
        if hako_tests::not_on_reference("dockerd 20.10 warns here of what the test does not set") {
            return;
        }
        case.daemon("box", &["-m", "200m", "--memory-swap", "200m", "busybox", "sleep", "1000"]);
        assert!(!holds(case, "box", 300));
        assert_eq!(case.docker(["update", "-m", "400m", "--memory-swap", "400m", "box"]).text(), "box");
        assert_eq!(memory(case, "box"), 400 * MIB);
        assert_eq!(case.inspect("box", "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}"), format!("{} {}", 400 * MIB, 400 * MIB));
        assert!(holds(case, "box", 300));
        let _ = case.docker(["update", "-m", "80m", "--memory-swap", "80m", "box"]).text();
        assert_eq!(memory(case, "box"), 80 * MIB);
        assert!(!holds(case, "box", 120));
        // An out-of-memory is still the container's own affair.
        assert_eq!(case.exec("box", "echo well").ok(), "well");
    }

    fn processors_of_a_running_container(case) {
        if hako_tests::not_on_reference("its texts are a newer dockerd's") {
            return;
        }
        case.daemon("box", &["--cpus=0.5", "busybox", "sleep", "1000"]);
        assert_eq!(quota(case, "box"), "50000 100000");
        let _ = case.docker(["update", "--cpus=1.5", "box"]).text();
        assert_eq!(quota(case, "box"), "150000 100000");
        // Half a processor was one of a machine; one and a half are two.
        assert_eq!(case.exec("box", "nproc").ok(), "2");
        assert_eq!(case.inspect("box", "{{.HostConfig.NanoCpus}}"), "1500000000");
        let output = case.docker(["update", "--cpu-period=50000", "box"]).run();
        output.fails(1, "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set");
        let output = case.docker(["update", "--cpus=900", "box"]).run();
        output.fails(1, "range of CPUs is from 0.01 to");
    }

    fn the_other_limits(case) {
        case.daemon("box", &["--pids-limit=100", "busybox", "sleep", "1000"]);
        let _ = case.docker(["update", "--pids-limit=20", "--cpu-shares=300", "--cpuset-cpus=0", "box"]).text();
        let shown = case.inspect("box", "{{.HostConfig.PidsLimit}} {{.HostConfig.CpuShares}} {{.HostConfig.CpusetCpus}}");
        assert_eq!(shown, "20 300 0");
        let script = "for i in $(seq 1 40); do sleep 5 & done; echo all";
        let output = case.exec("box", script);
        assert!(output.out() != "all" && output.err().contains("fork"), "{output}");
        let _ = case.docker(["update", "--pids-limit=-1", "box"]).text();
        // Those of the first attempt may still sleep.
        assert_eq!(case.exec("box", "for i in $(seq 1 60); do sleep 0 & done; wait; echo all").ok(), "all");
        let _ = case.docker(["update", "-m", "90m", "--memory-swap", "-1", "--memory-reservation", "50m", "box"]).text();
        assert_eq!(memory(case, "box"), 90 * MIB);
    }

    fn a_stopped_container_is_changed_for_its_next_run(case) {
        let _ = case.walled("create", &["--name", "box", "-m", "64m", "busybox", "sleep", "1000"]).text();
        let _ = case.docker(["update", "-m", "300m", "--memory-swap", "300m", "--cpus=1.5", "box"]).text();
        let _ = case.docker(["start", "box"]).text();
        assert_eq!((memory(case, "box"), quota(case, "box").as_str()), (300 * MIB, "150000 100000"));
        assert!(holds(case, "box", 250));
    }

    fn a_paused_container(case) {
        case.daemon("box", &["-m", "100m", "--memory-swap", "100m", "busybox", "sleep", "1000"]);
        let _ = case.docker(["pause", "box"]).text();
        let _ = case.docker(["update", "-m", "200m", "--memory-swap", "200m", "box"]).text();
        assert_eq!(case.inspect("box", "{{.State.Status}}"), "paused");
        let _ = case.docker(["unpause", "box"]).text();
        assert_eq!(memory(case, "box"), 200 * MIB);
        assert!(holds(case, "box", 150));
    }

    fn what_makes_no_sense_is_refused(case) {
        if hako_tests::not_on_reference("dockerd does not know this host's weights of block I/O") {
            return;
        }
        case.daemon("box", &["-m", "64m", "busybox", "sleep", "1000"]);
        let refused = |flags: &[&str], text: &str| {
            case.docker(["update"]).args(flags).arg("box").run().fails(1, text);
        };
        refused(&["-m", "4m"], "Minimum memory limit allowed is 6MB");
        let id = case.inspect("box", "{{.Id}}");
        let text = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time";
        refused(&["-m", "500m"], &format!("Cannot update container {id}: {text}"));
        refused(&["--cpuset-cpus=8000"], "Requested CPUs are not available");
        refused(&["--blkio-weight=5"], "weight is from 10 to 1000");
        assert_eq!(case.inspect("box", "{{.HostConfig.Memory}}"), (64 * MIB).to_string());
        case.docker(["update", "--cpu-shares=7", "nobody"]).run().fails(1, "No such container: nobody");
    }

    /// What is answered is durable, and told.
    fn it_is_kept_and_told(case) {
        case.daemon("box", &["busybox", "sleep", "1000"]);
        let follower = case.docker(["events", "--format", "{{.Action}} {{.Actor.Attributes.name}}"]).start();
        std::thread::sleep(std::time::Duration::from_millis(500));
        let _ = case.docker(["update", "--cpu-shares=77", "box"]).text();
        follower.expect("update box");
        let _ = follower.kill();
        if hako_tests::not_on_reference("the engine itself is ended and started again") {
            return;
        }
        case.engine.end_by(Signal::SIGKILL);
        case.engine.launch();
        assert_eq!(case.inspect("box", "{{.HostConfig.CpuShares}} {{.State.Status}}"), "77 running");
        let id = case.inspect("box", "{{.Id}}");
        let answer = case.engine.http("POST", &format!("/containers/{id}/update"), Some(&json!({ "CpuShares": 78 })));
        assert_eq!((answer.status, answer.text().trim()), (200, r#"{"Warnings":null}"#));
    }
}

/// A machine has room for twice the limit, and says how much that is.
#[test]
fn more_than_the_machine_has() {
    if hako_tests::not_on_reference("there is no hyperv wall") {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        case.daemon("box", &["-m", "64m", "busybox", "sleep", "1000"]);
        let output = case.docker(["update", "-m", "900m", "--memory-swap", "900m", "box"]).run();
        output.fails(1, "this container's virtual machine can give its workload at most");
        assert_eq!(case.inspect("box", "{{.HostConfig.Memory}}"), (64 * MIB).to_string());
        assert_eq!(memory(case, "box"), 64 * MIB);
    });
}
