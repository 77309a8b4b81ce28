//! Host ports, in namespaces of the tests' own.

#![allow(clippy::unwrap_used)]

mod lab;

use hako_net::{
    Error, PortRequest, Protocol, Reserved, bridge,
    firewall::Model,
    ports::{PortError, Target},
};
use lab::{Lab, PATIENCE, SHORT, ask, ask_udp, serve};
use std::{net::TcpListener, ops::RangeInclusive, time::Duration};

fn request(protocol: Protocol, host_ip: Option<&str>, host_ports: RangeInclusive<u16>) -> PortRequest {
    PortRequest { protocol, container_port: 80, host_ip: host_ip.map(|ip| ip.parse().unwrap()), host_ports }
}

fn target(v4: Option<&str>, v6: Option<&str>) -> Target {
    Target { v4: v4.map(|a| a.parse().unwrap()), v6: v6.map(|a| a.parse().unwrap()), bridge: "br-a".into() }
}

fn hosts(reserved: &Reserved) -> Vec<String> {
    reserved.bound().iter().map(|bound| bound.host.to_string()).collect()
}

#[tokio::test]
async fn ports_are_held_and_given_back() {
    let lab = Lab::new().await;
    let to = target(Some("10.1.0.2"), None);
    let fixed = [request(Protocol::Tcp, None, 8080..=8080), request(Protocol::Udp, Some("203.0.113.1"), 8080..=8080)];
    let reserved = Reserved::bind(&lab.host, &fixed, &to).await.unwrap();
    assert_eq!(hosts(&reserved), ["0.0.0.0:8080", "[::]:8080", "203.0.113.1:8080"]);
    let published: Vec<_> = reserved.published().iter().map(|port| port.host.to_string()).collect();
    assert_eq!(published, ["0.0.0.0:8080", "203.0.113.1:8080"], "IPv6 is the relay's");
    // Another container's.
    let again = Reserved::bind(&lab.host, &[request(Protocol::Tcp, Some("127.0.0.1"), 8080..=8080)], &to).await;
    let Err(Error::Port(err)) = again else { panic!("{again:?}") };
    assert_eq!(err.to_string(), "Bind for 127.0.0.1:8080 failed: port is already allocated");
    // Another program cannot have it either.
    assert!(lab.host.run(|| TcpListener::bind("0.0.0.0:8080")).await.unwrap().is_err());
    drop(reserved);
    // At once, as a restart does.
    let reserved = Reserved::bind(&lab.host, &fixed, &to).await.unwrap();
    drop(reserved);
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Another program's.
    let _other = lab.host.run(|| TcpListener::bind("203.0.113.1:8080").unwrap()).await.unwrap();
    let taken = Reserved::bind(&lab.host, &fixed, &to).await;
    let Err(Error::Port(err)) = taken else { panic!("{taken:?}") };
    assert_eq!(err.to_string(), "failed to bind host port for 0.0.0.0:8080:10.1.0.2:80/tcp: address already in use");
    let absent = Reserved::bind(&lab.host, &[request(Protocol::Tcp, Some("198.51.100.1"), 8081..=8081)], &to).await;
    let Err(Error::Port(PortError::Refused { reason, .. })) = absent else { panic!("{absent:?}") };
    assert!(reason.contains("assign requested address"), "{reason}");
    // All or none.
    let both = [request(Protocol::Tcp, None, 8090..=8090), fixed[0].clone()];
    Reserved::bind(&lab.host, &both, &to).await.unwrap_err();
    Reserved::bind(&lab.host, &both[..1], &to).await.unwrap();
}

