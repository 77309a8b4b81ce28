//! Who reaches whom, in namespaces of the tests' own.

#![allow(clippy::unwrap_used)]

mod lab;

use hako_net::{
    Error, Netns, Protocol, bridge,
    firewall::{FilteredNetwork, Model, PublishedPort},
};
use lab::{Lab, PATIENCE, SHORT, ask, ask_udp, assert_silent, serve};
use std::process::Command;

fn port(protocol: Protocol, host: &str, container: &str, bridge: &str) -> PublishedPort {
    PublishedPort {
        protocol,
        host: host.parse().unwrap(),
        container: container.parse().unwrap(),
        bridge: bridge.into(),
    }
}

async fn nft(netns: &Netns, arguments: &'static [&'static str]) -> String {
    let output = netns.run(move || Command::new("nft").args(arguments).output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The outside knows the way to the containers' subnets, as a neighbour on a
/// LAN that wants in would.
async fn know_the_way(lab: &Lab) {
    let run = || {
        Command::new("sh")
            .args([
                "-c",
                "ip route add 10.0.0.0/8 via 203.0.113.1; ip -6 route add fd00::/8 via 2001:db8::1; \
                   ip addr del 127.0.0.1/8 dev lo; sysctl -qw net.ipv4.conf.eth0.route_localnet=1; \
                   ip route add 127.0.0.0/8 via 203.0.113.1 src 203.0.113.2",
            ])
            .status()
            .unwrap()
    };
    assert!(lab.outside.run(run).await.unwrap().success());
}

/// Two networks and an internal one, with a server in each.
struct World {
    lab: Lab,
    a: Netns,
    a2: Netns,
    b: Netns,
    inner: Netns,
    inner2: Netns,
    networks: Vec<FilteredNetwork>,
}

async fn world() -> World {
    let lab = Lab::new().await;
    bridge::enable_forwarding(&lab.host, true).await.unwrap();
    let a_net = lab.bridge("br-a", &["10.1.0.0/24", "fd00:1::/64"]).await;
    let b_net = lab.bridge("br-b", &["10.2.0.0/24", "fd00:2::/64"]).await;
    let mut inner_net = lab.bridge("br-i", &["10.3.0.0/24", "fd00:3::/64"]).await;
    inner_net.internal = true;
    let a = lab.container("a", &a_net, 2).await;
    let a2 = lab.container("a2", &a_net, 3).await;
    let b = lab.container("b", &b_net, 2).await;
    let inner = lab.container("inner", &inner_net, 2).await;
    let inner2 = lab.container("inner2", &inner_net, 3).await;
    serve(&a, "0.0.0.0:80", "a").await;
    serve(&a, "[::]:81", "a").await;
    serve(&b, "0.0.0.0:80", "b").await;
    serve(&inner, "0.0.0.0:80", "inner").await;
    serve(&lab.outside, "0.0.0.0:80", "outside").await;
    serve(&lab.outside, "[::]:81", "outside").await;
    serve(&lab.host, "0.0.0.0:90", "host").await;
    serve(&lab.host, "127.0.0.1:91", "host's own").await;
    know_the_way(&lab).await;
    World { lab, a, a2, b, inner, inner2, networks: vec![a_net, b_net, inner_net] }
}

#[tokio::test]
async fn networks_are_apart_and_reach_the_outside() {
    let w = world().await;
    let firewall = w.lab.firewall();
    firewall.apply(Model { networks: w.networks.clone(), ..Model::default() }).await.unwrap();
    assert_eq!(ask(&w.a2, "10.1.0.2:80").await.unwrap(), "a 10.1.0.3", "one network");
    assert_eq!(ask(&w.a, "203.0.113.2:80").await.unwrap(), "outside 203.0.113.1", "masqueraded");
    assert_eq!(ask(&w.a, "[2001:db8::2]:81").await.unwrap(), "outside 2001:db8::1", "masqueraded");
    assert_eq!(ask(&w.a, "203.0.113.1:90").await.unwrap(), "host 10.1.0.2", "the host's services");
    assert_eq!(ask(&w.a, "10.2.0.1:90").await.unwrap(), "host 10.1.0.2", "by any of its addresses");
    assert_eq!(ask(&w.lab.host, "10.1.0.2:80").await.unwrap(), "a 10.1.0.1", "the host reaches its containers");
    assert_silent(&w.b, "10.1.0.2:80").await;
    assert_silent(&w.b, "[fd00:1::2]:81").await;
    assert_silent(&w.lab.outside, "10.1.0.2:80").await;
    assert_silent(&w.lab.outside, "[fd00:1::2]:81").await;
}

#[tokio::test]
async fn an_internal_network_reaches_nothing_outside() {
    let w = world().await;
    let firewall = w.lab.firewall();
    firewall.apply(Model { networks: w.networks.clone(), ..Model::default() }).await.unwrap();
    // Even with a route that somebody in it adds.
    let route = || Command::new("ip").args(["route", "add", "default", "via", "10.3.0.1"]).status().unwrap();
    assert!(w.inner.run(route).await.unwrap().success());
    assert_eq!(ask(&w.inner2, "10.3.0.2:80").await.unwrap(), "inner 10.3.0.3");
    assert_silent(&w.inner, "203.0.113.2:80").await;
    assert_silent(&w.inner, "10.1.0.2:80").await;
    assert_silent(&w.a, "10.3.0.2:80").await;
    assert_silent(&w.lab.outside, "10.3.0.2:80").await;
}

#[tokio::test]
async fn a_published_port_is_reached_from_everywhere() {
    let w = world().await;
    let firewall = w.lab.firewall();
    firewall.apply(Model { networks: w.networks.clone(), ..Model::default() }).await.unwrap();
    let ports = [
        port(Protocol::Tcp, "0.0.0.0:8080", "10.1.0.2:80", "br-a"),
        port(Protocol::Udp, "0.0.0.0:8080", "10.1.0.2:80", "br-a"),
        port(Protocol::Tcp, "[::]:8081", "[fd00:1::2]:81", "br-a"),
        port(Protocol::Tcp, "127.0.0.1:8082", "10.1.0.2:80", "br-a"),
        port(Protocol::Tcp, "203.0.113.1:8083", "10.2.0.2:80", "br-b"),
    ];
    firewall.publish(&ports).await.unwrap();
    assert_eq!(ask(&w.lab.outside, "203.0.113.1:8080").await.unwrap(), "a 203.0.113.2", "the client's address");
    assert_eq!(ask_udp(&w.lab.outside, "203.0.113.1:8080", PATIENCE).await.unwrap(), "a 203.0.113.2");
    assert_eq!(ask(&w.lab.outside, "[2001:db8::1]:8081").await.unwrap(), "a 2001:db8::2");
    assert_eq!(ask(&w.lab.host, "127.0.0.1:8080").await.unwrap(), "a 10.1.0.1");
    assert_eq!(ask_udp(&w.lab.host, "127.0.0.1:8080", PATIENCE).await.unwrap(), "a 10.1.0.1");
    assert!(ask(&w.lab.host, "203.0.113.1:8080").await.unwrap().starts_with("a "));
    assert!(ask(&w.lab.host, "[2001:db8::1]:8081").await.unwrap().starts_with("a "));
    // Its own network, another one, itself.
    assert_eq!(ask(&w.a2, "203.0.113.1:8080").await.unwrap(), "a 10.1.0.1");
    assert_eq!(ask(&w.b, "203.0.113.1:8080").await.unwrap(), "a 10.1.0.1");
    assert_eq!(ask(&w.b, "10.2.0.1:8080").await.unwrap(), "a 10.1.0.1");
    assert_eq!(ask(&w.a, "203.0.113.1:8080").await.unwrap(), "a 10.1.0.1");
    assert_eq!(ask(&w.a, "203.0.113.1:8083").await.unwrap(), "b 10.2.0.1");
    // Only where they are published.
    assert_eq!(ask(&w.lab.host, "127.0.0.1:8082").await.unwrap(), "a 10.1.0.1");
    assert_silent(&w.lab.outside, "203.0.113.1:8082").await;
    assert_silent(&w.lab.outside, "127.0.0.1:8082").await;
    assert_silent(&w.lab.host, "127.0.0.1:8083").await;
    assert_silent(&w.inner, "10.3.0.1:8080").await;
    // The container's address is not published.
    assert_silent(&w.lab.outside, "10.1.0.2:80").await;
    firewall.unpublish(&ports[..1]).await.unwrap();
    firewall.unpublish(&ports[..1]).await.unwrap();
    assert_silent(&w.lab.outside, "203.0.113.1:8080").await;
    assert_eq!(ask_udp(&w.lab.outside, "203.0.113.1:8080", PATIENCE).await.unwrap(), "a 203.0.113.2");
    firewall.remove_network("br-a").await.unwrap();
    assert!(ask_udp(&w.lab.outside, "203.0.113.1:8080", SHORT).await.is_err());
    assert_eq!(ask(&w.lab.outside, "203.0.113.1:8083").await.unwrap(), "b 203.0.113.2");
}

/// One that sends without a pause keeps its source port, and the kernel the way.
#[tokio::test]
async fn datagrams_follow_their_port() {
    let w = world().await;
    let firewall = w.lab.firewall();
    firewall.apply(Model { networks: w.networks.clone(), ..Model::default() }).await.unwrap();
    serve(&w.lab.host, "0.0.0.0:8080", "host").await;
    let socket = w.lab.outside.run(|| std::net::UdpSocket::bind("203.0.113.2:5000").unwrap()).await.unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = || {
        let mut buffer = [0; 64];
        socket.send_to(b"x", "203.0.113.1:8080").unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(ask(), "host 203.0.113.2");
    for (container, bridge, answer) in [("10.1.0.2:80", "br-a", "a"), ("10.2.0.2:80", "br-b", "b")] {
        let published = [port(Protocol::Udp, "0.0.0.0:8080", container, bridge)];
        firewall.publish(&published).await.unwrap();
        assert_eq!(ask(), format!("{answer} 203.0.113.2"));
        firewall.unpublish(&published).await.unwrap();
        assert_eq!(ask(), "host 203.0.113.2");
    }
}

/// A container that sends to 127.0.0.1 by the bridge, which routes it for us.
#[tokio::test]
async fn the_hosts_loopback_is_not_reached_by_the_bridge() {
    let w = world().await;
    let firewall = w.lab.firewall();
    let attack = "ip addr del 127.0.0.1/8 dev lo; ip route del table local 127.0.0.0/8 2>/dev/null; \
                  sysctl -qw net.ipv4.conf.eth0.route_localnet=1; ip route add 127.0.0.1 via 10.1.0.1 src 10.1.0.3; true";
    let run = move || Command::new("sh").args(["-c", attack]).status().unwrap();
    assert!(w.a2.run(run).await.unwrap().success());
    // Without the table it works, so the test shows something.
    assert_eq!(ask(&w.a2, "127.0.0.1:91").await.unwrap(), "host's own 10.1.0.3");
    firewall.apply(Model { networks: w.networks.clone(), ..Model::default() }).await.unwrap();
    assert_silent(&w.a2, "127.0.0.1:91").await;
}

#[tokio::test]
async fn containers_that_may_not_talk_do_so_by_published_ports_only() {
    let lab = Lab::new().await;
    bridge::enable_forwarding(&lab.host, false).await.unwrap();
    let mut network = lab.bridge("br-a", &["10.1.0.0/24"]).await;
    let one = lab.container("one", &network, 2).await;
    let two = lab.container("two", &network, 3).await;
    serve(&one, "0.0.0.0:80", "one").await;
    network.icc = false;
    let firewall = lab.firewall();
    firewall.apply(Model { networks: vec![network], ..Model::default() }).await.unwrap();
    firewall.publish(&[port(Protocol::Tcp, "0.0.0.0:8080", "10.1.0.2:80", "br-a")]).await.unwrap();
    assert_silent(&two, "10.1.0.2:80").await;
    assert_eq!(ask(&two, "10.1.0.1:8080").await.unwrap(), "one 10.1.0.1");
}

#[tokio::test]
async fn a_network_without_masquerade_keeps_its_addresses() {
    let w = world().await;
    let mut networks = w.networks.clone();
    networks[0].masquerade = false;
    let firewall = w.lab.firewall();
    firewall.apply(Model { networks, ..Model::default() }).await.unwrap();
    assert_eq!(ask(&w.a, "203.0.113.2:80").await.unwrap(), "outside 10.1.0.2");
}

#[tokio::test]
async fn a_host_that_was_no_router_stays_none() {
    let w = world().await;
    let firewall = w.lab.firewall();
    // Two interfaces that are none of ours: the uplink, and another one.
    let other = w.lab.bridge("lan", &["10.7.0.0/24"]).await;
    let neighbour = w.lab.container("neighbour", &other, 2).await;
    let mut model = Model { networks: w.networks.clone(), ..Model::default() };
    firewall.apply(model.clone()).await.unwrap();
    assert_eq!(ask(&neighbour, "203.0.113.2:80").await.unwrap(), "outside 10.7.0.2");
    model.drop_others = true;
    firewall.apply(model).await.unwrap();
    assert_silent(&neighbour, "203.0.113.2:80").await;
    assert_eq!(ask(&w.a, "203.0.113.2:80").await.unwrap(), "outside 203.0.113.1");
    assert_eq!(ask(&neighbour, "10.7.0.1:90").await.unwrap(), "host 10.7.0.2");
}

#[tokio::test]
async fn a_flushed_ruleset_is_written_again_and_others_rules_stay() {
    let w = world().await;
    let firewall = std::sync::Arc::new(w.lab.firewall());
    assert!(!firewall.restore().await.unwrap(), "nothing was written");
    nft(&w.lab.host, &["add", "table", "ip", "others"]).await;
    nft(&w.lab.host, &["add", "chain", "ip", "others", "c"]).await;
    firewall.apply(Model { networks: w.networks.clone(), ..Model::default() }).await.unwrap();
    let published = port(Protocol::Tcp, "0.0.0.0:8080", "10.1.0.2:80", "br-a");
    firewall.publish(std::slice::from_ref(&published)).await.unwrap();
    let written = nft(&w.lab.host, &["-s", "list", "table", "inet", "hako"]).await;
    assert!(!firewall.restore().await.unwrap());
    // Somebody else's change is none of ours.
    nft(&w.lab.host, &["add", "table", "ip", "more"]).await;
    assert!(!firewall.restore().await.unwrap());
    nft(&w.lab.host, &["flush", "ruleset"]).await;
    assert!(firewall.restore().await.unwrap());
    assert_eq!(nft(&w.lab.host, &["-s", "list", "table", "inet", "hako"]).await, written);
    // One element of ours.
    nft(&w.lab.host, &["delete", "element", "inet", "hako", "bridges", "{ \"br-a\" }"]).await;
    assert!(firewall.restore().await.unwrap());
    assert_eq!(nft(&w.lab.host, &["-s", "list", "table", "inet", "hako"]).await, written);
    // A change of elements finds the table gone.
    nft(&w.lab.host, &["add", "table", "ip", "others"]).await;
    nft(&w.lab.host, &["delete", "table", "inet", "hako"]).await;
    firewall.unpublish(std::slice::from_ref(&published)).await.unwrap();
    firewall.publish(&[published]).await.unwrap();
    assert_eq!(nft(&w.lab.host, &["-s", "list", "table", "inet", "hako"]).await, written);
    // By itself.
    let watching = tokio::spawn({
        let firewall = firewall.clone();
        async move { firewall.watch().await }
    });
    tokio::time::sleep(SHORT).await;
    nft(&w.lab.host, &["flush", "ruleset"]).await;
    let begun = std::time::Instant::now();
    loop {
        let listed =
            w.lab.host.run(|| Command::new("nft").args(["-s", "list", "table", "inet", "hako"]).output().unwrap());
        if String::from_utf8_lossy(&listed.await.unwrap().stdout) == written {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "not written again");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    watching.abort();
    nft(&w.lab.host, &["add", "table", "ip", "others"]).await;
    firewall.remove().await.unwrap();
    firewall.remove().await.unwrap();
    let left = nft(&w.lab.host, &["list", "ruleset"]).await;
    assert!(left.contains("table ip others") && !left.contains("hako"), "{left}");
}

#[tokio::test]
async fn a_change_that_cannot_be_changes_nothing() {
    let w = world().await;
    let firewall = w.lab.firewall();
    firewall.apply(Model { networks: w.networks.clone(), ..Model::default() }).await.unwrap();
    firewall.publish(&[port(Protocol::Tcp, "0.0.0.0:8080", "10.1.0.2:80", "br-a")]).await.unwrap();
    let written = nft(&w.lab.host, &["-s", "list", "table", "inet", "hako"]).await;
    let taken = [
        port(Protocol::Tcp, "0.0.0.0:8090", "10.2.0.2:80", "br-b"),
        port(Protocol::Tcp, "0.0.0.0:8080", "10.2.0.2:80", "br-b"),
    ];
    assert!(matches!(firewall.publish(&taken).await, Err(Error::Nft { .. })));
    assert_eq!(nft(&w.lab.host, &["-s", "list", "table", "inet", "hako"]).await, written);
    assert_eq!(ask(&w.lab.outside, "203.0.113.1:8080").await.unwrap(), "a 203.0.113.2");
}
