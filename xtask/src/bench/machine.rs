//! A virtual machine without an engine, on a network and perhaps with a folder
//! by virtiofsd: what the hyperv wall is measured against.
//!
//! ```text
//! bridge ─ veth ═══ eth0 ⇄ mirred ⇄ tap ─ QEMU ─ guest's kernel ─ server   (as Hako joins them)
//!                                          └─ vhost-user ─ virtiofsd ─ folder
//! ```

use super::bare::{End, Lab};
use super::engine::{Engine, Kind};
use super::image::TRAFFIC_PROGRAM;
use super::namespace::Namespace;
use super::scratch::{Scratch, program};
use super::{boot, inside};
use crate::host_vm::initramfs::Archive;
use crate::host_vm::tsc;
use crate::programs;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What a container with 512 MiB makes of a machine.
const MEMORY_MIB: u32 = 624;
/// As Hako's under emulation, where `-m` is all that is asked for.
const MOST_PROCESSORS: usize = 2;
/// For virtiofsd's socket.
const START: Duration = Duration::from_secs(10);
/// Debian's packages of QEMU 7.2 have the one in C; the later one is on the path.
const VIRTIOFSD: [&str; 2] = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"];

/// The folder's place in the guest.
pub const SHARE: &str = "/share";

/// How the guest's instructions run, as hakod's probe has found.
pub struct Accelerator {
    name: String,
    kernel_args: String,
}

impl Accelerator {
    /// What Hako has found, which it has once a machine of its runs; emulation
    /// where there is none.
    pub fn of(engines: &[Engine]) -> Self {
        let found = engines.iter().filter(|engine| engine.kind == Kind::Hako).find_map(Self::found);
        found.unwrap_or_else(|| Self {
            name: "tcg".into(),
            kernel_args: format!("mitigations=off tsc_early_khz={}", tsc::khz()),
        })
    }

    fn found(engine: &Engine) -> Option<Self> {
        let text = fs::read(engine.dir.join("data/cache/accelerator.json")).ok()?;
        let verdict: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let words = verdict["probe"]["kernel_args"].as_array()?.iter().filter_map(|word| word.as_str());
        let kernel_args = words.collect::<Vec<_>>().join(" ");
        Some(Self { name: verdict["probe"]["accelerator"].as_str()?.to_owned(), kernel_args })
    }

    fn add_to(&self, command: &mut Command) {
        match self.name.as_str() {
            "kvm" => command.args(["-accel", "kvm", "-cpu", "host"]),
            // As Hako's: with `erms` the guest copies byte by byte.
            _ => command.args(["-accel", "tcg,tb-size=256", "-cpu", "max,-erms"]),
        };
    }
}

/// A running machine. Dropped, it ends.
pub struct Machine {
    pub address: Ipv4Addr,
    children: Vec<Child>,
}

