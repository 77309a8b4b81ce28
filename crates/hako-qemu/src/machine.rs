//! One microVM, typed, and the command line that it makes.
//!
//! The virtio-mmio slots are fixed, whatever a VM has, so that a template can
//! later be cloned with other disks or with a network:
//!
//! | slot | device |
//! |---|---|
//! | 0 | virtio-serial: console, agent port, port for host folders |
//! | 1, 2 | disks, in the order given |
//! | 3 | virtio-rng |
//! | 4 | virtio-balloon |
//! | 5 | virtio-net, if there is a network |
//! | 6, 7 | further disks |

use crate::{Board, Error, Result};
use std::{
    fmt,
    fs::{File, OpenOptions},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// The name of the agent's port in the guest (`/sys/class/virtio-ports/*/name`).
pub const AGENT_PORT: &str = "hako.agent";
/// The name of the port for host folders, in a machine that has it.
pub const SHARES_PORT: &str = "hako.fs";
/// On the kernel's command line: the agent writes [`PROBE_HELLO`] to its port and reboots.
pub const PROBE_ARG: &str = "hako.probe=1";
/// On the kernel's command line: once it serves, before it is spoken to, the
/// agent writes [`PROBE_HELLO`] to its port.
pub const TEMPLATE_ARG: &str = "hako.template=1";
/// What a probe guest and a template's say.
pub const PROBE_HELLO: &[u8] = b"hako\n";

const DISK_SLOTS: &[usize] = &[1, 2, 6, 7];
/// Disks that a [`Machine`] has room for.
pub const MOST_DRIVES: usize = DISK_SLOTS.len();
const RNG_SLOT: usize = 3;
const BALLOON_SLOT: usize = 4;
const NIC_SLOT: usize = 5;

/// QEMU's name for the guest's memory.
const RAM: &str = "ram";

/// MiB of translated code that an emulated guest may keep.
const TCG_CACHE_MIB: u32 = 256;

/// How the guest's instructions run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// On the CPU, by the kernel's KVM.
    Kvm,
    /// Emulated by QEMU.
    Tcg,
}

impl Accelerator {
    /// QEMU's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Accelerator {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            other => Err(format!("unknown accelerator {other:?}: kvm or tcg")),
        }
    }
}

/// One disk of a [`Machine`].
#[derive(Debug, Clone, Default)]
pub struct Drive {
    /// The guest finds it by this.
    pub serial: String,
    /// The raw image.
    pub path: PathBuf,
    /// The same, where it is open already.
    pub file: Option<Arc<OwnedFd>>,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// Whether a flush of the guest reaches the host's disk.
    pub durable: bool,
}

/// Where the guest's memory is.
#[derive(Debug, Clone, Default)]
pub enum Memory {
    /// In QEMU alone.
    #[default]
    Own,
    /// In this file, which is as large as the guest's memory: [`crate::Vm::save`]
    /// makes a template of it.
    File(Arc<OwnedFd>),
    /// A private copy, page by page, of a template's; the guest goes on where
    /// that stood. The machine is to have what the template's has, but other
    /// files behind the same disks, another tap and other sockets.
    Copy(Template),
}

/// A machine that was halted and saved.
#[derive(Debug, Clone)]
pub struct Template {
    /// The guest's memory: a file that nobody changes any more, open for reading alone.
    pub memory: Arc<OwnedFd>,
    /// QEMU's state of everything else.
    pub state: Arc<[u8]>,
}

/// One microVM.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The QEMU program: a path, or a name that `$PATH` has.
    pub qemu: PathBuf,
    /// What it is to be.
    pub board: Board,
    /// The kernel, in a form that the board boots: on `microvm` an ELF `vmlinux`
    /// with a PVH entry or a `bzImage`, on `virt` an `Image`.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// How it runs.
    pub accelerator: Accelerator,
    /// Memory that the guest boots with.
    pub memory_mib: u64,
    /// Where that is.
    pub memory: Memory,
    /// Virtual CPUs that the guest boots with.
    pub cpus: u32,
    /// Virtual CPUs that the machine has: those that are more sleep until the
    /// guest starts them.
    pub most_cpus: u32,
    /// At most four disks.
    pub drives: Vec<Drive>,
    /// Added to the kernel's command line: [`Board::host_args`], which are
    /// measured anew where they are missing, and more.
    pub kernel_args: Vec<String>,
    /// The `cgroup.procs` files of the groups that QEMU belongs to.
    pub cgroup_procs: Vec<PathBuf>,
    /// QEMU's end of the connection to who serves host folders; without it
    /// there is no such port.
    pub shares: Option<Arc<OwnedFd>>,
    /// Files that are to be open for as long as QEMU runs.
    pub keep: Vec<Arc<OwnedFd>>,
    /// The network namespace that QEMU runs in; the caller's if there is none.
    pub netns: Option<PathBuf>,
    /// The network card: a tap device in that namespace.
    pub nic: Option<Nic>,
}

