//! From a configuration to a guest whose agent has answered.

use super::{guest::Parts, patience, shares::Connection, stdio::open_stream, template};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::Utc;
use hako_model::{Error, ErrorKind, Origin, Result, SHARES_WINDOW, SandboxConfig, VmConfig};
use hako_os::proc;
use hako_qemu::{Accelerator, Board, Drive, MOST_DRIVES, Machine, Memory, Nic, Tap, Vm};
use hako_task::{
    extra::{ConfigureRequest, ExtraClient},
    mux::Mux,
    stdio::StreamHead,
    task_service::TaskClient,
    ttrpc::r#async::{Client, transport::Socket},
};
use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::UnixStream, time::timeout};

/// Bytes of the host's random pool for the guest.
const ENTROPY: usize = 64;

/// How long a copy of a template may take until its agent answers: it needs a
/// twentieth of a second of a processor, and a boot takes its place.
const COPY: Duration = Duration::from_secs(20);

/// Once the channel broke, QEMU's own end is at most this far.
const SETTLE: Duration = Duration::from_millis(500);

/// A boot that failed.
enum Failure {
    /// QEMU could not be started: another attempt would end the same.
    Start(Error),
    /// The guest panicked, hung or ended before its agent answered. Emulated, one
    /// of several CPUs whose kernel patches itself does so now and then
    /// (docs/decisions/0001-guest-kernel.md); the next one boots.
    Guest(Error),
}

/// Boots the VM of `config`, as often as it allows, in the groups of `cgroup_procs`.
pub(super) async fn boot(
    config: &SandboxConfig,
    vm: &VmConfig,
    dir: &Path,
    cgroup_procs: Vec<PathBuf>,
    shares: Option<Connection>,
) -> Result<Parts> {
    let mut machine = Machine { cgroup_procs, ..machine(vm, config.ephemeral)? };
    if let Some(shares) = shares {
        machine.shares = Some(Arc::new(shares.socket));
        add_window(&mut machine, shares.window);
    }
    let why = match copy(&machine, config, vm, dir).await {
        Some(Ok(parts)) => return Ok(parts),
        Some(Err(err)) => {
            tracing::warn!("{err}; it is booted");
            Some(err.message)
        }
        None => None,
    };
    let parts = boot_patiently(&machine, config, vm, dir).await?;
    Ok(Parts { origin: why.map_or(Origin::Boot, |why| Origin::Failed { why }), ..parts })
}

/// Without a place for it all data of host folders goes over the port.
pub(super) fn add_window(machine: &mut Machine, window: OwnedFd) {
    if machine.drives.len() < MOST_DRIVES {
        let (serial, file) = (SHARES_WINDOW.to_owned(), Some(Arc::new(window)));
        machine.drives.push(Drive { serial, file, ..Drive::default() });
    }
}

/// A copy of the template, if there is one for the machine.
async fn copy(machine: &Machine, config: &SandboxConfig, vm: &VmConfig, dir: &Path) -> Option<Result<Parts>> {
    let template = match template::open(vm.template.as_ref()?) {
        Ok(template) => template,
        // Whoever has made it is gone, and it with him: no fault of its.
        Err(err) => {
            tracing::debug!("{err}");
            return None;
        }
    };
    let copy = Machine { memory: Memory::Copy(template), ..machine.clone() };
    let deadline = COPY.min(Duration::from_millis(vm.boot.deadline_ms));
    Some(match boot_once(&copy, config, deadline, Some(&dir.join("console.log"))).await {
        Ok(parts) => Ok(Parts { origin: Origin::Template, ..parts }),
        Err(Failure::Start(err) | Failure::Guest(err)) => Err(err.context("a copy of the template")),
    })
}

/// A copy of `vm`'s template, and nothing else.
pub(super) async fn copy_only(config: &SandboxConfig, vm: &VmConfig, dir: &Path) -> Result<Parts> {
    let machine = machine(vm, true)?;
    copy(&machine, config, vm, dir)
        .await
        .unwrap_or_else(|| Err(Error::new(ErrorKind::Unavailable, "there is no template")))
}

/// Whether `machine` comes to answer.
pub(super) async fn probe(machine: &Machine, vm: &VmConfig) -> Result<()> {
    let deadline = COPY.min(Duration::from_millis(vm.boot.deadline_ms));
    match boot_once(machine, &template::nobody()?, deadline, None).await {
        Ok(parts) => {
            parts.channel.abort();
            parts.vm.kill().await;
            Ok(())
        }
        Err(Failure::Start(err) | Failure::Guest(err)) => Err(err),
    }
}

async fn boot_patiently(machine: &Machine, config: &SandboxConfig, vm: &VmConfig, dir: &Path) -> Result<Parts> {
    let attempts = vm.boot.attempts.max(1);
    let deadline = Duration::from_millis(vm.boot.deadline_ms);
    let mut attempt = 1;
    loop {
        match boot_once(machine, config, deadline, Some(&dir.join("console.log"))).await {
            Ok(guest) => return Ok(guest),
            Err(Failure::Start(err)) => return Err(err),
            Err(Failure::Guest(err)) if attempt < attempts => {
                tracing::warn!(attempt, "{err}");
                attempt += 1;
            }
            Err(Failure::Guest(err)) if attempts > 1 => {
                return Err(err.context(format!("the last of {attempts} attempts")));
            }
            Err(Failure::Guest(err)) => return Err(err),
        }
    }
}

