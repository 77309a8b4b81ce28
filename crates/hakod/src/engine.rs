//! The engine: what every handler shares.

use crate::{
    accelerator::AcceleratorCell,
    build::Builds,
    config::Config,
    containers::{Containers, remains::Remains, stats::Collectors},
    events::Events,
    exec::Execs,
    guests::Guests,
    host::HostInfo,
    idle::Activity,
    images::{Consumer, ImageService, ImagesConfig},
    networks::Networks,
    programs::Programs,
    spec::SeccompCache,
    templates::Templates,
    volumes::Volumes,
};
use anyhow::Context;
use hako_model::{Error, Result};
use hako_platform::Policy;
use hako_store::Store;
use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Semaphore;

/// Shared as `Arc<Engine>`; lives as long as the program.
pub struct Engine {
    /// Settings.
    pub config: Config,
    /// The other programs.
    pub programs: Programs,
    /// What virtual machines boot.
    pub guests: Guests,
    /// The host.
    pub host: HostInfo,
    /// The engine's own identifier, kept in the data root.
    pub id: String,
    /// What is durable.
    pub store: Store,
    /// Images.
    pub images: Arc<ImageService>,
    /// Events.
    pub events: Arc<Events>,
    /// Networks.
    pub networks: Networks,
    /// Containers.
    pub containers: Containers,
    /// Who reads the figures of watched containers.
    pub collectors: Collectors,
    /// Processes started by `exec`.
    pub execs: Execs,
    /// The accelerator of VMs.
    pub accelerator: Arc<AcceleratorCell>,
    /// Which walls hold which images, for whom.
    pub policy: RwLock<Policy>,
    /// Builds that run.
    pub builds: Arc<Builds>,
    /// Compiled seccomp filters.
    pub seccomp: SeccompCache,
    /// When it was last asked for anything.
    pub activity: Activity,
    /// What is left of removed containers.
    pub remains: Remains,
    /// Who uses which volumes.
    pub volumes: Volumes,
    /// What virtual machines are copies of.
    pub templates: Arc<Templates>,
    /// Virtual machines that may boot at once. Each takes a processor while it
    /// boots: after the host's own boot all of them would start, and none in time.
    pub boots: Semaphore,
    /// A prune runs.
    pruning: AtomicBool,
}

/// Held by the one prune, of whatever kind, that runs.
pub struct Prune<'a>(&'a AtomicBool);

impl Drop for Prune<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Engine {
    /// Opens the data root. Containers are not recovered yet.
    ///
    /// # Errors
    /// The data root is in use or cannot be read.
    pub fn open(config: Config) -> anyhow::Result<Arc<Self>> {
        let root = config.data_root.clone();
        let store = Store::open(&root).with_context(|| format!("data root {}", root.display()))?;
        for dir in ["shims", "runtime"] {
            let dir = config.exec_root.join(dir);
            fs::create_dir_all(&dir).with_context(|| format!("exec root {}", dir.display()))?;
        }
        crate::build::clean(&config.exec_root).with_context(|| format!("exec root {}", config.exec_root.display()))?;
        let programs = Programs::locate();
        let images = ImageService::new(
            store.clone(),
            ImagesConfig {
                insecure_registries: config.insecure_registries.clone(),
                max_concurrent_downloads: config.max_concurrent_downloads,
                max_concurrent_uploads: config.max_concurrent_uploads,
                mirrors: config.mirrors.clone(),
                certs_dirs: config.certs_dirs.clone(),
            },
        )?;
        let cache = root.join("cache");
        let guests = Guests::new(&root, &programs.init);
        let engine = Arc::new(Self {
            id: engine_id(&root.join("engine-id"))?,
            accelerator: Arc::new(AcceleratorCell::new(
                config.accelerator,
                guests.clone(),
                cache.join("accelerator.json"),
            )),
            seccomp: SeccompCache::new(cache.join("seccomp"), programs.runtime.clone()),
            host: HostInfo::read(),
            networks: Networks::default(),
            containers: Containers::default(),
            collectors: Collectors::default(),
            execs: Execs::default(),
            policy: RwLock::new(config.policy.clone()),
            builds: Arc::default(),
            activity: Activity::default(),
            remains: Remains::default(),
            volumes: Volumes::default(),
            events: Arc::default(),
            templates: Templates::new(&config.vm, root.join("templates")),
            boots: Semaphore::new(boots_at_once()),
            pruning: AtomicBool::new(false),
            images,
            store,
            programs,
            guests,
            config,
        });
        engine.wire_images();
        Ok(engine)
    }

    /// Tells the image service who uses images and who hears of them.
    fn wire_images(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        self.images.set_in_use(Arc::new(move |digest| {
            let Some(engine) = engine.upgrade() else { return Vec::new() };
            let users = engine.containers.all().into_iter().map(|c| c.view());
            users
                .filter(|view| view.record.image_id == digest.as_str())
                .map(|view| Consumer { id: view.record.id.to_string(), running: view.record.state.is_running() })
                .collect()
        }));
        let events = self.events.clone();
        self.images.set_notify(Arc::new(move |event| {
            events.emit("image", event.action, &event.id, event.attributes.into_iter().collect());
        }));
    }

    /// Takes the one prune that may run at a time.
    ///
    /// # Errors
    /// Docker's words where one runs.
    pub fn begin_prune(&self) -> Result<Prune<'_>> {
        match self.pruning.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(Prune(&self.pruning)),
            Err(_) => Err(Error::conflict("a prune operation is already running")),
        }
    }

    /// How many images there are; -1 where the store does not say.
    pub async fn image_count(&self) -> i64 {
        self.images.count().await.ok().and_then(|n| i64::try_from(n).ok()).unwrap_or(-1)
    }

    /// `<exec-root>/shims/<id>`.
    #[must_use]
    pub fn shim_dir(&self, id: &str) -> PathBuf {
        self.config.exec_root.join("shims").join(id)
    }

    /// `<exec-root>/runtime/<id>`: the `--root` of hako-runtime.
    #[must_use]
    pub fn runtime_root(&self, id: &str) -> PathBuf {
        self.config.exec_root.join("runtime").join(id)
    }

    /// `<data-root>/containers/<id>`.
    #[must_use]
    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.config.data_root.join("containers").join(id)
    }
}

/// Two for each processor; more would only be slower.
fn boots_at_once() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get) * 2
}

fn engine_id(path: &std::path::Path) -> anyhow::Result<String> {
    if let Ok(id) = fs::read_to_string(path) {
        return Ok(id.trim().to_owned());
    }
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid").context("random uuid")?.trim().to_owned();
    fs::write(path, &id).with_context(|| format!("write {}", path.display()))?;
    Ok(id)
}
