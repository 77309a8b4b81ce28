//! One nftables table of our own, written whole from a model.
//!
//! ```text
//! apply(Model): delete table, add table: one transaction, no moment without rules
//! publish/unpublish: elements of its maps, one transaction
//! restore: whole again, if somebody flushed the ruleset
//! ```
//!
//! Other tables are never touched. A packet that another table's forward chain
//! drops is dropped, whatever ours says: that is how nftables works, and a
//! firewall with a forward policy of drop has to let our bridges through.

use crate::{Error, IpNet, Netns, Protocol, Result};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Everything that the table says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Every network with a bridge.
    pub networks: Vec<FilteredNetwork>,
    /// Every published port.
    pub ports: Vec<PublishedPort>,
    /// Whether to drop what is forwarded and is none of ours: for a host that
    /// was no router before [`crate::bridge::enable_forwarding`] (Docker's
    /// forward policy of drop).
    pub drop_others: bool,
}

/// A network as the firewall sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilteredNetwork {
    /// Its bridge.
    pub bridge: String,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// Nothing outside is reached, and nothing outside reaches it.
    pub internal: bool,
    /// Whether its containers reach each other (`enable_icc`).
    pub icc: bool,
    /// Whether what leaves gets the host's address (`enable_ip_masquerade`).
    pub masquerade: bool,
}

/// One published port: packets to `host` go to `container`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// Where packets arrive; the unspecified address stands for all of its family.
    pub host: SocketAddr,
    /// Where they go; of the same family as `host` (the relay of [`crate::ports`] does the others).
    pub container: SocketAddr,
    /// The bridge that the container is on.
    pub bridge: String,
}

/// The table.
#[derive(Debug)]
pub struct Firewall {
    host: Netns,
    table: String,
}

impl Firewall {
    /// The table `inet <table>` of `host`; nothing is changed before [`Firewall::apply`].
    #[must_use]
    pub fn new(host: Netns, table: &str) -> Self {
        Self { host, table: table.to_owned() }
    }
    /// Writes the whole table in one transaction.
    ///
    /// # Errors
    /// `nft`'s words; then the old table stays.
    pub async fn apply(&self, model: Model) -> Result<()> {
        let _ = (model, &self.host, &self.table);
        Err(Error::Unsupported("not built yet".to_owned()))
    }
    /// Adds `network` (or replaces the one of the same bridge); the rest stays as it is.
    ///
    /// # Errors
    /// As [`Firewall::apply`].
    pub async fn add_network(&self, network: FilteredNetwork) -> Result<()> {
        let _ = network;
        Err(Error::Unsupported("not built yet".to_owned()))
    }
    /// Removes the network of `bridge`, and ports that lead to it.
    ///
    /// # Errors
    /// As [`Firewall::apply`].
    pub async fn remove_network(&self, bridge: &str) -> Result<()> {
        let _ = bridge;
        Err(Error::Unsupported("not built yet".to_owned()))
    }
    /// Adds ports: only elements are changed. All or none.
    ///
    /// # Errors
    /// As [`Firewall::apply`].
    pub async fn publish(&self, ports: &[PublishedPort]) -> Result<()> {
        let _ = ports;
        Err(Error::Unsupported("not built yet".to_owned()))
    }
    /// Removes ports; those that are not there are no error. Connections that
    /// use them end.
    ///
    /// # Errors
    /// As [`Firewall::apply`].
    pub async fn unpublish(&self, ports: &[PublishedPort]) -> Result<()> {
        let _ = ports;
        Err(Error::Unsupported("not built yet".to_owned()))
    }
    /// Writes the table again if it is not there as it was written; whether it was written.
    ///
    /// # Errors
    /// As [`Firewall::apply`].
    pub async fn restore(&self) -> Result<bool> {
        Err(Error::Unsupported("not built yet".to_owned()))
    }
    /// Restores the table whenever the ruleset is changed by somebody else;
    /// runs until it is dropped. Spawn it once.
    pub async fn watch(&self) {}
    /// Removes the table.
    ///
    /// # Errors
    /// `nft`'s words.
    pub async fn remove(&self) -> Result<()> {
        Err(Error::Unsupported("not built yet".to_owned()))
    }
}

