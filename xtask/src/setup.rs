//! The packages of the distribution that building, running and testing need.
//!
//! Nothing here starts a service: packages that would are fetched and unpacked
//! into the cache folder, and only their programs are used.

mod python;

use crate::{
    deb,
    programs::{self, cache_dir},
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What the packages are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Compiling the workspace and the guest's kernel.
    Build,
    /// Compiling the fuzz targets.
    Fuzz,
    /// Running containers behind both walls.
    Run,
    /// The black-box tests.
    Test,
}

impl Purpose {
    /// Whether packages for `other` are needed for this.
    fn includes(self, other: Self) -> bool {
        match self {
            Self::Build => other == Self::Build,
            Self::Fuzz => matches!(other, Self::Build | Self::Fuzz),
            Self::Run => matches!(other, Self::Build | Self::Run),
            Self::Test => matches!(other, Self::Build | Self::Run | Self::Test),
        }
    }
}

/// One package, with what shows that another distribution has it under
/// another name: a program on the path, or a file.
struct Package {
    purpose: Purpose,
    name: &'static str,
    shown_by: &'static str,
}

const fn package(purpose: Purpose, name: &'static str, shown_by: &'static str) -> Package {
    Package { purpose, name, shown_by }
}

/// Debian 12's packages.
const PACKAGES: &[Package] = &[
    // Crates with C in them (SQLite, zstd) and the guest's kernel.
    package(Purpose::Build, "gcc", "cc"),
    package(Purpose::Build, "libc6-dev", "/usr/include/stdlib.h"),
    package(Purpose::Build, "make", "make"),
    package(Purpose::Build, "pkg-config", "pkg-config"),
    // hako-runtime links libseccomp, statically.
    package(Purpose::Build, "libseccomp-dev", "/usr/include/seccomp.h"),
    // The guest's kernel.
    package(Purpose::Build, "linux-source-6.12", "/usr/src/linux-source-6.12.tar.xz"),
    package(Purpose::Build, "xz-utils", "xz"),
    package(Purpose::Build, "flex", "flex"),
    package(Purpose::Build, "bison", "bison"),
    package(Purpose::Build, "bc", "bc"),
    package(Purpose::Build, "libelf-dev", "/usr/include/libelf.h"),
    package(Purpose::Build, "libssl-dev", "/usr/include/openssl/ssl.h"),
    package(Purpose::Build, "cpio", "cpio"),
    package(Purpose::Build, "perl", "perl"),
    package(Purpose::Build, "patch", "patch"),
    // The fuzzer is C++.
    package(Purpose::Fuzz, "g++", "g++"),
    // The hyperv wall: the virtual machine, its root filesystem, its disk.
    package(Purpose::Run, "qemu-system-x86", "qemu-system-x86_64"),
    package(Purpose::Run, "erofs-utils", "mkfs.erofs"),
    package(Purpose::Run, "e2fsprogs", "mke2fs"),
    // Networks: the firewall's table is written by this program.
    package(Purpose::Run, "nftables", "nft"),
    // A guest for arm64: its emulator, and what compiles its programs.
    package(Purpose::Test, "qemu-system-arm", "qemu-system-aarch64"),
    package(Purpose::Test, "gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"),
    package(Purpose::Test, "libc6-dev-arm64-cross", "/usr/aarch64-linux-gnu/lib/libc.a"),
    // Libraries of Debian's Rust compiler, which is unpacked and not installed.
    package(Purpose::Test, "libedit2", "/usr/lib/x86_64-linux-gnu/libedit.so.2"),
    package(Purpose::Test, "libffi8", "/usr/lib/x86_64-linux-gnu/libffi.so.8"),
    package(Purpose::Test, "libxml2", "/usr/lib/x86_64-linux-gnu/libxml2.so.2"),
    package(Purpose::Test, "libz3-4", "/usr/lib/x86_64-linux-gnu/libz3.so.4"),
    // Tests make their images of these.
    package(Purpose::Test, "busybox-static", "busybox"),
    package(Purpose::Test, "debootstrap", "debootstrap"),
    // Tests and the bench make networks of their own.
    package(Purpose::Test, "iproute2", "ip"),
    // The tools that images are exchanged with, and what podman runs containers by.
    package(Purpose::Test, "skopeo", "skopeo"),
    package(Purpose::Test, "conmon", "conmon"),
    package(Purpose::Test, "crun", "crun"),
    package(Purpose::Test, "libsubid4", "/usr/lib/x86_64-linux-gnu/libsubid.so.4"),
    // Tests pack archives by them.
    package(Purpose::Test, "bzip2", "bzip2"),
    // The Python clients of the engine.
    package(Purpose::Test, "python3", "python3"),
    package(Purpose::Test, "python3-venv", "python3"),
    // The oldest compose that is still met, and what loads a web server.
    package(Purpose::Test, "docker-compose", "docker-compose"),
    package(Purpose::Test, "wrk", "wrk"),
];

