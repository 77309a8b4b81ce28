//! What tests take of Debian: its smallest tree, and packages of it. Made once
//! and cached; the first test makes them while others wait.

use crate::{
    Image,
    places::{cache_dir, on_path},
};
use serde_json::json;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

const SUITE: &str = "bookworm";

/// The image `debian`, of debootstrap's smallest tree.
#[must_use]
pub fn debian() -> Image {
    let layer = fs::read(debian_tree()).expect("the cached tree can be read");
    Image::new("debian:minbase", vec![layer]).with("Cmd", json!(["bash"]))
}

/// That tree's archive.
#[must_use]
pub fn debian_tree() -> PathBuf {
    cached(&format!("minbase-{SUITE}-1.tar"), |work| {
        let tree = work.join("tree");
        let program = on_path("debootstrap").expect("package debootstrap");
        run(Command::new(program).args(["--variant=minbase", SUITE]).arg(&tree));
        let _ = fs::remove_dir_all(tree.join("var/cache/apt/archives"));
        let part = work.join("part");
        run(Command::new("tar")
            .args(["--create", "--numeric-owner", "--one-file-system", "--file"])
            .arg(&part)
            .arg("--directory")
            .arg(&tree)
            .arg("."));
        part
    })
}

/// A folder with these packages, as they are downloaded.
#[must_use]
pub fn packages(names: &[&str]) -> PathBuf {
    cached(&format!("packages-{}", names.join("-")), |work| {
        let part = work.join("part");
        fs::create_dir(&part).expect("a fresh folder");
        let fetch = || Command::new("apt-get").arg("download").args(names).current_dir(&part).output();
        if !fetch().expect("apt-get runs").status.success() {
            run(Command::new("apt-get").arg("update"));
            run(Command::new("apt-get").arg("download").args(names).current_dir(&part));
        }
        part
    })
}

/// Left out of [`packages_and_needs`]: large, and needed by nothing that is run here.
const SPARED: [&str; 7] = ["libllvm14_", "libz3-4_", "locales_", "perl_", "perl-base_", "perl-modules-", "libperl"];

/// A folder with these packages and all that they need beyond the smallest tree.
#[must_use]
pub fn packages_and_needs(names: &[&str]) -> PathBuf {
    let tree = debian_tree();
    cached(&format!("needs-{}", names.join("-")), |work| {
        // What the tree has is not fetched: apt is shown its list instead of this machine's.
        let status = work.join("status");
        let list = Command::new("tar")
            .args(["--extract", "--to-stdout", "./var/lib/dpkg/status", "--file"])
            .arg(&tree)
            .stdout(File::create(&status).expect("a fresh file"))
            .status();
        assert!(list.expect("tar runs").success(), "the tree has no list of packages");
        let archives = work.join("archives");
        fs::create_dir_all(archives.join("partial")).expect("a fresh folder");
        run(Command::new("apt-get")
            .args(["install", "--download-only", "--yes", "--no-install-recommends", "-qq"])
            .args(["-o", &format!("Dir::State::status={}", status.display())])
            .args(["-o", &format!("Dir::Cache::archives={}", archives.display())])
            .args(["-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=true"])
            .args(names)
            .env("DEBIAN_FRONTEND", "noninteractive"));
        let part = work.join("part");
        fs::create_dir(&part).expect("a fresh folder");
        for entry in fs::read_dir(&archives).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if name.ends_with(".deb") && !SPARED.iter().any(|spared| name.starts_with(spared)) {
                fs::rename(&path, part.join(name)).expect("the same filesystem");
            }
        }
        part
    })
}

/// What `make` puts into a folder of its own, under `name` in the cache.
fn cached(name: &str, make: impl FnOnce(&Path) -> PathBuf) -> PathBuf {
    let kept = cache_dir().join(name);
    fs::create_dir_all(cache_dir()).expect("a cache folder");
    let lock = File::create(cache_dir().join("minbase.lock")).expect("a lock file");
    lock.lock().expect("a lock");
    if !kept.exists() {
        let work = tempfile::tempdir_in(cache_dir()).expect("a temporary folder");
        fs::rename(make(work.path()), &kept).expect("the same folder");
    }
    kept
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}
