//! Names: a server on the gateways of the networks, which both walls reach.

use crate::{Error, Netns, Result};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Who asks what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The container's address.
    pub source: IpAddr,
    /// The gateway that was asked.
    pub server: IpAddr,
    /// The question.
    pub question: Question,
}

/// What is asked. Names are lower case, without the dot at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A name's IPv4 addresses.
    A(String),
    /// A name's IPv6 addresses.
    Aaaa(String),
    /// An address's name.
    Ptr(IpAddr),
    /// A name's records of another type.
    Other(String),
}

/// What to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, in this order (those of the asked family are used).
    Addresses(Vec<IpAddr>),
    /// These names (for an address).
    Pointers(Vec<String>),
    /// The name is ours and has no such record.
    NoData,
    /// There is no such name.
    NxDomain,
    /// Not ours: ask these, in order.
    Forward(Vec<SocketAddr>),
    /// Not ours, and outside names are none of the asker's business (an internal network).
    Refuse,
}

/// Knows the containers. Called for every query, on the server's task: answer
/// from memory.
pub trait Names: Send + Sync + 'static {
    /// Answers `query`.
    fn answer(&self, query: &Query) -> Answer;
}

/// The server. Dropping it closes every socket.
pub struct DnsServer {
    host: Netns,
    names: Arc<dyn Names>,
}

impl DnsServer {
    /// A server that listens nowhere yet.
    #[must_use]
    pub fn new(host: Netns, names: Arc<dyn Names>) -> Self {
        Self { host, names }
    }
    /// Listens on port 53 of `address`, UDP and TCP; nothing if it does already.
    ///
    /// # Errors
    /// The kernel's: somebody else's server has the port, or the address is not the host's.
    pub async fn bind(&self, address: IpAddr) -> Result<()> {
        let _ = (address, &self.host, &self.names);
        Err(Error::Unsupported("not built yet".to_owned()))
    }
    /// Listens there no more.
    pub async fn unbind(&self, address: IpAddr) {
        let _ = address;
    }
}
