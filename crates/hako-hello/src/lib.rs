//! The image `hello`, part of the program: it tells what it runs behind, with
//! no registry and no network. `build.rs` compiles the one file of `hello/`
//! and packs it.

/// A gzip'd archive that is both a docker-archive and an OCI layout, with the
/// image `hello:latest`. The same sources give the same bytes.
pub fn image() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/hello.tar.gz"))
}