/// The network card of a [`Machine`].
#[derive(Debug, Clone)]
pub struct Nic {
    /// The tap device.
    pub tap: Tap,
    /// The hardware address, with colons.
    pub mac: String,
}

/// A tap device.
#[derive(Debug, Clone)]
pub enum Tap {
    /// That is there by this name, in the machine's network namespace.
    Named(String),
    /// That is open already, wherever it is.
    Open(Arc<OwnedFd>),
}

/// QEMU's arguments, and the files that they name by number.
#[derive(Debug)]
pub(crate) struct CommandLine {
    pub args: Vec<String>,
    pub fds: Vec<OwnedFd>,
    /// What QEMU reads a template's state from.
    pub incoming: Option<i32>,
    /// The path by which it opens the file of its memory.
    pub memory_at: String,
}

/// QEMU's ends of the three socket pairs.
pub(crate) struct Sockets {
    pub agent: OwnedFd,
    pub console: OwnedFd,
    pub qmp: OwnedFd,
}

impl Machine {
    /// The kernel's command line.
    #[must_use]
    pub fn kernel_command_line(&self) -> String {
        let mut words: Vec<String> = self.board.kernel_args().map(str::to_owned).collect();
        if self.board.lacks_host_args(&self.kernel_args) {
            words.extend(self.board.host_args(self.accelerator, None));
        }
        words.extend(self.kernel_args.iter().cloned());
        if self.most_cpus > self.cpus {
            words.push(format!("maxcpus={}", self.cpus));
        }
        words.join(" ")
    }

    /// Whether it is known that the guest's kernel expects nothing of pages that it
    /// has freed: guest/kernel's, unless it is told to.
    pub(crate) fn forgets_free_pages(&self) -> bool {
        let counts = |arg: &String| ["init_on_free", "page_poison"].iter().any(|word| arg.starts_with(word));
        self.board == Board::Microvm && !self.kernel_args.iter().any(counts)
    }

    /// Opens every file that the machine is made of (QEMU itself may open none
    /// of them: it runs as nobody in particular) and makes the arguments.
    pub(crate) fn command_line(&self, sockets: Sockets) -> Result<CommandLine> {
        let mut line = CommandLine {
            args: Vec::with_capacity(96),
            fds: Vec::with_capacity(8),
            incoming: None,
            memory_at: String::new(),
        };
        line.fixed(self);
        line.memory(self)?;
        // A copy has them in its memory, and does not boot again.
        if !self.memory.is_copy() {
            let kernel = line.file(&self.kernel, true)?;
            let initramfs = line.file(&self.initramfs, true)?;
            line.add("-kernel", format!("/proc/self/fd/{kernel}"));
            line.add("-initrd", format!("/proc/self/fd/{initramfs}"));
            line.add("-append", self.kernel_command_line());
        }
        line.serial(sockets);
        if let Some(shares) = &self.shares {
            let shares = line.give(shares.try_clone().map_err(Error::io("share a socket"))?);
            line.add("-chardev", format!("socket,id=shares,fd={shares}"));
            line.add("-device", format!("virtserialport,chardev=shares,name={SHARES_PORT},bus=serial.0"));
        }
        if self.drives.len() > DISK_SLOTS.len() {
            let source = std::io::Error::other(format!("a machine has at most {} disks", DISK_SLOTS.len()));
            return Err(Error::Io { step: "lay out the disks", source });
        }
        for (n, (drive, slot)) in self.drives.iter().zip(DISK_SLOTS).enumerate() {
            line.drive(n, *slot, drive)?;
        }
        line.add("-object", "rng-builtin,id=rng");
        line.add("-device", format!("virtio-rng-device,rng=rng,bus=virtio-mmio-bus.{RNG_SLOT}"));
        line.add(
            "-device",
            format!("virtio-balloon-device,id=balloon,free-page-reporting=on,bus=virtio-mmio-bus.{BALLOON_SLOT}"),
        );
        if let Some(nic) = &self.nic {
            line.nic(nic, self.netns.as_deref())?;
        }
        for file in &self.keep {
            line.give(file.try_clone().map_err(Error::io("share a file"))?);
        }
        Ok(line)
    }
}

