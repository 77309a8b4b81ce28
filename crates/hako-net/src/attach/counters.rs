//! What interfaces have carried.

use crate::{Netns, Result, link};
use rtnetlink::packet_route::link::LinkAttribute;
use serde::{Deserialize, Serialize};

/// What the interfaces in `netns` but `lo` have carried; for `stats`. A tap
/// device counts the other way round: what it receives a guest has sent.
///
/// # Errors
/// The kernel's.
pub async fn counters(netns: &Netns) -> Result<Vec<Counters>> {
    let links = link::all(&netns.netlink().await?).await?;
    Ok(links.iter().filter(|link| link.name != "lo").map(counters_of).collect())
}

fn counters_of(link: &link::Link) -> Counters {
    let stats = link.message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(stats),
        _ => None,
    });
    let Some(stats) = stats else { return Counters { name: link.name.clone(), ..Counters::default() } };
    Counters {
        name: link.name.clone(),
        rx_bytes: stats.rx_bytes,
        rx_packets: stats.rx_packets,
        rx_errors: stats.rx_errors,
        rx_dropped: stats.rx_dropped,
        tx_bytes: stats.tx_bytes,
        tx_packets: stats.tx_packets,
        tx_errors: stats.tx_errors,
        tx_dropped: stats.tx_dropped,
    }
}

/// What one interface has carried, as seen from its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The interface.
    pub name: String,
    /// Bytes in.
    pub rx_bytes: u64,
    /// Packets in.
    pub rx_packets: u64,
    /// Damaged packets in.
    pub rx_errors: u64,
    /// Packets in that were dropped.
    pub rx_dropped: u64,
    /// Bytes out.
    pub tx_bytes: u64,
    /// Packets out.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets out that were dropped.
    pub tx_dropped: u64,
}
