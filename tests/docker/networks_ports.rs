//! Published ports.

use crate::networks::{answers_host, fetch, fetch_on_host, web};
use hako_tests::{both_walls, wait_until};
use serde_json::json;
use std::{net::UdpSocket, time::Duration};

both_walls! { networks:
    /// From the host by each of its addresses, from another container, and not once it has ended.
    fn published(case) {
        web(case, "web", &["-p", "8080:80", "-p", "127.0.0.1:8081:80"]);
        let gateway = case.docker(["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"]).text();
        for (host, port) in [("127.0.0.1", 8080), ("localhost", 8080), ("127.0.0.1", 8081), ("::1", 8080)] {
            assert_eq!(fetch_on_host(case, host, port), "web", "{host}:{port}");
        }
        assert_eq!(fetch_on_host(case, &gateway, 8080), "web");
        case.on_network("box", &["busybox", "sleep", "1000"]);
        assert_eq!(fetch(case, "box", &gateway, 8080), "web");
        assert_eq!(fetch(case, "web", &gateway, 8080), "web", "also itself");
        let _ = case.docker(["network", "create", "other"]).text();
        case.on_network("far", &["--network=other", "busybox", "sleep", "1000"]);
        assert_eq!(fetch(case, "far", &gateway, 8080), "web", "across networks, by the host");
        // Clients before 23 write the address without brackets.
        let ports = case.docker(["port", "web"]).text().replace(" :::", " [::]:");
        let mut ports: Vec<&str> = ports.lines().collect();
        ports.sort_unstable();
        assert_eq!(ports, ["80/tcp -> 0.0.0.0:8080", "80/tcp -> 127.0.0.1:8081", "80/tcp -> [::]:8080"]);
        assert_eq!(case.docker(["port", "web", "80"]).text().lines().count(), 3);
        let listed = case.docker(["ps", "--filter", "name=web", "--format", "{{.Ports}}"]).text();
        assert!(listed.contains("0.0.0.0:8080->80/tcp") && listed.contains("127.0.0.1:8081->80/tcp"), "{listed}");
        let ps = case.docker(["ps", "--filter", "publish=8080", "--format", "{{.Names}}"]).text();
        assert_eq!(ps, "web");
        let _ = case.docker(["stop", "-t", "1", "web"]).text();
        assert!(!answers_host(case, "127.0.0.1", 8080));
        assert_eq!(case.docker(["port", "web"]).text(), "");
        // The very same again.
        let _ = case.docker(["start", "web"]).text();
        assert_eq!(fetch_on_host(case, "127.0.0.1", 8080), "web");
    }

    /// A port that somebody has is an error before anything runs.
    fn taken(case) {
        web(case, "web", &["-p", "8080:80"]);
        let second = case.networked("run", &["-d", "--name=second", "-p", "8080:80", "busybox", "sleep", "1000"]).run();
        second.fails(125, "port is already allocated");
        assert_eq!(case.inspect("second", "{{.State.Status}}"), "created");
        let _ = case.docker(["rm", "-f", "web"]).text();
        // At once: who hears of the end may have the port.
        let _ = case.docker(["start", "second"]).text();
        let mut listener = case.engine.on_host("busybox").args(["nc", "-l", "-p", "9090"]).start();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(listener.runs());
        let third = case.networked("run", &["--rm", "-p", "9090:80", "busybox", "true"]).run();
        third.fails(125, "address already in use");
        let _ = listener.kill();
    }

    /// Any free port, ranges, and all that are exposed.
    fn chosen(case) {
        web(case, "any", &["-p", "80"]);
        let port = case.inspect("any", "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}");
        assert_eq!(fetch_on_host(case, "127.0.0.1", port.parse().unwrap()), "any");
        web(case, "one", &["-p", "7000-7001:80"]);
        web(case, "two", &["-p", "7000-7001:80"]);
        assert_eq!(fetch_on_host(case, "127.0.0.1", 7000), "one");
        assert_eq!(fetch_on_host(case, "127.0.0.1", 7001), "two");
        let none = case.networked("run", &["--rm", "-p", "7000-7001:80", "busybox", "true"]).run();
        assert_eq!(none.code, 125, "{none}");
        web(case, "all", &["-P", "--expose=80", "--expose=81/udp"]);
        let ports = case.docker(["port", "all"]).text();
        assert!(ports.contains("80/tcp -> 0.0.0.0:") && ports.contains("81/udp -> 0.0.0.0:"), "{ports}");
        let port = case.docker(["port", "all", "80"]).text();
        let port = port.lines().next().unwrap().rsplit(':').next().unwrap().to_owned();
        assert_eq!(fetch_on_host(case, "127.0.0.1", port.parse().unwrap()), "all");
        web(case, "shown", &["--expose=80"]);
        let shown = case.docker(["ps", "--filter", "name=shown", "--format", "{{.Ports}}"]).text();
        assert_eq!(shown, "80/tcp");
        let inspected: serde_json::Value = serde_json::from_str(&case.inspect("shown", "{{json .NetworkSettings.Ports}}")).unwrap();
        assert_eq!(inspected, json!({"80/tcp": null}));
    }

    /// UDP: an answer comes back by the way it was asked.
    fn udp(case) {
        case.engine.load(&hako_tests::debian());
        let echo = r#"use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 53, Proto => "udp"); $s->send("you said $m") while $s->recv($m, 99)"#;
        case.on_network("echo", &["-p", "5353:53/udp", "debian:minbase", "perl", "-e", echo]);
        let ask = || {
            let ask = || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                socket.connect("127.0.0.1:5353").unwrap();
                let mut answer = [0; 64];
                socket.send(b"hello").and_then(|_| socket.recv(&mut answer)).map(|length| answer[..length].to_vec())
            };
            match case.engine.network() {
                Some(network) => network.within(ask),
                None => ask(),
            }
        };
        wait_until(Duration::from_secs(30), "an echo", || ask().is_ok_and(|answer| answer == b"you said hello"));
    }

    /// A port goes where packets come in after the networks have changed.
    fn moves(case) {
        let _ = case.docker(["network", "create", "anew"]).text();
        web(case, "web", &["-p", "8080:80"]);
        assert_eq!(fetch_on_host(case, "127.0.0.1", 8080), "web");
        let _ = case.docker(["network", "connect", "anew", "web"]).text();
        assert_eq!(fetch_on_host(case, "127.0.0.1", 8080), "web");
        let _ = case.docker(["network", "disconnect", "bridge", "web"]).text();
        assert_eq!(fetch_on_host(case, "127.0.0.1", 8080), "web");
        let _ = case.docker(["network", "disconnect", "anew", "web"]).text();
        assert_eq!(case.docker(["port", "web"]).text(), "");
        let _ = case.docker(["network", "connect", "bridge", "web"]).text();
        assert_eq!(fetch_on_host(case, "127.0.0.1", 8080), "web");
    }
}
