//! Templates: a machine is booted once to "the agent serves" and saved; the
//! machines of containers are copies of it.
//!
//! What a template has in place of what belongs to a container: empty disks of
//! the same sizes, a tap device in a network namespace where nothing else is,
//! and nobody at the other end of the port for host folders. So it knows no
//! container's data, and a copy finds its own things where those were.

use super::boot::{self, machine};
use hako_model::{Disk, Error, OpenFile, Result, SandboxConfig, VmConfig};
use hako_os::fd::loose_memory_file;
use hako_qemu::{Drive, Machine, Memory, Nic, TEMPLATE_ARG, Tap, Template as Saved, Vm};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
            net::UnixStream,
        },
    },
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// How long the disk with the root filesystem is for machines that are to have
/// templates, whatever is in it.
pub const ROOTFS_BYTES: u64 = 64 << 30;

/// A state is tens of KiB.
const MOST_STATE: u64 = 1 << 20;
/// The least that a guest boots in, in MiB.
const LEAST_MEMORY: u64 = 256;
/// Of the placeholder of a network card; a copy's is set by its agent.
const MAC: &str = "02:68:61:6b:6f:00";
/// The tap device in a namespace of its own.
const TAP: &str = "hako";

/// The guest begins to report two seconds after its boot, and goes on every two.
const SHRINK_PAUSE: Duration = Duration::from_millis(2100);
const SHRINK_ROUNDS: u32 = 3;
/// Less than this many blocks of 512 bytes in a round are not waited for.
const SHRINK_LEAST: u64 = 8 << 11;

/// In a folder: the guest's memory, and the state of all else.
const MEMORY: &str = "memory";
const STATE: &str = "state";

/// A template, while this process has it.
#[derive(Debug)]
pub struct Template {
    saved: Saved,
    memory: OpenFile,
    state: File,
    state_file: OpenFile,
}

impl Template {
    /// Where others find it while this process lives.
    #[must_use]
    pub fn files(&self) -> hako_model::TemplateFiles {
        hako_model::TemplateFiles { memory: self.memory.clone(), state: self.state_file.clone() }
    }

    /// Whether it is what [`load`] has from `folder`.
    #[must_use]
    pub fn is_in(&self, folder: &Path) -> bool {
        let there = fs::metadata(folder.join(MEMORY));
        there.is_ok_and(|there| (there.dev(), there.ino()) == (self.memory.device, self.memory.inode))
    }

    /// Bytes of memory, or of a disk, that it takes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let blocks = |file: &File| file.metadata().map_or(0, |meta| meta.blocks() * 512);
        let memory = self.saved.memory.try_clone().map(File::from);
        memory.map_or(0, |file| blocks(&file)) + blocks(&self.state)
    }
}

/// A machine whose container names no amount of memory gets at least what it
/// needs, in steps that templates come in: a power of two, in MiB.
#[must_use]
pub fn memory_class(memory_mib: u64) -> u64 {
    memory_mib.max(LEAST_MEMORY).next_power_of_two()
}

/// Everything that a copy must share with its template: two machines with one
/// key can be copies of one. The files that a machine boots count as they are now.
/// `card` says whether it has a network card, which may be before it has a network.
///
/// # Errors
/// One of them is not there.
pub fn key(vm: &VmConfig, card: bool) -> Result<String> {
    let boot = &vm.boot;
    let mut key = format!(
        "{} {} {} MiB, {} of {} CPUs, network {}, shares {}",
        boot.board,
        boot.accelerator,
        vm.memory_mib,
        vm.cpus,
        vm.most_cpus,
        card,
        vm.shares.is_some()
    );
    for file in [hako_qemu::find_program(&boot.qemu).map_err(told)?, boot.kernel.clone(), boot.initramfs.clone()] {
        let meta = fs::metadata(&file).map_err(|err| Error::internal(format!("{}: {err}", file.display())))?;
        let (size, changed) = (meta.len(), (meta.mtime(), meta.mtime_nsec()));
        key.push_str(&format!("\n{} {size} {}.{}", file.display(), changed.0, changed.1));
    }
    key.push_str(&format!("\n{}", boot.kernel_args.join(" ")));
    for disk in &vm.disks {
        key.push_str(&format!("\ndisk {} {} {}", disk.serial, disk.read_only, size_of(disk)?));
    }
    Ok(key)
}

/// Whether the machine has a network card.
#[must_use]
pub fn has_card(vm: &VmConfig) -> bool {
    vm.network.as_ref().is_some_and(|network| !network.interfaces.is_empty())
}

