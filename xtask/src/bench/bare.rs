//! Networks without an engine: a bridge in a namespace, and on it what a
//! container has, a veth pair into a namespace of its own.

use super::inside;
use super::namespace::Namespace;
use super::scratch::Scratch;
use anyhow::{Context, Result};
use std::cell::Cell;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

const BRIDGE: &str = "bare0";

/// A host with a bridge.
pub struct Lab {
    /// Where the bridge is.
    pub host: Namespace,
    ends: Cell<u8>,
}

/// The far end of a pair, `eth0`, in its namespace; it has no address yet.
pub struct End {
    pub namespace: Namespace,
    /// The address that is meant for it.
    pub address: Ipv4Addr,
}

impl Lab {
    /// Makes the bridge. Addresses are those that are kept for benchmarks.
    pub fn new() -> Result<Self> {
        let host = Namespace::new()?;
        host.ip(&format!("link add {BRIDGE} type bridge"))?;
        host.ip(&format!("address add 198.18.0.1/24 dev {BRIDGE}"))?;
        host.ip(&format!("link set {BRIDGE} up"))?;
        Ok(Self { host, ends: Cell::new(1) })
    }

    /// A pair as Hako makes it: its port sends back what comes for itself.
    pub fn end(&self) -> Result<End> {
        let number = self.ends.get() + 1;
        self.ends.set(number);
        let namespace = Namespace::new()?;
        let port = format!("bare-veth{number}");
        self.host.ip(&format!("link add {port} type veth peer name eth0 netns {}", namespace.path()))?;
        self.host.ip(&format!("link set {port} master {BRIDGE} up"))?;
        self.host.ip(&format!("link set {port} type bridge_slave hairpin on"))?;
        Ok(End { namespace, address: Ipv4Addr::new(198, 18, 0, number) })
    }
}

/// A process in a namespace, and nothing else around it. Dropped, it ends.
pub struct Process {
    pub address: Ipv4Addr,
    child: Child,
}

impl Process {
    /// Starts the server of [`inside`] in a namespace on the lab's bridge.
    pub fn start(scratch: &Scratch, lab: &Lab) -> Result<Self> {
        let End { namespace, address } = lab.end()?;
        namespace.ip(&format!("address add {address}/24 dev eth0"))?;
        namespace.ip("link set eth0 up")?;
        // In the scratch folder, by which it is found should this program die.
        let mut server = Command::new(scratch.path(super::image::TRAFFIC_PROGRAM));
        server.arg("inside").stdin(Stdio::null()).stdout(Stdio::null());
        let child = namespace.within(|| server.spawn().context("starting a server"))?;
        let process = Self { address, child };
        lab.host.within(|| inside::wait(address))?;
        Ok(process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
