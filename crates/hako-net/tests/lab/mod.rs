//! A host, a network outside and containers, each a namespace of its own that
//! goes with the test.
#![allow(dead_code, reason = "each test file uses its part")]

use hako_net::{Bridge, Firewall, Gateways, Interface, Mac, Netns, attach::attach, bridge, firewall::FilteredNetwork};
use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Longer than anything here takes, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long a packet that is dropped is waited for.
pub const SHORT: Duration = Duration::from_millis(700);

static NEXT: AtomicU32 = AtomicU32::new(0);

pub struct Lab {
    folder: tempfile::TempDir,
    pub host: Netns,
    /// A machine on the host's uplink: 203.0.113.2 and 2001:db8::2; the host is .1.
    pub outside: Netns,
}

impl Lab {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Netns::create(&folder.path().join("host")).await.unwrap();
        let outside = Netns::create(&folder.path().join("outside")).await.unwrap();
        // The uplink is a bridge here too, with the outside on it.
        let uplink = Bridge {
            name: "uplink".into(),
            addresses: nets(&["203.0.113.1/24", "2001:db8::1/64"]),
            mtu: 1400,
            mac: None,
        };
        bridge::ensure(&host, &uplink).await.unwrap();
        host.set_sysctl("net/ipv4/conf/uplink/route_localnet", "0").await.unwrap();
        let interface = Interface {
            host_name: "vethoutside".into(),
            bridge: "uplink".into(),
            name: "eth0".into(),
            mac: Mac::from_random([1, 2, 3, 4, 5, 6]),
            mtu: 1400,
            isolated: false,
            addresses: nets(&["203.0.113.2/24", "2001:db8::2/64"]),
            gateways: Gateways::default(),
            routes: Vec::new(),
            sysctls: Vec::new(),
        };
        attach(&host, &outside, &interface).await.unwrap();
        Self { folder, host, outside }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn namespace(&self, name: &str) -> Netns {
        Netns::create(&self.path(name)).await.unwrap()
    }

    /// A bridge whose gateways are the first addresses of `subnets`.
    pub async fn bridge(&self, name: &str, subnets: &[&str]) -> FilteredNetwork {
        let subnets = nets(subnets);
        let gateway = |net: &hako_net::IpNet| hako_net::IpNet::new(host_of(*net, 1), net.prefix_len()).unwrap();
        let made = Bridge { name: name.into(), addresses: subnets.iter().map(gateway).collect(), mtu: 1500, mac: None };
        bridge::ensure(&self.host, &made).await.unwrap();
        FilteredNetwork { bridge: name.into(), subnets, internal: false, icc: true, masquerade: true }
    }

    /// A container `number` on the network, at the address of that number.
    pub async fn container(&self, name: &str, network: &FilteredNetwork, number: u32) -> Netns {
        let netns = self.namespace(name).await;
        self.connect(&netns, network, number, "eth0").await;
        netns
    }

    pub async fn connect(&self, netns: &Netns, network: &FilteredNetwork, number: u32, name: &str) -> String {
        let interface = self.interface(network, number, name);
        attach(&self.host, netns, &interface).await.unwrap();
        interface.host_name
    }

    pub fn interface(&self, network: &FilteredNetwork, number: u32, name: &str) -> Interface {
        let mut gateways = Gateways::default();
        for subnet in network.subnets.iter().filter(|_| !network.internal) {
            match host_of(*subnet, 1) {
                IpAddr::V4(gateway) => gateways.v4 = Some(gateway),
                IpAddr::V6(gateway) => gateways.v6 = Some(gateway),
            }
        }
        let address = |net: &hako_net::IpNet| hako_net::IpNet::new(host_of(*net, number), net.prefix_len()).unwrap();
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        Interface {
            host_name: format!("veth{unique:07x}"),
            bridge: network.bridge.clone(),
            name: name.into(),
            mac: Mac::from_random([2, 0, 0, 0, unique.to_le_bytes()[0], unique.to_le_bytes()[1]]),
            mtu: 1500,
            isolated: !network.icc,
            addresses: network.subnets.iter().map(address).collect(),
            gateways,
            routes: Vec::new(),
            sysctls: Vec::new(),
        }
    }

    pub fn firewall(&self) -> Firewall {
        Firewall::new(self.host.clone(), "hako")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in Netns::list(self.folder.path()).unwrap() {
            let path = self.folder.path().join(name);
            let _ = nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

pub fn nets(texts: &[&str]) -> Vec<hako_net::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub fn host_of(net: hako_net::IpNet, number: u32) -> IpAddr {
    match net.network() {
        IpAddr::V4(address) => std::net::Ipv4Addr::from(u32::from(address) + number).into(),
        IpAddr::V6(address) => std::net::Ipv6Addr::from(u128::from(address) + u128::from(number)).into(),
    }
}

/// A TCP and a UDP server in `netns` that answer with `name` and the client's address.
pub async fn serve(netns: &Netns, address: &str, name: &'static str) {
    let address: SocketAddr = address.parse().unwrap();
    let (tcp, udp) =
        netns.run(move || (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap())).await.unwrap();
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let Ok(mut stream) = stream else { break };
            let peer = stream.peer_addr().unwrap();
            let _ = write!(stream, "{name} {}", peer.ip());
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// What a server answers to a client in `netns`.
pub async fn ask(netns: &Netns, address: &str) -> io::Result<String> {
    ask_within(netns, address, PATIENCE).await
}

/// That no answer comes, whatever the reason.
pub async fn assert_silent(netns: &Netns, address: &str) {
    if let Ok(answer) = ask_within(netns, address, SHORT).await {
        panic!("{address} answers {answer:?}");
    }
}

pub async fn ask_within(netns: &Netns, address: &str, patience: Duration) -> io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    netns
        .run(move || {
            let mut stream = TcpStream::connect_timeout(&address, patience)?;
            stream.set_read_timeout(Some(patience))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            if text.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(text) }
        })
        .await
        .unwrap()
}

pub async fn ask_udp(netns: &Netns, address: &str, patience: Duration) -> io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    netns
        .run(move || {
            let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.set_read_timeout(Some(patience))?;
            socket.connect(address)?;
            socket.send(b"hello")?;
            let mut buffer = [0; 128];
            let length = socket.recv(&mut buffer)?;
            Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
        })
        .await
        .unwrap()
}
