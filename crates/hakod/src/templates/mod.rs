//! Templates of virtual machines: each is booted once, and containers' machines
//! are copies of it.
//!
//! ```text
//!   (none) ── a machine of this kind is asked for ──► Making ── made, probed ──► Ready
//!     ▲                                                  │                        │
//!     │ something in its key changes, or room is needed  │ fails                  │ a copy fails
//!     └──────────────────────────────────────────────────┴──► Failed ◄────────────┘
//!                                  asked for again, after a while ──► Making
//! ```
//!
//! Whoever asks before there is one boots meanwhile. They are in a folder, where
//! they outlive the engine, and where several engines can use the same ones.

mod folder;
pub mod pool;
mod rehearsal;

use crate::{config::VmDefaults, shim::ShimDir};
use hako_api::types::system::InfoMachines;
use hako_model::{Origin, VmConfig};
use hako_qemu::Accelerator;
use hako_sandbox::microvm::template::{self, Template};
use pool::Pool;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

/// More than these are not kept: the one that was used the longest ago goes.
const MOST: usize = 4;
/// After how many failures in a row none is made any more.
const PATIENCE: u32 = 3;
/// How long one that is being made may take to end: it may be tried just now.
const CLOSE: Duration = Duration::from_secs(5);
/// How long after it is asked for one is made.
const LATER: Duration = Duration::from_secs(2);
/// How long after a failure the next is made.
const PAUSE: Duration = Duration::from_secs(30);

/// All of them. Shared as an `Arc`.
pub struct Templates {
    on: bool,
    under_kvm: bool,
    folder: PathBuf,
    slots: Mutex<Slots>,
    /// One is made at a time.
    making: Semaphore,
    /// The engine ends.
    stop: watch::Sender<bool>,
    /// Copies that wait.
    pub pool: Pool,
    copies: AtomicU64,
    waited: AtomicU64,
    boots: AtomicU64,
    failures: AtomicU64,
}

#[derive(Default)]
struct Slots {
    by_key: HashMap<String, Slot>,
    /// How many of each kind were made and did not serve.
    distrusted: HashMap<String, u32>,
    /// Counts uses.
    clock: u64,
}

enum Slot {
    Making { failed: u32 },
    Ready { template: Arc<Template>, used: u64 },
    Failed { times: u32, at: Instant },
}

