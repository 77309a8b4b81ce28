//! A copy of a template that waits for its container.
//!
//! ```text
//! start: copy, rehearse on disks that are nobody's ──► Waiting ── take: disks, cgroup, clock, seed, name ──► Guest
//! ```
//!
//! Under emulation what runs for the first time is slow. A rehearsal has run the
//! whole way once: mounts, a container, its end. Nothing of it is left: its
//! disks are put away, and it has no data but the engine's own.

use super::{
    boot,
    group::{Asked, Group},
    guest::{Guest, Parts},
    template,
};
use crate::{CreateRequest, StdioRequest};
use hako_model::{Error, NetworkChange, Origin, Result, SandboxConfig, VmConfig};
use hako_qemu::{Command, DEADLINE};
use serde_json::json;
use std::{
    fs::{File, OpenOptions},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{io::AsyncReadExt, time::timeout};

/// How long a rehearsal may take.
const REHEARSAL: Duration = Duration::from_secs(30);
/// Numbers of QEMU's descriptor sets that no disk begins with.
const FIRST_SET: u32 = 100;

/// The machine, and nobody's yet.
pub struct Waiting {
    parts: Parts,
    vm: VmConfig,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("vm", &self.parts.vm).finish_non_exhaustive()
    }
}

impl Waiting {
    /// A copy of `vm`'s template, which has run `rehearsal` to its end. The disks
    /// and the network of `vm` are for that alone; it has no host folders. The
    /// console goes to a log in `dir`.
    ///
    /// QEMU dies with the calling thread.
    ///
    /// # Errors
    /// There is no template, or the copy or its rehearsal fails.
    pub async fn start(vm: &VmConfig, dir: &Path, rehearsal: &CreateRequest) -> Result<Self> {
        let config = SandboxConfig { vm: Some(vm.clone()), ..template::nobody()? };
        let parts = boot::copy_only(&config, vm, dir).await?;
        let guest = Guest::new(config, vm, Group::default(), parts);
        let rehearsed = timeout(REHEARSAL, rehearse(&guest, vm, rehearsal)).await;
        match rehearsed.unwrap_or_else(|_| Err(Error::internal("it takes too long"))) {
            Ok(()) => Ok(Self { parts: guest.into_parts(), vm: vm.clone() }),
            Err(err) => {
                let _ = guest.end(true).await;
                Err(err.context("rehearsal"))
            }
        }
    }

    /// Waits until the machine ends, which it is not to.
    pub async fn ended(&self) -> String {
        self.parts.vm.ended().await
    }

    /// Ends it.
    pub async fn end(self) {
        self.parts.channel.abort();
        self.parts.vm.kill().await;
    }

    /// Makes it the machine `vm` of the container of `config`, in the groups of
    /// `cgroup_procs`. Nothing of the container runs before all is done.
    ///
    /// # Errors
    /// The machine is none of a container's any more, and is ended.
    pub(super) async fn take(self, config: &SandboxConfig, vm: &VmConfig, cgroup_procs: &[PathBuf]) -> Result<Parts> {
        let prepared = self.prepare(config, vm, cgroup_procs).await;
        match prepared {
            Ok(()) => Ok(Parts { origin: Origin::Pool, ..self.parts }),
            Err(err) => {
                self.end().await;
                Err(err.context("a machine that waited"))
            }
        }
    }

    async fn prepare(&self, config: &SandboxConfig, vm: &VmConfig, cgroup_procs: &[PathBuf]) -> Result<()> {
        if vm.disks.len() != self.vm.disks.len() || vm.shares.is_some() {
            return Err(Error::internal("it has other devices"));
        }
        let request = boot::configure(config)?;
        let configured = async { self.parts.extra.configure(&request).await.map(drop) };
        let moved = enter(self.parts.vm.pid(), cgroup_procs.to_vec());
        tokio::try_join!(moved, configured, self.change_disks(vm, !config.ephemeral)).map(drop)
    }

