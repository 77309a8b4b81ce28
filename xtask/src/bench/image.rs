//! The images of a run, as `docker save` writes them.

use super::scratch::Scratch;
use crate::{deb, programs};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The small image's name.
pub const SMALL: &str = "hako-bench/busybox:1";
/// The name of the one with a shell that is linked dynamically.
pub const BASH: &str = "hako-bench/bash:1";
/// The name of the one that is part of Hako.
pub const HELLO: &str = "hello";
/// The large image's name.
pub const LARGE: &str = "hako-bench/large:1";
/// The name of the one with a server for traffic and files.
pub const TRAFFIC: &str = "hako-bench/traffic:1";
/// That server, in the scratch folder.
pub const TRAFFIC_PROGRAM: &str = "traffic/bin/bench";

/// A root filesystem with busybox and the folders that runtimes mount onto.
pub fn busybox_tree(root: &Path) -> Result<()> {
    for dir in ["bin", "dev", "etc", "proc", "sys", "tmp", "root", "run"] {
        fs::create_dir_all(root.join(dir)).context("making a root filesystem")?;
    }
    let busybox = programs::find("busybox").context("no busybox (package busybox-static)")?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    for name in ["sh", "true", "sleep", "cat"] {
        symlink("busybox", root.join("bin").join(name))?;
    }
    Ok(())
}

/// A root filesystem with this machine's bash, its loader and its libraries.
pub fn bash_tree(root: &Path) -> Result<()> {
    let bash = programs::find("bash").context("no bash")?;
    for dir in ["bin", "dev", "etc", "proc", "sys", "tmp", "root", "run"] {
        fs::create_dir_all(root.join(dir)).context("making a root filesystem")?;
    }
    fs::copy(&bash, root.join("bin/bash"))?;
    let listed = deb::output(Command::new("ldd").arg(&bash))?;
    // Lines like `libc.so.6 => /lib/…/libc.so.6 (0x…)` and `/lib64/ld-… (0x…)`.
    let files = listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    for file in files {
        let inside = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(inside.parent().context("a library in no folder")?)?;
        fs::copy(file, inside).with_context(|| format!("copying {file}"))?;
    }
    Ok(())
}

/// The archive of the image with the server, which is this program.
pub fn traffic(scratch: &Scratch) -> Result<PathBuf> {
    let (tree, archive) = (scratch.path("traffic"), scratch.path("traffic.tar"));
    busybox_tree(&tree)?;
    let this = std::env::current_exe().context("this program's path")?;
    fs::copy(this, scratch.path(TRAFFIC_PROGRAM)).context("copying this program")?;
    self::archive(TRAFFIC, &tree, &scratch.path("traffic-parts"), &archive)?;
    Ok(archive)
}

/// A folder of about 200 MB in 800 files, of bytes that compress little.
pub fn large_tree(root: &Path) -> Result<()> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for folder in 0..20 {
        let dir = root.join(format!("data/{folder:02}"));
        fs::create_dir_all(&dir)?;
        for file in 0..40 {
            let mut out = BufWriter::new(File::create(dir.join(format!("{file:03}.bin")))?);
            for _ in 0..(250 * 1000 / 8) {
                // xorshift64
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                out.write_all(&state.to_le_bytes())?;
            }
            out.flush()?;
        }
    }
    Ok(())
}

/// Writes the archive `out` of an image `name` whose only layer is the folder
/// `tree`. `work` is a folder for its parts; the layer stays there as `layer.tar`.
pub fn archive(name: &str, tree: &Path, work: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(work)?;
    let layer = work.join("layer.tar");
    programs::run(
        Command::new("tar")
            .args(["--numeric-owner", "--owner=0", "--group=0", "-cf"])
            .arg(&layer)
            .arg("-C")
            .arg(tree)
            .arg("."),
    )?;
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer)?)]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "hako bench"}],
        "created": "2024-01-01T00:00:00Z",
    })
    .to_string();
    let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
    fs::write(work.join(&config_name), config)?;
    let manifest = serde_json::json!([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]);
    fs::write(work.join("manifest.json"), manifest.to_string())?;
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(out).arg("-C").arg(work).args(["manifest.json", &config_name, "layer.tar"]);
    programs::run(&mut tar)
}

fn sha256(file: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut BufReader::with_capacity(1 << 20, File::open(file)?), &mut digest)?;
    Ok(hex::encode(digest.finalize()))
}
