//! A VM on a bridge, in namespaces of the test's own.

use super::{
    TURN,
    fixture::{Fixture, PIPES, process, texts},
};
use hako_model::{GuestInterface, NetworkChange, VmNetwork};
use hako_net::{
    Bridge, Gateways, Interface, Mac, Netns, TapInterface,
    attach::{attach, attach_tap, detach, detach_tap},
    bridge,
};
use hako_sandbox::{Sandbox, microvm::MicroVm};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A host with two bridges, and on each a neighbour at .9 that answers with
/// 5 MB, so that long frames are among it.
struct Net {
    folder: tempfile::TempDir,
    host: Netns,
    sandbox: Netns,
    neighbour: Netns,
}

const ANSWER: usize = 5_000_000;

impl Net {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| folder.path().join(name);
        let host = Netns::create(&make("host")).await.unwrap();
        let sandbox = Netns::create(&make("sandbox")).await.unwrap();
        let neighbour = Netns::create(&make("neighbour")).await.unwrap();
        for n in [1, 2] {
            let addresses = [format!("10.{n}.0.1/24"), format!("fd00:{n}::1/64")];
            let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
            let made = Bridge { name: format!("br{n}"), addresses, mtu: 1450, mac: None };
            bridge::ensure(&host, &made).await.unwrap();
            let addresses = [format!("10.{n}.0.9/24"), format!("fd00:{n}::9/64")];
            let interface = Interface {
                host_name: format!("vethneigh{n}"),
                bridge: format!("br{n}"),
                name: format!("eth{n}"),
                mac: Mac([2, 0, 0, 0, 9, n]),
                mtu: 1450,
                isolated: false,
                addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
                gateways: Gateways::default(),
                routes: Vec::new(),
                sysctls: Vec::new(),
            };
            attach(&host, &neighbour, &interface).await.unwrap();
        }
        let listener = neighbour.run(|| TcpListener::bind("[::]:80").unwrap()).await.unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { break };
                let _ = stream.write_all(&vec![b'x'; ANSWER]);
            }
        });
        Self { folder, host, sandbox, neighbour }
    }

    /// What the guest gets as `name`, at .2 of the bridge `n`, by `tap`.
    async fn plug(&self, n: u8, name: &str, tap: &str) -> GuestInterface {
        let interface = TapInterface {
            host_name: format!("veth{tap}"),
            bridge: format!("br{n}"),
            name: format!("far{tap}"),
            tap: tap.to_owned(),
            mtu: 1450,
            isolated: false,
        };
        attach_tap(&self.host, &self.sandbox, &interface).await.unwrap();
        GuestInterface {
            name: name.to_owned(),
            tap: tap.to_owned(),
            mac: Mac([2, 0, 0, 0, 2, n]).to_string(),
            mtu: 1450,
            addresses: vec![format!("10.{n}.0.2/24"), format!("fd00:{n}::2/64")],
            gateway_v4: Some([10, n, 0, 1].into()),
            gateway_v6: None,
            routes: vec![(format!("198.51.10{n}.0/24"), None)],
            sysctls: vec![("net.ipv4.conf.IFNAME.log_martians".to_owned(), "1".to_owned())],
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What the guest's server says to the neighbour.
    async fn ask(&self, address: &str) -> std::io::Result<String> {
        let address: SocketAddr = address.parse().unwrap();
        let ask = move || {
            let begun = Instant::now();
            loop {
                let connected = TcpStream::connect_timeout(&address, Duration::from_secs(2));
                match connected {
                    Ok(mut stream) => {
                        let mut text = String::new();
                        stream.set_read_timeout(Some(PATIENCE))?;
                        stream.read_to_string(&mut text)?;
                        return Ok(text);
                    }
                    Err(err) if begun.elapsed() > Duration::from_secs(4) => return Err(err),
                    // The server is not up yet.
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        };
        self.neighbour.run(ask).await.unwrap()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in Netns::list(self.path()).unwrap() {
            let _ = nix::mount::umount2(&self.path().join(name), nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

async fn exec(sandbox: &MicroVm, id: &str, script: &str) -> String {
    let spec = serde_json::to_vec(&process(&["sh", "-c", script], false)).unwrap();
    let streams = sandbox.exec(id, spec, PIPES).await.unwrap();
    sandbox.start(Some(id)).await.unwrap();
    let (out, err) = texts(streams).await;
    sandbox.wait(Some(id)).await.unwrap();
    sandbox.delete(Some(id)).await.unwrap();
    assert_eq!(err, "", "{script}");
    out
}

#[tokio::test]
async fn a_guest_without_a_network_has_lo_alone() {
    let _turn = TURN.lock().await;
    let (out, err, code) = Fixture::new(None).run(&["sh", "-c", "ip addr; echo; ip route"]).await;
    assert_eq!((err.as_str(), code), ("", 0));
    assert!(out.contains("127.0.0.1/8") && out.contains("LOOPBACK,UP"), "{out}");
    assert!(!out.contains("eth0"), "{out}");
}

#[tokio::test]
async fn a_network_that_is_not_there_is_an_error() {
    let _turn = TURN.lock().await;
    let net = Net::new().await;
    let mut fixture = Fixture::new(None);
    let interface = GuestInterface {
        tap: "absent0".to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        ..net.plug(1, "eth0", "tap0").await
    };
    fixture.vm().network = Some(VmNetwork { netns: net.path().join("nowhere"), interfaces: vec![interface.clone()] });
    let failed = fixture.sandbox().create(fixture.request(&["true"], PIPES)).await.err().unwrap();
    assert!(failed.message.contains("absent0"), "{failed}");
    // The agent refuses what the kernel refuses.
    let broken = GuestInterface {
        addresses: vec!["10.1.0.2/24".into()],
        gateway_v4: Some([10, 7, 0, 1].into()),
        tap: "tap0".into(),
        ..interface
    };
    fixture.vm().network = Some(VmNetwork { netns: net.path().join("sandbox"), interfaces: vec![broken] });
    let failed = fixture.sandbox().create(fixture.request(&["true"], PIPES)).await.err().unwrap();
    assert!(failed.message.contains("default route by 10.7.0.1"), "{failed}");
}

#[tokio::test]
async fn a_guest_is_on_networks_that_come_and_go() {
    let _turn = TURN.lock().await;
    let net = Net::new().await;
    let mut fixture = Fixture::new(None);
    let first = net.plug(1, "eth0", "tap0").await;
    fixture.vm().network = Some(VmNetwork { netns: net.path().join("sandbox"), interfaces: vec![first.clone()] });
    let server = "exec nc -ll -p 8000 -e echo guest";
    let (sandbox, _streams) = fixture.start(&["sh", "-c", server], PIPES).await;
    let process = sandbox.vm().unwrap().pid;
    let ns = |path: &str| std::fs::metadata(path).map(|meta| std::os::unix::fs::MetadataExt::ino(&meta)).unwrap();
    assert_eq!(
        ns(&format!("/proc/{process}/ns/net")),
        ns(net.path().join("sandbox").to_str().unwrap()),
        "QEMU is in it"
    );

    let shown = exec(&sandbox, "e1", "ip addr show eth0; ip route; ip -6 route; cat /proc/sys/net/ipv4/conf/eth0/log_martians; echo; ip addr show lo").await;
    for word in [
        "10.1.0.2/24",
        "fd00:1::2/64",
        "mtu 1450",
        "02:00:00:00:02:01",
        "default via 10.1.0.1",
        "198.51.101.0/24 dev eth0",
        "\n1\n",
        "127.0.0.1/8",
    ] {
        assert!(shown.contains(word), "{word:?}: {shown}");
    }
    assert_eq!(net.ask("10.1.0.2:8000").await.unwrap(), "guest\n");
    assert_eq!(net.ask("[fd00:1::2]:8000").await.unwrap(), "guest\n");
    let size = format!("{ANSWER}\n");
    assert_eq!(exec(&sandbox, "e2", "nc 10.1.0.9 80 </dev/null | wc -c").await, size);

    // A second one: its frames go by the agent's channel.
    let second = net.plug(2, "eth1", "tap1").await;
    let second = GuestInterface { gateway_v4: None, ..second };
    sandbox.network(NetworkChange::Connect(second.clone())).await.unwrap();
    let twice = sandbox.network(NetworkChange::Connect(second.clone())).await.unwrap_err();
    assert!(twice.message.contains("eth1"), "{twice}");
    assert_eq!(net.ask("10.2.0.2:8000").await.unwrap(), "guest\n");
    assert_eq!(net.ask("[fd00:2::2]:8000").await.unwrap(), "guest\n");
    let begun = Instant::now();
    assert_eq!(exec(&sandbox, "e3", "nc 10.2.0.9 80 </dev/null | wc -c").await, size);
    println!("5 MB by the channel, with an exec: {:?}", begun.elapsed());
    let gateways = NetworkChange::Gateways { v4: Some([10, 2, 0, 1].into()), v6: None };
    sandbox.network(gateways).await.unwrap();
    assert!(exec(&sandbox, "e4", "ip route").await.contains("default via 10.2.0.1 dev eth1"));

    // The first goes, and its card is used again for the other network.
    sandbox.network(NetworkChange::Disconnect("eth0".to_owned())).await.unwrap();
    detach(&net.host, "vethtap0").await.unwrap();
    let shown = exec(&sandbox, "e5", "ip addr").await;
    assert!(!shown.contains("eth0") && !shown.contains("10.1.0.2"), "{shown}");
    assert!(net.ask("10.1.0.2:8000").await.is_err());
    sandbox.network(NetworkChange::Disconnect("eth1".to_owned())).await.unwrap();
    detach(&net.host, "vethtap1").await.unwrap();
    detach_tap(&net.sandbox, "tap1").await.unwrap();
    let absent = sandbox.network(NetworkChange::Disconnect("eth1".to_owned())).await.unwrap_err();
    assert!(absent.message.contains("eth1"), "{absent}");
    assert!(!exec(&sandbox, "e6", "ip addr").await.contains("eth1"));
    let again = net.plug(2, "eth0", "tap0").await;
    sandbox.network(NetworkChange::Connect(again)).await.unwrap();
    assert_eq!(net.ask("10.2.0.2:8000").await.unwrap(), "guest\n");
    // And the first network by the channel, many times over.
    for round in 0..10 {
        let further = GuestInterface { gateway_v4: None, ..net.plug(1, "eth1", "tap1").await };
        sandbox.network(NetworkChange::Connect(further)).await.unwrap();
        assert_eq!(net.ask("10.1.0.2:8000").await.unwrap(), "guest\n", "round {round}");
        sandbox.network(NetworkChange::Disconnect("eth1".to_owned())).await.unwrap();
        detach(&net.host, "vethtap1").await.unwrap();
        detach_tap(&net.sandbox, "tap1").await.unwrap();
    }
    sandbox.delete(None).await.unwrap();
}
