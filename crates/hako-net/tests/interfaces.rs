//! Namespaces, bridges and interfaces, in namespaces of the tests' own.

#![allow(clippy::unwrap_used)]

mod lab;

use hako_net::{
    Bridge, Error, Gateways, Netns, Route, TapInterface,
    attach::{self, attach, attach_tap, counters, detach, detach_tap, set_gateways},
    bridge,
};
use lab::{Lab, ask, assert_silent, nets, serve};
use std::{
    fs,
    io::{Read, Write},
};

#[tokio::test]
async fn a_namespace_is_made_replaced_listed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("netns/one");
    let first = Netns::create(&path).await.unwrap();
    let inode = |netns: &Netns| nix::sys::stat::fstat(netns.as_fd()).unwrap().st_ino;
    assert_eq!(Netns::list(path.parent().unwrap()).unwrap(), ["one"]);
    assert_eq!(inode(&Netns::open(&path).await.unwrap()), inode(&first));
    assert_eq!(first.sysctl("net/ipv6/conf/default/disable_ipv6").await.unwrap(), "1");
    let flags = first.run(|| fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap()).await.unwrap();
    assert!(flags.contains(" lo"), "lo is up: {flags}");
    let second = Netns::create(&path).await.unwrap();
    assert_ne!(inode(&second), inode(&first));
    Netns::remove(&path).await.unwrap();
    Netns::remove(&path).await.unwrap();
    assert!(!path.exists());
    // A crash between the file and its mount.
    fs::write(&path, "").unwrap();
    assert!(matches!(Netns::open(&path).await, Err(Error::NotANamespace { .. })));
    Netns::remove(&path).await.unwrap();
    assert!(Netns::list(path.parent().unwrap()).unwrap().is_empty());
    assert!(Netns::list(&folder.path().join("absent")).unwrap().is_empty());
}

#[tokio::test]
async fn a_bridge_is_made_repaired_and_removed() {
    let lab = Lab::new().await;
    let wanted = Bridge {
        name: "br-test".into(),
        addresses: nets(&["10.9.0.1/24", "fd00:9::1/64"]),
        mtu: 1400,
        mac: Some("02:42:00:00:00:09".parse().unwrap()),
    };
    bridge::ensure(&lab.host, &wanted).await.unwrap();
    let before = show(&lab.host, "br-test").await;
    for word in ["10.9.0.1/24", "fd00:9::1/64", "mtu 1400", "02:42:00:00:00:09", "UP"] {
        assert!(before.contains(word), "{word}: {before}");
    }
    assert_eq!(lab.host.sysctl("net/ipv4/conf/br-test/route_localnet").await.unwrap(), "1");
    // Again, and after somebody's changes.
    bridge::ensure(&lab.host, &wanted).await.unwrap();
    sh(
        &lab.host,
        "ip addr del 10.9.0.1/24 dev br-test; ip addr add 10.8.0.1/24 dev br-test; ip link set br-test mtu 1300 down",
    )
    .await;
    bridge::ensure(&lab.host, &wanted).await.unwrap();
    let after = show(&lab.host, "br-test").await;
    for word in ["10.9.0.1/24", "fd00:9::1/64", "mtu 1400", "02:42:00:00:00:09", "UP"] {
        assert!(after.contains(word), "{word}: {after}");
    }
    assert!(!after.contains("10.8.0.1"), "{after}");
    assert_eq!(bridge::list(&lab.host, "br-").await.unwrap(), ["br-test"]);
    let used = bridge::subnets_in_use(&lab.host, &[]).await.unwrap();
    for subnet in nets(&["10.9.0.0/24", "203.0.113.0/24", "fd00:9::/64"]) {
        assert!(used.contains(&subnet), "{subnet}: {used:?}");
    }
    let used = bridge::subnets_in_use(&lab.host, &["br-test".to_owned()]).await.unwrap();
    assert!(used.contains(&nets(&["203.0.113.0/24"])[0]) && !used.contains(&nets(&["10.9.0.0/24"])[0]), "{used:?}");
    bridge::remove(&lab.host, "br-test").await.unwrap();
    bridge::remove(&lab.host, "br-test").await.unwrap();
    assert!(matches!(bridge::remove(&lab.host, "vethoutside").await, Err(Error::OtherDevice { .. })));
    let lo = Bridge { name: "lo".into(), ..wanted };
    assert!(matches!(bridge::ensure(&lab.host, &lo).await, Err(Error::OtherDevice { .. })));
}

#[tokio::test]
async fn the_uplink_is_the_default_route_of_the_lowest_metric() {
    let lab = Lab::new().await;
    assert_eq!(bridge::uplink_mtu(&lab.host).await.unwrap(), None);
    sh(&lab.host, "ip route add default via 203.0.113.2 metric 5").await;
    assert_eq!(bridge::uplink_mtu(&lab.host).await.unwrap(), Some(1400));
    lab.bridge("br0", &["10.9.0.0/24"]).await;
    sh(&lab.host, "ip route add default via 10.9.0.2 metric 1").await;
    assert_eq!(bridge::uplink_mtu(&lab.host).await.unwrap(), Some(1500));
}