impl Templates {
    /// None yet, as `config` has it; they are in `usual` if that does not say where.
    #[must_use]
    pub fn new(config: &VmDefaults, usual: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            on: config.templates,
            under_kvm: config.templates_under_kvm,
            folder: config.template_dir.clone().unwrap_or(usual),
            slots: Mutex::default(),
            making: Semaphore::new(1),
            stop: watch::Sender::new(false),
            pool: Pool::new(config.pool),
            copies: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            boots: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// Whether there are to be any of machines that run by `accelerator`.
    #[must_use]
    pub fn serve(&self, accelerator: Accelerator) -> bool {
        self.on && (self.under_kvm || accelerator != Accelerator::Kvm)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The template for `vm`, if there is one that serves. Else one is made in
    /// the background, for those that come after.
    pub fn find(self: &Arc<Self>, vm: &VmConfig) -> Option<Arc<Template>> {
        if !vm.boot.accelerator.parse().is_ok_and(|accelerator| self.serve(accelerator)) {
            return None;
        }
        let key = match template::key(vm, template::has_card(vm)) {
            Ok(key) => key,
            // The start will say what is missing.
            Err(err) => {
                tracing::debug!("no template: {err}");
                return None;
            }
        };
        let mut slots = self.slots();
        slots.clock += 1;
        let clock = slots.clock;
        let failed = match slots.by_key.get_mut(&key) {
            Some(Slot::Ready { template, used }) => {
                *used = clock;
                return Some(template.clone());
            }
            Some(Slot::Making { .. }) => return None,
            Some(Slot::Failed { times, at }) if *times >= PATIENCE || at.elapsed() < PAUSE => return None,
            Some(Slot::Failed { times, .. }) => *times,
            None => {
                // Tried by who has made it; one that does not serve here is found out.
                if let Some(template) = folder::find(&self.folder, &key) {
                    let template = Arc::new(template);
                    slots.make_room();
                    slots.by_key.insert(key, Slot::Ready { template: template.clone(), used: clock });
                    return Some(template);
                }
                0
            }
        };
        slots.by_key.insert(key.clone(), Slot::Making { failed });
        drop(slots);
        let (templates, vm) = (self.clone(), VmConfig { template: None, ..vm.clone() });
        tokio::spawn(async move { templates.make(key, vm).await });
        None
    }

    async fn make(self: Arc<Self>, key: String, vm: VmConfig) {
        // Nobody closes the semaphore.
        let _turn = self.making.acquire().await;
        // Who has asked for it boots now, and comes first.
        let _ = timeout(LATER, self.stopped()).await;
        if *self.stop.borrow() {
            return;
        }
        let begin = Instant::now();
        let made = folder::find_or_make(&self.folder, &key, &vm, self.stopped()).await;
        let mut slots = self.slots();
        let failed = match slots.by_key.get(&key) {
            Some(Slot::Making { failed }) => *failed,
            _ => 0,
        };
        let slot = match made {
            Ok(template) => {
                let (mib, taken) = (template.size() >> 20, begin.elapsed().as_secs_f32());
                tracing::info!("template of a {} MiB machine: {mib} MiB, {taken:.1} s", vm.memory_mib);
                slots.make_room();
                let used = slots.clock;
                Slot::Ready { template: Arc::new(template), used }
            }
            Err(err) => {
                tracing::warn!("template of a {} MiB machine: {err}", vm.memory_mib);
                self.failures.fetch_add(1, Relaxed);
                Slot::Failed { times: failed + 1, at: Instant::now() }
            }
        };
        slots.by_key.insert(key, slot);
        drop(slots);
        self.pool.again();
    }

    async fn stopped(&self) {
        // The sender lives as long as this.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Makes no more: what is being made is ended.
    pub async fn close(&self) {
        self.stop.send_replace(true);
        let _ = timeout(CLOSE, self.making.acquire()).await;
    }

    /// Hears how the machine came to run, if there is one, whose shim is in `dir`.
    pub fn hear(&self, dir: &ShimDir) {
        if let (Some(vm), Some(state)) = (dir.config().and_then(|config| config.vm), dir.state()) {
            self.started(&vm, &state.vm_origin);
            self.pool.used(&vm);
        }
    }

    fn started(&self, vm: &VmConfig, origin: &Origin) {
        match origin {
            Origin::Boot => self.boots.fetch_add(1, Relaxed),
            Origin::Template => self.copies.fetch_add(1, Relaxed),
            Origin::Pool => self.waited.fetch_add(1, Relaxed),
            Origin::Failed { why } => {
                self.failures.fetch_add(1, Relaxed);
                tracing::warn!("a machine was booted in place of a copy: {}", why.lines().next().unwrap_or_default());
                self.distrust(vm);
                self.boots.fetch_add(1, Relaxed)
            }
        };
    }

    /// Throws away the template that `vm` names.
    fn distrust(&self, vm: &VmConfig) {
        let mut slots = self.slots();
        let Slots { by_key, distrusted, .. } = &mut *slots;
        for (key, slot) in by_key {
            if let Slot::Ready { template, .. } = slot
                && vm.template.as_ref() == Some(&template.files())
            {
                folder::remove(&self.folder, template);
                let times = distrusted.entry(key.clone()).or_default();
                *times += 1;
                *slot = Slot::Failed { times: *times, at: Instant::now() };
            }
        }
    }

    /// For `info`.
    #[must_use]
    pub fn info(&self) -> InfoMachines {
        let slots = self.slots();
        let count = |is: fn(&Slot) -> bool| slots.by_key.values().filter(|slot| is(slot)).count();
        InfoMachines {
            templates: count(|slot| matches!(slot, Slot::Ready { .. })),
            templates_being_made: count(|slot| matches!(slot, Slot::Making { .. })),
            templates_size: slots.ready().map(|template| template.size()).sum(),
            template_failures: self.failures.load(Relaxed),
            template_clones: self.copies.load(Relaxed),
            pool_waiting: self.pool.waiting(),
            pool_starts: self.waited.load(Relaxed),
            cold_boots: self.boots.load(Relaxed),
        }
    }
}

impl Slots {
    fn ready(&self) -> impl Iterator<Item = &Arc<Template>> {
        self.by_key.values().filter_map(|slot| match slot {
            Slot::Ready { template, .. } => Some(template),
            Slot::Making { .. } | Slot::Failed { .. } => None,
        })
    }

    /// For one more. Machines that are copies of one that goes live on.
    fn make_room(&mut self) {
        while self.ready().count() >= MOST {
            let uses = self.by_key.iter().filter_map(|(key, slot)| match slot {
                Slot::Ready { used, .. } => Some((*used, key.clone())),
                Slot::Making { .. } | Slot::Failed { .. } => None,
            });
            let Some((_, oldest)) = uses.min() else { return };
            self.by_key.remove(&oldest);
        }
    }
}