fn size_of(disk: &Disk) -> Result<u64> {
    if let Some(size) = disk.size {
        return Ok(size);
    }
    let named = |err: std::io::Error| Error::internal(format!("{}: {err}", disk.path.display()));
    // The length of what may be a block device.
    File::open(&disk.path).and_then(|mut file| file.seek(SeekFrom::End(0))).map_err(named)
}

#[allow(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn told(err: hako_qemu::Error) -> Error {
    Error::internal(err.to_string())
}

/// Boots a machine like `vm` to the point where its agent serves, and saves it in
/// an empty `folder` that nobody else may look into, from where [`load`] has it.
/// It is not finished if `stop` comes first.
///
/// QEMU dies with the calling thread.
///
/// # Errors
/// The machine does not boot, cannot be saved, or is stopped.
pub async fn make(vm: &VmConfig, folder: &Path, stop: impl Future<Output = ()>) -> Result<Template> {
    let failed = files_failed;
    let file = create(&folder.join(MEMORY)).map_err(failed)?;
    file.set_len(vm.memory_mib << 20).map_err(failed)?;
    // QEMU is nobody. It comes to the file by its number alone, and only this once.
    let mode = |mode| fs::Permissions::from_mode(mode);
    file.set_permissions(mode(0o666)).map_err(failed)?;
    let memory = Arc::new(OwnedFd::from(file.try_clone().map_err(failed)?));
    let mut machine = placeholders(vm)?;
    machine.memory = Memory::File(memory.clone());
    machine.kernel_args.push(TEMPLATE_ARG.to_owned());
    let (qemu, mut agent) = Vm::spawn(&machine, None).map_err(told)?;
    let deadline = Duration::from_millis(vm.boot.deadline_ms);
    let ready = async {
        let timed_out = |_| {
            let source = std::io::ErrorKind::TimedOut.into();
            Err(hako_qemu::Error::Io { step: "wait for a template's guest", source })
        };
        timeout(deadline, qemu.hello(&mut agent)).await.unwrap_or_else(timed_out).map_err(told)?;
        shrink(&memory).await;
        Ok(())
    };
    let ready = tokio::select! {
        ready = ready => ready,
        () = stop => Err(Error::internal("the engine ends")),
    };
    if let Err(err) = ready {
        qemu.kill().await;
        return Err(Error::internal(format!("{err}{}", qemu.last_words())));
    }
    let saved = qemu.save(memory).await.map_err(told)?;
    file.set_permissions(mode(0o400)).map_err(failed)?;
    let mut state = create(&folder.join(STATE)).map_err(failed)?;
    state.write_all(&saved.state).map_err(failed)?;
    load(folder)
}

/// The template that [`make`] has put into `folder`.
///
/// # Errors
/// It is not whole.
pub fn load(folder: &Path) -> Result<Template> {
    let failed = files_failed;
    // Both of one folder, also if another takes its place meanwhile.
    let held = File::open(folder).map_err(failed)?;
    let held_at = Path::new("/proc/self/fd").join(held.as_raw_fd().to_string());
    let open = |name: &str| File::open(held_at.join(name)).map_err(failed);
    let (memory, mut state) = (open(MEMORY)?, open(STATE)?);
    let mut bytes = Vec::new();
    Read::by_ref(&mut state).take(MOST_STATE).read_to_end(&mut bytes).map_err(failed)?;
    let saved = Saved { memory: Arc::new(memory.into()), state: bytes.into() };
    Ok(Template {
        memory: open_file(&*saved.memory).map_err(failed)?,
        state_file: open_file(&state).map_err(failed)?,
        saved,
        state,
    })
}

#[allow(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn files_failed(err: std::io::Error) -> Error {
    Error::internal(format!("a template's files: {err}"))
}

/// Waits while the guest gives back what its boot has used and freed (free page
/// reporting): of that the template would be twice as large.
async fn shrink(memory: &OwnedFd) {
    let blocks = || memory.try_clone().and_then(|file| File::from(file).metadata()).map_or(0, |meta| meta.blocks());
    let mut before = blocks();
    for _ in 0..SHRINK_ROUNDS {
        tokio::time::sleep(SHRINK_PAUSE).await;
        let now = blocks();
        let is_done = now < before && before - now < SHRINK_LEAST;
        if is_done {
            return;
        }
        before = before.min(now);
    }
}

