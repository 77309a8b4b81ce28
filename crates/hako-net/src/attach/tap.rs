//! A tap device in a namespace, joined to a veth there by tc.

use super::{Pair, make, set_up, undo_on_error};
use crate::{
    Error, Mac, Netns, Result,
    link::{self, Link},
};
use rtnetlink::{
    Handle, LinkUnspec,
    packet_route::{link::InfoKind, tc::TcHandle},
};
use serde::{Deserialize, Serialize};

/// The same pair without addresses, joined to a tap device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapInterface {
    /// The end on the bridge: `veth<7 hex>`.
    pub host_name: String,
    /// The bridge that it is put on.
    pub bridge: String,
    /// The end in the namespace: `veth<n>`.
    pub name: String,
    /// The tap device in the namespace: `tap<n>`. It is persistent and QEMU opens it by this name.
    pub tap: String,
    /// As the bridge's.
    pub mtu: u32,
    /// Whether it reaches only the bridge itself, none of the others on it (no `enable_icc`).
    #[serde(default)]
    pub isolated: bool,
}

/// As [`super::attach`], with a tap device in the namespace in place of
/// addresses. A tap device that is there, and whose pair has gone, is used again:
/// a machine may have it open.
///
/// # Errors
/// The kernel's. On an error nothing is left behind.
pub async fn attach_tap(host: &Netns, netns: &Netns, interface: &TapInterface) -> Result<()> {
    let pair = Pair {
        host_name: &interface.host_name,
        bridge: &interface.bridge,
        name: &interface.name,
        mac: Mac::from_random(rand::random()),
        mtu: interface.mtu,
        isolated: interface.isolated,
    };
    let netlink = netns.netlink().await?;
    let found = link::find(&netlink, &interface.tap).await?;
    make(host, netns, &pair).await?;
    let joined = join(netns, &netlink, found.as_ref(), interface).await;
    if joined.is_err() && found.is_none() {
        // What went wrong is said already.
        let _ = detach_tap(netns, &interface.tap).await;
    }
    undo_on_error(joined, host, pair.host_name).await
}

/// The tap device, and everything from one interface to the other, both ways.
async fn join(netns: &Netns, netlink: &Handle, found: Option<&Link>, interface: &TapInterface) -> Result<()> {
    let tap = tap(netns, netlink, found, &interface.tap).await?;
    let veth = link::index(netlink, &interface.name).await?;
    let mtu = LinkUnspec::new_with_index(tap).mtu(interface.mtu).build();
    let set = netlink.link().set(mtu).execute().await;
    set.map_err(Error::netlink(format!("set the MTU of {}", interface.tap)))?;
    for (from, to) in [(veth, tap), (tap, veth)] {
        redirect(netlink, from, to)
            .await
            .map_err(Error::netlink(format!("join {} and {}", interface.name, interface.tap)))?;
    }
    set_up(netlink, tap, &interface.tap).await?;
    set_up(netlink, veth, &interface.name).await
}

/// The tap device's index. One that is there and leads nowhere is used again:
/// a machine may hold its other end.
async fn tap(netns: &Netns, netlink: &Handle, found: Option<&Link>, name: &str) -> Result<u32> {
    match found {
        Some(found) if found.kind == Some(InfoKind::Tun) => {
            let index = found.index.cast_signed();
            let mut request = netlink.qdisc().del(index);
            request.message_mut().header.parent = TcHandle::INGRESS;
            match request.execute().await.map_err(Error::netlink(format!("empty {name}"))) {
                // It leads nowhere, as it should.
                Err(err) if err.is(nix::Error::EINVAL) || err.is(nix::Error::ENOENT) => {}
                emptied => emptied?,
            }
            Ok(found.index)
        }
        Some(_) => Err(Error::OtherDevice { name: name.to_owned(), expected: "a tap device" }),
        None => {
            let owned = name.to_owned();
            let made = netns.run_quick(move || hako_os::tap::create(&owned)).await?;
            made.map_err(|err| Error::io(format!("make the tap device {name}"), err))?;
            link::index(netlink, name).await
        }
    }
}

/// What comes in at `from` goes out at `to`.
async fn redirect(netlink: &Handle, from: u32, to: u32) -> std::result::Result<(), rtnetlink::Error> {
    /// `ETH_P_ALL`, in network byte order.
    const EVERY_PROTOCOL: u16 = 0x0003_u16.to_be();
    /// The ingress qdisc's handle.
    const INGRESS: u32 = 0xffff_0000;
    let from = from.cast_signed();
    netlink.qdisc().add(from).ingress().execute().await?;
    let filter = netlink.traffic_filter(from).add().parent(INGRESS).protocol(EVERY_PROTOCOL);
    filter.redirect(to)?.execute().await
}

/// Removes the tap device `tap` of `netns`, if it is there (after [`detach`]).
///
/// # Errors
/// The kernel's; `OtherDevice` if it is none.
pub async fn detach_tap(netns: &Netns, tap: &str) -> Result<()> {
    link::remove(&netns.netlink().await?, tap, &InfoKind::Tun, "a tap device").await
}
