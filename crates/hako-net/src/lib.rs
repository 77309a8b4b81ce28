//! Networks of containers: namespaces, bridges, interfaces, addresses, the
//! firewall, published ports and names. Knows no containers and keeps nothing
//! on disk: the caller says what there is to be, and asks again after a crash.
//!
//! ```text
//! Netns::create(path) ─► attach(host, netns, Interface) … detach ─► Netns::remove(path)
//! bridge::ensure(host, Bridge)                          … bridge::remove
//! ipam: pure; which subnet, which address
//! Reserved::bind(ports) ─► Firewall::publish … Firewall::unpublish ─► drop(Reserved)
//! Firewall::apply(Model): one table, one transaction     … Firewall::restore
//! DnsServer::bind(gateway) ─► Names::answer              … DnsServer::unbind
//! ```
//!
//! Everything takes the namespace that the bridges lie in (`host`), so that
//! tests have one of their own. Async functions need a tokio runtime with I/O
//! and time; none of them changes the namespace of the thread that it is
//! called on.

pub mod attach;
pub mod bridge;
pub mod dns;
mod error;
pub mod firewall;
pub mod ipam;
mod link;
mod mac;
pub mod netns;
pub mod ports;

pub use attach::{Gateways, Interface, Route, TapInterface};
pub use bridge::Bridge;
pub use dns::{Answer, DnsServer, Names, Query, Question};
pub use error::{Error, Result};
pub use firewall::Firewall;
pub use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use mac::Mac;
pub use netns::Netns;
pub use ports::{PortRequest, Protocol, Reserved};
