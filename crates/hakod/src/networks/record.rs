//! What the engine knows of a network, and of a container's place in networks,
//! as it is kept in the store.

use hako_model::Isolation;
use hako_net::{Interface, IpNet, Mac, ipam::Subnet, ports::Bound};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// One network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Network {
    /// Its identifier.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: String,
    /// What it is.
    pub driver: Driver,
    /// As asked for.
    pub options: BTreeMap<String, String>,
    /// As asked for.
    pub labels: BTreeMap<String, String>,
    /// Swarm's word, which means nothing here and is shown.
    pub attachable: bool,
    /// `IPAM.Options`, which mean nothing to the default driver and are shown.
    pub ipam_options: Option<BTreeMap<String, String>>,
}

/// What a network is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of the host.
    Bridge(Bridge),
    /// The host's own interfaces.
    Host,
    /// None.
    Null,
}

/// A bridge, and what is done with packets on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bridge {
    /// The interface.
    pub name: String,
    /// The subnets, of IPv4 at most one that has a gateway.
    pub subnets: Vec<Subnet>,
    /// Whether nothing outside is reached.
    pub internal: bool,
    /// Whether its containers reach each other.
    pub icc: bool,
    /// Whether what leaves has the host's address.
    pub masquerade: bool,
    /// The largest packet.
    pub mtu: u32,
    /// Where ports are published that name no address.
    pub host_ip: Option<IpAddr>,
    /// The network `bridge`: containers know no names there but of links.
    pub is_default: bool,
    /// Whether its subnets were asked for: only then may containers ask for addresses.
    pub has_own_subnets: bool,
}

impl Network {
    /// Its bridge, if it has one.
    #[must_use]
    pub fn bridge(&self) -> Option<&Bridge> {
        match &self.driver {
            Driver::Bridge(bridge) => Some(bridge),
            Driver::Host | Driver::Null => None,
        }
    }

    /// Docker's name of the driver.
    #[must_use]
    pub fn driver_name(&self) -> &'static str {
        match &self.driver {
            Driver::Bridge(_) => "bridge",
            Driver::Host => "host",
            Driver::Null => "null",
        }
    }

    /// Whether the engine made it, and nobody removes it.
    #[must_use]
    pub fn is_predefined(&self) -> bool {
        is_predefined(&self.name)
    }
}

/// Whether `name` is one of Docker's default networks.
#[must_use]
pub fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

impl Bridge {
    /// The gateway of IPv4.
    #[must_use]
    pub fn gateway4(&self) -> Option<Ipv4Addr> {
        self.subnets.iter().find_map(|subnet| match subnet.gateway {
            IpAddr::V4(gateway) => Some(gateway),
            IpAddr::V6(_) => None,
        })
    }

    /// The gateway of IPv6.
    #[must_use]
    pub fn gateway6(&self) -> Option<Ipv6Addr> {
        self.subnets.iter().find_map(|subnet| match subnet.gateway {
            IpAddr::V6(gateway) => Some(gateway),
            IpAddr::V4(_) => None,
        })
    }

    /// Where the engine answers for names: its gateways.
    pub fn name_servers(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.gateway4().map(IpAddr::V4).into_iter();
        v4.chain(self.gateway6().map(IpAddr::V6)).filter(|_| !self.is_default)
    }

    /// Whether it has addresses of IPv6.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.gateway6().is_some()
    }
}

/// What a container asks for in one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// `--ip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// `--ip6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// `--link-local-ip`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
    /// `container:alias`, for this container alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// Names by which the others know it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// `--mac-address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// `--driver-opt`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: BTreeMap<String, String>,
    /// Of the networks with a gateway the highest leads outside.
    pub gw_priority: i64,
    /// Whether `IPAMConfig` was there at all, which Docker goes on showing.
    pub ipam: bool,
}

/// What a container that runs has of the host's network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its interfaces.
    pub endpoints: Vec<Endpoint>,
    /// Its ports on the host.
    pub ports: Vec<Bound>,
    /// The wall, which decides how interfaces get in.
    pub isolation: Option<Isolation>,
    /// The device that is the virtual machine's network card, for as long as it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's id.
    pub network: String,
    /// Its name, by which the container's settings know it.
    pub name: String,
    /// As it is made.
    pub interface: Interface,
    /// Of [`Asked`].
    pub gw_priority: i64,
    /// The device in the namespace that the guest's interface is, behind the hyperv wall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
}

impl Endpoint {
    /// Its address of IPv4.
    #[must_use]
    pub fn v4(&self) -> Option<IpNet> {
        self.interface.addresses.iter().copied().find(|net| net.addr().is_ipv4() && !is_link_local(net.addr()))
    }

    /// Its address of IPv6.
    #[must_use]
    pub fn v6(&self) -> Option<IpNet> {
        self.interface.addresses.iter().copied().find(|net| net.addr().is_ipv6() && !is_link_local(net.addr()))
    }

    /// Both, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.v4().into_iter().chain(self.v6()).map(|net| net.addr())
    }
}

/// Addresses that need no router to give them.
#[must_use]
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

impl Sandbox {
    /// The interface on the network with this id.
    #[must_use]
    pub fn on(&self, network: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.network == network)
    }

    /// The rows of the store: no two have the same.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, String)> {
        let of = |endpoint: &Endpoint| {
            let network = endpoint.network.clone();
            endpoint
                .interface
                .addresses
                .iter()
                .map(move |net| (network.clone(), net.addr().to_string()))
                .collect::<Vec<_>>()
        };
        self.endpoints.iter().flat_map(of).collect()
    }

    /// A name for the next interface.
    #[must_use]
    pub fn next_name(&self) -> String {
        let taken = |name: &String| self.endpoints.iter().any(|endpoint| endpoint.interface.name == *name);
        // There are fewer interfaces than numbers.
        (0..=u16::MAX).map(|n| format!("eth{n}")).find(|name| !taken(name)).unwrap_or_default()
    }
}
