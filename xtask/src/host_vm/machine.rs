//! The outer machine: one QEMU that emulates an AMD processor with SVM, so that
//! the host inside has a working `/dev/kvm` wherever this runs.

use super::tsc;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The line that ends a run; the tests' exit status follows it.
pub const MARKER: &str = "HAKO-VM-EXIT";

/// A running machine. Dropping it ends QEMU.
pub struct Machine {
    qemu: Child,
    lines: Receiver<String>,
}

/// The files that a machine boots from and writes to.
pub struct Files<'a> {
    pub kernel: &'a Path,
    pub initramfs: &'a Path,
    pub disk: &'a Path,
    pub console: &'a Path,
}

impl Machine {
    /// Starts QEMU. It dies with this process, however this process ends.
    pub fn boot(files: &Files<'_>, processors: usize) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(arguments(files, processors));
        // An input at its end would close the port of the results: keep it open.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut qemu = command.spawn().context("starting qemu-system-x86_64")?;
        let stdout = qemu.stdout.take().context("QEMU has no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { qemu, lines })
    }

    /// Waits for the first line of output, which says that the machine is up.
    pub fn first_line(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Hands each line of the tests' output to `show` until the marker, and
    /// returns the status beside it.
    pub fn follow(&self, deadline: Instant, mut show: impl FnMut(&str)) -> Result<i32> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => match line.strip_prefix(MARKER) {
                    Some(status) => return status.trim().parse().context("reading the exit status"),
                    None => show(&line),
                },
                Err(RecvTimeoutError::Timeout) => bail!("the deadline has passed"),
                Err(RecvTimeoutError::Disconnected) => bail!("the machine ended without a result"),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended already, or it is of no further use.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn arguments(files: &Files<'_>, processors: usize) -> Vec<String> {
    let path = |path: &Path| path.display().to_string().replace(',', ",,");
    let mut args: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
    add(&["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    add(&["-M", "q35,accel=tcg", "-cpu", "max,+svm", "-m", "2048"]);
    add(&["-smp", &processors.to_string()]);
    add(&["-kernel", &path(files.kernel), "-initrd", &path(files.initramfs)]);
    add(&["-append", &kernel_arguments()]);
    add(&["-serial", &format!("file:{}", path(files.console))]);
    // The results: the port's output is QEMU's own.
    add(&["-chardev", "stdio,id=result,signal=off", "-device", "virtio-serial-pci"]);
    add(&["-device", "virtserialport,chardev=result,name=hako.result"]);
    add(&["-device", "virtio-rng-pci"]);
    // The host's root filesystem; `remap` because it holds further mounts.
    let share = "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap";
    add(&["-fsdev", share, "-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]);
    let disk = format!("file={},if=none,id=disk,format=raw,cache=unsafe", path(files.disk));
    add(&["-drive", &disk, "-device", "virtio-blk-pci,drive=disk"]);
    args
}

fn kernel_arguments() -> String {
    // Beside other work the emulated timers are late, and a kernel that checks or
    // calibrates one against another hangs: it is told instead.
    format!("console=ttyS0 panic=-1 quiet no_timer_check tsc=reliable tsc_early_khz={}", tsc::khz())
}

/// The last lines of the console, for a failure's report.
pub fn console_tail(console: &Path, lines: usize) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