#[tokio::test]
async fn forwarding_is_turned_on_once() {
    let lab = Lab::new().await;
    lab.host.set_sysctl("net/ipv4/ip_forward", "0").await.unwrap();
    lab.host.set_sysctl("net/ipv6/conf/uplink/accept_ra", "1").await.unwrap();
    assert!(bridge::enable_forwarding(&lab.host, true).await.unwrap());
    assert_eq!(lab.host.sysctl("net/ipv4/ip_forward").await.unwrap(), "1");
    assert_eq!(lab.host.sysctl("net/ipv6/conf/all/forwarding").await.unwrap(), "1");
    assert_eq!(lab.host.sysctl("net/ipv6/conf/uplink/accept_ra").await.unwrap(), "2");
    assert!(!bridge::enable_forwarding(&lab.host, true).await.unwrap());
}

#[tokio::test]
async fn containers_on_one_bridge_reach_each_other() {
    let lab = Lab::new().await;
    let network = lab.bridge("br0", &["10.9.0.0/24", "fd00:9::/64"]).await;
    let one = lab.container("one", &network, 2).await;
    let mut interface = lab.interface(&network, 3, "eth0");
    interface.routes = vec![
        Route { destination: nets(&["198.51.100.0/24"])[0], gateway: Some("10.9.0.2".parse().unwrap()) },
        Route { destination: nets(&["198.51.101.0/24"])[0], gateway: None },
        Route { destination: nets(&["2001:db8:5::/48"])[0], gateway: Some("fd00:9::2".parse().unwrap()) },
    ];
    interface.sysctls = vec![("net.ipv4.conf.IFNAME.log_martians".into(), "1".into())];
    let two = lab.namespace("two").await;
    attach(&lab.host, &two, &interface).await.unwrap();
    serve(&one, "10.9.0.2:80", "one").await;
    serve(&one, "[fd00:9::2]:80", "one").await;
    assert_eq!(ask(&two, "10.9.0.2:80").await.unwrap(), "one 10.9.0.3");
    assert_eq!(ask(&two, "[fd00:9::2]:80").await.unwrap(), "one fd00:9::3");
    assert_eq!(ask(&lab.host, "10.9.0.2:80").await.unwrap(), "one 10.9.0.1");
    let routes = sh(&two, "ip route; ip -6 route").await;
    for route in [
        "default via 10.9.0.1 dev eth0",
        "198.51.100.0/24 via 10.9.0.2",
        "198.51.101.0/24 dev eth0 scope link",
        "2001:db8:5::/48 via fd00:9::2",
        "default via fd00:9::1",
    ] {
        assert!(routes.contains(route), "{route}: {routes}");
    }
    assert_eq!(two.sysctl("net/ipv4/conf/eth0/log_martians").await.unwrap(), "1");
    assert!(show(&two, "eth0").await.contains(&interface.mac.to_string()));
    let carried = counters(&one).await.unwrap();
    assert!(carried.len() == 1 && carried[0].name == "eth0" && carried[0].rx_bytes > 0, "{carried:?}");
    // Ports of a bridge have no addresses of their own.
    assert!(!show(&lab.host, &interface.host_name).await.contains("fe80"));
    // The pair from before a crash is replaced.
    detach(&lab.host, &interface.host_name).await.unwrap();
    attach(&lab.host, &two, &interface).await.unwrap();
    attach(&lab.host, &two, &interface).await.unwrap();
    assert_eq!(ask(&two, "10.9.0.2:80").await.unwrap(), "one 10.9.0.3");
    let listed = attach::list(&lab.host, "veth").await.unwrap();
    assert!(listed.contains(&(interface.host_name.clone(), Some("br0".to_owned()))), "{listed:?}");
    detach(&lab.host, &interface.host_name).await.unwrap();
    detach(&lab.host, &interface.host_name).await.unwrap();
    assert!(counters(&two).await.unwrap().is_empty());
    assert!(matches!(detach(&lab.host, "br0").await, Err(Error::OtherDevice { .. })));
}

#[tokio::test]
async fn an_attachment_that_fails_leaves_nothing() {
    let lab = Lab::new().await;
    let network = lab.bridge("br0", &["10.9.0.0/24"]).await;
    let one = lab.namespace("one").await;
    let mut interface = lab.interface(&network, 2, "eth0");
    interface.gateways.v4 = Some("10.7.0.1".parse().unwrap());
    let failed = attach(&lab.host, &one, &interface).await.unwrap_err().to_string();
    assert!(failed.contains("default route by 10.7.0.1"), "{failed}");
    assert!(counters(&one).await.unwrap().is_empty());
    interface.gateways.v4 = None;
    interface.bridge = "absent".into();
    assert!(attach(&lab.host, &one, &interface).await.is_err());
    // Two of one name in the namespace.
    interface.bridge = "br0".into();
    attach(&lab.host, &one, &interface).await.unwrap();
    let mut again = lab.interface(&network, 3, "eth0");
    again.host_name = "vethagain".into();
    assert!(attach(&lab.host, &one, &again).await.is_err());
    assert!(attach::list(&lab.host, "vethagain").await.unwrap().is_empty());
}