    /// Puts the container's disks in the place of those of the rehearsal, which
    /// the guest has put away.
    async fn change_disks(&self, vm: &VmConfig, durable: bool) -> Result<()> {
        let mut files: Vec<OwnedFd> = Vec::new();
        for disk in &vm.disks {
            let mut options: OpenOptions = File::options();
            let opened = options.read(true).write(!disk.read_only).open(&disk.path);
            files.push(opened.map_err(|err| Error::internal(format!("{}: {err}", disk.path.display())))?.into());
        }
        let mut commands = Vec::new();
        let mut formats = Vec::new();
        for (n, (disk, file)) in (0_u32..).zip(vm.disks.iter().zip(&files)) {
            let (set, node) = (FIRST_SET + n, format!("own{n}"));
            commands.push(Command { name: "add-fd", arguments: json!({"fdset-id": set}), fd: Some(file.as_fd()) });
            // QEMU reads its monitor byte by byte, so no more words than needed. A
            // flush passes `raw` and is the file's.
            let mut below = json!({"driver": "file", "node-name": node, "filename": format!("/dev/fdset/{set}")});
            let mut above = json!({"driver": "raw", "node-name": format!("disk{n}"), "file": node});
            for options in [&mut below, &mut above] {
                let (name, value) =
                    if disk.read_only { ("read-only", json!(true)) } else { ("discard", json!("unmap")) };
                options[name] = value;
            }
            if !disk.read_only && !durable {
                below["cache"] = json!({"no-flush": true});
            }
            commands.push(Command { name: "blockdev-add", arguments: below, fd: None });
            formats.push(above);
        }
        commands.push(Command { name: "blockdev-reopen", arguments: json!({"options": formats}), fd: None });
        let changed = self.parts.vm.qmp().lock().await.execute_all(&commands, DEADLINE).await;
        changed.map_err(|err| Error::internal(format!("change the disks: {err}")))
    }
}

/// Moves a process into `groups`: all of it at once, or by each of its threads
/// where the group's file is for those (`tasks`).
async fn enter(pid: i32, groups: Vec<PathBuf>) -> Result<()> {
    let moved = tokio::task::spawn_blocking(move || groups.iter().try_for_each(|group| enter_one(pid, group)));
    moved.await.map_err(|err| Error::internal(err.to_string()))?
}

fn enter_one(pid: i32, group: &Path) -> Result<()> {
    let put = |id: &str| match std::fs::write(group, id) {
        // A thread that has ended meanwhile.
        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        done => done.map_err(|err| Error::internal(format!("{}: {err}", group.display()))),
    };
    if group.file_name().is_none_or(|name| name != "tasks") {
        return put(&pid.to_string());
    }
    // One that is made meanwhile is in the group of who makes it: two rounds find all.
    for _ in 0..2 {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            put(&thread.file_name().to_string_lossy())?;
        }
    }
    Ok(())
}

/// From networks and mounts to the end of a process, and back.
async fn rehearse(guest: &Guest, vm: &VmConfig, request: &CreateRequest) -> Result<()> {
    let asked = Asked::of(&request.bundle)?;
    let network = vm.network.clone().unwrap_or_default();
    let (created, ()) = tokio::try_join!(guest.create(request, &asked.guest), guest.networks(&network, &[]))?;
    let (_, streams) = created;
    guest.start(None).await?;
    for mut output in [streams.stdout, streams.stderr].into_iter().flatten() {
        // What it says is of no interest.
        let mut said = Vec::new();
        let _ = output.read_to_end(&mut said).await;
    }
    guest.wait(None).await?;
    guest.stats(0).await?;
    guest.delete_exec(None).await?;
    for interface in network.interfaces {
        guest.network(NetworkChange::Disconnect(interface.name)).await?;
    }
    Ok(())
}

/// What a rehearsal asks for of streams: what most containers do.
pub const STREAMS: StdioRequest = StdioRequest { terminal: false, stdin: false };
