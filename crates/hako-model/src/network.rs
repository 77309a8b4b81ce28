//! A container's interfaces where its own kernel has them: behind the hyperv wall.

use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

/// The network of a virtual machine, as it is when it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmNetwork {
    /// The namespace that QEMU runs in, with the tap devices.
    pub netns: PathBuf,
    /// What the container has at first. If there is one, the first one's tap is
    /// the machine's network card for as long as it lives, whoever uses it; the
    /// frames of all others travel over the agent's channel.
    pub interfaces: Vec<GuestInterface>,
}

/// One interface of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestInterface {
    /// Its name in the container: `eth0`.
    pub name: String,
    /// The tap device in the namespace that it leads to.
    pub tap: String,
    /// Its hardware address, with colons.
    pub mac: String,
    /// What it carries.
    pub mtu: u32,
    /// Its addresses, with their network's prefix length: `10.1.0.2/24`.
    pub addresses: Vec<String>,
    /// The default route of IPv4 by it.
    #[serde(default)]
    pub gateway_v4: Option<Ipv4Addr>,
    /// The default route of IPv6 by it.
    #[serde(default)]
    pub gateway_v6: Option<Ipv6Addr>,
    /// Further routes by it: where to, and by whom, if not on the link itself.
    #[serde(default)]
    pub routes: Vec<(String, Option<String>)>,
    /// Settings of it, as `net.ipv4.conf.IFNAME.log_martians`.
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
}

/// A change of the network of a container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkChange {
    /// A further interface. Its tap is there; that of the machine's network
    /// card may be used again once nobody uses it.
    Connect(GuestInterface),
    /// The interface of this name goes.
    Disconnect(String),
    /// The default routes are these, and none where there is none.
    Gateways {
        /// Of IPv4.
        v4: Option<Ipv4Addr>,
        /// Of IPv6.
        v6: Option<Ipv6Addr>,
    },
    /// Settings of the whole namespace, by their paths: `net/ipv4/ip_forward`.
    Sysctls(Vec<(String, String)>),
}
