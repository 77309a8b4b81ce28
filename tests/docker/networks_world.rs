//! What lies beyond the engine's host, and the host itself.

use crate::networks::{answers_host, request, web};
use hako_tests::{Case, NetworkNamespace, both_walls, wait_until};
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    time::Duration,
};

/// Another machine, the host's way to everywhere, and the host's address on that way.
const WORLD: &str = "192.0.2.1";
const HOST: &str = "192.0.2.2";
/// Where clouds tell a machine its secrets.
const METADATA: &str = "169.254.169.254";

/// Says to everybody who asks on `port` by which address he is seen, for as long
/// as the test runs.
fn mirror(network: &NetworkNamespace, port: u16) {
    let listener = network.within(|| TcpListener::bind(("::", port))).expect("a free port");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let peer = stream.peer_addr().map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default();
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{peer}\n");
        }
    });
}

/// What a container is told there, if anything, soon.
fn told(case: &Case, from: &str, host: &str, port: u16) -> String {
    case.exec(from, &request("/", host, port)).out()
}

both_walls! { networks:
    /// As with dockerd: what the host has a way to is reached in the host's name,
    /// the metadata of a cloud as well; the host's own services see the container
    /// itself; an internal network has the host's end of it and nothing else.
    /// Nobody outside reaches a port that is not published.
    fn outside(case) {
        if hako_tests::not_on_reference("its host is this machine") {
            return;
        }
        let (host, world) = (case.engine.network().expect("networks"), NetworkNamespace::new());
        host.join(&world, "uplink", "far");
        host.tool("ip", &["address", "add", &format!("{HOST}/24"), "dev", "uplink"]);
        host.tool("ip", &["link", "set", "uplink", "mtu", "1400", "up"]);
        host.tool("ip", &["route", "add", "default", "via", WORLD]);
        for address in [&format!("{WORLD}/24"), METADATA] {
            world.tool("ip", &["address", "add", address, "dev", "far"]);
        }
        world.tool("ip", &["link", "set", "far", "mtu", "1400", "up"]);
        mirror(&world, 80);
        mirror(host, 8000);
        let inspect = |name: &str, what: &str| case.docker(["network", "inspect", "-f", what, name]).text();
        for (name, flags) in [("open", &[][..]), ("inside", &["--internal"])] {
            let _ = case.docker(["network", "create"]).args(flags).arg(name).text();
            web(case, name, &[&format!("--network={name}")]);
        }
        let ip = case.inspect("open", "{{.NetworkSettings.Networks.open.IPAddress}}");
        let inner = case.inspect("inside", "{{.NetworkSettings.Networks.inside.IPAddress}}");

        wait_until(Duration::from_secs(30), "the world", || told(case, "open", WORLD, 80) == HOST);
        assert_eq!(told(case, "open", METADATA, 80), HOST);
        let gateway = inspect("open", "{{(index .IPAM.Config 0).Gateway}}");
        assert_eq!(told(case, "open", &gateway, 8000), ip);
        assert_eq!(told(case, "open", HOST, 8000), ip);
        // The uplink's, unless somebody says otherwise.
        assert_eq!(case.exec("open", "cat /sys/class/net/eth0/mtu").ok(), "1400");

        for (address, port) in [(WORLD, 80), (METADATA, 80), (HOST, 8000)] {
            assert_eq!(told(case, "inside", address, port), "", "an internal network reaches {address}");
        }
        let bridge = inspect("inside", "{{(index .IPAM.Config 0).Gateway}}");
        assert_eq!(told(case, "inside", &bridge, 8000), inner);

        // The world knows a way to the containers, and is let in by published ports alone.
        let subnet = inspect("open", "{{(index .IPAM.Config 0).Subnet}}");
        let inner_subnet = inspect("inside", "{{(index .IPAM.Config 0).Subnet}}");
        for subnet in [&subnet, &inner_subnet] {
            world.tool("ip", &["route", "add", subnet, "via", HOST]);
        }
        web(case, "public", &["--network=open", "--publish=8080:80"]);
        wait_until(Duration::from_secs(30), "the published port", || answers_host(case, "127.0.0.1", 8080));
        let ask = |host: &str, port: u16| {
            world.within(|| std::process::Command::new("sh").args(["-c", &request("/", host, port)]).output())
        };
        let answer = |host: &str, port: u16| String::from_utf8(ask(host, port).expect("sh runs").stdout).expect("text");
        assert_eq!(answer(HOST, 8080).trim(), "public");
        for address in [&ip, &inner] {
            assert_eq!(answer(address, 80), "", "the world reaches {address}, which publishes nothing");
        }
        host.tool("ip", &["link", "delete", "uplink"]);
    }
}
