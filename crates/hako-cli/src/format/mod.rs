//! How answers are shown: Docker's tables, its units, and Go templates.

mod rows;
mod table;
mod template;
mod time;
mod units;

pub(crate) use rows::{Column, Listing, Row};
pub(crate) use table::Table;
pub(crate) use template::{Template, print_formatted, unescape};
pub(crate) use time::{local_nanos, local_stamp, since_now, timestamp};
pub(crate) use units::{ellipsis, exact_size, human_bytes, human_duration, human_size, short_id};
