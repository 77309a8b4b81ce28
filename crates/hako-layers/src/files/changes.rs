//! `docker diff`: what a container has changed, added and deleted.

use super::overlay::{Found, Overlay, Visitor, same_head};
use crate::files::root::kind_of;
use hako_model::Result;
use rustix::fs::FileType;
use std::collections::HashSet;

/// Docker's three kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It, or what is in it, differs.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

impl ChangeKind {
    /// Docker's number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Modified => 0,
            Self::Added => 1,
            Self::Deleted => 2,
        }
    }
}

/// Tells of every change, a directory before what is in it; a directory in
/// which something differs is modified itself, but for the root.
///
/// `hidden` are mount points that the engine makes: Docker has them in a layer
/// of its own below the container's, so they are told of only once more is in them.
///
/// # Errors
/// The kernel's, and those of `tell`.
pub fn changes(
    overlay: &Overlay,
    hidden: &[String],
    tell: &mut dyn FnMut(ChangeKind, &[u8]) -> Result<()>,
) -> Result<()> {
    let hidden = Hidden::new(hidden);
    overlay.walk(&mut Teller { hidden, levels: Vec::new(), tell })
}

/// Mount points of the engine.
pub(super) struct Hidden(HashSet<Vec<u8>>);

impl Hidden {
    pub(super) fn new(paths: &[String]) -> Self {
        Self(paths.iter().map(|path| path.trim_end_matches('/').as_bytes().to_vec()).collect())
    }

    /// Whether this is such a mount point, which nothing is below in the image:
    /// an empty file, or a directory, which may hold more of the same.
    pub(super) fn has(&self, found: &Found<'_>) -> bool {
        let empty = match kind_of(found.what) {
            FileType::Directory => true,
            FileType::RegularFile => found.what.stx_size == 0,
            _ => false,
        };
        found.below.is_none() && empty && self.0.contains(found.path)
    }
}

/// A directory on the way down.
struct Level {
    path: Vec<u8>,
    kind: ChangeKind,
    told: bool,
}

struct Teller<'a> {
    hidden: Hidden,
    levels: Vec<Level>,
    tell: &'a mut dyn FnMut(ChangeKind, &[u8]) -> Result<()>,
}

impl Teller<'_> {
    /// Tells of the directories that lead to a change.
    fn tell_levels(&mut self) -> Result<()> {
        for level in self.levels.iter_mut().filter(|level| !level.told) {
            level.told = true;
            (self.tell)(level.kind, &level.path)?;
        }
        Ok(())
    }
}

impl Visitor for Teller<'_> {
    fn enter(&mut self, found: &Found<'_>) -> Result<()> {
        let kind = if found.below.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        let hidden = self.hidden.has(found);
        if kind_of(found.what) != FileType::Directory {
            if hidden {
                return Ok(());
            }
            self.tell_levels()?;
            return (self.tell)(kind, found.path);
        }
        let same = found.below.is_some_and(|below| same_head(below, found.what)) && !found.opaque;
        self.levels.push(Level { path: found.path.to_vec(), kind, told: false });
        if same || hidden { Ok(()) } else { self.tell_levels() }
    }

    fn leave(&mut self) {
        self.levels.pop();
    }

    fn gone(&mut self, path: &[u8]) -> Result<()> {
        self.tell_levels()?;
        (self.tell)(ChangeKind::Deleted, path)
    }

    fn tells_hidden(&self) -> bool {
        true
    }
}