pub(super) fn machine(vm: &VmConfig, ephemeral: bool) -> Result<Machine> {
    let accelerator: Accelerator = vm.boot.accelerator.parse().map_err(Error::invalid)?;
    let board: Board = vm.boot.board.parse().map_err(Error::invalid)?;
    let drives = vm.disks.iter().map(|disk| Drive {
        serial: disk.serial.clone(),
        path: disk.path.clone(),
        file: None,
        read_only: disk.read_only,
        durable: !ephemeral,
    });
    Ok(Machine {
        qemu: vm.boot.qemu.clone(),
        board,
        kernel: vm.boot.kernel.clone(),
        initramfs: vm.boot.initramfs.clone(),
        accelerator,
        memory_mib: vm.memory_mib,
        memory: Memory::Own,
        cpus: vm.cpus,
        most_cpus: vm.most_cpus,
        drives: drives.collect(),
        kernel_args: vm.boot.kernel_args.clone(),
        cgroup_procs: Vec::new(),
        shares: None,
        keep: Vec::new(),
        netns: vm.network.as_ref().map(|network| network.netns.clone()),
        nic: vm
            .network
            .as_ref()
            .and_then(|network| network.interfaces.first())
            .map(|first| Nic { tap: Tap::Named(first.tap.clone()), mac: first.mac.clone() }),
    })
}

async fn boot_once(
    machine: &Machine,
    config: &SandboxConfig,
    deadline: Duration,
    console: Option<&Path>,
) -> std::result::Result<Parts, Failure> {
    let spawned = Vm::spawn(machine, console);
    let (mut qemu, agent) = spawned.map_err(|err| Failure::Start(start_error(err)))?;
    let begin = Instant::now();
    let woken = if machine.memory.is_copy() { qemu.wake().await } else { Ok(()) };
    let answered = match woken {
        Ok(()) => tokio::select! {
            answer = connect(agent, config) => Some(answer),
            how = qemu.ended() => Some(Err(Error::internal(how))),
            () = patience::over(deadline, || proc::run_delay(qemu.pid())) => None,
        },
        // It may have ended, and then that is why; or it lives, and does not wake.
        Err(err) => Some(Err(Error::internal(format!("it does not wake: {err}")))),
    };
    let (kind, why) = match answered {
        Some(Ok(channel)) => {
            let (mux, channel, task, extra) = channel;
            return Ok(Parts { vm: qemu, mux, channel, task, extra, shares: None, origin: Origin::Boot });
        }
        // QEMU has ended, or the agent's channel broke because it is about to.
        Some(Err(err)) => match timeout(SETTLE, qemu.ended()).await {
            Ok(how) => (ErrorKind::Internal, format!("{how} before the guest's agent answered")),
            Err(_) => (ErrorKind::Internal, err.message),
        },
        None => (
            ErrorKind::DeadlineExceeded,
            format!("its agent did not answer within {:.1} s", begin.elapsed().as_secs_f32()),
        ),
    };
    qemu.kill().await;
    qemu.drained().await;
    let message = format!("the virtual machine did not start: {why}{}", qemu.last_words());
    Err(Failure::Guest(Error::new(kind, message)))
}

fn start_error(err: hako_qemu::Error) -> Error {
    let kind = match err {
        hako_qemu::Error::NotInstalled { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, err.to_string()).context("start the virtual machine")
}

type Channel = (Mux, tokio::task::JoinHandle<std::io::Result<()>>, TaskClient, ExtraClient);

/// The mux, the ttrpc connection, and the answer that says "booted".
async fn connect(agent: UnixStream, config: &SandboxConfig) -> Result<Channel> {
    // The guest opens no streams; one that it opens is dropped, which resets it.
    let (mux, _, driver) = Mux::spawn(agent, true);
    let stream = open_stream(&mux, &StreamHead::Ttrpc).await?;
    let client = Client::new(Socket::new(stream));
    let extra = ExtraClient::new(client.clone());
    let reply = extra.configure(&configure(config)?).await?;
    tracing::debug!(kernel = reply.kernel_release, agent = reply.agent_version, "the guest is up");
    Ok((mux, driver, TaskClient::new(client), extra))
}

/// The time, randomness and the guest's name.
pub(super) fn configure(config: &SandboxConfig) -> Result<ConfigureRequest> {
    let mut entropy = [0; ENTROPY];
    File::open("/dev/urandom").and_then(|mut pool| pool.read_exact(&mut entropy))?;
    let unix_time_ns = Utc::now().timestamp_nanos_opt().ok_or_else(|| Error::internal("the host's clock is wrong"))?;
    let short = config.id.short();
    Ok(ConfigureRequest { unix_time_ns, entropy: STANDARD.encode(entropy), hostname: format!("hako-{short}") })
}
