//! The files of an image archive, each a temporary blob until it is used.

use hako_layers::{EntryKind, TarReader, decompress};
use hako_model::{Digest, Error, Result};
use hako_store::{Blob, Store};
use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read, Write},
};

/// An archive may have this many files.
const MAX_FILES: usize = 16_384;
/// All names and links together may have this many bytes.
const MAX_NAMES: usize = 4 << 20;
/// Links are followed this far.
const MAX_LINKS: usize = 8;
/// What an archive may grow to, as a layer's limit but for many layers.
const FLOOR: u64 = 8 * hako_layers::MAX_LAYER_FLOOR;

/// The archive. Dropping it removes what was not kept.
pub(super) struct Archive {
    files: HashMap<String, Slot>,
    links: HashMap<String, String>,
    store: Store,
}

enum Slot {
    Held(Blob),
    /// Taken into the store, with its size.
    Kept(Digest, u64),
}

/// A file of the archive.
pub(super) struct Part {
    pub digest: Digest,
    pub size: u64,
    pub file: File,
}

impl Archive {
    /// Reads all of it. Blocks.
    pub fn read(store: &Store, reader: impl Read + Send) -> Result<Self> {
        let (_, plain) = decompress(reader)?;
        let mut tar = TarReader::new(BufReader::with_capacity(256 << 10, plain));
        let mut archive = Self { files: HashMap::new(), links: HashMap::new(), store: store.clone() };
        let (mut names, mut total) = (0, 0u64);
        while let Some(entry) = tar.next_entry()? {
            names += entry.path.len() + entry.link.len();
            if archive.files.len() + archive.links.len() >= MAX_FILES || names > MAX_NAMES {
                return Err(Error::invalid("archive has too many files"));
            }
            let Some(path) = clean("", &entry.path) else {
                return Err(Error::invalid(format!("archive has a file outside of it: {}", show(&entry.path))));
            };
            match entry.kind {
                EntryKind::File => {
                    total = total.saturating_add(tar.data_left());
                    if total > FLOOR {
                        return Err(Error::invalid(format!("archive unpacks to more than {FLOOR} bytes")));
                    }
                    archive.take(store, &mut tar, path)?;
                }
                EntryKind::Symlink | EntryKind::HardLink => {
                    let base = if entry.kind == EntryKind::Symlink { parent(&path) } else { "" };
                    // One that leads elsewhere is as one that leads to nothing.
                    if let Some(target) = clean(base, &entry.link) {
                        archive.links.insert(path, target);
                    }
                }
                EntryKind::Directory | EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {}
            }
        }
        Ok(archive)
    }

    fn take(&mut self, store: &Store, tar: &mut TarReader<impl std::io::BufRead>, path: String) -> Result<()> {
        let expected = expected_digest(&path);
        let len = tar.data_left();
        let mut writer = store.write_blob(expected.as_ref(), Some(len))?;
        let what = || "keep the archive".to_owned();
        tar.data(len, &mut |piece| {
            writer.write_all(piece).map_err(|source| hako_layers::Error::Host { what: what(), source })
        })?;
        let blob = writer.finish().map_err(|err| Error::from(err).context(&path))?;
        self.links.remove(&path);
        self.files.insert(path, Slot::Held(blob));
        Ok(())
    }

