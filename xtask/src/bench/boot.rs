//! QEMU alone: the guest's kernel to its first program, with nothing else in
//! the machine. What a cold container is measured against.

use super::measure::{Row, Subject, millis};
use super::scratch::{Scratch, program};
use crate::host_vm::{initramfs::Archive, tsc};
use crate::programs;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

const SAID: &str = "hako-bench-init";
/// The row's subject.
pub const ALONE: &str = "QEMU alone to init (TCG)";

/// QEMU's arguments for every machine.
pub const MACHINE: [&str; 7] =
    ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-global", "virtio-mmio.force-legacy=false"];
/// Its `-M`.
pub const BOARD: &str = "microvm,acpi=off,x-option-roms=off,isa-serial=off,rtc=on,pit=off,pic=off";
/// What the guest's kernel must be told on it, besides what depends on the accelerator.
pub const KERNEL_ARGS: &str =
    "console=hvc0 quiet reboot=t panic=-1 tsc=reliable lapic_timer_khz=1000000 cgroup_no_v1=all";

/// QEMU and the guest's kernel, or what is missing.
pub fn qemu_and_kernel() -> Result<(PathBuf, PathBuf), String> {
    let kernel = programs::bin_dir().map_err(|e| format!("{e:#}"))?.join("guest/vmlinux");
    let qemu = program("qemu-system-x86_64")?;
    if kernel.is_file() { Ok((qemu, kernel)) } else { Err("no guest kernel: run cargo xtask guest".into()) }
}

/// The subject, or a row with the reason why there is none.
pub fn subject<'a>(scratch: &Scratch, rows: &mut Vec<Row>) -> Result<Option<Subject<'a>>> {
    let (qemu, kernel) = match qemu_and_kernel() {
        Ok(found) => found,
        Err(reason) => {
            rows.push(Row::skipped("run", ALONE, "ms", &reason));
            return Ok(None);
        }
    };
    let initramfs = initramfs(scratch)?;
    let append = format!("{KERNEL_ARGS} tsc_early_khz={} mitigations=off", tsc::khz());
    let boot = move || {
        let mut command = Command::new(&qemu);
        command.args(MACHINE).args(["-M", BOARD, "-m", "256", "-accel", "tcg", "-cpu", "max"]);
        command.args(["-device", "virtio-serial-device", "-chardev", "stdio,id=console,signal=off"]);
        command.args(["-device", "virtconsole,chardev=console", "-append", &append, "-kernel"]);
        command.arg(&kernel).arg("-initrd").arg(&initramfs);
        until_it_speaks(&mut command)
    };
    Ok(Some(Subject::new(ALONE, boot)))
}

/// An initramfs whose first program says one line.
fn initramfs(scratch: &Scratch) -> Result<PathBuf> {
    let busybox = programs::find("busybox").context("no busybox (package busybox-static)")?;
    let mut archive = Archive::default();
    archive.dir("bin")?;
    archive.dir("dev")?;
    archive.copy("bin/busybox", &busybox)?;
    archive.program("init", format!("#!/bin/busybox sh\necho {SAID}\nexec /bin/busybox sleep 60\n").as_bytes())?;
    let file = scratch.path("boot.cpio");
    archive.finish(&file)?;
    Ok(file)
}

/// Runs QEMU until the line is there, and ends it.
fn until_it_speaks(command: &mut Command) -> Result<f64> {
    // An input at its end would close the console: keep it open.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let begin = Instant::now();
    let mut qemu = command.spawn().context("starting QEMU")?;
    let stdout = qemu.stdout.take().context("QEMU has no output")?;
    let mut said = None;
    for line in BufReader::new(stdout).split(b'\n').map_while(std::result::Result::ok) {
        if String::from_utf8_lossy(&line).contains(SAID) {
            said = Some(millis(begin));
            break;
        }
    }
    let _ = qemu.kill();
    let _ = qemu.wait();
    match said {
        Some(millis) => Ok(millis),
        None => bail!("the guest did not reach its first program"),
    }
}
