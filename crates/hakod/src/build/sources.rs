//! Where `COPY` and `ADD` take files from, and which files those are.

use super::{Build, root::ImageRoot};
use hako_dockerfile::glob;
use hako_layers::files::{CopySource, Root, names};
use hako_model::{Digest, Error, ErrorKind, Result};
use hako_store::Store;
use sha2::{Digest as _, Sha256};
use std::{fs, path::PathBuf, sync::Arc};
use tempfile::TempDir;

/// Where files are.
pub enum Origin {
    /// What the client sent.
    Context(Arc<Build>),
    /// An image or a stage.
    Image(ImageRoot),
    /// Files that stand in the Dockerfile.
    Heredocs(Heredocs),
}

/// Files in a folder that is removed with this.
pub struct Heredocs {
    root: Root,
    _folder: TempDir,
}

impl Origin {
    /// The image with these layers.
    ///
    /// # Errors
    /// The kernel's.
    pub fn image(store: &Store, layers: &[PathBuf]) -> Result<Self> {
        ImageRoot::mount(store, layers).map(Self::Image)
    }

    /// Files with these names and contents.
    ///
    /// # Errors
    /// The kernel's; a name that is none.
    pub fn heredocs(store: &Store, files: &[(String, String)]) -> Result<Self> {
        let folder = store.temp_dir()?;
        for (name, content) in files {
            if name.contains('/') || matches!(name.as_str(), "" | "." | "..") {
                return Err(Error::invalid(format!("a here-document cannot be a file named {name:?}")));
            }
            fs::write(folder.path().join(name), content)?;
        }
        Ok(Self::Heredocs(Heredocs { root: Root::open(folder.path())?, _folder: folder }))
    }

    /// Where its paths are resolved.
    pub fn root(&self) -> &Root {
        match self {
            Self::Context(build) => build.context.root(),
            Self::Image(image) => image.root(),
            Self::Heredocs(files) => &files.root,
        }
    }

    /// What is behind `pattern`; at least one path.
    ///
    /// # Errors
    /// Docker's words where nothing is.
    pub fn find(&self, pattern: &str, verb: &str) -> Result<Vec<Vec<u8>>> {
        let failed = |text: String| Error::invalid(format!("{verb} failed: {text}"));
        let (parts, above) = plain(pattern);
        if above && matches!(self, Self::Context(_)) {
            return Err(failed(format!("forbidden path outside the build context: {pattern} ()")));
        }
        let shown = parts.join("/");
        if !glob::has_meta(&shown) {
            let path = format!("/{shown}");
            return match CopySource::find(self.root(), path.as_bytes()) {
                Ok(_) => Ok(vec![path.into_bytes()]),
                Err(err) if err.kind == ErrorKind::NotFound => {
                    let hint = match self {
                        Self::Context(_) => "file not found in build context or excluded by .dockerignore: ",
                        Self::Image(_) | Self::Heredocs(_) => "",
                    };
                    Err(failed(format!("{hint}stat {shown}: file does not exist")))
                }
                Err(err) => Err(err),
            };
        }
        let found = self.matching(&parts)?;
        if found.is_empty() {
            return Err(failed("no source files were specified".to_owned()));
        }
        Ok(found)
    }

    /// Every path whose components match, in order.
    fn matching(&self, parts: &[&str]) -> Result<Vec<Vec<u8>>> {
        let mut found = vec![Vec::new()];
        for part in parts {
            let mut next = Vec::new();
            for at in found {
                if !glob::has_meta(part) {
                    next.push([at.as_slice(), b"/", part.as_bytes()].concat());
                    continue;
                }
                let dir = if at.is_empty() { b"/".to_vec() } else { at.clone() };
                for name in names(self.root(), &dir)? {
                    if glob::matches(part, &String::from_utf8_lossy(&name))? {
                        next.push([at.as_slice(), b"/", &name].concat());
                    }
                }
            }
            found = next;
        }
        found.retain(|path| CopySource::find(self.root(), path).is_ok());
        Ok(found)
    }
}

/// The components of a path, and whether it leads above its beginning.
fn plain(path: &str) -> (Vec<&str>, bool) {
    let (mut parts, mut above) = (Vec::new(), false);
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => above |= parts.pop().is_none(),
            part => parts.push(part),
        }
    }
    (parts, above)
}

/// One file or directory to copy.
pub struct Item {
    /// Which of the origins it is in.
    pub origin: usize,
    /// Its path there.
    pub path: Vec<u8>,
}

/// Docker's `file:…`, `dir:…` or `multi:…` of all that is copied: what the
/// cache finds it by.
///
/// # Errors
/// The kernel's.
pub fn digest(origins: &[Origin], items: &[Item]) -> Result<String> {
    let one = |item: &Item| -> Result<String> {
        let source = CopySource::find(origins[item.origin].root(), &item.path)?;
        let kind = if source.is_dir() { "dir" } else { "file" };
        Ok(format!("{kind}:{}", source.digest()?.hex()))
    };
    let digests = items.iter().map(one).collect::<Result<Vec<_>>>()?;
    match digests.as_slice() {
        [one] => Ok(one.clone()),
        several => Ok(format!("multi:{}", hex::encode(Sha256::digest(several.join(","))))),
    }
}

/// A digest of what is copied and of the paths that it keeps.
pub fn with_paths(digest: &str, items: &[Item]) -> String {
    let mut hash = Sha256::new_with_prefix(digest);
    for item in items {
        // No path has a NUL.
        hash.update([0]);
        hash.update(&item.path);
    }
    format!("multi:{}", hex::encode(hash.finalize()))
}

/// Where a stage or image is taken from.
pub async fn layers(build: &Build, image: &Digest) -> Result<Vec<PathBuf>> {
    Ok(build.engine.images.resolve(image.as_str()).await?.layers)
}

#[cfg(test)]
mod tests {
    use super::{Item, plain, with_paths};

    #[test]
    fn kept_paths_count() {
        let of = |paths: &[&str]| {
            let items: Vec<Item> =
                paths.iter().map(|path| Item { origin: 0, path: path.as_bytes().to_vec() }).collect();
            with_paths("file:00", &items)
        };
        assert_eq!(of(&["/a/f"]), of(&["/a/f"]));
        assert_ne!(of(&["/a/f"]), of(&["/b/f"]));
        assert_ne!(of(&["/a", "/b"]), of(&["/a/b"]));
    }

    #[test]
    fn paths_are_made_plain() {
        assert_eq!(plain("./a//b/../c/"), (vec!["a", "c"], false));
        assert_eq!(plain("/"), (vec![], false));
        assert_eq!(plain("a/../../b"), (vec!["b"], true));
    }
}
