//! Layer archives and the forms that a root filesystem takes: an overlay lower
//! directory per layer, one EROFS image per image, an empty ext4 to write on.
//!
//! Beside them [`files`]: the files of a container, which `docker cp` and its
//! like read and write, on whichever side of the wall they are.
//!
//! An archive is hostile until it is unpacked: every name is resolved beneath
//! the layer's folder (`openat2`, links in it lead back into it), device nodes
//! are made and never opened, and what it may grow to has limits, below.

mod archive;
mod copy;
mod decompress;
mod disk;
mod erofs;
mod error;
pub mod files;
mod metadata;
mod pax;
mod tarread;
mod tarwrite;
mod tree;
mod unpack;
mod verify;

pub use archive::ArchiveWriter;
pub use copy::sparse_copy;
pub use decompress::{Compression, decompress, inflate};
pub use disk::ext4_of;
pub use erofs::build_erofs;
pub use error::{Error, Result};
pub use tarread::{Entry, EntryKind, TarReader};
pub use unpack::{Unpacked, unpack, unpack_verified};
pub use verify::verify;

/// A layer may hold this many bytes, whatever its archive's size.
pub const MAX_LAYER_FLOOR: u64 = 8 << 30;
/// A layer may hold this many times its archive's bytes: with
/// [`MAX_LAYER_FLOOR`], whichever is more. Beyond that it is a decompression bomb.
pub const MAX_LAYER_RATIO: u64 = 200;
/// A layer may have this many entries.
pub const MAX_ENTRIES: u64 = 4_000_000;
/// A long name or a set of PAX records may have this many bytes.
pub const MAX_EXTENSION: u64 = 1 << 20;
/// All directory names of one layer may have this many bytes: their times are
/// set last, so they are remembered.
pub const MAX_DIRECTORY_NAMES: usize = 64 << 20;
/// Directories may be nested this deep: what removes a tree holds one open
/// file for each level.
pub const MAX_DEPTH: usize = 256;

#[cfg(test)]
mod tests;