/// Whether a copy of `template` for `vm` answers: one that does not serve is
/// found out before a container depends on it.
///
/// # Errors
/// Why it does not.
pub async fn probe(vm: &VmConfig, template: &Template) -> Result<()> {
    let mut machine = placeholders(vm)?;
    machine.memory = Memory::Copy(template.saved.clone());
    boot::probe(&machine, vm).await
}

/// The machine with nobody's disks, network and folders.
fn placeholders(vm: &VmConfig) -> Result<Machine> {
    let failed = |err: std::io::Error| Error::internal(format!("make a template's placeholders: {err}"));
    // What it would have of a container's.
    let own = VmConfig { disks: Vec::new(), network: None, shares: None, template: None, ..vm.clone() };
    let mut machine = machine(&own, true)?;
    for disk in &vm.disks {
        let size = size_of(disk)?;
        machine.drives.push(placeholder(&disk.serial, size, disk.read_only)?);
    }
    if vm.shares.is_some() {
        nobodys_shares(&mut machine).map_err(failed)?;
    }
    if has_card(vm) {
        machine.nic = Some(Nic { tap: Tap::Open(Arc::new(lone_tap(TAP).map_err(failed)?)), mac: MAC.to_owned() });
    }
    Ok(machine)
}

pub(super) fn placeholder(serial: &str, size: u64, read_only: bool) -> Result<Drive> {
    let made = loose_memory_file(c"hako-placeholder", size).and_then(|file| match read_only {
        // QEMU asks for a descriptor that is as it wants it.
        true => File::open(format!("/proc/self/fd/{}", file.as_raw_fd())),
        false => Ok(file),
    });
    let file = made.map_err(|err| Error::internal(format!("make a disk of {size} bytes: {err}")))?;
    Ok(Drive {
        serial: serial.to_owned(),
        file: Some(Arc::new(file.into())),
        read_only,
        durable: false,
        ..Drive::default()
    })
}

/// A port that nobody serves, and the window as it always is.
fn nobodys_shares(machine: &mut Machine) -> std::io::Result<()> {
    let (ours, qemus) = UnixStream::pair()?;
    machine.shares = Some(Arc::new(qemus.into()));
    boot::add_window(machine, super::shares::window()?);
    // QEMU has its own copy of the other end for as long as it runs: a port whose
    // other end is closed is another one to the guest.
    machine.keep.push(Arc::new(ours.into()));
    Ok(())
}

/// A tap device in a network namespace that goes with it.
pub(super) fn lone_tap(name: &str) -> std::io::Result<OwnedFd> {
    hako_os::netns::in_new(|| hako_os::tap::open(name))
}

fn create(path: &Path) -> std::io::Result<File> {
    fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn open_file(file: &(impl AsRawFd + std::os::fd::AsFd)) -> std::io::Result<OpenFile> {
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into();
    let meta = File::from(file.as_fd().try_clone_to_owned()?).metadata()?;
    Ok(OpenFile { path, device: meta.dev(), inode: meta.ino() })
}

/// The template that `config` names, if whoever has made it lives.
///
/// # Errors
/// It does not; what is there is another file.
pub(super) fn open(files: &hako_model::TemplateFiles) -> Result<Saved> {
    let memory = open_again(&files.memory)?;
    let mut state = Vec::new();
    let file = open_again(&files.state)?;
    file.take(MOST_STATE).read_to_end(&mut state)?;
    Ok(Saved { memory: Arc::new(memory.into()), state: state.into() })
}

fn open_again(file: &OpenFile) -> Result<File> {
    let gone = |why: String| Error::internal(format!("the template {}: {why}", file.path.display()));
    let opened = File::open(&file.path).map_err(|err| gone(err.to_string()))?;
    let meta = opened.metadata().map_err(|err| gone(err.to_string()))?;
    if (meta.dev(), meta.ino()) != (file.device, file.inode) {
        return Err(gone("it is gone".to_owned()));
    }
    Ok(opened)
}

/// What a probe is told to be.
pub(super) fn nobody() -> Result<SandboxConfig> {
    use hako_model::{Isolation, LogConfig, LogDriver};
    Ok(SandboxConfig {
        id: "0".repeat(64).try_into().map_err(|err: hako_model::IdError| Error::internal(err.to_string()))?,
        isolation: Isolation::Hyperv,
        log: LogConfig::plain(LogDriver::None, None),
        open_stdin: false,
        stdin_once: false,
        runtime: std::path::PathBuf::new(),
        runtime_root: std::path::PathBuf::new(),
        vm: None,
        ephemeral: true,
    })
}
