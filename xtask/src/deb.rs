//! Debian packages that a command uses without installing them: `apt-get`
//! downloads, `dpkg` unpacks into the cache, and the package's own digest is
//! the key, so that a new version is fetched and an old one is found again.

pub mod kernel;

use crate::programs::cache_dir;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's archive, for one architecture. What is asked of another one leaves
/// this machine's package lists and `dpkg` as they are: its lists are in the cache.
#[derive(Debug, Clone, Copy)]
pub struct Archive {
    foreign: Option<&'static str>,
}

impl Archive {
    /// This machine's architecture, by this machine's lists.
    pub const OWN: Self = Self { foreign: None };
    /// arm64, on a machine of another architecture.
    pub const ARM64: Self = Self { foreign: Some("arm64") };

    /// The unpacked tree of the package `name`, from the cache or from the archive.
    pub fn unpacked(self, name: &str) -> Result<PathBuf> {
        let offer = self.offered(name)?;
        let store = cache_dir()?.join("deb");
        let place = store.join(format!("{name}-{}", &offer.sha256[..16.min(offer.sha256.len())]));
        if place.is_dir() {
            return Ok(place);
        }
        fs::create_dir_all(&store).with_context(|| format!("making {}", store.display()))?;
        let work = tempfile::tempdir_in(&store).context("making a folder in the cache")?;
        let file = self.download(name, &offer, work.path())?;
        let tree = work.path().join("tree");
        output(Command::new("dpkg").arg("-x").arg(&file).arg(&tree))?;
        match fs::rename(&tree, &place) {
            Ok(()) => Ok(place),
            Err(_) if place.is_dir() => Ok(place),
            Err(e) => Err(e).with_context(|| format!("moving {name} into the cache")),
        }
    }

    /// The package that the meta package `meta` stands for now: its first
    /// dependency whose name begins with `prefix`.
    pub fn dependency(self, meta: &str, prefix: &str) -> Result<String> {
        let text = self.with_lists(|| output(self.apt("apt-cache")?.args(["depends", meta])))?;
        text.lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .with_context(|| format!("{meta} depends on no {prefix}* package"))
    }

    fn offered(self, name: &str) -> Result<Offer> {
        // In an empty folder: apt says nothing of a file that is there already.
        let empty = tempfile::tempdir().context("making a folder")?;
        let ask = || output(self.apt("apt-get")?.args(["download", "--print-uris", name]).current_dir(empty.path()));
        let text = self.with_lists(ask)?;
        parse_offer(&text).with_context(|| format!("apt-get offers no package {name}: {text:?}"))
    }

    fn download(self, name: &str, offer: &Offer, dir: &Path) -> Result<PathBuf> {
        println!("fetching the package {name}");
        let fetch = || {
            let mut apt = self.apt("apt-get")?;
            output(apt.args(["-q", "-o", "APT::Sandbox::User=root", "download", name]).current_dir(dir))
        };
        if fetch().is_err() {
            // The lists are old: what they name has been replaced.
            self.update()?;
            fetch()?;
        }
        // apt writes an epoch's colon as %3a in both places, so the name is the same.
        let file = dir.join(&offer.file);
        let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let found = hex::encode(Sha256::digest(&bytes));
        ensure!(found == offer.sha256, "{name}: digest {found}, expected {}", offer.sha256);
        Ok(file)
    }

    /// Runs `ask`; where it fails, perhaps because a fresh machine has no package
    /// lists, fetches them and asks once more.
    fn with_lists(self, ask: impl Fn() -> Result<String>) -> Result<String> {
        if let Ok(text) = ask()
            && !text.trim().is_empty()
        {
            return Ok(text);
        }
        self.update()?;
        ask()
    }

    fn update(self) -> Result<()> {
        output(self.apt("apt-get")?.args(["-qq", "-o", "APT::Sandbox::User=root", "update"])).map(drop)
    }

    /// One of apt's programs, with the lists of this archive.
    fn apt(self, program: &str) -> Result<Command> {
        let mut command = Command::new(program);
        let Some(architecture) = self.foreign else { return Ok(command) };
        let own = cache_dir()?.join(format!("apt-{architecture}"));
        let (lists, cache) = (own.join("lists"), own.join("cache"));
        for dir in [lists.join("partial"), cache.join("archives/partial")] {
            fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        }
        for (key, value) in [
            ("APT::Architecture", architecture.to_owned()),
            ("APT::Architectures::", architecture.to_owned()),
            ("Dir::State::Lists", lists.display().to_string()),
            ("Dir::State::status", "/dev/null".to_owned()),
            ("Dir::Cache", cache.display().to_string()),
            ("Acquire::Languages", "none".to_owned()),
            // What desktops list of programs.
            ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".to_owned()),
        ] {
            command.arg("-o").arg(format!("{key}={value}"));
        }
        Ok(command)
    }
}

/// The unpacked tree of a package of this machine's archive.
pub fn unpacked(name: &str) -> Result<PathBuf> {
    Archive::OWN.unpacked(name)
}

/// What the archive offers under a package's name.
struct Offer {
    file: String,
    sha256: String,
}

/// Reads `'URI' FILE SIZE SHA256:DIGEST`.
fn parse_offer(text: &str) -> Option<Offer> {
    let line = text.lines().find(|line| line.starts_with('\''))?;
    let mut words = line.split_whitespace().skip(1);
    let file = words.next()?.to_owned();
    let sha256 = words.nth(1)?.strip_prefix("SHA256:")?.to_owned();
    Some(Offer { file, sha256 })
}

/// Runs a command to its end and returns its output, or fails with its errors.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.output().with_context(|| format!("running {name}"))?;
    if !out.status.success() {
        bail!("{name} failed ({}): {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_offer;

    #[test]
    fn offer_is_read() {
        let text = "'http://deb.debian.org/a.deb' a_1%3a2_amd64.deb 70 SHA256:abcd\n";
        let offer = parse_offer(text).unwrap();
        assert_eq!((offer.file.as_str(), offer.sha256.as_str()), ("a_1%3a2_amd64.deb", "abcd"));
        assert!(parse_offer("E: none").is_none());
    }
}
