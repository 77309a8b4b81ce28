//! From Docker's flags to the body of `POST /containers/create`.

mod body;
mod container;
mod env;
mod host;
mod mount;
mod network;
mod parse;

pub(crate) use body::{Attach, create_body};
pub(crate) use container::{ContainerFlags, Limits};
pub(crate) use env::{build_args, variables};
pub(crate) use host::limits;
pub(crate) use network::{Endpoint, endpoint};
pub(crate) use parse::{csv, filters, pairs, restart, size, swap, ulimit};
