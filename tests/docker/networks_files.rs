//! `/etc/hosts` and `/etc/resolv.conf` of a container that runs follow its networks.

use hako_tests::{Case, Engine, both_walls, wait_until};
use nix::sys::signal::Signal;
use std::time::Duration;

fn read(case: &Case, container: &str, file: &str) -> String {
    case.exec(container, &format!("cat {file}")).ok()
}

/// The container's addresses as inspect shows them.
fn addresses(case: &Case, container: &str) -> Vec<String> {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}} {{end}}";
    case.inspect(container, format).split_whitespace().map(str::to_owned).collect()
}

/// The addresses that its hosts file gives the container's own name.
fn own(case: &Case, container: &str) -> Vec<String> {
    let host = case.inspect(container, "{{.Config.Hostname}}");
    let text = read(case, container, "/etc/hosts");
    let mut own: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once('\t').filter(|(_, names)| *names == host))
        .map(|(address, _)| address.to_owned())
        .collect();
    own.sort();
    own
}

both_walls! { networks:
    fn a_running_containers_files(case) {
        let _ = case.docker(["network", "create", "--ipv6", "--subnet=fd78::/64", "mine"]).text();
        case.on_network("box", &["busybox", "sleep", "1000"]);
        let follows = || {
            let mut wanted = addresses(case, "box");
            wanted.sort();
            assert_eq!(own(case, "box"), wanted);
        };
        follows();
        let (hosts, servers) = (read(case, "box", "/etc/hosts"), read(case, "box", "/etc/resolv.conf"));
        let _ = case.exec("box", "echo 192.0.2.7 itself >>/etc/hosts").ok();
        let inodes = || case.exec("box", "stat -c %i /etc/hosts /etc/resolv.conf").ok();
        let before = inodes();
        let _ = case.docker(["network", "connect", "mine", "box"]).text();
        assert_eq!(addresses(case, "box").len(), 3);
        follows();
        let _ = case.exec("box", "grep -qx '192.0.2.7 itself' /etc/hosts").ok();
        // The engine's name server, which knows names.
        if !Engine::is_reference() {
            let gateways = case.docker(["network", "inspect", "-f", "{{range .IPAM.Config}}{{.Gateway}} {{end}}", "mine"]).text();
            let gateway = gateways.split(' ').next().unwrap();
            let told = read(case, "box", "/etc/resolv.conf");
            assert!(told.starts_with(&format!("nameserver {gateway}\n")), "{told}");
        }
        let known = case.exec("box", "nslookup -type=a box").ok();
        assert!(addresses(case, "box").iter().any(|ip| known.contains(&format!("Address: {ip}"))), "{known}");
        // What is long has become short again, and no rest of it is left.
        let _ = case.docker(["network", "disconnect", "mine", "box"]).text();
        follows();
        assert_eq!(read(case, "box", "/etc/hosts"), format!("{hosts}\n192.0.2.7 itself"));
        assert_eq!(read(case, "box", "/etc/resolv.conf"), servers);
        assert_eq!(inodes(), before, "they are mounted: each is the same file");
        if Engine::is_reference() { return; }
        // Nor does an engine lose anything that is killed.
        let _ = case.docker(["network", "connect", "mine", "box"]).text();
        case.engine.end_by(Signal::SIGKILL);
        case.engine.launch();
        follows();
        let _ = case.docker(["network", "disconnect", "bridge", "box"]).text();
        follows();
        let _ = case.exec("box", "grep -qx '192.0.2.7 itself' /etc/hosts").ok();
    }

    /// A linked container that has another address after a restart.
    fn a_links_new_address(case) {
        let address = |name: &str| case.inspect(name, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        case.on_network("far", &["busybox", "sleep", "1000"]);
        case.on_network("near", &["--link=far:other", "busybox", "sleep", "1000"]);
        let line = |ip: &str| format!("{ip}\tother {} far", case.inspect("far", "{{.Config.Hostname}}"));
        let has = |line: &str| read(case, "near", "/etc/hosts").lines().any(|found| found == line);
        let before = line(&address("far"));
        assert!(has(&before), "{before}");
        let interfaces = || case.engine.network().map_or(0, |network| network.interfaces().len());
        let there = interfaces();
        let _ = case.docker(["stop", "-t", "1", "far"]).text();
        // Its address is free when its interface is gone, which its end does not wait for.
        wait_until(Duration::from_secs(30), "the interface to go", || Engine::is_reference() || interfaces() < there);
        case.on_network("squatter", &["busybox", "sleep", "1000"]);
        let _ = case.docker(["start", "far"]).text();
        let after = line(&address("far"));
        assert_ne!(after, before);
        wait_until(Duration::from_secs(30), "the new address", || has(&after));
        assert!(!has(&before));
    }
}
