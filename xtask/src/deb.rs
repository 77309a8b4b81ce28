//! Debian packages that a command uses without installing them: `apt-get`
//! downloads, `dpkg` unpacks into the cache, and the package's own digest is
//! the key, so that a new version is fetched and an old one is found again.

use crate::programs::cache_dir;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The unpacked tree of the package `name`, from the cache or from the archive.
pub fn unpacked(name: &str) -> Result<PathBuf> {
    let offer = offered(name)?;
    let store = cache_dir()?.join("deb");
    let place = store.join(format!("{name}-{}", &offer.sha256[..16.min(offer.sha256.len())]));
    if place.is_dir() {
        return Ok(place);
    }
    fs::create_dir_all(&store).with_context(|| format!("making {}", store.display()))?;
    let work = tempfile::tempdir_in(&store).context("making a folder in the cache")?;
    let file = download(name, &offer, work.path())?;
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
pub fn dependency(meta: &str, prefix: &str) -> Result<String> {
    let text = with_lists(|| output(Command::new("apt-cache").args(["depends", meta])))?;
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .with_context(|| format!("{meta} depends on no {prefix}* package"))
}

/// What the archive offers under a package's name.
struct Offer {
    file: String,
    sha256: String,
}

fn offered(name: &str) -> Result<Offer> {
    // In an empty folder: apt says nothing of a file that is there already.
    let empty = tempfile::tempdir().context("making a folder")?;
    let ask = || output(Command::new("apt-get").args(["download", "--print-uris", name]).current_dir(&empty));
    let text = with_lists(ask)?;
    parse_offer(&text).with_context(|| format!("apt-get offers no package {name}: {text:?}"))
}

/// Reads `'URI' FILE SIZE SHA256:DIGEST`.
fn parse_offer(text: &str) -> Option<Offer> {
    let line = text.lines().find(|line| line.starts_with('\''))?;
    let mut words = line.split_whitespace().skip(1);
    let file = words.next()?.to_owned();
    let sha256 = words.nth(1)?.strip_prefix("SHA256:")?.to_owned();
    Some(Offer { file, sha256 })
}

fn download(name: &str, offer: &Offer, dir: &Path) -> Result<PathBuf> {
    println!("fetching the package {name}");
    output(Command::new("apt-get").args(["-q", "-o", "APT::Sandbox::User=root", "download", name]).current_dir(dir))?;
    // apt writes an epoch's colon as %3a in both places, so the name is the same.
    let file = dir.join(&offer.file);
    let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let found = hex::encode(Sha256::digest(&bytes));
    ensure!(found == offer.sha256, "{name}: digest {found}, expected {}", offer.sha256);
    Ok(file)
}

/// Runs `ask`; where it fails, perhaps because a fresh machine has no package
/// lists, fetches them and asks once more.
fn with_lists(ask: impl Fn() -> Result<String>) -> Result<String> {
    if let Ok(text) = ask()
        && !text.trim().is_empty()
    {
        return Ok(text);
    }
    output(Command::new("apt-get").args(["-qq", "update"]))?;
    ask()
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
