//! Interfaces, as the kernel lists them.

use crate::{Error, Result};
use futures::{StreamExt, TryStreamExt};
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
    },
};

/// One interface.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub index: u32,
    pub name: String,
    pub kind: Option<InfoKind>,
    pub mtu: u32,
    pub address: Vec<u8>,
    /// The index of the bridge that it is on.
    pub controller: Option<u32>,
    pub message: LinkMessage,
}

impl Link {
    fn of(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: None,
            mtu: 0,
            address: Vec::new(),
            controller: None,
            message: LinkMessage::default(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(address) => link.address.clone_from(address),
                LinkAttribute::Controller(index) => link.controller = Some(*index).filter(|index| *index != 0),
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.clone()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link.message = message;
        link
    }
}

/// The interface `name`, if there is one.
pub(crate) async fn find(netlink: &Handle, name: &str) -> Result<Option<Link>> {
    let step = || format!("look for the interface {name}");
    let mut found = Box::pin(netlink.link().get().match_name(name).execute());
    match found.next().await {
        Some(Ok(message)) => Ok(Some(Link::of(message))),
        Some(Err(err)) => {
            let err = Error::netlink(step())(err);
            if err.is(nix::Error::ENODEV) { Ok(None) } else { Err(err) }
        }
        None => Ok(None),
    }
}

/// The interface `name`, which has to be there.
pub(crate) async fn index(netlink: &Handle, name: &str) -> Result<u32> {
    match find(netlink, name).await? {
        Some(link) => Ok(link.index),
        None => Err(Error::io(format!("look for the interface {name}"), nix::Error::ENODEV.into())),
    }
}

/// All interfaces.
pub(crate) async fn all(netlink: &Handle) -> Result<Vec<Link>> {
    let messages: Vec<LinkMessage> =
        netlink.link().get().execute().try_collect().await.map_err(Error::netlink("list the interfaces"))?;
    // Bridges list their ports a second time, in a family of their own.
    let family = |message: &LinkMessage| message.header.interface_family == AddressFamily::Unspec;
    Ok(messages.into_iter().filter(family).map(Link::of).collect())
}

/// Removes the interface `name`, if it is there and `what` it is to be.
pub(crate) async fn remove(netlink: &Handle, name: &str, kind: &InfoKind, expected: &'static str) -> Result<()> {
    let Some(link) = find(netlink, name).await? else { return Ok(()) };
    if link.kind.as_ref() != Some(kind) {
        return Err(Error::OtherDevice { name: name.to_owned(), expected });
    }
    let removed = netlink.link().del(link.index).execute().await;
    match removed.map_err(Error::netlink(format!("remove {name}"))) {
        // The namespace at its other end has gone, and taken it with it.
        Err(err) if err.is(nix::Error::ENODEV) => Ok(()),
        removed => removed,
    }
}
