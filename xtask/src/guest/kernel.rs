//! The guest's kernel: Debian's source, our config and patches, built once per
//! content of all three.

use super::{place, sh};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

/// Where Debian's package linux-source-6.12 puts the source.
pub const SOURCE: &str = "/usr/src/linux-source-6.12.tar.xz";

/// Raised when the steps below change what they make.
const RECIPE: &str = "1";

/// What is needed beside a compiler: the program, and Debian's package that has it.
const TOOLS: &[(&str, &str)] = &[
    ("make", "make"),
    ("gcc", "gcc"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("xz", "xz-utils"),
    ("patch", "patch"),
    ("strip", "binutils"),
];

/// The kernel's path in the cache, built if it is not there yet.
pub fn build(root: &Path, cache: &Path, source: &Path) -> Result<PathBuf> {
    let recipe = root.join("guest/kernel");
    let patches = patches(&recipe)?;
    let key = key(&recipe, &patches, source)?;
    let vmlinux = cache.join(&key).join("vmlinux");
    if vmlinux.is_file() {
        return Ok(vmlinux);
    }
    check_tools()?;
    fs::create_dir_all(cache).with_context(|| format!("create {}", cache.display()))?;
    let work = tempfile::Builder::new().prefix(".build-").tempdir_in(cache).context("make a build folder")?;
    println!("guest: building the kernel (about 14 minutes of CPU time, once)");
    let start = Instant::now();
    let built = compile(&recipe, &patches, source, work.path())?;
    fs::create_dir_all(cache.join(&key)).context("make the cache's folder")?;
    place(&built, &vmlinux)?;
    println!("guest: kernel built in {} s", start.elapsed().as_secs());
    Ok(vmlinux)
}

/// `uname -r`, as the kernel's own banner has it.
pub fn release(vmlinux: &Path) -> Result<String> {
    let bytes = fs::read(vmlinux).with_context(|| format!("read {}", vmlinux.display()))?;
    banner(&bytes).with_context(|| format!("{} has no banner", vmlinux.display()))
}

/// The word after `Linux version`, where one is.
fn banner(bytes: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    let begins = bytes.windows(BANNER.len()).enumerate().filter(|(_, window)| *window == BANNER);
    begins.map(|(at, _)| &bytes[at + BANNER.len()..]).find_map(|rest| {
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let word = std::str::from_utf8(&rest[..end]).ok()?;
        word.starts_with(|c: char| c.is_ascii_digit()).then(|| word.to_owned())
    })
}

fn patches(recipe: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(recipe).with_context(|| format!("read {}", recipe.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "patch") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Everything that decides what comes out, but for the compiler's version.
fn key(recipe: &Path, patches: &[PathBuf], source: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(RECIPE);
    let config = recipe.join("config");
    for path in std::iter::once(config.as_path()).chain(patches.iter().map(PathBuf::as_path)).chain([source]) {
        hash.update([0]);
        let mut file = fs::File::open(path).map_err(|err| missing(path, source, err))?;
        io::copy(&mut file, &mut hash).with_context(|| format!("read {}", path.display()))?;
    }
    let digest = hex::encode(hash.finalize());
    Ok(digest.chars().take(16).collect())
}

fn missing(path: &Path, source: &Path, err: io::Error) -> anyhow::Error {
    let hint = if path == source && err.kind() == io::ErrorKind::NotFound {
        ": install the package linux-source-6.12"
    } else {
        ""
    };
    anyhow::Error::new(err).context(format!("open {}{hint}", path.display()))
}

fn check_tools() -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let absent: Vec<&str> = TOOLS
        .iter()
        .filter(|(tool, _)| !env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
        .map(|(_, package)| *package)
        .collect();
    if !absent.is_empty() {
        bail!("the guest's kernel needs the packages {} (and libelf-dev, libssl-dev)", absent.join(", "));
    }
    Ok(())
}

fn compile(recipe: &Path, patches: &[PathBuf], source: &Path, work: &Path) -> Result<PathBuf> {
    sh(Command::new("tar").arg("-xJf").arg(source).args(["--strip-components=1", "-C"]).arg(work))?;
    for patch in patches {
        let input = fs::File::open(patch).with_context(|| format!("open {}", patch.display()))?;
        sh(Command::new("patch").args(["-s", "-p1", "-d"]).arg(work).stdin(input))?;
    }
    let mut configure = make(work, "config.log")?;
    configure.env("KCONFIG_ALLCONFIG", recipe.join("config"));
    sh(configure.arg("allnoconfig")).map_err(|err| with_log(err, work, "config.log"))?;
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut build = make(work, "build.log")?;
    sh(build.arg(format!("-j{jobs}")).arg("vmlinux")).map_err(|err| with_log(err, work, "build.log"))?;
    let stripped = work.join("vmlinux.stripped");
    sh(Command::new("strip").arg("-o").arg(&stripped).arg(work.join("vmlinux")))?;
    Ok(stripped)
}

/// `make` in the tree, with nothing of this machine and moment in what it
/// makes, and its output in a file.
fn make(work: &Path, log: &str) -> Result<Command> {
    let log = fs::File::create(work.join(log)).context("make a build log")?;
    let errors = log.try_clone().context("share a build log")?;
    let mut command = Command::new("make");
    command.arg("-C").arg(work);
    command
        .env("KBUILD_BUILD_TIMESTAMP", "1970-01-01")
        .env("KBUILD_BUILD_USER", "hako")
        .env("KBUILD_BUILD_HOST", "hako");
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    Ok(command)
}

/// The error with the last lines of the log, which goes away with the build's folder.
fn with_log(err: anyhow::Error, work: &Path, log: &str) -> anyhow::Error {
    let text = fs::read_to_string(work.join(log)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n");
    err.context(format!("build the guest's kernel:\n{tail}"))
}

#[cfg(test)]
mod tests {
    use super::banner;

    #[test]
    fn release_is_read() {
        assert_eq!(banner(b"xLinux version %s (\0Linux version 6.12.1-hako (a@b)\0").as_deref(), Some("6.12.1-hako"));
        assert_eq!(banner(b"Linux"), None);
    }
}
