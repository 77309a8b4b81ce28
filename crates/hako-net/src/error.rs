//! What can go wrong between us and the kernel's network.

use std::{io, net::IpAddr, path::PathBuf};

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a netlink request.
    #[error("{step}: {source}")]
    Netlink {
        /// What was asked, with the interface's name.
        step: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// Another call failed.
    #[error("{step}: {source}")]
    Io {
        /// What was done, with the name of the thing.
        step: String,
        /// Why.
        source: io::Error,
    },
    /// A path where a namespace is expected has none.
    #[error("{} is not a network namespace", path.display())]
    NotANamespace {
        /// The path.
        path: PathBuf,
    },
    /// `nft` is not there.
    #[error(
        "{program} is not installed: networks need it (Debian and Ubuntu: apt-get install nftables; \
         Fedora: dnf install nftables)"
    )]
    NftNotInstalled {
        /// What was looked for.
        program: String,
    },
    /// `nft` refused the transaction; nothing of it is in effect.
    #[error("nft: {message}")]
    Nft {
        /// Its words.
        message: String,
    },
    /// An interface or bridge of that name is something else.
    #[error("{name} exists and is not {expected}")]
    OtherDevice {
        /// The interface.
        name: String,
        /// What it was to be.
        expected: &'static str,
    },
    /// No subnet of the pools is free.
    #[error("all predefined address pools have been fully subnetted")]
    NoPool,
    /// A subnet overlaps one that is in use.
    #[error("Pool overlaps with other one on this address space")]
    Overlap,
    /// A subnet, gateway, range or auxiliary address makes no sense.
    #[error("{0}")]
    InvalidSubnet(String),
    /// A subnet has no free address.
    #[error("no available addresses on this network's address pools: {0}")]
    NoAddress(ipnet::IpNet),
    /// An address that was asked for is in use.
    #[error("Address already in use")]
    AddressInUse(IpAddr),
    /// An address that was asked for is not in the subnet.
    #[error("Requested address is not in the subnet")]
    OutOfRange(IpAddr),
    /// A host port is taken.
    #[error("{0}")]
    Port(crate::ports::PortError),
    /// This kernel or this crate cannot.
    #[error("{0}")]
    Unsupported(String),
}

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(step: impl Into<String>, source: io::Error) -> Self {
        Self::Io { step: step.into(), source }
    }
    pub(crate) fn netlink(step: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        move |source| Self::Netlink { step: step.into(), source }
    }
    /// Whether it is the kernel's `errno`, by netlink or not.
    pub(crate) fn is(&self, errno: nix::Error) -> bool {
        match self {
            Self::Netlink { source: rtnetlink::Error::NetlinkError(message), .. } => {
                message.code.is_some_and(|code| code.get() == -(errno as i32))
            }
            Self::Io { source, .. } => source.raw_os_error() == Some(errno as i32),
            _ => false,
        }
    }
}
