//! Networks, when the engine is killed, when the rules are flushed, and what is
//! left when everything is gone.

use crate::networks::{fetch, fetch_on_host, web};
use hako_tests::{Wall, both_walls, not_on_reference, wait_until};
use nix::sys::signal::Signal;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

both_walls! { networks:
    /// Containers run on without the engine; with it, names and ports are back.
    fn killed(case) {
        if not_on_reference("it is not ours to kill") { return; }
        let _ = case.docker(["network", "create", "mine"]).text();
        web(case, "web", &["--network=mine", "-p", "8080:80", "-p", "80"]);
        case.on_network("box", &["--network=mine", "busybox", "sleep", "1000"]);
        assert_eq!(fetch(case, "box", "web", 80), "web");
        let before = case.inspect("web", "{{json .NetworkSettings}}");
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            case.engine.end_by(signal);
            case.engine.launch();
            assert_eq!(case.inspect("web", "{{json .NetworkSettings}}"), before);
            assert_eq!(fetch(case, "box", "web", 80), "web");
            assert_eq!(fetch_on_host(case, "127.0.0.1", 8080), "web");
        }
        let ip = case.inspect("web", "{{.NetworkSettings.Networks.mine.IPAddress}}");
        case.on_network("next", &["--network=mine", "busybox", "sleep", "1000"]);
        assert_ne!(case.inspect("next", "{{.NetworkSettings.Networks.mine.IPAddress}}"), ip, "given once");
        let taken = case.networked("run", &["--rm", "-p", "8080:80", "busybox", "true"]).run();
        taken.fails(125, "8080");
        let _ = case.docker(["network", "connect", "bridge", "box"]).text();
    }

    /// What has ended while there was no engine is cleared away.
    fn ended_meanwhile(case) {
        // The first process of a guest has a number of the guest's.
        if case.wall == Wall::Hyperv || not_on_reference("it is not ours to kill") { return; }
        let _ = case.docker(["network", "create", "mine"]).text();
        web(case, "web", &["--network=mine", "-p", "8080:80"]);
        let before = case.engine.network().unwrap().interfaces().len();
        let pid = case.inspect("web", "{{.State.Pid}}");
        case.engine.end_by(Signal::SIGKILL);
        let _ = case.engine.on_host("kill").args(["-9", &pid]).text();
        case.engine.launch();
        case.wait_for("web", "exited");
        wait_until(PATIENCE, "the interface to go", || case.engine.network().unwrap().interfaces().len() < before);
        let dir = case.engine.exec_root().join("netns");
        wait_until(PATIENCE, "the namespace to go", || std::fs::read_dir(&dir).is_ok_and(|mut dir| dir.next().is_none()));
        web(case, "next", &["--network=mine", "-p", "8080:80"]);
        assert_eq!(fetch_on_host(case, "127.0.0.1", 8080), "next");
    }

    /// Rules that somebody flushed come back.
    fn flushed(case) {
        if not_on_reference("it has rules of another kind") { return; }
        web(case, "web", &["-p", "8080:80"]);
        let network = case.engine.network().unwrap();
        assert_eq!(fetch_on_host(case, "127.0.0.1", 8080), "web");
        // Rules of others are let be.
        let _ = network.tool("nft", &["add", "table", "inet", "others"]);
        let before = network.tables().len();
        let _ = network.tool("nft", &["flush", "ruleset"]);
        wait_until(PATIENCE, "the table", || network.tables().len() == before - 1);
        let ip = case.inspect("web", "{{.NetworkSettings.Networks.bridge.Gateway}}");
        assert_eq!(fetch_on_host(case, &ip, 8080), "web");
    }

    /// After a boot there is nothing, and everything comes back.
    fn booted(case) {
        if not_on_reference("it is not ours to kill") { return; }
        let _ = case.docker(["network", "create", "mine"]).text();
        web(case, "web", &["--network=mine", "--restart=always", "-p", "8080:80"]);
        assert_eq!(fetch_on_host(case, "127.0.0.1", 8080), "web");
        case.engine.boot_the_host();
        case.wait_for("web", "running");
        assert_eq!(fetch_on_host(case, "127.0.0.1", 8080), "web");
        case.on_network("box", &["--network=mine", "busybox", "sleep", "1000"]);
        assert_eq!(fetch(case, "box", "web", 80), "web");
    }

    /// Killed at any moment of a start or an end, the engine finds what it has left.
    fn killed_anywhere(case) {
        if not_on_reference("it is not ours to kill") { return; }
        // A guest takes its time, and what is killed is the same.
        let rounds = if case.wall == Wall::Hyperv { 4 } else { 24_u64 };
        let network = case.engine.network().unwrap();
        let _ = case.docker(["network", "create", "mine"]).text();
        let _ = case.networked("run", &["--rm", "busybox", "true"]).text();
        for round in 0..rounds {
            let name = format!("c{round}");
            let args = ["-d", "--name", &name, "--network=mine", "-p", "8080:80", "-p", "80/udp", "busybox", "sleep", "1000"];
            let client = case.networked("run", &args).start();
            std::thread::sleep(Duration::from_millis(round * 11));
            let removal = (round % 3 == 0).then(|| case.docker(["rm", "-f", &name]).start());
            if removal.is_some() {
                std::thread::sleep(Duration::from_millis(30));
            }
            case.engine.end_by(Signal::SIGKILL);
            let _ = (client.end(), removal.map(hako_tests::Running::end));
            case.engine.launch();
            let ids = case.docker(["ps", "-aq"]).text();
            if !ids.is_empty() {
                let _ = case.docker(["rm", "-f"]).args(ids.lines()).text();
            }
            wait_until(PATIENCE, &format!("nothing to be left of round {round}"), || {
                let dir = case.engine.exec_root().join("netns");
                let namespaces = std::fs::read_dir(&dir).map_or(0, |dir| dir.count());
                let ends = network.interfaces().iter().filter(|name| name.starts_with("veth")).count();
                namespaces == 0 && ends == 0
            });
            let rules = network.tool("nft", &["list", "ruleset"]);
            assert!(!rules.contains("8080"), "round {round}: {rules}");
        }
        web(case, "web", &["--network=mine", "-p", "8080:80"]);
        assert_eq!(fetch_on_host(case, "127.0.0.1", 8080), "web");
        assert_eq!(case.inspect("web", "{{.NetworkSettings.Networks.mine.IPAddress}}").rsplit('.').next(), Some("2"));
    }

    /// However a container ends, nothing of it is left.
    fn nothing_is_left(case) {
        if not_on_reference("it looks at the engine's own interfaces") { return; }
        let network = case.engine.network().unwrap();
        let _ = case.docker(["network", "create", "mine"]).text();
        // The default bridge is made with the first container.
        let _ = case.networked("run", &["--rm", "busybox", "true"]).text();
        let before = network.interfaces();
        let dir = case.engine.exec_root().join("netns");
        let nothing = |what: &str| {
            wait_until(PATIENCE, &format!("nothing to be left of {what}"), || {
                network.interfaces() == before && std::fs::read_dir(&dir).is_ok_and(|mut dir| dir.next().is_none())
            });
        };
        let _ = case.networked("run", &["--rm", "--network=mine", "-p", "8080:80", "busybox", "true"]).text();
        nothing("one that ended");
        case.networked("run", &["--rm", "--network=mine", "-p", "8080:80", "busybox", "no-such-program"]).run().fails(127, "no-such-program");
        nothing("one that never ran");
        case.on_network("killed", &["--network=mine", "-p", "8080:80", "busybox", "sleep", "1000"]);
        let _ = case.docker(["kill", "killed"]).text();
        nothing("one that was killed");
        case.on_network("removed", &["--network=mine", "-p", "8080:80", "busybox", "sleep", "1000"]);
        let _ = case.docker(["rm", "-f", "removed"]).text();
        nothing("one that was removed");
        case.on_network("both", &["--network=mine", "-p", "8080:80", "busybox", "sleep", "1000"]);
        for _ in 0..3 {
            let _ = case.docker(["network", "connect", "bridge", "both"]).text();
            let _ = case.docker(["network", "disconnect", "bridge", "both"]).text();
        }
        let _ = case.docker(["rm", "-f", "both"]).text();
        nothing("one that came and went");
        let rules = network.tool("nft", &["list", "ruleset"]);
        assert!(!rules.contains("8080"), "{rules}");
        assert_eq!(case.docker(["network", "inspect", "-f", "{{len .Containers}}", "mine"]).text(), "0");
    }
}
