//! Which accelerator works. A `/dev/kvm` that opens proves nothing: KVM counts
//! once a guest has booted under it within a deadline.

use crate::{Accelerator, Board, Error, Machine, Memory, PROBE_ARG, PROBE_HELLO, Result, Vm, spawn::find_program};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt, time::timeout};

const DEVICE: &str = "/dev/kvm";
/// The probe guest is the ordinary one, with the least memory that it boots in.
const MEMORY_MIB: u64 = 128;

/// What the probe needs.
#[derive(Debug, Clone)]
pub struct ProbeRequest {
    /// The QEMU program.
    pub qemu: PathBuf,
    /// What the guest is made for.
    pub board: Board,
    /// How often its kernel ticks (`CONFIG_HZ`), if it is not known by the board.
    pub hz: Option<u64>,
    /// The guest's kernel.
    pub kernel: PathBuf,
    /// The initramfs, whose init knows [`PROBE_ARG`].
    pub initramfs: PathBuf,
    /// How long a guest may take to boot under KVM before KVM counts as broken.
    pub deadline: Duration,
    /// Where the verdict is kept; it holds until the host boots again or one
    /// of the three files changes.
    pub cache: PathBuf,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What works.
    pub accelerator: Accelerator,
    /// Why, for `info` and for the warning that emulation is slow.
    pub reason: String,
    /// For the kernel's command line of every guest like the one that was asked for.
    pub kernel_args: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Cached {
    key: String,
    probe: Probe,
}

/// Decides between KVM and TCG, by booting a guest under KVM unless the answer
/// is known or the device is not there.
///
/// # Errors
/// QEMU is not installed, or the kernel or the initramfs cannot be read. That
/// KVM does not work is no error, it is a verdict.
pub async fn probe_accelerator(request: &ProbeRequest) -> Result<Probe> {
    let key = key(request)?;
    if let Some(probe) = read_cache(&request.cache, &key) {
        return Ok(probe);
    }
    let (accelerator, reason) = match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => boot(request).await?,
        Err(err) if err.kind() == io::ErrorKind::NotFound => (Accelerator::Tcg, format!("{DEVICE} does not exist")),
        Err(err) => (Accelerator::Tcg, format!("{DEVICE} cannot be opened: {err}")),
    };
    let probe = Probe { accelerator, reason, kernel_args: request.board.host_args(accelerator, request.hz) };
    write_cache(&request.cache, &Cached { key, probe: probe.clone() });
    Ok(probe)
}

async fn boot(request: &ProbeRequest) -> Result<(Accelerator, String)> {
    let machine = Machine {
        qemu: request.qemu.clone(),
        board: request.board,
        kernel: request.kernel.clone(),
        initramfs: request.initramfs.clone(),
        accelerator: Accelerator::Kvm,
        memory_mib: MEMORY_MIB,
        memory: Memory::Own,
        cpus: 1,
        most_cpus: 1,
        drives: Vec::new(),
        kernel_args: [vec![PROBE_ARG.to_owned()], request.board.host_args(Accelerator::Kvm, request.hz)].concat(),
        cgroup_procs: Vec::new(),
        shares: None,
        keep: Vec::new(),
        netns: None,
        nic: None,
    };
    let start = Instant::now();
    let (mut vm, mut agent) = Vm::spawn(&machine, None)?;
    let mut hello = [0; PROBE_HELLO.len()];
    let answer = timeout(request.deadline, agent.read_exact(&mut hello)).await;
    let took = start.elapsed().as_secs_f32();
    let ended = vm.has_ended();
    vm.kill().await;
    vm.drained().await;
    let verdict = match answer {
        Ok(Ok(_)) if hello == PROBE_HELLO => (Accelerator::Kvm, format!("a guest booted under KVM in {took:.1} s")),
        Err(_) if !ended => {
            let deadline = request.deadline.as_secs_f32();
            (Accelerator::Tcg, format!("{DEVICE} opens, but no guest booted under KVM within {deadline:.1} s"))
        }
        _ => (Accelerator::Tcg, format!("{DEVICE} opens, but no guest booted under KVM: {}", vm.last_line())),
    };
    Ok(verdict)
}

/// This boot of the host, the machine, and the three files by size and time.
fn key(request: &ProbeRequest) -> Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(Error::io("read the host's boot id"))?;
    let mut key = format!("{} {} {:?}", boot.trim(), request.board, request.hz);
    let qemu = find_program(&request.qemu)?;
    for path in [&qemu, &request.kernel, &request.initramfs] {
        let meta = fs::metadata(path).map_err(|source| Error::Open { path: path.clone(), source })?;
        key.push_str(&format!("\n{} {} {}.{}", path.display(), meta.len(), meta.mtime(), meta.mtime_nsec()));
    }
    Ok(key)
}

fn read_cache(path: &Path, key: &str) -> Option<Probe> {
    let cached: Cached = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (cached.key == key).then_some(cached.probe)
}

/// A cache that cannot be written costs the next start a probe, no more.
fn write_cache(path: &Path, cached: &Cached) {
    let part = path.with_extension("part");
    let written = serde_json::to_vec(cached).map_err(io::Error::from).and_then(|text| fs::write(&part, text));
    if let Err(err) = written.and_then(|()| fs::rename(&part, path)) {
        tracing::debug!(path = %path.display(), %err, "the accelerator's verdict is not kept");
    }
}