#[tokio::test]
async fn another_network_may_lead_outside() {
    let lab = Lab::new().await;
    let first = lab.bridge("br0", &["10.9.0.0/24", "fd00:9::/64"]).await;
    let second = lab.bridge("br1", &["10.8.0.0/24", "fd00:8::/64"]).await;
    let one = lab.container("one", &first, 2).await;
    let mut further = lab.interface(&second, 2, "eth1");
    further.gateways = Gateways::default();
    attach(&lab.host, &one, &further).await.unwrap();
    set_gateways(&one, Gateways { v4: Some("10.8.0.1".parse().unwrap()), v6: Some("fd00:8::1".parse().unwrap()) })
        .await
        .unwrap();
    let routes = sh(&one, "ip route show default; ip -6 route show default").await;
    assert!(
        routes.contains("default via 10.8.0.1 dev eth1") && routes.contains("default via fd00:8::1 dev eth1"),
        "{routes}"
    );
    assert!(!routes.contains("10.9.0.1") && !routes.contains("fd00:9::1"), "{routes}");
    set_gateways(&one, Gateways::default()).await.unwrap();
    assert_eq!(sh(&one, "ip route show default; ip -6 route show default").await, "");
}

#[tokio::test]
async fn isolated_containers_reach_the_bridge_only() {
    let lab = Lab::new().await;
    let mut network = lab.bridge("br0", &["10.9.0.0/24"]).await;
    network.icc = false;
    let one = lab.container("one", &network, 2).await;
    let two = lab.container("two", &network, 3).await;
    serve(&one, "10.9.0.2:80", "one").await;
    serve(&lab.host, "10.9.0.1:80", "host").await;
    assert_eq!(ask(&two, "10.9.0.1:80").await.unwrap(), "host 10.9.0.3");
    assert_silent(&two, "10.9.0.2:80").await;
}

/// A guest behind a tap: here a process that answers ARP and ping with a stack
/// of its own, which is another namespace behind a second tap.
#[tokio::test]
async fn a_tap_is_joined_to_its_veth() {
    let lab = Lab::new().await;
    let network = lab.bridge("br0", &["10.9.0.0/24"]).await;
    let sandbox = lab.namespace("sandbox").await;
    let interface = TapInterface {
        host_name: "veth0000abc".into(),
        bridge: "br0".into(),
        name: "veth0".into(),
        tap: "tap0".into(),
        mtu: 1500,
        isolated: false,
    };
    attach_tap(&lab.host, &sandbox, &interface).await.unwrap();
    // The same from before a crash: the namespace is new then.
    let guest = lab.namespace("guest").await;
    let near = sandbox.run(|| hako_os::tap::open_with_offload("tap0")).await.unwrap().unwrap();
    let far = guest.run(|| hako_os::tap::open_with_offload("eth0")).await.unwrap().unwrap();
    sh(&guest, "ip addr add 10.9.0.2/24 dev eth0; ip link set eth0 up").await;
    let (near, far) = (fs::File::from(near), fs::File::from(far));
    let copy = |mut from: fs::File, mut to: fs::File| {
        std::thread::spawn(move || {
            let mut frame = vec![0; 66_000];
            loop {
                match from.read(&mut frame) {
                    Ok(length) => drop(to.write(&frame[..length])),
                    Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {
                        std::thread::sleep(std::time::Duration::from_millis(1))
                    }
                    Err(_) => break,
                }
            }
        });
    };
    copy(near.try_clone().unwrap(), far.try_clone().unwrap());
    copy(far, near);
    let other = lab.container("other", &network, 3).await;
    serve(&guest, "10.9.0.2:80", "guest").await;
    serve(&other, "10.9.0.3:80", "other").await;
    assert_eq!(ask(&other, "10.9.0.2:80").await.unwrap(), "guest 10.9.0.3");
    assert_eq!(ask(&guest, "10.9.0.3:80").await.unwrap(), "other 10.9.0.2");
    detach(&lab.host, "veth0000abc").await.unwrap();
    assert_silent(&other, "10.9.0.2:80").await;
    detach_tap(&sandbox, "tap0").await.unwrap();
    detach_tap(&sandbox, "tap0").await.unwrap();
    attach_tap(&lab.host, &sandbox, &interface).await.unwrap();
}

async fn sh(netns: &Netns, command: &'static str) -> String {
    let run = move || std::process::Command::new("sh").args(["-c", command]).output().unwrap();
    let output = netns.run(run).await.unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn show(netns: &Netns, name: &str) -> String {
    let name = name.to_owned();
    let run = move || std::process::Command::new("ip").args(["addr", "show", "dev", &name]).output().unwrap();
    String::from_utf8(netns.run(run).await.unwrap().stdout).unwrap()
}
