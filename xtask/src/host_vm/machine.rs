//! The outer machine: one QEMU that emulates an AMD processor with SVM, so that
//! the host inside has a working `/dev/kvm` wherever this runs.

use super::tsc;
use anyhow::{Context, Result};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// The line that ends a run; the tests' exit status follows it.
pub const MARKER: &str = "HAKO-VM-EXIT";

/// Without a beat for so long the machine itself hangs: it beats every five
/// seconds, and an emulated one beside builds is late, but not by minutes.
const BEAT_PATIENCE: Duration = Duration::from_secs(180);
/// Virtual machines wait for a container only where 2 GiB are available.
const MEMORY_MIB: &str = "3072";
/// How often the beats are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// A running machine. Dropping it ends QEMU.
pub struct Machine {
    qemu: Child,
    lines: Receiver<Output>,
    beats: PathBuf,
}

/// What the tests say.
enum Output {
    /// A whole line.
    Line(String),
    /// The beginning of one, told so that a test which hangs is known by name.
    Begun(String),
}

/// Why a machine gave no result.
#[derive(Debug)]
pub enum Lost {
    /// It stood still, which an emulated machine does now and then, or its QEMU
    /// ended: nothing is known of the tests. It may be tried again.
    Machine(String),
    /// It lives, and the tests did not end in time.
    Tests(String),
}

/// The files that a machine boots from and writes to.
pub struct Files<'a> {
    pub kernel: &'a Path,
    pub initramfs: &'a Path,
    pub disk: &'a Path,
    pub console: &'a Path,
    /// What the machine says of itself, every few seconds.
    pub beats: &'a Path,
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
        std::thread::spawn(move || read(stdout, &sender));
        Ok(Self { qemu, lines, beats: files.beats.to_owned() })
    }

    /// Waits for the first line of output, which says that the machine is up.
    pub fn first_line(&self, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()? {
                Output::Line(line) => return Some(line),
                Output::Begun(_) => {}
            }
        }
    }

    /// Hands each line of the tests' output to `show` until the marker, and
    /// returns the status beside it.
    pub fn follow(&self, deadline: Instant, mut show: impl FnMut(&str)) -> Result<i32, Lost> {
        let mut begun = String::new();
        let mut beats = (0, Instant::now());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(LOOK)) {
                Ok(Output::Line(line)) => {
                    begun.clear();
                    match line.strip_prefix(MARKER) {
                        Some(status) => {
                            return status.trim().parse().map_err(|_| Lost::Tests(format!("exit status {status:?}")));
                        }
                        None => show(&line),
                    }
                }
                Ok(Output::Begun(text)) => begun = text,
                Err(RecvTimeoutError::Timeout) => {
                    let length = fs::metadata(&self.beats).map(|meta| meta.len()).unwrap_or(0);
                    if length != beats.0 {
                        beats = (length, Instant::now());
                    }
                    if beats.1.elapsed() > BEAT_PATIENCE {
                        return Err(Lost::Machine(format!("it stood still during: {begun}")));
                    }
                    if left.is_zero() {
                        return Err(Lost::Tests(format!("the deadline has passed during: {begun}")));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Lost::Machine(format!("it ended without a result during: {begun}")));
                }
            }
        }
    }
}

/// Splits the tests' output into lines.
fn read(mut from: impl Read, to: &Sender<Output>) {
    let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            return;
        }
        for byte in buffer.iter().take(n) {
            if *byte != b'\n' {
                line.push(*byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if to.send(Output::Line(text)).is_err() {
                return;
            }
        }
        if !line.is_empty() && to.send(Output::Begun(String::from_utf8_lossy(&line).into_owned())).is_err() {
            return;
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
    add(&["-M", "q35,accel=tcg", "-cpu", "max,+svm", "-m", MEMORY_MIB]);
    add(&["-smp", &processors.to_string()]);
    add(&["-kernel", &path(files.kernel), "-initrd", &path(files.initramfs)]);
    add(&["-append", &kernel_arguments()]);
    add(&["-serial", &format!("file:{}", path(files.console))]);
    // The results: the port's output is QEMU's own.
    add(&["-chardev", "stdio,id=result,signal=off", "-device", "virtio-serial-pci"]);
    add(&["-device", "virtserialport,chardev=result,name=hako.result"]);
    add(&["-chardev", &format!("file,id=beats,path={}", path(files.beats))]);
    add(&["-device", "virtserialport,chardev=beats,name=hako.beats"]);
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

/// The last lines of a file that the machine wrote, for a failure's report.
pub fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
