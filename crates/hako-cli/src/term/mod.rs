//! The terminal and the standard streams.

mod demux;
mod detach;
mod output;
mod raw;
mod stdin;

pub(crate) use demux::Demux;
pub(crate) use detach::DetachKeys;
pub(crate) use output::{Output, Target, print, print_line};
pub(crate) use raw::{RawMode, restore, size};
pub(crate) use stdin::read_stdin;
