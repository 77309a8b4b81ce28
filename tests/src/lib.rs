//! Harness of the black-box tests.
//!
//! A test gets an engine with folders of its own, drives it with a client that
//! users have, and asserts on what a user sees. When the engine is dropped, the
//! harness ends it and fails the test if anything of it is left on the machine.
//!
//! ```text
//! both_walls! { fn name(case) { … } }   two tests from one body: name::process, name::hyperv
//!   Case ── Engine ── hakod on a temporary data root, exec root, socket, cgroup parent
//!     └── docker(…) ── Client ── Output { code, stdout, stderr }
//! ```
//!
//! `HAKO_TEST_DOCKER_HOST=unix://…` runs the bodies of the process wall against
//! another engine, which is how they are proved against the reference, dockerd:
//! `cargo xtask test --host docker`.

// A harness says what it expects by panicking, as a test does.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod authority;
mod case;
mod client;
mod contents;
mod context;
mod debian;
mod engine;
mod fake_registry;
mod http;
mod image;
mod network;
mod places;
mod pty;
mod reference;
mod registry;
mod tap;
mod tokens;
mod traces;
mod verbs;

pub use authority::Authority;
pub use case::{Case, Wall, with_networks, with_wall};
pub use client::{Client, Output, Running, wait_until};
pub use context::Context;
pub use debian::{debian, debian_tree, packages, packages_and_needs};
pub use engine::{Engine, Options};
pub use fake_registry::{FakeRegistry, Reply};
pub use http::{Answer, http};
pub use image::{Compression, Image, Layer, busybox, busybox_arm64, sha256};
pub use network::NetworkNamespace;
pub use places::{Tool, bin_dir, on_path, tool};
pub use pty::Terminal;
pub use reference::{client_before, not_on_reference};
pub use registry::Registry;
pub use tap::{Fate, Tap};
pub use tokens::TokenServer;
pub use traces::Traces;

/// Makes of one body two tests, one behind each wall; after `networks:` on an
/// engine that has them.
#[macro_export]
macro_rules! both_walls {
    (@by $start:ident: $($(#[$meta:meta])* fn $name:ident($case:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn body($case: &$crate::Case) $body
            $(#[$meta])*
            #[test]
            fn process() {
                $crate::$start($crate::Wall::Process, body);
            }
            $(#[$meta])*
            #[test]
            fn hyperv() {
                $crate::$start($crate::Wall::Hyperv, body);
            }
        }
    )*};
    (networks: $($bodies:tt)*) => { $crate::both_walls!(@by with_networks: $($bodies)*); };
    ($($bodies:tt)*) => { $crate::both_walls!(@by with_wall: $($bodies)*); };
}
