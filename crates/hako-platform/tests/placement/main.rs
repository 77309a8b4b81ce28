//! Placement: what is published of it, row by row, and what must hold of every
//! answer.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod index;
mod linux;
mod properties;
mod published;
mod texts;
mod walls;
mod windows;

use hako_model::Isolation;
use hako_platform::{Host, Image, Manifest, OsVersion, Placement, Product, Refusal, Request, place};

pub const WALLS: [Isolation; 2] = [Isolation::Process, Isolation::Hyperv];

/// `10.0.17763`, `10.0.17763.1098`, or the build alone.
pub fn version(text: &str) -> OsVersion {
    text.parse::<u32>().map_or_else(|_| text.parse().unwrap(), OsVersion::of_build)
}

pub fn server(text: &str) -> Host {
    Host::windows(version(text), Product::Server)
}

pub fn client(text: &str) -> Host {
    Host::windows(version(text), Product::Client)
}

pub fn windows(text: &str) -> Image {
    Image::of(Manifest::windows(version(text)))
}

pub fn asked(wall: Isolation) -> Request {
    Request { isolation: Some(wall), ..Request::default() }
}

pub fn runs(image: &Image, host: &Host, wall: Isolation) -> bool {
    place(image, host, &asked(wall)).is_ok()
}

pub fn placed(image: &Image, host: &Host, request: &Request) -> Placement {
    place(image, host, request).unwrap_or_else(|refusal| panic!("{refusal}"))
}

pub fn refused(image: &Image, host: &Host, request: &Request) -> Refusal {
    *place(image, host, request).expect_err("it is placed")
}

/// Whether a rule has said something to the user.
pub fn notes(placement: &Placement, rule: &str) -> bool {
    placement.notes.iter().any(|note| note.rule == rule)
}
