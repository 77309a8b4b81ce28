//! `-m`, `--cpus` and `--pids-limit` mean the same behind both walls.

use hako_tests::both_walls;

both_walls! {
    /// A limit that is hit: exit code 137 and `OOMKilled`.
    fn out_of_memory(case) {
        // tail keeps everything of a line that never ends.
        let output = case.walled("run", &["--name", "box", "-m", "48m", "--memory-swap", "48m", "busybox", "tail", "/dev/zero"]).run();
        assert_eq!(output.code, 137, "{output}");
        assert_eq!(case.inspect("box", "{{.State.ExitCode}} {{.State.OOMKilled}}"), "137 true");
        // The engine and the machine are well; the same container can run again.
        assert_eq!(case.sh(&[], "echo well").text(), "well");
    }

    /// What fits the limit runs, and a kill of a child alone is not the container's end.
    fn within_the_limit(case) {
        let script = "head -c 30000000 /dev/zero | tail | wc -c; (tail /dev/zero); echo child $?; echo alive";
        let output = case.sh(&["-m", "64m", "--memory-swap", "64m"], script).text();
        assert_eq!(output, "30000000\nchild 137\nalive");
    }

    fn the_limit_is_the_workloads(case) {
        let _ = case.walled("create", &["--name", "box", "-m", "100m", "--cpus", "1.5", "busybox"]).text();
        assert_eq!(case.inspect("box", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"), "104857600 1500000000");
        let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
        assert_eq!(case.sh(&["-m", "100m"], script).text(), "104857600");
        let _ = case.docker(["rm", "box"]).text();
    }

    fn processes_are_limited(case) {
        let script = "for i in $(seq 1 40); do sleep 5 & done; echo all";
        let output = case.sh(&["--pids-limit", "20"], script).run();
        assert_ne!(output.out(), "all", "{output}");
        assert!(output.err().contains("fork"), "{output}");
        assert_eq!(case.sh(&["--pids-limit", "100"], "for i in $(seq 1 40); do sleep 0 & done; wait; echo all").text(), "all");
    }
}
