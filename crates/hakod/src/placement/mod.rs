//! Placement: behind which wall a container runs, of which manifest, on which
//! kernel. What is decided is hako-platform's alone; here its arguments are put
//! together from what the engine knows, and its answers are told.
//!
//! ```text
//! create, RUN ─► images that the name leads to ─► wall ─► image ─► record
//! pull        ─► entries of the index          ─► wall ─► entry
//! ```

mod choice;
mod guests;
mod host;
mod pull;
mod refused;
mod source;

pub use choice::{Ask, Choice, choose};
pub use pull::for_pull;
pub use source::Source;

use crate::{Engine, http::Peer};
use hako_platform::{Caller, Request};
use std::sync::PoisonError;

/// What holds for everybody, and for who asks.
fn request(engine: &Engine, peer: &Peer) -> Request {
    let policy = engine.policy.read().unwrap_or_else(PoisonError::into_inner).clone();
    // Nobody is looked up whom no rule is about.
    let caller = if policy.0.is_empty() { Caller::default() } else { peer.caller() };
    Request { engine_default: Some(engine.config.isolation), policy, caller, ..Request::default() }
}
