//! Links the program at a fixed address.
//!
//! A static program that may lie anywhere relocates itself at each start: some
//! 24,000 places on 115 pages. In an emulated guest that is most of the cost of
//! a start, and each container needs four. Rust's checks, not the address, are
//! what this short-lived program relies on.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The compiler is told `-static-pie`; these come later and win.
    println!("cargo:rustc-link-arg-bins=-static");
    println!("cargo:rustc-link-arg-bins=-Wl,-no-pie");
}
