//! The programs of a guest for arm64, compiled on a machine of another
//! architecture by Debian's packages, of which none of Rust's is installed.
//!
//! ```text
//! rustc-web, its libraries ───────┐
//! libstd-rust-web-dev ────────────┼─► <cache>/hako/cross-arm64/sysroot-<key>/
//! libstd-rust-web-dev:arm64 ──────┘        │ rustc
//! gcc-aarch64-linux-gnu (linker) ──────────┼─► <cache>/hako/cross-arm64/target/…/hako-{agent,runtime,init}
//! libseccomp-dev:arm64 (static) ───────────┘
//! ```

use crate::{
    deb::Archive,
    programs::{self, cache_dir},
};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// This machine's, in Debian's names of folders.
const HOST_LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const HOST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The folder with hako-agent, hako-runtime and hako-init for arm64.
pub fn build() -> Result<PathBuf> {
    ensure!(env::consts::ARCH == "x86_64", "programs for arm64 are compiled on x86_64 only");
    ensure!(programs::find(LINKER).is_some(), "{LINKER} is missing: install the package gcc-aarch64-linux-gnu");
    let folder = cache_dir()?.join("cross-arm64");
    let rustc = compiler(&folder)?;
    let seccomp = Archive::ARM64.unpacked("libseccomp-dev")?.join("usr/lib/aarch64-linux-gnu");
    let target = folder.join("target");
    let mut cargo = programs::cargo()?;
    cargo
        .args(["build", "--release", "--locked", "--quiet", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .args(["-p", "hako-agent", "-p", "hako-runtime", "-p", "hako-init"])
        .env("RUSTC", rustc)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env("CC_aarch64_unknown_linux_gnu", LINKER)
        .env("LIBSECCOMP_LINK_TYPE", "static")
        .env("LIBSECCOMP_LIB_PATH", seccomp);
    programs::run(&mut cargo).context("compile the guest's programs for arm64")?;
    Ok(target.join(TARGET).join("release"))
}

/// The compiler: a script that calls it with its libraries and with a sysroot
/// that has both architectures.
fn compiler(folder: &Path) -> Result<PathBuf> {
    let std_package = Archive::OWN.dependency("libstd-rust-web-dev", "libstd-rust-web-")?;
    let llvm_package = Archive::OWN.dependency(&std_package, "libllvm")?;
    let own = |name: &str| Archive::OWN.unpacked(name);
    let (rustc, std_dev, driver, llvm) =
        (own("rustc-web")?, own("libstd-rust-web-dev")?, own(&std_package)?, own(&llvm_package)?);
    let std_arm = Archive::ARM64.unpacked("libstd-rust-web-dev")?;
    let mut hash = Sha256::new();
    for tree in [&rustc, &std_dev, &driver, &llvm, &std_arm] {
        hash.update(tree.as_os_str().as_encoded_bytes());
        hash.update([0]);
    }
    let key: String = hex::encode(hash.finalize()).chars().take(16).collect();
    let sysroot = folder.join(format!("sysroot-{key}"));
    let script = sysroot.join("rustc");
    if script.is_file() {
        return Ok(script);
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let work = tempfile::tempdir_in(folder).context("make a folder in the cache")?;
    let rustlib = work.path().join("lib/rustlib");
    fs::create_dir_all(&rustlib)?;
    for (tree, name) in [(&std_dev, HOST_TARGET), (&std_arm, TARGET)] {
        symlink(tree.join("usr/lib/rustlib").join(name), rustlib.join(name))?;
    }
    let libraries = [&driver, &llvm].map(|tree| tree.join(HOST_LIBRARIES).display().to_string()).join(":");
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{libraries}' exec '{}' --sysroot '{}' \"$@\"\n",
        rustc.join("usr/bin/rustc").display(),
        sysroot.display()
    );
    fs::write(work.path().join("rustc"), text)?;
    fs::set_permissions(work.path().join("rustc"), fs::Permissions::from_mode(0o755))?;
    match fs::rename(work.path(), &sysroot) {
        Ok(()) => Ok(script),
        Err(_) if script.is_file() => Ok(script),
        Err(err) => Err(err).with_context(|| format!("make {}", sysroot.display())),
    }
}
