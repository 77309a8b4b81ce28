//! Networks: containers by name, across networks and to the host, and what is
//! left when they are gone.

use hako_tests::{Case, Engine, Wall, both_walls, wait_until, with_networks};
use std::time::Duration;

/// Whether the host's kernel has the container's interfaces.
fn is_process(case: &Case) -> bool {
    case.wall == Wall::Process
}

const PATIENCE: Duration = Duration::from_secs(30);

/// A container that answers on port 80 with its name.
pub(crate) fn web(case: &Case, name: &str, flags: &[&str]) {
    let script = format!("mkdir -p /www && echo {name} > /www/index.html && exec httpd -f -p 80 -h /www");
    let args: Vec<&str> = flags.iter().copied().chain(["busybox", "sh", "-c", &script]).collect();
    case.on_network(name, &args);
}

/// A request by hand: busybox's own `wget` ends in a fault where it is linked statically.
pub(crate) fn request(path: &str, host: &str, port: u16) -> String {
    format!(r"printf 'GET {path} HTTP/1.0\r\n\r\n' | busybox nc -w 3 {host} {port} | tail -n 1")
}

/// Asks a web server from inside a container until it answers; what it said.
pub(crate) fn fetch(case: &Case, from: &str, host: &str, port: u16) -> String {
    let mut said = String::new();
    wait_until(PATIENCE, &format!("{host}:{port} from {from}"), || {
        said = case.exec(from, &request("/", host, port)).out();
        !said.is_empty()
    });
    said
}

/// The same from the host.
pub(crate) fn fetch_on_host(case: &Case, host: &str, port: u16) -> String {
    let mut said = String::new();
    wait_until(PATIENCE, &format!("{host}:{port}"), || {
        said = case.engine.on_host("sh").args(["-c", &request("/", host, port)]).run().out();
        !said.is_empty()
    });
    said
}

/// Whether a request from the host is answered, soon.
pub(crate) fn answers_host(case: &Case, host: &str, port: u16) -> bool {
    !case.engine.on_host("sh").args(["-c", &request("/", host, port)]).run().out().is_empty()
}

/// Whether a request from inside a container is answered, soon.
fn reaches(case: &Case, from: &str, host: &str) -> bool {
    !case.exec(from, &request("/", host, 80)).out().is_empty()
}

fn address(case: &Case, container: &str, network: &str) -> String {
    case.inspect(container, &format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}"))
}

