//! Routes of a container.

use crate::{
    Error, IpNet, Netns, Result,
    bridge::{is_default, routes},
};
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::route::{RouteMessage, RouteProtocol, RouteScope},
};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Default routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateways {
    /// Of IPv4.
    pub v4: Option<Ipv4Addr>,
    /// Of IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// By whom; on the link itself if there is none.
    pub gateway: Option<IpAddr>,
}

impl Gateways {
    pub(super) fn both(self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// Makes `gateways` the default routes of `netns`; `None` removes that
/// family's. For connect and disconnect, which may change which network leads
/// outside.
///
/// # Errors
/// The kernel's.
pub async fn set_gateways(netns: &Netns, gateways: Gateways) -> Result<()> {
    let netlink = netns.netlink().await?;
    for (gateway, v6) in [(gateways.v4.map(IpAddr::V4), false), (gateways.v6.map(IpAddr::V6), true)] {
        match gateway {
            Some(gateway) => {
                let replaced = netlink.route().add(default_route(gateway, None)).replace().execute().await;
                replaced.map_err(Error::netlink(format!("set the default route by {gateway}")))?;
            }
            None => remove_default(&netlink, v6).await?,
        }
    }
    Ok(())
}

async fn remove_default(netlink: &Handle, v6: bool) -> Result<()> {
    for route in routes(netlink, v6).await? {
        if is_default(&route) {
            let removed = netlink.route().del(route).execute().await;
            match removed.map_err(Error::netlink("remove the default route")) {
                Err(err) if err.is(nix::Error::ESRCH) => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}

pub(super) fn default_route(gateway: IpAddr, index: Option<u32>) -> RouteMessage {
    // The address of one family with the builder of that family.
    match gateway {
        IpAddr::V4(gateway) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().protocol(RouteProtocol::Boot).gateway(gateway);
            index.into_iter().fold(route, RouteMessageBuilder::output_interface).build()
        }
        IpAddr::V6(gateway) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().protocol(RouteProtocol::Boot).gateway(gateway);
            index.into_iter().fold(route, RouteMessageBuilder::output_interface).build()
        }
    }
}

pub(super) fn static_route(index: u32, route: &Route) -> RouteMessage {
    let length = route.destination.prefix_len();
    let mut message = match route.destination.network() {
        IpAddr::V4(destination) => {
            let message = RouteMessageBuilder::<Ipv4Addr>::new()
                .protocol(RouteProtocol::Boot)
                .destination_prefix(destination, length);
            match route.gateway {
                Some(IpAddr::V4(gateway)) => message.gateway(gateway),
                _ => message.scope(RouteScope::Link),
            }
            .output_interface(index)
            .build()
        }
        IpAddr::V6(destination) => {
            let message = RouteMessageBuilder::<Ipv6Addr>::new()
                .protocol(RouteProtocol::Boot)
                .destination_prefix(destination, length);
            match route.gateway {
                Some(IpAddr::V6(gateway)) => message.gateway(gateway),
                _ => message,
            }
            .output_interface(index)
            .build()
        }
    };
    message.header.destination_prefix_length = length;
    message
}
