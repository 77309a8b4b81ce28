//! What a copy is called and where it goes: Docker's table of what the source is,
//! what the target is, and how both are written.

use crate::error::{Error, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use std::path::Path;

/// Go's bits of a mode.
const DIR: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;

/// What the engine says of a path in a container.
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
pub(super) struct Stat {
    mode: u32,
    link_target: String,
}

impl Stat {
    /// Reads the header.
    pub(super) fn decode(header: &str) -> Result<Self> {
        let wrong = || Error::msg("the engine's answer has no readable path stat");
        let json = STANDARD.decode(header).map_err(|_| wrong())?;
        serde_json::from_slice(&json).map_err(|_| wrong())
    }

    /// Whether it is a folder.
    pub(super) fn is_dir(&self) -> bool {
        self.mode & DIR != 0
    }

    /// Whether it is a symbolic link.
    pub(super) fn is_link(&self) -> bool {
        self.mode & SYMLINK != 0
    }

    /// Where a link at `path` leads; `path` itself if it is none.
    pub(super) fn followed(&self, path: &str) -> String {
        if !self.is_link() || self.link_target.is_empty() {
            return path.to_owned();
        }
        if self.link_target.starts_with('/') {
            return self.link_target.clone();
        }
        let (folder, _) = split(path);
        format!("{}/{}", folder.trim_end_matches('/'), self.link_target)
    }
}

/// What is at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing.
    Absent,
    /// A folder.
    Folder,
    /// Something else.
    File,
}

impl Place {
    /// What is at a local path; links are followed.
    pub(super) fn local(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Self::Folder,
            Ok(_) => Self::File,
            Err(_) => Self::Absent,
        }
    }
}

/// How a copy is laid out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The folder that the archive's entries are relative to. It exists.
    pub(super) folder: String,
    /// The first part of the entries' names as the source is called: `.` for the
    /// content of a folder alone.
    pub(super) from: String,
    /// What stands there in the copy.
    pub(super) to: String,
}

/// The last part of a path and what is before it: `/` and `.` as they come.
fn split(path: &str) -> (String, String) {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        _ if trimmed.is_empty() && !path.is_empty() => ("/".to_owned(), "/".to_owned()),
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((folder, name)) => (folder.to_owned(), name.to_owned()),
        None => (".".to_owned(), trimmed.to_owned()),
    }
}

/// Docker's `PrepareArchiveCopy`.
pub(super) fn plan(source: &str, source_is_dir: bool, target: &str, place: &Place) -> Result<Plan> {
    let (_, from) = split(source);
    let asserts_folder = |path: &str| path.ends_with('/') || path.ends_with("/.");
    if asserts_folder(source) && !source_is_dir {
        return Err(Error::msg(format!("{source}: not a directory")));
    }
    let renamed = || {
        let (folder, to) = split(target.strip_suffix("/.").unwrap_or(target));
        Plan { folder, to, from: from.clone() }
    };
    match place {
        Place::Folder => Ok(Plan { folder: target.to_owned(), to: from.clone(), from }),
        Place::File if source_is_dir => Err(Error::msg("cannot copy directory")),
        Place::File if asserts_folder(target) => Err(Error::msg("not a directory")),
        Place::Absent if !source_is_dir && asserts_folder(target) => Err(Error::msg("no such directory")),
        Place::File | Place::Absent => Ok(renamed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_table() {
        let run = |source: &str, dir: bool, target: &str, place: Place| {
            plan(source, dir, target, &place).map(|p| (p.folder, p.from, p.to)).map_err(|err| err.to_string())
        };
        let is = |folder: &str, from: &str, to: &str| Ok((folder.to_owned(), from.to_owned(), to.to_owned()));
        assert_eq!(run("/a/f", false, "d", Place::Folder), is("d", "f", "f"));
        assert_eq!(run("/a/f", false, "x/g", Place::Absent), is("x", "f", "g"));
        assert_eq!(run("f", false, "g", Place::File), is(".", "f", "g"));
        assert_eq!(run("/a/d", true, "/new", Place::Absent), is("/", "d", "new"));
        assert_eq!(run("/a/d/.", true, "e", Place::Folder), is("e", ".", "."));
        assert_eq!(run("/a/d/.", true, "e", Place::Absent), is(".", ".", "e"));
        assert_eq!(run("f", false, "no/", Place::Absent), Err("no such directory".to_owned()));
        assert_eq!(run("d", true, "g", Place::File), Err("cannot copy directory".to_owned()));
        assert!(run("f/", false, "g", Place::Absent).is_err());
    }

    #[test]
    fn links_lead_on() {
        let link = |target: &str| Stat { mode: SYMLINK, link_target: target.to_owned() };
        assert_eq!(link("/etc/x").followed("/a/b"), "/etc/x");
        assert_eq!(link("c").followed("/a/b"), "/a/c");
        assert_eq!(Stat::default().followed("/a/b"), "/a/b");
    }
}