impl CommandLine {
    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.args.push(option.to_owned());
        self.args.push(value.into());
    }

    /// Gives QEMU `fd` under the number that it has here.
    fn give(&mut self, fd: OwnedFd) -> i32 {
        let number = fd.as_raw_fd();
        self.fds.push(fd);
        number
    }

    fn file(&mut self, path: &Path, read_only: bool) -> Result<i32> {
        let file: File = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .open(path)
            .map_err(|source| Error::Open { path: path.to_owned(), source })?;
        Ok(self.give(file.into()))
    }

    fn fixed(&mut self, machine: &Machine) {
        for word in ["-nodefaults", "-no-user-config", "-no-reboot"] {
            self.args.push(word.to_owned());
        }
        self.add("-display", "none");
        let place =
            if matches!(machine.memory, Memory::Own) { String::new() } else { format!(",memory-backend={RAM}") };
        self.add("-M", format!("{}{place}", machine.board.machine()));
        self.add("-global", "virtio-mmio.force-legacy=false");
        match machine.accelerator {
            Accelerator::Kvm => self.add("-accel", "kvm"),
            Accelerator::Tcg => self.add("-accel", format!("tcg,tb-size={TCG_CACHE_MIB}")),
        }
        self.add("-cpu", machine.board.cpu(machine.accelerator));
        self.add("-m", format!("{}M", machine.memory_mib));
        self.add("-smp", machine.most_cpus.max(machine.cpus).to_string());
        self.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    }

    /// The file that the memory is in, opened again by its number, and a template's state.
    fn memory(&mut self, machine: &Machine) -> Result<()> {
        let (file, share) = match &machine.memory {
            Memory::Own => return Ok(()),
            Memory::File(file) => (file, "on"),
            Memory::Copy(template) => {
                let state = hako_os::fd::filled_pipe(&template.state).map_err(Error::io("pass a template's state"))?;
                self.incoming = Some(self.give(state));
                self.add("-incoming", "defer");
                (&template.memory, "off")
            }
        };
        let fd = self.give(file.try_clone().map_err(Error::io("share a memory file"))?);
        let size = machine.memory_mib;
        self.memory_at = format!("/proc/self/fd/{fd}");
        let place = &self.memory_at;
        let backend = format!("memory-backend-file,id={RAM},size={size}M,mem-path={place},share={share}");
        self.add("-object", backend);
        Ok(())
    }

    fn serial(&mut self, sockets: Sockets) {
        let qmp = self.give(sockets.qmp);
        self.add("-chardev", format!("socket,id=qmp,fd={qmp}"));
        self.add("-mon", "chardev=qmp,mode=control");
        self.add("-device", "virtio-serial-device,id=serial,bus=virtio-mmio-bus.0");
        let console = self.give(sockets.console);
        self.add("-chardev", format!("socket,id=console,fd={console}"));
        self.add("-device", "virtconsole,chardev=console,bus=serial.0");
        let agent = self.give(sockets.agent);
        self.add("-chardev", format!("socket,id=agent,fd={agent}"));
        self.add("-device", format!("virtserialport,chardev=agent,name={AGENT_PORT},bus=serial.0"));
    }

    fn drive(&mut self, n: usize, slot: usize, drive: &Drive) -> Result<()> {
        let fd = match &drive.file {
            Some(file) => self.give(file.try_clone().map_err(Error::io("share a disk"))?),
            None => self.file(&drive.path, drive.read_only)?,
        };
        let read_only = if drive.read_only { "on" } else { "off" };
        let no_flush = if drive.durable { "off" } else { "on" };
        self.add("-add-fd", format!("fd={fd},set={slot}"));
        self.add(
            "-blockdev",
            format!(
                "driver=raw,node-name=disk{n},read-only={read_only},discard=unmap,cache.no-flush={no_flush},\
                 file.driver=file,file.filename=/dev/fdset/{slot},file.read-only={read_only},file.discard=unmap,\
                 file.cache.no-flush={no_flush}"
            ),
        );
        // The serial is ours, not a user's, so a comma in it is not expected; QEMU would read it as an option.
        let serial = drive.serial.replace(',', "");
        self.add("-device", format!("virtio-blk-device,drive=disk{n},serial={serial},bus=virtio-mmio-bus.{slot}"));
        Ok(())
    }

    /// Opened here, as root; QEMU gets no right to do so.
    fn nic(&mut self, nic: &Nic, netns: Option<&Path>) -> Result<()> {
        let fd = match &nic.tap {
            Tap::Open(fd) => fd.try_clone().map_err(Error::io("share a tap device"))?,
            Tap::Named(name) => {
                let open = || hako_os::tap::open(name);
                let opened = match netns {
                    Some(netns) => hako_os::netns::within(netns, open),
                    None => open(),
                };
                opened.map_err(|source| Error::Tap { name: name.clone(), source })?
            }
        };
        let fd = self.give(fd);
        self.add("-netdev", format!("tap,id=net0,fd={fd},vhost=off"));
        // The address is ours, not a user's text: a comma in it would be an option.
        let mac = nic.mac.replace(',', "");
        self.add("-device", format!("virtio-net-device,netdev=net0,mac={mac},bus=virtio-mmio-bus.{NIC_SLOT}"));
        Ok(())
    }
}
