//! Links the program at a fixed address, as hako-runtime's build script does and
//! for the same reason: relocation is dear in an emulated guest.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The compiler is told `-static-pie`; these come later and win.
    println!("cargo:rustc-link-arg-bins=-static");
    println!("cargo:rustc-link-arg-bins=-Wl,-no-pie");
}