/// A package whose programs are used where its installation would start a
/// service: unpacked into the cache folder, never installed.
struct Unpacked {
    name: &'static str,
    /// Where the program lies in the package, from its root.
    program: &'static str,
    /// Fetched even if a program of this name is installed: another version.
    always: bool,
}

const UNPACKED: &[Unpacked] = &[
    // Debian's client speaks API 1.41; whatever is installed is newer, and both must work.
    Unpacked { name: "docker.io", program: "usr/bin/docker", always: true },
    Unpacked { name: "podman", program: "usr/bin/podman", always: false },
    Unpacked { name: "buildah", program: "usr/bin/buildah", always: false },
    Unpacked { name: "docker-registry", program: "usr/bin/docker-registry", always: false },
];

/// Installs what `purpose` needs and is missing.
pub fn packages(purpose: Purpose) -> Result<()> {
    let wanted: Vec<&Package> = PACKAGES.iter().filter(|p| purpose.includes(p.purpose)).collect();
    let missing = missing(&wanted);
    if !missing.is_empty() {
        install(&missing)?;
    }
    if purpose.includes(Purpose::Test) {
        for unpacked in UNPACKED {
            unpack(unpacked)?;
        }
        foreign_busybox()?;
        python::packages()?;
    }
    Ok(())
}

/// Those of `wanted` that dpkg does not know as installed; without dpkg, those
/// whose program or file is not there.
fn missing<'a>(wanted: &[&'a Package]) -> Vec<&'a Package> {
    let names = wanted.iter().map(|p| p.name);
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status} ${Package}\n"])
        .args(names)
        .output();
    let Ok(query) = query else {
        return wanted.iter().copied().filter(|p| !programs::is_there(p.shown_by)).collect();
    };
    let text = String::from_utf8_lossy(&query.stdout).into_owned();
    let installed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    wanted.iter().copied().filter(|p| !installed.contains(&p.name)).collect()
}

