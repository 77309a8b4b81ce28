//! IPv6, by name and by port, and SCTP where there is any.

use crate::networks::{answers_host, fetch, fetch_on_host, web};
use hako_tests::{Case, Engine, Wall, both_walls, debian, wait_until};
use std::time::Duration;

/// A container behind the wall that is not the case's, where there are two.
fn across(case: &Case, name: &str, network: &str) {
    let other = match case.wall {
        _ if Engine::is_reference() => "default",
        Wall::Process => "hyperv",
        Wall::Hyperv => "process",
    };
    let args = ["run", "-d", "--name", name, &format!("--isolation={other}"), &format!("--network={network}")];
    let _ = case.docker(args).args(["-m=128m", "--pids-limit=32", "busybox", "sleep", "1000"]).text();
}

fn six(case: &Case, container: &str) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}";
    case.inspect(container, format)
}

both_walls! { networks:
    /// Containers of both walls reach each other by name, over IPv6 alone.
    fn by_name(case) {
        let _ = case.docker(["network", "create", "--ipv6", "--subnet=fd79::/64", "six"]).text();
        case.on_network("one", &["--network=six", "--network-alias=first", "busybox", "sleep", "1000"]);
        case.on_network("two", &["--network=six", "busybox", "sleep", "1000"]);
        across(case, "far", "six");
        for (from, to, name) in [("one", "two", "two"), ("two", "one", "first"), ("one", "far", "far"), ("far", "one", "one")] {
            let said = case.exec(from, &format!("ping -6 -c 1 -w 20 {name}")).ok();
            let ip = six(case, to);
            assert!(said.contains(&format!("PING {name} ({ip})")) && said.contains("1 packets received"), "{said}");
        }
        // From an address to its name.
        let said = case.exec("far", &format!("nslookup {}", six(case, "one"))).ok();
        assert!(said.contains("one.six"), "{said}");
        // Nobody gets an address of it that he is not given.
        assert_eq!(six(case, "one").parse::<std::net::Ipv6Addr>().unwrap().segments()[..4], [0xfd79, 0, 0, 0]);
        let _ = case.docker(["network", "disconnect", "six", "two"]).text();
        assert_ne!(case.exec("one", "ping -6 -c 1 -w 2 two").code, 0);
    }

    /// A port on the host's addresses of IPv6, and on those alone.
    fn published(case) {
        let _ = case.docker(["network", "create", "--ipv6", "--subnet=fd7a::/64", "six"]).text();
        web(case, "web", &["--network=six", "-p", "[::1]:8080:80", "-p", "[::]:8081:80"]);
        across(case, "far", "six");
        let ports = case.docker(["port", "web"]).text();
        let mut ports: Vec<&str> = ports.lines().collect();
        ports.sort_unstable();
        assert_eq!(ports, ["80/tcp -> [::1]:8080", "80/tcp -> [::]:8081"]);
        for (host, port) in [("::1", 8080), ("::1", 8081), ("fd7a::1", 8081)] {
            assert_eq!(fetch_on_host(case, host, port), "web", "[{host}]:{port}");
        }
        for (host, port) in [("127.0.0.1", 8080), ("fd7a::1", 8080), ("127.0.0.1", 8081)] {
            assert!(!answers_host(case, host, port), "{host}:{port}");
        }
        for from in ["far", "web"] {
            assert_eq!(fetch(case, from, "fd7a::1", 8081), "web", "from {from}");
        }
        // One that has no address of IPv6 is reached by it all the same.
        web(case, "four", &["-p", "[::1]:8082:80"]);
        assert_eq!(fetch_on_host(case, "::1", 8082), "four");
        let _ = case.docker(["stop", "-t", "1", "web"]).text();
        assert!(!answers_host(case, "::1", 8080) && !answers_host(case, "::1", 8081));
    }

    /// SCTP is published where the kernels have it, and else whose has none is said.
    fn sctp(case) {
        case.engine.load(&debian());
        let publish = |command: &[&str]| {
            case.networked("run", &["-d", "--name=server", "-p", "2905:2905/sctp", "debian:minbase"]).args(command).run()
        };
        if case.wall == Wall::Hyperv {
            publish(&["sleep", "1000"]).fails(125, "the guest's kernel has no SCTP");
            let ask = ["--rm", "debian:minbase", "perl", "-e", "socket(S, 2, 1, 132) and print 1; print $!"];
            assert_eq!(case.networked("run", &ask).text(), "Protocol not supported");
            return;
        }
        if case.engine.on_host("perl").args(["-e", "socket(S, 2, 1, 132) or exit 1"]).run().code != 0 {
            publish(&["sleep", "1000"]).fails(125, "this host's kernel has no SCTP");
            assert_eq!(case.inspect("server", "{{.State.Status}}"), "created");
            let _ = case.docker(["rm", "server"]).text();
            if let Some(network) = case.engine.network() {
                assert!(!network.tool("nft", &["list", "ruleset"]).contains("2905"));
            }
            return;
        }
        let server = r#"use Socket; socket(S, 2, 1, 132); bind(S, sockaddr_in(2905, INADDR_ANY)); listen(S, 9); while (accept(C, S)) { print C "by sctp"; close C }"#;
        let _ = publish(&["perl", "-e", server]).ok();
        let client = r#"use Socket; socket(S, 2, 1, 132); connect(S, sockaddr_in(2905, inet_aton("127.0.0.1"))) or exit 1; print <S>"#;
        let ask = || case.engine.on_host("perl").args(["-e", client]).run().out();
        wait_until(Duration::from_secs(30), "an answer", || ask() == "by sctp");
    }
}