    /// The path of a file, links followed.
    fn path(&self, name: &str) -> Option<String> {
        let mut path = clean("", name.as_bytes())?;
        for _ in 0..MAX_LINKS {
            if self.files.contains_key(&path) {
                return Some(path);
            }
            path.clone_from(self.links.get(&path)?);
        }
        None
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).is_some()
    }

    /// Opens a file.
    pub fn open(&self, name: &str) -> Result<Part> {
        let slot = self.path(name).and_then(|path| self.files.get(&path)).ok_or_else(|| missing(name))?;
        let part = match slot {
            Slot::Held(blob) => Part { digest: blob.digest().clone(), size: blob.size(), file: blob.open()? },
            Slot::Kept(digest, size) => {
                Part { digest: digest.clone(), size: *size, file: self.store.open_blob(digest)? }
            }
        };
        // What a link leads to is not what the link's name promises.
        let promised = clean("", name.as_bytes()).and_then(|path| expected_digest(&path));
        if promised.is_some_and(|promised| promised != part.digest) {
            let name = show(name.as_bytes());
            return Err(Error::invalid(format!("{name} in the archive does not have the digest of its name")));
        }
        Ok(part)
    }

    /// Reads a small file whole.
    pub fn read_file(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let part = self.open(name)?;
        if part.size > limit {
            return Err(Error::invalid(format!(
                "{} in the archive has more than {limit} bytes",
                show(name.as_bytes())
            )));
        }
        let mut bytes = Vec::new();
        part.file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Takes a file into the store. Its digest must be leased.
    pub fn keep(&mut self, name: &str) -> Result<()> {
        let path = self.path(name).ok_or_else(|| missing(name))?;
        let kept = match self.files.remove(&path) {
            Some(Slot::Held(blob)) => {
                let kept = Slot::Kept(blob.digest().clone(), blob.size());
                blob.commit()?;
                kept
            }
            Some(kept @ Slot::Kept(..)) => kept,
            None => return Err(missing(name)),
        };
        self.files.insert(path, kept);
        Ok(())
    }
}

fn missing(name: &str) -> Error {
    Error::invalid(format!("invalid archive: {} not found in it", show(name.as_bytes())))
}

/// What a blob's or an old config's name promises about its content.
fn expected_digest(path: &str) -> Option<Digest> {
    let hex = path.strip_prefix("blobs/sha256/").or_else(|| path.strip_suffix(".json"))?;
    format!("sha256:{hex}").parse().ok()
}

fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..slash])
}

fn show(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(200).collect()
}

/// `name` seen from `base`, without `.` and `..`; `None` where it leads out or
/// is absolute or no text.
fn clean(base: &str, name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    if name.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = base.split('/').filter(|p| !p.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest as _;

    #[test]
    fn names_stay_in_the_archive() {
        assert_eq!(clean("", b"./a/../b").as_deref(), Some("b"));
        assert_eq!(clean("a/b", b"../c/layer.tar").as_deref(), Some("a/c/layer.tar"));
        assert_eq!(clean("", b"../x"), None);
        assert_eq!(clean("a", b"../../x"), None);
        assert_eq!(clean("", b"/etc/passwd"), None);
        assert_eq!(clean("", b"\xff"), None);
    }

    #[test]
    fn names_that_promise_a_digest() {
        let hex = "a".repeat(64);
        assert!(expected_digest(&format!("blobs/sha256/{hex}")).is_some());
        assert!(expected_digest(&format!("{hex}.json")).is_some());
        assert!(expected_digest("manifest.json").is_none());
    }

    /// An entry of a tar: a file with `data`, or a link to `link`.
    fn entry(name: &str, link: &str, data: &[u8]) -> Vec<u8> {
        let mut block = vec![0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        block[156] = if link.is_empty() { b'0' } else { b'2' };
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block.extend_from_slice(data);
        block.resize(block.len().next_multiple_of(512), 0);
        block
    }

    /// Else the name of one content would be given to another, and with it what an
    /// administrator allows of it.
    #[test]
    fn a_link_gives_no_content_the_digest_of_its_name() {
        let own = Digest::from_sha256(<[u8; 32]>::from(sha2::Sha256::digest(b"own")));
        let forged = format!("sha256:{}", "a".repeat(64)).parse::<Digest>().unwrap();
        let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
        let tar = [
            entry("other", "", b"own"),
            entry(&blob(&own), "../../other", b""),
            entry(&blob(&forged), "../../other", b""),
            entry("layer.tar", "other", b""),
            vec![0; 1024],
        ];
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let archive = Archive::read(&store, &tar.concat()[..]).unwrap();
        assert_eq!(archive.open(&blob(&own)).unwrap().digest, own);
        assert_eq!(archive.open("layer.tar").unwrap().digest, own);
        let why = archive.open(&blob(&forged)).err().unwrap();
        assert!(why.message.contains("does not have the digest of its name"), "{}", why.message);
    }
}