fn install(missing: &[&Package]) -> Result<()> {
    let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
    let root = nix::unistd::geteuid().is_root();
    if !root || programs::find("apt-get").is_none() {
        return go_on_without(missing, &names);
    }
    eprintln!("xtask: installing {}", names.join(" "));
    let run = |args: &[&str]| -> Result<bool> {
        let status = Command::new("apt-get")
            .args(["-q", "-y", "-o", "Dpkg::Use-Pty=0"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status()
            .context("apt-get")?;
        Ok(status.success())
    };
    let args: Vec<&str> = ["install", "--no-install-recommends"].iter().chain(&names).copied().collect();
    // The lists may be fresh enough; fetch them only if they are not.
    if run(&args)? || (run(&["update"])? && run(&args)?) {
        return Ok(());
    }
    bail!(
        "apt-get could not install {} (linux-source-6.12 is in the suite bookworm-security of deb.debian.org)",
        names.join(" ")
    )
}

/// Not root, or no apt-get: good enough if the programs and files are there.
fn go_on_without(missing: &[&Package], names: &[&str]) -> Result<()> {
    let absent: Vec<&str> = missing.iter().filter(|p| !programs::is_there(p.shown_by)).map(|p| p.shown_by).collect();
    if absent.is_empty() {
        return Ok(());
    }
    bail!(
        "these are missing: {}\nOn Debian 12, as root: apt-get install --no-install-recommends {}",
        absent.join(" "),
        names.join(" ")
    )
}

/// Fetches a package and unpacks it into `tools/<package>_<version>/`.
fn unpack(package: &Unpacked) -> Result<()> {
    let program = Path::new(package.program);
    let name = program.file_name().and_then(|n| n.to_str()).context("a program without a name")?;
    if unpacked_program(package.name, program).is_some() || (!package.always && programs::find(name).is_some()) {
        return Ok(());
    }
    if programs::find("apt-get").is_none() {
        return match programs::find(name) {
            Some(_) => Ok(()),
            None => bail!("the tests need the program {name}"),
        };
    }
    eprintln!("xtask: unpacking {name} of package {} (not installed)", package.name);
    let tools = cache_dir()?.join("tools");
    fs::create_dir_all(&tools).with_context(|| format!("{}", tools.display()))?;
    let work = tempfile::tempdir_in(&tools)?;
    let fetch = || Command::new("apt-get").args(["-q", "download", package.name]).current_dir(&work).status();
    if !fetch()?.success() {
        Command::new("apt-get").args(["-q", "update"]).status()?;
        anyhow::ensure!(fetch()?.success(), "apt-get could not download {}", package.name);
    }
    let deb = fs::read_dir(&work)?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .find(|p| p.extension().is_some_and(|e| e == "deb"))
        .with_context(|| format!("apt-get downloaded no package {}", package.name))?;
    let root = work.path().join("root");
    let status = Command::new("dpkg").arg("--extract").arg(&deb).arg(&root).status()?;
    anyhow::ensure!(status.success(), "dpkg could not unpack {}", deb.display());
    keep_only(&root, program)?;
    let stem = deb.file_stem().and_then(|s| s.to_str()).context("a package file without a name")?;
    let target = tools.join(stem);
    if !target.exists() {
        fs::rename(&root, &target)?;
    }
    Ok(())
}

/// Of what tests make an image for arm64: `tools/busybox-static_arm64/bin/busybox`.
fn foreign_busybox() -> Result<()> {
    if programs::find("apt-get").is_none() {
        return Ok(());
    }
    let tree = deb::Archive::ARM64.unpacked("busybox-static")?;
    let tools = cache_dir()?.join("tools");
    fs::create_dir_all(&tools).with_context(|| format!("{}", tools.display()))?;
    let work = tempfile::tempdir_in(&tools)?;
    let link = work.path().join("link");
    std::os::unix::fs::symlink(&tree, &link)?;
    fs::rename(&link, tools.join("busybox-static_arm64")).context("link the busybox for arm64")
}

/// Leaves of `root` only `program`.
fn keep_only(root: &Path, program: &Path) -> Result<()> {
    let kept = root.with_extension("kept");
    let target = kept.join(program);
    fs::create_dir_all(target.parent().context("a program at the root")?)?;
    fs::rename(root.join(program), &target)?;
    fs::remove_dir_all(root)?;
    fs::rename(&kept, root)?;
    Ok(())
}

fn unpacked_program(package: &str, program: &Path) -> Option<PathBuf> {
    let tools = cache_dir().ok()?.join("tools");
    let prefix = format!("{package}_");
    fs::read_dir(tools)
        .ok()?
        .filter_map(Result::ok)
        .filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)))
        .map(|e| e.path().join(program))
        .find(|p| p.exists())
}