impl Machine {
    /// Boots one on the lab's bridge, until its server answers. `share` is a
    /// folder that it has at [`SHARE`].
    pub fn boot(scratch: &Scratch, lab: &Lab, accelerator: &Accelerator, share: Option<&Path>) -> Result<Self> {
        let (qemu, kernel) = boot::qemu_and_kernel().map_err(anyhow::Error::msg)?;
        let End { namespace, address } = lab.end()?;
        join(&namespace)?;
        let mut machine = Self { address, children: Vec::new() };
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST_PROCESSORS);
        let mut command = Command::new(qemu);
        command.args(boot::MACHINE).args(["-m", &format!("{MEMORY_MIB}M"), "-smp", &processors.to_string()]);
        accelerator.add_to(&mut command);
        let mut board = boot::BOARD.to_owned();
        if let Some(folder) = share {
            board += ",memory-backend=memory";
            machine.share(scratch, folder, &mut command)?;
        }
        let fs = if share.is_some() { "BENCH_SHARE=y" } else { "" };
        let append = format!(
            "{} rcupdate.rcu_expedited=1 {} BENCH_ADDRESS={address}/24 {fs}",
            boot::KERNEL_ARGS,
            accelerator.kernel_args
        );
        command.args(["-M", &board, "-append", &append, "-kernel"]).arg(kernel);
        command.arg("-initrd").arg(initramfs(scratch)?);
        command.args(["-object", "rng-builtin,id=rng", "-device", "virtio-rng-device,rng=rng"]);
        command.args(["-netdev", "tap,id=net0,ifname=tap0,script=no,downscript=no,vhost=off"]);
        command.args([
            "-device",
            &format!("virtio-net-device,netdev=net0,mac=02:42:c6:12:00:{:02x}", address.octets()[3]),
        ]);
        let console = scratch.path(&format!("console-{address}"));
        command.args(["-device", "virtio-serial-device", "-device", "virtconsole,chardev=console"]);
        command.args(["-chardev", &format!("file,id=console,path={}", console.display())]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(scratch.path("qemu.log"))?);
        machine.children.push(namespace.within(|| command.spawn().context("starting QEMU"))?);
        match lab.host.within(|| inside::wait(address)) {
            Ok(()) => Ok(machine),
            Err(e) => {
                let told = fs::read_to_string(&console).unwrap_or_default()
                    + &fs::read_to_string(scratch.path("qemu.log")).unwrap_or_default();
                Err(e.context(format!("QEMU alone: {}", told.trim().lines().last().unwrap_or("it said nothing"))))
            }
        }
    }

    /// Starts virtiofsd on `folder` and gives it to the machine.
    fn share(&mut self, scratch: &Scratch, folder: &Path, command: &mut Command) -> Result<()> {
        let virtiofsd = virtiofsd().map_err(anyhow::Error::msg)?;
        let socket = scratch.path("virtiofsd.sock");
        let mut server = Command::new(&virtiofsd);
        server.arg(format!("--socket-path={}", socket.display()));
        // The two programs of that name have different flags.
        if virtiofsd.starts_with("/usr/lib/qemu") {
            server.arg("-o").arg(format!("source={},cache=auto", folder.display()));
        } else {
            server.args(["--cache", "auto", "--sandbox", "none", "--shared-dir"]).arg(folder);
        }
        let log = scratch.path("virtiofsd.log");
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut child = server.spawn().context("starting virtiofsd")?;
        let begin = Instant::now();
        while !socket.exists() {
            let ended = child.try_wait()?;
            if ended.is_some() || begin.elapsed() > START {
                let _ = child.kill();
                let _ = child.wait();
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("virtiofsd has no socket: {}", said.trim().lines().last().unwrap_or("it said nothing"));
            }
            sleep(Duration::from_millis(20));
        }
        self.children.push(child);
        command.args(["-object", &format!("memory-backend-memfd,id=memory,size={MEMORY_MIB}M,share=on")]);
        command.arg("-chardev").arg(format!("socket,id=fs,path={}", socket.display()));
        command.args(["-device", "vhost-user-fs-device,queue-size=1024,chardev=fs,tag=share"]);
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// virtiofsd, or why there is none.
pub fn virtiofsd() -> Result<PathBuf, String> {
    let found = VIRTIOFSD.map(PathBuf::from).into_iter().find(|path| path.is_file());
    found.map_or_else(|| program("virtiofsd"), Ok)
}

/// Joins the namespace's end of the pair and a tap device, both ways.
fn join(namespace: &Namespace) -> Result<()> {
    namespace.ip("tuntap add tap0 mode tap vnet_hdr")?;
    for name in ["tap0", "eth0"] {
        namespace.ip(&format!("link set {name} up"))?;
        namespace.tool("tc", &format!("qdisc add dev {name} ingress"))?;
    }
    for (from, to) in [("eth0", "tap0"), ("tap0", "eth0")] {
        let redirect = format!("action mirred egress redirect dev {to}");
        namespace.tool(
            "tc",
            &format!("filter add dev {from} parent ffff: protocol all prio 1 u32 match u8 0 0 {redirect}"),
        )?;
    }
    Ok(())
}

/// An initramfs whose first program sets up the network and serves.
fn initramfs(scratch: &Scratch) -> Result<PathBuf> {
    let file = scratch.path("traffic.cpio");
    if file.exists() {
        return Ok(file);
    }
    let busybox = programs::find("busybox").context("no busybox (package busybox-static)")?;
    let server = scratch.path(TRAFFIC_PROGRAM);
    ensure!(server.exists(), "the server was not put into the scratch folder");
    let mut archive = Archive::default();
    for dir in ["bin", "dev", "share"] {
        archive.dir(dir)?;
    }
    archive.copy("bin/busybox", &busybox)?;
    archive.copy("bin/bench", &server)?;
    // What the kernel's command line has and the kernel does not know is in the
    // environment.
    let init = format!(
        "#!/bin/busybox sh\n\
         [ -z \"$BENCH_SHARE\" ] || /bin/busybox mount -t virtiofs share {SHARE}\n\
         /bin/busybox ip link set lo up\n\
         /bin/busybox ip address add \"$BENCH_ADDRESS\" dev eth0\n\
         /bin/busybox ip link set eth0 up\n\
         exec /bin/bench inside\n"
    );
    archive.program("init", init.as_bytes())?;
    archive.finish(&file)?;
    Ok(file)
}
