//! `cargo xtask guest`: guests, each a kernel and an initramfs, cached by content.
//!
//! ```text
//! linux-source-6.12.tar.xz ─┐
//! guest/kernel/config ──────┼─ sha256 ─► <cache>/hako/guest/<key>/vmlinux ─┐
//! guest/kernel/*.patch ─────┘                                             ├─► <binaries>/guest/
//! hako-agent, hako-runtime ────────────► initramfs.cpio ──────────────────┘
//! linux-image-cloud-amd64, the same programs ─────────────────────────────► <binaries>/guests/debian/
//! linux-image-cloud-arm64, the programs for arm64 ────────────────────────► <binaries>/guests/arm64/
//! ```

mod cross;
mod initramfs;
mod kernel;
mod packaged;

use anyhow::{Context, Result, bail};
use serde_json::json;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What `cargo xtask guest` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which guests
    #[arg(value_enum, default_values_t = [Name::Default])]
    pub guests: Vec<Name>,
    /// Make only the kernel of the default one
    #[arg(long)]
    pub kernel_only: bool,
    /// Put the programs into the initramfs as they lie, without building them
    #[arg(long)]
    pub no_build: bool,
    /// The kernel's source, as Debian's package linux-source-6.12 ships it
    #[arg(long, default_value = kernel::SOURCE)]
    pub source: PathBuf,
}

/// The guests that can be made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Our own kernel
    Default,
    /// Debian's cloud kernel for amd64
    Debian,
    /// Debian's cloud kernel for arm64, emulated
    Arm64,
}

impl Default for Args {
    fn default() -> Self {
        Self { guests: vec![Name::Default], kernel_only: false, no_build: false, source: PathBuf::from(kernel::SOURCE) }
    }
}

/// Makes guests beside the programs.
///
/// # Errors
/// What is missing, with the package that has it, or the step that failed.
pub fn run(args: Args) -> Result<()> {
    if env::consts::ARCH != "x86_64" {
        bail!("guests are made on x86_64 only, this machine is {}", env::consts::ARCH);
    }
    let programs = programs_dir()?;
    if args.kernel_only && args.guests != [Name::Default] {
        bail!("--kernel-only is for the default guest alone");
    }
    if !args.no_build && !args.kernel_only && args.guests != [Name::Arm64] {
        build_programs()?;
    }
    for name in &args.guests {
        match name {
            Name::Default => default(&args, &programs)?,
            Name::Debian => packaged::make(&packaged::DEBIAN, &programs.join("guests"), &programs, false)?,
            Name::Arm64 => packaged::make(&packaged::ARM64, &programs.join("guests"), &cross::build()?, true)?,
        }
    }
    Ok(())
}

/// `guest/` beside the programs.
fn default(args: &Args, programs: &Path) -> Result<()> {
    let out = programs.join("guest");
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    let source = if args.source.as_os_str().is_empty() { Path::new(kernel::SOURCE) } else { &args.source };
    let vmlinux = kernel::build(&workspace_root()?, &cache_dir()?, source)?;
    place(&vmlinux, &out.join("vmlinux"))?;
    println!("guest: {}", out.join("vmlinux").display());
    if args.kernel_only {
        return Ok(());
    }
    let cpio = out.join("initramfs.cpio");
    initramfs::write(programs, &[], &cpio)?;
    let description = json!({
        "os": "linux",
        "architecture": "amd64",
        "kernel": kernel::release(&vmlinux)?,
        "board": "microvm",
        "image": "vmlinux",
    });
    write(&out.join("guest.json"), &description)?;
    println!("guest: {}", cpio.display());
    Ok(())
}

/// Writes a description by temp and rename.
fn write(path: &Path, description: &serde_json::Value) -> Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, format!("{description:#}\n")).with_context(|| format!("write {}", part.display()))?;
    fs::rename(&part, path).with_context(|| format!("rename to {}", path.display()))
}

/// The folder of the built programs: xtask itself lies in it.
fn programs_dir() -> Result<PathBuf> {
    let exe = env::current_exe().context("find this program")?;
    let dir = exe.parent().context("this program has no folder")?;
    Ok(dir.to_owned())
}

fn workspace_root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest.parent().context("xtask has no parent folder")?.to_owned())
}

fn cache_dir() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache"),
    };
    Ok(base.join("hako/guest"))
}

fn build_programs() -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace_root()?);
    command.args(["build", "--release", "--quiet", "-p", "hako-agent", "-p", "hako-runtime"]);
    sh(&mut command)
}

/// Puts `from` at `to`: the same file where the folders share a disk, a copy otherwise.
fn place(from: &Path, to: &Path) -> Result<()> {
    let part = to.with_extension("part");
    let _ = fs::remove_file(&part);
    if fs::hard_link(from, &part).is_err() {
        fs::copy(from, &part).with_context(|| format!("copy {} to {}", from.display(), part.display()))?;
    }
    fs::rename(&part, to).with_context(|| format!("rename to {}", to.display()))?;
    // Where both names are one file already, rename does nothing and leaves the first.
    let _ = fs::remove_file(&part);
    Ok(())
}

/// Runs `command` to its end.
fn sh(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("run {name}"))?;
    if !status.success() {
        bail!("{name} failed: {status}");
    }
    Ok(())
}
