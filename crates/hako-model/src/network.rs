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
    /// The container's files about names are to say something else.
    Files {
        /// `/etc/hosts`, without what the container has written there itself.
        hosts: String,
        /// The same as it was told before.
        before: String,
        /// `/etc/resolv.conf`.
        resolv_conf: String,
    },
}

/// More than this of a container's own `/etc/hosts` is not kept, nor read.
pub const MOST_HOSTS: u64 = 1 << 20;

/// A running container's `/etc/hosts`: `new`, and the lines of `current` that are
/// neither in it nor were in `old` nor are about names that `new` tells.
#[must_use]
pub fn merge_hosts(current: &str, old: &str, new: &str) -> String {
    let has = |text: &str, line: &str| text.lines().any(|other| other == line);
    let names = |line: &str| line.split_once('\t').map(|(_, names)| names.to_owned());
    let told: Vec<String> = new.lines().filter_map(names).collect();
    let is_own = |line: &&str| !has(old, line) && !has(new, line) && names(line).is_none_or(|own| !told.contains(&own));
    let own: String = current.lines().filter(is_own).map(|line| format!("{line}\n")).collect();
    format!("{new}{own}")
}

#[cfg(test)]
mod tests {
    use super::merge_hosts;

    #[test]
    fn what_a_container_wrote_stays() {
        let old = "127.0.0.1\tlocalhost\n10.0.0.2\tme\n";
        let new = "127.0.0.1\tlocalhost\n10.0.0.2\tme\n10.1.0.2\tme\n";
        let current = format!("{old}1.2.3.4 mine\n");
        assert_eq!(merge_hosts(&current, old, new), format!("{new}1.2.3.4 mine\n"));
        assert_eq!(merge_hosts(&format!("{new}1.2.3.4 mine\n"), new, old), format!("{old}1.2.3.4 mine\n"));
        // Another address for the same names, of a container that was linked to.
        assert_eq!(merge_hosts("10.0.0.3\tdb\n", "", "10.0.0.4\tdb\n"), "10.0.0.4\tdb\n");
    }
}
