//! `docker commit`: what a container has written, as the tar of a layer, with
//! OCI's whiteouts in place of overlayfs's.

use super::{
    changes::Hidden,
    failed_io,
    names::{join, split},
    overlay::{Found, Overlay, Visitor, same_head},
    pack::Packer,
    root::kind_of,
};
use hako_model::{Error, Result};
use rustix::fs::{FileType, Statx};
use std::{
    io::Write,
    os::fd::{AsFd, OwnedFd},
};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Writes the layer; `hidden` as of [`super::changes`]. A container that has
/// changed nothing gives an archive without entries.
///
/// # Errors
/// The kernel's, and the writer's.
pub fn layer(overlay: &Overlay, hidden: &[String], out: impl Write) -> Result<()> {
    let mut writer = Writer { packer: Packer::new(out), hidden: Hidden::new(hidden), levels: Vec::new() };
    overlay.walk(&mut writer)?;
    writer.packer.finish()
}

/// A directory whose entry is written once something in it is.
struct Level {
    path: Vec<u8>,
    fd: OwnedFd,
    what: Statx,
    opaque: bool,
    written: bool,
}

struct Writer<W> {
    packer: Packer<'static, W>,
    hidden: Hidden,
    levels: Vec<Level>,
}

/// A path's name in the archive.
fn relative(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/").unwrap_or(path)
}

impl<W: Write> Writer<W> {
    fn write_levels(&mut self) -> Result<()> {
        for level in self.levels.iter_mut().filter(|level| !level.written) {
            level.written = true;
            let mut name = relative(&level.path).to_vec();
            name.push(b'/');
            self.packer.directory(level.fd.as_fd(), &level.what, &name)?;
            if level.opaque {
                self.packer.marker(&join(&name, OPAQUE))?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Visitor for Writer<W> {
    fn enter(&mut self, found: &Found<'_>) -> Result<()> {
        let hidden = self.hidden.has(found);
        let name = relative(found.path);
        if split(found.path).1.starts_with(WHITEOUT) {
            let path = crate::error::show(found.path);
            return Err(Error::invalid(format!("{path}: a name that begins with .wh. cannot be in a layer")));
        }
        if kind_of(found.what) != FileType::Directory {
            if hidden {
                return Ok(());
            }
            self.write_levels()?;
            return self.packer.other(found.fd, found.what, name);
        }
        let same = found.below.is_some_and(|below| same_head(below, found.what)) && !found.opaque;
        self.levels.push(Level {
            path: found.path.to_vec(),
            fd: found.fd.try_clone_to_owned().map_err(failed_io("open", found.path))?,
            what: *found.what,
            opaque: found.opaque,
            written: false,
        });
        if same || hidden { Ok(()) } else { self.write_levels() }
    }

    fn leave(&mut self) {
        self.levels.pop();
    }

    fn gone(&mut self, path: &[u8]) -> Result<()> {
        self.write_levels()?;
        let (dir, name) = split(relative(path));
        let dir = if dir == b"/" { b"" } else { dir };
        self.packer.marker(&join(dir, &[WHITEOUT, name].concat()))
    }

    fn tells_hidden(&self) -> bool {
        // The opaque marker says it.
        false
    }
}