both_walls! { networks:
    /// Two containers know each other by name, alias and short id, and the host knows both.
    fn by_name(case) {
        let _ = case.docker(["network", "create", "mine"]).text();
        web(case, "one", &["--network=mine", "--network-alias=first"]);
        web(case, "two", &["--network=mine"]);
        for name in ["one", "first", "ONE", "one.mine", &case.inspect("one", "{{slice .Id 0 12}}")] {
            assert_eq!(fetch(case, "two", name, 80), "one");
        }
        assert_eq!(fetch(case, "one", "two", 80), "two");
        assert_eq!(fetch(case, "one", "one", 80), "one", "also itself");
        let ip = address(case, "one", "mine");
        assert_eq!(fetch_on_host(case, &ip, 80), "one");
        let reverse = case.exec("two", &format!("nslookup {ip}")).ok();
        assert!(reverse.contains("one.mine"), "{reverse}");
        // A name leads where it belongs after a rename, and nowhere after the end.
        let _ = case.docker(["rename", "one", "uno"]).text();
        assert_eq!(fetch(case, "two", "uno", 80), "one");
        let _ = case.docker(["stop", "-t", "1", "uno"]).text();
        assert!(!reaches(case, "two", "uno"));
        assert_ne!(case.exec("two", "nslookup uno").code, 0);
        let _ = case.docker(["rm", "-f", "uno", "two"]).text();
        let _ = case.docker(["network", "rm", "mine"]).text();
    }

    /// One name for several containers: each is asked.
    fn in_turn(case) {
        let _ = case.docker(["network", "create", "mine"]).text();
        for name in ["one", "two"] {
            web(case, name, &["--network=mine", "--network-alias=service"]);
        }
        case.on_network("asker", &["--network=mine", "busybox", "sleep", "1000"]);
        for name in ["one", "two"] {
            let _ = fetch(case, "asker", name, 80);
        }
        let mut seen = std::collections::BTreeSet::new();
        wait_until(PATIENCE, "an answer of each", || {
            seen.insert(fetch(case, "asker", "service", 80));
            seen.len() == 2
        });
    }

    /// Settings of the network that are asked for.
    fn sysctls(case) {
        let flags = ["--rm", "--sysctl=net.ipv4.ip_unprivileged_port_start=80", "--sysctl=kernel.msgmax=4321", "busybox"];
        let look = ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/msgmax"];
        assert_eq!(case.networked("run", &flags).args(look).text(), "80\n4321");
    }

    /// The default bridge: addresses, and the way out, without names.
    fn default_bridge(case) {
        web(case, "one", &[]);
        web(case, "two", &[]);
        let ip = case.inspect("one", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        let gateway = case.inspect("one", "{{.NetworkSettings.Networks.bridge.Gateway}}");
        assert_eq!(fetch(case, "two", &ip, 80), "one");
        assert!(!reaches(case, "two", "one"), "no names here");
        let route = case.exec("two", "ip route").ok();
        assert!(route.contains(&format!("default via {gateway} dev eth0")), "{route}");
        let hosts = case.exec("one", "cat /etc/hosts").ok();
        let id = case.inspect("one", "{{slice .Id 0 12}}");
        assert!(hosts.contains(&format!("{ip}\t{id}")), "{hosts}");
        assert!(hosts.starts_with("127.0.0.1\tlocalhost"), "{hosts}");
        let on = case.docker(["network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{.IPv4Address}} {{end}}", "bridge"]).text();
        assert!(on.contains(&format!("one {ip}/16")) && on.contains("two"), "{on}");
        // What was given is given back.
        let _ = case.docker(["rm", "-f", "one"]).text();
        case.on_network("three", &["busybox", "sleep", "1000"]);
        assert_eq!(case.inspect("three", "{{.NetworkSettings.Networks.bridge.IPAddress}}"), ip);
    }

    /// Two networks do not reach each other, and one that is internal reaches nothing.
    fn isolation(case) {
        for (name, flags) in [("left", &[][..]), ("right", &[]), ("inside", &["--internal"])] {
            let _ = case.docker(["network", "create"]).args(flags).arg(name).text();
            web(case, &format!("{name}-web"), &[&format!("--network={name}")]);
            case.on_network(&format!("{name}-user"), &[&format!("--network={name}"), "busybox", "sleep", "1000"]);
        }
        for name in ["left", "right", "inside"] {
            assert_eq!(fetch(case, &format!("{name}-user"), &format!("{name}-web"), 80), format!("{name}-web"));
        }
        let of = |name: &str| address(case, &format!("{name}-web"), name);
        for (from, to) in [("left", "right"), ("right", "left"), ("left", "inside"), ("inside", "left")] {
            assert!(!reaches(case, &format!("{from}-user"), &of(to)), "{from} reaches {to}");
        }
        let routes = case.exec("inside-user", "ip route").ok();
        assert!(!routes.contains("default"), "{routes}");
        assert_eq!(case.inspect("inside-user", "{{.NetworkSettings.Networks.inside.Gateway}}"), "");
        let out = case.docker(["network", "inspect", "-f", "{{.Internal}}", "inside"]).text();
        assert_eq!(out, "true");
    }

    /// Connected and disconnected while it runs.
    fn live(case) {
        let _ = case.docker(["network", "create", "one"]).text();
        let _ = case.docker(["network", "create", "two"]).text();
        web(case, "web", &["--network=two"]);
        case.on_network("box", &["--network=one", "busybox", "sleep", "1000"]);
        assert!(!reaches(case, "box", "web"));
        let _ = case.docker(["network", "connect", "--alias", "crate", "two", "box"]).text();
        assert_eq!(fetch(case, "box", "web", 80), "web");
        assert_eq!(case.exec("web", "nslookup crate >/dev/null && echo known").ok(), "known");
        let (first, second) = (address(case, "box", "one"), address(case, "box", "two"));
        for (name, ip) in [("eth0", &first), ("eth1", &second)] {
            assert!(case.exec("box", &format!("ip -o -4 addr show {name}")).ok().contains(ip.as_str()));
        }
        let hosts = case.exec("box", "cat /etc/hosts").ok();
        assert!(hosts.contains(&first) && hosts.contains(&second), "{hosts}");
        let again = case.docker(["network", "connect", "two", "box"]).run();
        again.fails(1, "endpoint with name box already exists in network two");
        let _ = case.docker(["network", "disconnect", "one", "box"]).text();
        assert_eq!(fetch(case, "box", "web", 80), "web", "and names still work");
        let hosts = case.exec("box", "cat /etc/hosts").ok();
        assert!(!hosts.contains(&first) && hosts.contains(&second), "{hosts}");
        let _ = case.docker(["network", "disconnect", "two", "box"]).text();
        assert!(!reaches(case, "box", "web"));
        case.docker(["network", "disconnect", "two", "box"]).run().fails(1, "is not connected to");
        assert_eq!(case.inspect("box", "{{len .NetworkSettings.Networks}}"), "0");
        // It runs on without any, and comes back.
        let _ = case.docker(["network", "connect", "two", "box"]).text();
        assert_eq!(fetch(case, "box", "web", 80), "web");
        // A container that does not run is connected when it starts.
        let _ = case.docker(["stop", "-t", "1", "box"]).text();
        let _ = case.docker(["network", "connect", "one", "box"]).text();
        let _ = case.docker(["start", "box"]).text();
        assert_eq!(case.exec("box", "ip -o -4 addr").ok().lines().count(), 3);
    }

    /// Addresses that are asked for, and hardware addresses.
    fn fixed(case) {
        let flags = ["--subnet=10.77.0.0/24", "--ip-range=10.77.0.128/25", "--gateway=10.77.0.254", "--aux-address=x=10.77.0.129"];
        let _ = case.docker(["network", "create"]).args(flags).arg("mine").text();
        case.on_network("any", &["--network=mine", "busybox", "sleep", "1000"]);
        assert_eq!(address(case, "any", "mine"), "10.77.0.128");
        case.on_network("next", &["--network=mine", "busybox", "sleep", "1000"]);
        assert_eq!(address(case, "next", "mine"), "10.77.0.130", "not an auxiliary one");
        let flags = ["--network=mine", "--ip=10.77.0.7", "--mac-address=02:11:22:33:44:55", "busybox", "sleep", "1000"];
        case.on_network("asked", &flags);
        let shown = case.exec("asked", "ip -4 -o addr show eth0; cat /sys/class/net/eth0/address").ok();
        assert!(shown.contains("10.77.0.7/24") && shown.ends_with("02:11:22:33:44:55"), "{shown}");
        assert_eq!(case.inspect("asked", "{{.NetworkSettings.Networks.mine.MacAddress}}"), "02:11:22:33:44:55");
        let taken = case.networked("run", &["--rm", "--network=mine", "--ip=10.77.0.7", "busybox", "true"]).run();
        taken.fails(125, "Address already in use");
        let outside = case.networked("run", &["--rm", "--network=mine", "--ip=10.78.0.7", "busybox", "true"]).run();
        assert_eq!(outside.code, 125, "{outside}");
        // It keeps it over a restart, and gives it back at its end.
        let _ = case.docker(["restart", "-t", "1", "asked"]).text();
        assert_eq!(address(case, "asked", "mine"), "10.77.0.7");
        let _ = case.docker(["stop", "-t", "1", "asked"]).text();
        let _ = case.networked("run", &["--rm", "--network=mine", "--ip=10.77.0.7", "busybox", "true"]).text();
        if !hako_tests::client_before(23, "it drops --ip without --network") {
            let refused = case.networked("run", &["--rm", "--ip=172.17.0.77", "busybox", "true"]).run();
            refused.fails(125, "user specified IP address is supported on user defined networks only");
        }
        let _ = case.docker(["network", "create", "automatic"]).text();
        let refused = case.networked("run", &["--rm", "--network=automatic", "--ip=10.0.0.9", "busybox", "true"]).run();
        refused.fails(125, "user specified IP address is supported only when connecting to networks with user configured subnets");
    }

    /// Both families.
    fn ipv6(case) {
        let _ = case.docker(["network", "create", "--ipv6", "--subnet=fd77::/64", "six"]).text();
        web(case, "web", &["--network=six"]);
        case.on_network("box", &["--network=six", "--ip6=fd77::99", "busybox", "sleep", "1000"]);
        let six = case.inspect("web", "{{.NetworkSettings.Networks.six.GlobalIPv6Address}}");
        assert!(six.starts_with("fd77::"), "{six}");
        assert_eq!(fetch(case, "box", &six, 80), "web");
        let known = case.exec("box", "nslookup -type=aaaa web").ok();
        assert!(known.contains(&six), "{known}");
        assert_eq!(case.inspect("box", "{{.NetworkSettings.Networks.six.GlobalIPv6Address}}"), "fd77::99");
        assert_eq!(case.inspect("box", "{{.NetworkSettings.Networks.six.GlobalIPv6PrefixLen}}"), "64");
        let route = case.exec("box", "ip -6 route").ok();
        assert!(route.contains("default via fd77::1"), "{route}");
        let hosts = case.exec("web", "cat /etc/hosts").ok();
        assert!(hosts.contains(&format!("{six}\t")), "{hosts}");
    }

    /// `--dns…`, `--add-host` and what they make of the files.
    fn files(case) {
        let read = |flags: &[&str], file: &str| {
            let args: Vec<&str> = ["--rm"].iter().chain(flags).copied().chain(["busybox", "cat", file]).collect();
            case.networked("run", &args).text()
        };
        let asked = ["--dns=10.1.2.3", "--dns-search=example.org", "--dns-option=ndots:3"];
        let text = read(&asked, "/etc/resolv.conf");
        assert_eq!(text.lines().collect::<Vec<_>>(), ["nameserver 10.1.2.3", "search example.org", "options ndots:3"]);
        let _ = case.docker(["network", "create", "mine"]).text();
        let gateway = case.docker(["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "mine"]).text();
        let text = read(&["--network=mine", "--dns=10.1.2.3"], "/etc/resolv.conf");
        assert!(text.starts_with(&format!("nameserver {gateway}\n")), "{text}");
        let bridge = case.docker(["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"]).text();
        for network in ["bridge", "mine"] {
            let flags = [&format!("--network={network}"), "--add-host=up:host-gateway", "--add-host=other:10.9.8.7"];
            let text = read(&flags, "/etc/hosts");
            assert!(text.contains(&format!("{bridge}\tup")) && text.contains("10.9.8.7\tother"), "{text}");
        }
        let text = read(&["-h", "name", "--domainname=example.org"], "/etc/hosts");
        assert!(text.lines().last().unwrap().ends_with("\tname.example.org name"), "{text}");
    }

    /// What is not there, and what may not go.
    fn refusals(case) {
        let fails = |args: &[&str], text: &str| {
            let output = case.docker(args).run();
            assert_ne!(output.code, 0, "{output}");
            assert!(output.err().contains(text), "{text:?} is missing: {output}");
        };
        let old = hako_tests::client_before(23, "it has words of its own for what is not there");
        let not_found = if old { "No such network: nothing" } else { "network nothing not found" };
        fails(&["network", "inspect", "nothing"], not_found);
        fails(&["network", "rm", "nothing"], not_found);
        for name in ["bridge", "host", "none"] {
            fails(&["network", "rm", name], "is a pre-defined network and cannot be removed");
        }
        let _ = case.docker(["network", "create", "mine"]).text();
        fails(&["network", "create", "mine"], "network with name mine already exists");
        fails(&["network", "create", "bridge"], "operation is not permitted on predefined bridge network");
        let subnet = case.docker(["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "mine"]).text();
        fails(&["network", "create", "--subnet", &subnet, "other"], "Pool overlaps with other one on this address space");
        case.on_network("box", &["--network=mine", "busybox", "sleep", "1000"]);
        fails(&["network", "rm", "mine"], "has active endpoints");
        fails(&["network", "connect", "host", "box"], "container cannot be disconnected from host network or connected to host network");
        fails(&["network", "connect", "none", "box"], "one of the networks in private (none) mode");
        let missing = case.networked("run", &["--rm", "--network=nothing", "busybox", "true"]).run();
        missing.fails(125, "network nothing not found");
        let _ = case.docker(["rm", "-f", "box"]).text();
        let _ = case.docker(["network", "rm", "mine"]).text();
    }

    /// Lists, filters and prune.
    fn listing(case) {
        let _ = case.docker(["network", "create", "--label=team=a", "one"]).text();
        let _ = case.docker(["network", "create", "two"]).text();
        let names = |filters: &[&str]| {
            let mut args = vec!["network", "ls", "--format", "{{.Name}}"];
            filters.iter().for_each(|filter| args.extend(["--filter", filter]));
            let text = case.docker(args).text();
            let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
            names.sort();
            names
        };
        if !Engine::is_reference() {
            assert_eq!(names(&[]), ["bridge", "host", "none", "one", "two"]);
        }
        assert_eq!(names(&["label=team=a"]), ["one"]);
        assert_eq!(names(&["driver=null"]), ["none"]);
        assert_eq!(names(&["name=tw"]), ["two"]);
        let _ = case.networked("create", &["--name=box", "--network=none", "busybox", "sleep", "1000"]).text();
        assert_eq!(names(&["type=custom", "name=one", "name=two"]), ["one", "two"]);
        let id = case.docker(["network", "inspect", "-f", "{{.Id}}", "one"]).text();
        assert_eq!(names(&[&format!("id={}", &id[..12])]), ["one"]);
        let _ = case.docker(["network", "prune", "-f", "--filter", "label=team=b"]).text();
        assert_eq!(names(&["type=custom", "name=one", "name=two"]), ["one", "two"]);
        if is_process(case) {
            let _ = case.networked("create", &["--name=kept", "--network=one", "busybox", "true"]).text();
            // As in Docker, who does not run keeps nothing.
            case.on_network("running", &["--network=one", "busybox", "sleep", "1000"]);
        }
        let pruned = case.docker(["network", "prune", "-f"]).text();
        assert!(pruned.contains("two"), "{pruned}");
        if is_process(case) {
            assert!(!pruned.contains("one"), "{pruned}");
            assert_eq!(names(&["type=custom", "name=one"]), ["one"]);
            let shown = case.docker(["ps", "-a", "--filter", "network=one", "--format", "{{.Names}}"]).text();
            assert_eq!(shown.lines().count(), 2, "{shown}");
        }
    }

    /// The events of a network's life.
    fn events(case) {
        let since = case.engine.on_host("date").args(["+%s"]).text();
        let _ = case.docker(["network", "create", "mine"]).text();
        let _ = case.networked("run", &["--rm", "--network=mine", "busybox", "true"]).text();
        let _ = case.docker(["network", "rm", "mine"]).text();
        let until = (since.parse::<u64>().unwrap() + 60).to_string();
        let until = case.engine.on_host("date").args(["+%s"]).text().parse::<u64>().map_or(until, |now| (now + 1).to_string());
        let args = ["events", "--since", &since, "--until", &until, "-f", "type=network", "-f", "network=mine"];
        let text = case.docker(args).args(["--format", "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}}"]).text();
        let expected = ["create mine bridge", "connect mine bridge", "disconnect mine bridge", "destroy mine bridge"];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    /// Figures of what was carried.
    fn figures(case) {
        web(case, "web", &[]);
        let ip = case.inspect("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        let _ = fetch_on_host(case, &ip, 80);
        let stats = case.engine.http("GET", "/v1.41/containers/web/stats?stream=0&one-shot=1", None).json();
        let eth0 = &stats["networks"]["eth0"];
        assert!(eth0["rx_bytes"].as_u64().unwrap() > 100 && eth0["tx_packets"].as_u64().unwrap() > 1, "{stats}");
    }
}

/// The namespaces that are others': the host's, another container's, none.
#[test]
fn modes() {
    with_networks(Wall::Process, |case| {
        let links = |flags: &[&str]| {
            let args: Vec<&str> =
                ["--rm"].iter().chain(flags).copied().chain(["busybox", "ls", "/sys/class/net"]).collect();
            case.networked("run", &args).text().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(links(&["--network=none"]), ["lo"]);
        web(case, "web", &[]);
        let id = case.inspect("web", "{{.Id}}");
        case.on_network("beside", &["--network=container:web", "busybox", "sleep", "1000"]);
        assert_eq!(case.inspect("beside", "{{.HostConfig.NetworkMode}}"), format!("container:{id}"));
        assert_eq!(fetch(case, "beside", "127.0.0.1", 80), "web");
        assert_eq!(
            case.exec("beside", "hostname; cat /etc/hosts").ok(),
            case.exec("web", "hostname; cat /etc/hosts").ok()
        );
        for (flags, text) in [
            (&["-p", "80:80"][..], "conflicting options: port publishing and the container type network mode"),
            (&["-h", "x"], "conflicting options: hostname and the network mode"),
        ] {
            let args: Vec<&str> =
                ["--rm", "--network=container:web"].iter().chain(flags).copied().chain(["busybox", "true"]).collect();
            case.networked("run", &args).run().fails(125, text);
        }
        let _ = case.docker(["rm", "-f", "web"]).text();
        let _ = case.docker(["stop", "-t", "1", "beside"]).text();
        assert_ne!(case.docker(["start", "beside"]).run().code, 0);
        if hako_tests::not_on_reference("its host is the machine") {
            return;
        }
        let host = case.engine.on_host("cat").args(["/proc/sys/kernel/hostname"]).text();
        let text = case
            .networked("run", &["--rm", "--network=host", "busybox", "sh", "-c", "hostname; ip -o link | grep -c hako"])
            .run();
        assert_eq!(text.out().lines().next().unwrap(), host);
        // What listens there listens on the host.
        web(case, "server", &["--network=host"]);
        assert_eq!(fetch_on_host(case, "127.0.0.1", 80), "server");
    });
}

/// `--link` on the default bridge.
#[test]
fn links() {
    with_networks(Wall::Process, |case| {
        web(case, "web", &["--expose=80", "--expose=8000-8002", "-e", "COLOUR=red"]);
        case.on_network("user", &["--link=web:site", "busybox", "sleep", "1000"]);
        for name in ["site", "web", &case.inspect("web", "{{.Config.Hostname}}")] {
            assert_eq!(fetch(case, "user", name, 80), "web");
        }
        let ip = case.inspect("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        let env = case.exec("user", "env").ok();
        let lines = [
            format!("SITE_PORT=tcp://{ip}:80"),
            format!("SITE_PORT_8001_TCP=tcp://{ip}:8001"),
            format!("SITE_PORT_8000_TCP_START=tcp://{ip}:8000"),
            format!("SITE_PORT_8000_TCP_END=tcp://{ip}:8002"),
            "SITE_NAME=/user/site".into(),
            "SITE_ENV_COLOUR=red".into(),
        ];
        for line in lines {
            assert!(env.lines().any(|found| found == line), "{line}: {env}");
        }
        assert_eq!(case.inspect("user", "{{json .HostConfig.Links}}"), r#"["/web:/user/site"]"#);
        // Another address after a restart is told.
        let _ = case.docker(["stop", "-t", "1", "web"]).text();
        // An address is free again once what had it is taken down.
        wait_until(PATIENCE, "the address to be somebody else's", || {
            let squatter = case.networked("run", &["-d", "busybox", "sleep", "1000"]).text();
            case.inspect(&squatter, "{{.NetworkSettings.Networks.bridge.IPAddress}}") == ip
        });
        let _ = case.docker(["start", "web"]).text();
        assert_ne!(case.inspect("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}"), ip);
        assert_eq!(fetch(case, "user", "site", 80), "web");
        let _ = case.docker(["stop", "-t", "1", "web", "user"]).text();
        case.docker(["start", "user"]).run().fails(1, "Cannot link to a non running container: /web AS /user/site");
        let missing = case.networked("run", &["--rm", "--link=nobody", "busybox", "true"]).run();
        missing.fails(125, "could not get container for nobody");
        // On a network of one's own it is a name that one container knows.
        let _ = case.docker(["start", "web"]).text();
        let _ = case.docker(["network", "create", "mine"]).text();
        let _ = case.docker(["network", "connect", "mine", "web"]).text();
        case.on_network("linked", &["--network=mine", "--link=web:other", "busybox", "sleep", "1000"]);
        case.on_network("plain", &["--network=mine", "busybox", "sleep", "1000"]);
        assert_eq!(fetch(case, "linked", "other", 80), "web");
        assert!(!reaches(case, "plain", "other"));
    });
}

/// `docker rm --link`: what one container calls another is taken back.
#[test]
fn a_link_is_removed() {
    with_networks(Wall::Process, |case| {
        web(case, "web", &[]);
        case.on_network("user", &["--link=web:site", "--link=web:other", "busybox", "sleep", "1000"]);
        let hosts = || case.exec("user", "cat /etc/hosts").ok().to_owned();
        let names = |alias: &str| hosts().lines().any(|line| line.split_whitespace().any(|word| word == alias));
        assert!(names("site") && names("other"));
        let _ = case.docker(["rm", "--link", "/user/site"]).text();
        wait_until(PATIENCE, "the name to go", || !names("site"));
        assert!(names("other"), "{}", hosts());
        assert_eq!(case.inspect("user", "{{json .HostConfig.Links}}"), r#"["/web:/user/other"]"#);
        case.docker(["rm", "--link", "user/site"]).run().fails(1, "No such container: user/site");
        case.docker(["rm", "--link", "nobody/site"]).run().fails(1, "No such container: nobody/site");
        case.docker(["rm", "--link", "user"])
            .run()
            .fails(1, "Conflict, cannot remove the default link name of the container");
        let _ = case.docker(["rm", "--link", "user/other"]).text();
        // Both run on, and the end of a link outlives a restart.
        assert_eq!(case.inspect("web", "{{.State.Running}}") + &case.inspect("user", "{{.State.Running}}"), "truetrue");
        let _ = case.docker(["restart", "-t", "0", "user"]).text();
        assert!(!names("other") && case.inspect("user", "{{json .HostConfig.Links}}") == "null");
    });
}

both_walls! {
    /// Without a default bridge who asks for it has a loopback, as with dockerd.
    fn no_default_bridge(case) {
        if hako_tests::not_on_reference("it has one") {
            return;
        }
        let names = case.docker(["network", "ls", "--format", "{{.Name}}"]).text();
        assert_eq!(names.lines().collect::<Vec<_>>(), ["host", "none"]);
        let flags = ["--rm", "--sysctl=net.ipv4.ip_unprivileged_port_start=80", "busybox"];
        let script = "ls /sys/class/net; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ping -c1 127.0.0.1 >/dev/null && echo up";
        let out = case.networked("run", &flags).args(["sh", "-c", script]).text();
        assert_eq!(out.lines().collect::<Vec<_>>(), ["lo", "80", "up"]);
    }
}

/// `RUN` has the default network, or what it is told.
#[test]
fn builds() {
    with_networks(Wall::Process, |case| {
        let build = |flags: &[&str], run: &str| {
            let text = format!("FROM busybox\nRUN {run} echo links: $(ls /sys/class/net)\n");
            // Of two the last counts; the harness says `none`.
            let flags: Vec<&str> = ["--no-cache", "--network=default"].iter().chain(flags).copied().collect();
            let output = crate::build_run::build_text(case, &flags, &text).ok();
            let line = output.lines().find_map(|line| line.strip_prefix("links: ").map(str::to_owned));
            line.unwrap_or_else(|| panic!("{output}"))
        };
        assert_eq!(build(&[], ""), "eth0 lo");
        assert_eq!(build(&["--network=none"], ""), "lo");
        let _ = case.docker(["network", "create", "mine"]).text();
        assert_eq!(build(&["--network=mine"], ""), "eth0 lo");
        if hako_tests::not_on_reference("it knows no RUN --network") {
            return;
        }
        assert_eq!(build(&[], "--network=none"), "lo");
        // What the client has taken away a Dockerfile does not give.
        assert_eq!(build(&["--network=none"], "--network=host"), "lo");
        assert!(build(&[], "--network=host").contains("hako"), "the host's interfaces");
    });
}