#[tokio::test]
async fn ranges_and_ephemeral_ports() {
    let lab = Lab::new().await;
    let to = target(Some("10.1.0.2"), Some("fd00:1::2"));
    let range = [request(Protocol::Tcp, None, 8000..=8002)];
    let _other = lab.host.run(|| TcpListener::bind("[::]:8001").unwrap()).await.unwrap();
    let first = Reserved::bind(&lab.host, &range, &to).await.unwrap();
    assert_eq!(hosts(&first), ["0.0.0.0:8000", "[::]:8000"]);
    let second = Reserved::bind(&lab.host, &range, &to).await.unwrap();
    assert_eq!(hosts(&second), ["0.0.0.0:8002", "[::]:8002"], "8001 is not free for both");
    let third = Reserved::bind(&lab.host, &range, &to).await;
    assert!(matches!(third, Err(Error::Port(PortError::AllTaken))), "{third:?}");
    let any = [request(Protocol::Tcp, None, 0..=0), request(Protocol::Udp, None, 0..=0)];
    let mut all = Vec::new();
    for _ in 0..20 {
        let reserved = Reserved::bind(&lab.host, &any, &to).await.unwrap();
        let bound = reserved.bound();
        assert_eq!(bound.len(), 4);
        assert!(bound[0].host.port() != 0 && bound[0].host.port() == bound[1].host.port());
        assert!(bound[2].host.port() != 0 && bound[2].host.port() == bound[3].host.port());
        assert_eq!(reserved.published().len(), 4);
        all.push(reserved);
    }
}

#[tokio::test]
async fn a_host_without_ipv6_has_ports_of_ipv4() {
    let lab = Lab::new().await;
    let host = lab.namespace("v4only").await;
    host.set_sysctl("net/ipv6/conf/all/disable_ipv6", "1").await.unwrap();
    let to = target(Some("10.1.0.2"), None);
    // Where IPv6 is only turned off, the unspecified address can still be bound.
    let reserved = Reserved::bind(&host, &[request(Protocol::Tcp, None, 0..=0)], &to).await.unwrap();
    assert!(reserved.bound()[0].host.is_ipv4());
    let loopback = Reserved::bind(&host, &[request(Protocol::Tcp, Some("::1"), 8080..=8080)], &to).await;
    assert!(matches!(loopback, Err(Error::Port(PortError::Refused { .. }))), "{loopback:?}");
}

#[tokio::test]
async fn sctp_is_there_or_says_that_it_is_not() {
    let lab = Lab::new().await;
    let to = target(Some("10.1.0.2"), None);
    match Reserved::bind(&lab.host, &[request(Protocol::Sctp, None, 8080..=8080)], &to).await {
        Ok(reserved) => assert_eq!(reserved.bound().len(), 2),
        Err(err) => assert_eq!(err.to_string(), "this host's kernel has no SCTP"),
    }
}

#[tokio::test]
async fn what_rules_cannot_do_is_relayed() {
    let lab = Lab::new().await;
    bridge::enable_forwarding(&lab.host, true).await.unwrap();
    let network = lab.bridge("br-a", &["10.1.0.0/24"]).await;
    let one = lab.container("one", &network, 2).await;
    serve(&one, "0.0.0.0:80", "one").await;
    let firewall = lab.firewall();
    firewall.apply(Model { networks: vec![network], ..Model::default() }).await.unwrap();
    let requests = [request(Protocol::Tcp, None, 8080..=8080), request(Protocol::Udp, None, 8080..=8080)];
    let reserved = Reserved::bind(&lab.host, &requests, &target(Some("10.1.0.2"), None)).await.unwrap();
    firewall.publish(reserved.published()).await.unwrap();
    // IPv6 to a container of IPv4: of the host, and from outside.
    assert_eq!(ask(&lab.host, "[::1]:8080").await.unwrap(), "one 10.1.0.1");
    assert_eq!(ask(&lab.outside, "[2001:db8::1]:8080").await.unwrap(), "one 10.1.0.1");
    for _ in 0..3 {
        assert_eq!(ask_udp(&lab.host, "[::1]:8080", PATIENCE).await.unwrap(), "one 10.1.0.1");
    }
    // By rule: the client's address shows it.
    assert_eq!(ask(&lab.outside, "203.0.113.1:8080").await.unwrap(), "one 203.0.113.2");
    // And without one: somebody flushes the ruleset.
    firewall.remove().await.unwrap();
    assert_eq!(ask(&lab.outside, "203.0.113.1:8080").await.unwrap(), "one 10.1.0.1");
    drop(reserved);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(ask(&lab.host, "[::1]:8080").await.is_err());
    assert!(ask_udp(&lab.host, "[::1]:8080", SHORT).await.is_err());
}
