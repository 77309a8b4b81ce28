//! `docker stats` and what stands behind it.

#![allow(clippy::cast_precision_loss)] // Nanoseconds of minutes.

use hako_tests::{Case, Engine, Wall, both_walls};
use serde_json::Value;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn stats(case: &Case, name: &str, query: &str) -> Value {
    let answer = case.engine.http("GET", &format!("/v1.41/containers/{name}/stats?{query}"), None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {value}"))
}

/// What the docker client makes of one line of `docker stats`.
fn shown(case: &Case, name: &str, format: &str) -> String {
    case.docker(["stats", "--no-stream", "--format", format, name]).text()
}

/// The seconds of a time of day, within its minute.
fn seconds(time: &Value) -> f64 {
    let text = time.as_str().unwrap();
    text[17..].trim_end_matches('Z').parse().unwrap_or_else(|_| panic!("{text:?} is no time"))
}

fn percent(text: &str) -> f64 {
    text.trim_end_matches('%').parse().unwrap_or_else(|_| panic!("{text:?} is no percentage"))
}

both_walls! {
    /// A busy loop is what it gets of one CPU, an idle container is nothing. The
    /// host is shared with other tests, so what the client's formula gives is
    /// held against the time that the reading itself says has passed.
    fn cpu_percent(case) {
        case.daemon("busy", &["-m", "64m", "busybox", "sh", "-c", "while :; do :; done"]);
        case.daemon("idle", &["-m", "64m", "busybox", "sleep", "1000"]);
        for _ in 0..3 {
            let twice = stats(case, "busy", "stream=0");
            let delta = |field: &str| {
                let now = number(&twice, &format!("/cpu_stats/{field}"));
                (now - number(&twice, &format!("/precpu_stats/{field}"))) as f64
            };
            let (used, all) = (delta("cpu_usage/total_usage"), delta("system_cpu_usage"));
            let formula = used / all * number(&twice, "/cpu_stats/online_cpus") as f64 * 100.0;
            let passed = seconds(&twice["read"]) - seconds(&twice["preread"]);
            let truth = used / 1e7 / if passed < 0.0 { passed + 60.0 } else { passed };
            assert!((0.75..1.33).contains(&(formula / truth)), "{formula} and {truth}: {twice}");
            assert!((1.0..130.0).contains(&formula), "{formula}");
        }
        hako_tests::wait_until(MINUTE, "a busy loop to take time", || {
            (10.0..130.0).contains(&percent(&shown(case, "busy", "{{.CPUPerc}}")))
        });
        assert!(percent(&shown(case, "idle", "{{.CPUPerc}}")) < 10.0);
    }

    /// Memory, its limit and the processes are the workload's own.
    fn memory_and_processes(case) {
        let script = "sleep 1000 & dd if=/dev/zero of=/dev/shm/held bs=1M count=20 2>/dev/null; echo held; wait";
        case.daemon("box", &["-m", "96m", "busybox", "sh", "-c", script]);
        hako_tests::wait_until(MINUTE, "the memory to be taken", || case.docker(["logs", "box"]).text() == "held");
        let line = shown(case, "box", "{{.MemUsage}}|{{.PIDs}}|{{.Name}}");
        let fields: Vec<&str> = line.split('|').collect();
        let (usage, limit) = fields[0].split_once(" / ").unwrap();
        assert_eq!(limit, "96MiB", "{line}");
        let usage: f64 = usage.strip_suffix("MiB").unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        assert!((20.0..40.0).contains(&usage), "{line}");
        assert_eq!(&fields[1..], ["2", "box"], "{line}");
    }

    /// The shape of one reading, and figures that only grow.
    fn one_reading(case) {
        case.daemon("box", &["-m", "64m", "busybox", "sh", "-c", "while :; do cat /etc/passwd > /dev/null; done"]);
        let once = stats(case, "box", "stream=0&one-shot=1");
        assert_eq!(once["name"], "/box");
        assert_eq!(once["id"].as_str().unwrap(), case.inspect("box", "{{.Id}}"));
        assert_eq!(once["preread"], "0001-01-01T00:00:00Z");
        assert_ne!(once["read"], "0001-01-01T00:00:00Z");
        assert_eq!(number(&once, "/precpu_stats/cpu_usage/total_usage"), 0);
        assert_eq!(number(&once, "/num_procs"), 0);
        assert!(once["storage_stats"].as_object().unwrap().is_empty());
        assert!(once.get("os_type").is_none(), "that is of 1.52");
        assert!(number(&once, "/cpu_stats/cpu_usage/total_usage") > 0);
        assert!(number(&once, "/cpu_stats/online_cpus") > 0);
        assert!(number(&once, "/memory_stats/usage") > 0);
        assert_eq!(number(&once, "/memory_stats/limit"), 64 << 20);
        assert!(number(&once, "/pids_stats/current") > 0);
        let stats_of_memory = once["memory_stats"]["stats"].as_object().unwrap();
        let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let second = case.wall == Wall::Hyperv || unified;
        assert_eq!(stats_of_memory.contains_key("inactive_file") && stats_of_memory.contains_key("anon"), second);
        assert_eq!(stats_of_memory.contains_key("total_inactive_file"), !second);
        let twice = stats(case, "box", "stream=0");
        assert_ne!(twice["preread"], "0001-01-01T00:00:00Z");
        let (before, now) = ("/precpu_stats", "/cpu_stats");
        for field in ["/cpu_usage/total_usage", "/system_cpu_usage"] {
            assert!(number(&twice, &format!("{now}{field}")) > number(&twice, &format!("{before}{field}")), "{twice}");
        }
        let newest = case.engine.http("GET", "/v1.52/containers/box/stats?stream=0&one-shot=1", None).json();
        assert_eq!(newest["os_type"], "linux");
        if !Engine::is_reference() {
            // What the VM costs stands beside what its workload uses.
            assert_eq!(once.get("vm_stats").is_some(), case.wall == Wall::Hyperv);
        }
        if case.wall == Wall::Hyperv {
            assert!(number(&twice, "/vm_stats/cpu_usage/total_usage") > number(&once, "/vm_stats/cpu_usage/total_usage"));
            assert!(number(&once, "/vm_stats/memory_resident") >= number(&once, "/vm_stats/memory_anonymous"));
            assert!(number(&once, "/vm_stats/memory_anonymous") > 16 << 20);
            assert!(number(&once, "/vm_stats/guest_memory") > 64 << 20);
        }
    }

    /// A container that does not run has zeros; a stream goes on over its start
    /// and ends when it is removed.
    fn stopped_started_removed(case) {
        let id = case.walled("create", &["--name", "box", "busybox", "sleep", "1000"]).text();
        let zeros = stats(case, "box", "stream=0");
        assert_eq!((zeros["name"].as_str(), zeros["id"].as_str()), (Some("/box"), Some(id.as_str())));
        assert_eq!(zeros["read"], "0001-01-01T00:00:00Z");
        assert!(zeros["memory_stats"].as_object().unwrap().is_empty());
        assert_eq!(zeros["pids_stats"], serde_json::json!({}));
        assert_eq!(zeros["cpu_stats"]["cpu_usage"]["total_usage"], 0);
        let socket = case.engine.socket();
        let watcher = std::thread::spawn(move || hako_tests::http(&socket, "GET", "/v1.41/containers/box/stats", None));
        std::thread::sleep(Duration::from_millis(1500));
        let _ = case.docker(["start", "box"]).text();
        std::thread::sleep(Duration::from_millis(2500));
        let _ = case.docker(["rm", "-f", "box"]).text();
        let lines: Vec<Value> =
            watcher.join().unwrap().text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines[0]["pids_stats"].as_object().unwrap().is_empty(), "{}", lines[0]);
        let running: Vec<&Value> = lines.iter().filter(|line| line["pids_stats"]["current"] == 1).collect();
        assert!((1..6).contains(&running.len()), "one a second: {lines:?}");
        assert!(running.windows(2).all(|pair| pair[0]["read"] == pair[1]["preread"]));
        let gone = case.engine.http("GET", "/v1.41/containers/box/stats?stream=0", None);
        assert_eq!((gone.status, gone.message().as_str()), (404, "No such container: box"));
    }

    /// Without names the client learns of containers by events.
    fn all_of_them(case) {
        let watcher = case.docker(["stats", "--format", "<{{.Name}}>"]).start();
        case.daemon("late", &["busybox", "sleep", "1000"]);
        watcher.expect("<late>");
        let ended = watcher.kill();
        assert!(!ended.out().contains("<other>"), "{ended}");
    }

    fn paused(case) {
        case.daemon("box", &["busybox", "sleep", "1000"]);
        let _ = case.docker(["pause", "box"]).text();
        assert_eq!(shown(case, "box", "{{.PIDs}}"), "1");
        let _ = case.docker(["unpause", "box"]).text();
    }

    fn bad_queries(case) {
        case.daemon("box", &["busybox", "sleep", "1000"]);
        let both = case.engine.http("GET", "/v1.41/containers/box/stats?stream=1&one-shot=1", None);
        assert_eq!((both.status, both.message().as_str()), (400, "cannot have stream=true and one-shot=true"));
        let nobody = case.engine.http("GET", "/v1.41/containers/nobody/stats", None);
        assert_eq!((nobody.status, nobody.message().as_str()), (404, "No such container: nobody"));
    }
}
