//! The accelerator of VMs: probed once, when first asked for.

use crate::{
    config::AcceleratorChoice,
    guests::{Guest, Guests},
};
use hako_model::{Error, Result, policy};
use hako_qemu::{Accelerator, Board, Probe, ProbeRequest, probe_accelerator};
use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::OnceCell;

/// How long a probe guest may take under KVM.
const DEADLINE: Duration = Duration::from_secs(8);
/// The same in seconds, for a host that is itself emulated or very busy.
const DEADLINE_VAR: &str = "HAKO_KVM_DEADLINE";

/// The verdict, and how to get it.
pub struct AcceleratorCell {
    choice: AcceleratorChoice,
    guests: Guests,
    cache: PathBuf,
    verdict: OnceCell<std::result::Result<Probe, String>>,
    probing: AtomicBool,
    /// What the verdict's arguments are for.
    probed: OnceLock<(Board, Option<u64>)>,
}

/// What is known so far.
pub enum Status {
    /// Nobody has asked.
    Unknown,
    /// A probe guest is booting.
    Probing,
    /// What works.
    Known(Probe),
    /// No VM can run, and why.
    Failed(String),
}

impl AcceleratorCell {
    /// A cell that has not probed; the verdict is kept in `cache`.
    #[must_use]
    pub fn new(choice: AcceleratorChoice, guests: Guests, cache: PathBuf) -> Self {
        Self {
            choice,
            guests,
            cache,
            verdict: OnceCell::new(),
            probing: AtomicBool::new(false),
            probed: OnceLock::new(),
        }
    }

    /// How a guest runs, and what its kernel is told of this host.
    ///
    /// # Errors
    /// As [`AcceleratorCell::get`].
    pub async fn for_guest(&self, guest: &Guest) -> Result<(Accelerator, Vec<String>)> {
        let (board, hz) = (guest.board, guest.hz);
        // Nothing of another architecture runs on these processors.
        if !guest.is_native() {
            return Ok((Accelerator::Tcg, board.host_args(Accelerator::Tcg, hz)));
        }
        let probe = self.get().await?;
        if self.probed.get() == Some(&(board, hz)) {
            return Ok((probe.accelerator, probe.kernel_args));
        }
        let measured = tokio::task::spawn_blocking(move || board.host_args(probe.accelerator, hz));
        let args = measured.await.map_err(|err| Error::internal(err.to_string()))?;
        Ok((probe.accelerator, args))
    }

    /// The guest that a probe boots.
    fn usual(&self) -> Guest {
        self.guests.usual(policy::native_arch()).unwrap_or_else(|_| self.guests.default())
    }

    fn request(&self) -> ProbeRequest {
        let guest = self.usual();
        ProbeRequest {
            qemu: guest.qemu,
            board: guest.board,
            hz: guest.hz,
            kernel: guest.kernel,
            initramfs: guest.initramfs,
            deadline: deadline(),
            cache: self.cache.clone(),
        }
    }

    /// The verdict; probes on the first call. A failure is tried again by the
    /// next: QEMU may be installed meanwhile.
    ///
    /// # Errors
    /// QEMU or the guest is missing.
    pub async fn get(&self) -> Result<Probe> {
        let fixed = |accelerator: Accelerator| {
            let usual = self.usual();
            Probe {
                accelerator,
                reason: "set by --exec-opt accelerator".to_owned(),
                kernel_args: usual.board.host_args(accelerator, usual.hz),
            }
        };
        let found = match self.choice {
            AcceleratorChoice::Kvm => Ok(fixed(Accelerator::Kvm)),
            AcceleratorChoice::Tcg => Ok(fixed(Accelerator::Tcg)),
            AcceleratorChoice::Auto => {
                self.probing.store(true, Ordering::Relaxed);
                let probed = self.verdict.get_or_try_init(|| async {
                    let request = self.request();
                    let probe = probe_accelerator(&request).await.map_err(|err| err.to_string())?;
                    // Only the first time there is nothing.
                    let _ = self.probed.set((request.board, request.hz));
                    if probe.accelerator == Accelerator::Tcg {
                        tracing::warn!("virtual machines are emulated and slow: {}", probe.reason);
                    }
                    Ok::<_, String>(Ok(probe))
                });
                let probed = probed.await.cloned().and_then(|verdict| verdict);
                self.probing.store(false, Ordering::Relaxed);
                probed
            }
        };
        found.map_err(Error::internal)
    }

    /// What is known, without waiting; begins to probe if nobody has.
    pub fn status(self: &Arc<Self>) -> Status {
        if self.choice != AcceleratorChoice::Auto {
            return Status::Known(Probe {
                accelerator: if self.choice == AcceleratorChoice::Kvm { Accelerator::Kvm } else { Accelerator::Tcg },
                reason: "set by --exec-opt accelerator".to_owned(),
                kernel_args: Vec::new(),
            });
        }
        match self.verdict.get() {
            Some(Ok(probe)) => Status::Known(probe.clone()),
            Some(Err(err)) => Status::Failed(err.clone()),
            None if self.probing.load(Ordering::Relaxed) => Status::Probing,
            None => Status::Unknown,
        }
    }

    /// [`AcceleratorCell::status`] after a probe that gets at most `patience`;
    /// a longer one goes on in the background.
    pub async fn status_within(self: &Arc<Self>, patience: Duration) -> Status {
        if matches!(self.status(), Status::Known(_)) {
            return self.status();
        }
        let cell = self.clone();
        let probe = tokio::spawn(async move { cell.get().await });
        match tokio::time::timeout(patience, probe).await {
            Ok(Ok(Err(err))) => Status::Failed(err.message),
            Ok(_) | Err(_) => self.status(),
        }
    }
}

fn deadline() -> Duration {
    let given = std::env::var(DEADLINE_VAR).ok().and_then(|seconds| seconds.parse().ok());
    given.map_or(DEADLINE, Duration::from_secs)
}

impl Status {
    /// One line for `info`.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Unknown => "not probed yet".to_owned(),
            Self::Probing => "being probed".to_owned(),
            Self::Known(probe) => format!("{} ({})", name(probe.accelerator), first_line(&probe.reason)),
            Self::Failed(err) => format!("none ({})", first_line(err)),
        }
    }

    /// Warnings for `info`.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Known(probe) if probe.accelerator == Accelerator::Tcg => {
                vec![format!("WARNING: virtual machines are emulated and slow: {}", first_line(&probe.reason))]
            }
            Self::Failed(err) => vec![format!("WARNING: no virtual machines: {}", first_line(err))],
            Self::Unknown | Self::Probing | Self::Known(_) => Vec::new(),
        }
    }
}

/// Tables have a line for a fact; the log has the rest.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end_matches(':')
}

/// As options and placement name it.
#[must_use]
pub fn of_platform(accelerator: Accelerator) -> hako_platform::Accelerator {
    match accelerator {
        Accelerator::Kvm => hako_platform::Accelerator::Kvm,
        Accelerator::Tcg => hako_platform::Accelerator::Tcg,
    }
}

/// As QEMU names it.
#[must_use]
pub fn name(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
    }
}
