//! Machines that wait for a container: copies of the template that containers
//! have asked for the most of late.
//!
//! ```text
//! used: this kind is asked for ──► fill: hako-shim wait ──"ready"──► idle ── take ──► a container's shim
//!                                                                     └── nobody asks, memory is short,
//!                                                                         the engine goes: its end
//! ```
//!
//! What was given out does not come back. One that waits is nobody's: it goes
//! with this process, however that ends.

use super::rehearsal;
use crate::{Engine, networks, shim::ShimDir, spec};
use hako_model::{Error, GuestInterface, Result, Take, VmConfig, VmNetwork, WaitConfig};
use hako_net::Netns;
use hako_sandbox::microvm::template;
use std::{
    collections::{HashMap, VecDeque},
    fs::{self, DirBuilder},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UnixStream,
    process::Child,
    sync::{Notify, Semaphore, watch},
    time::timeout,
};

/// Starts that are looked at to find the kind that is asked for the most.
const RECENT: usize = 16;
/// How long nothing is asked for before nobody waits any more.
const IDLE: Duration = Duration::from_secs(600);
/// How long after a start none is made ready.
const QUIET: Duration = Duration::from_millis(300);
/// However often something starts.
const LONGEST: Duration = Duration::from_secs(5);
/// Memory that the host must have left, in MiB, for one more to wait.
const LEAST_FREE: u64 = 2048;
/// How long one may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// How long it may take to end, before it is killed.
const END: Duration = Duration::from_secs(5);
/// How long the next waits after one that failed.
const PAUSE: Duration = Duration::from_secs(30);
/// The tap device that a container's first interface has too.
const TAP: &str = "tap0";

/// Those that wait.
pub struct Pool {
    size: usize,
    state: Mutex<State>,
    changed: Notify,
    /// One permit, held while one is made.
    filling: Semaphore,
    closing: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    idle: Vec<Idle>,
    /// Keys, the latest last.
    recent: VecDeque<String>,
    kinds: HashMap<String, VmConfig>,
    last: Option<Instant>,
    closed: bool,
}

/// One that waits.
pub struct Idle {
    key: String,
    id: String,
    dir: PathBuf,
    netns: Option<PathBuf>,
    control: UnixStream,
    child: Child,
}

impl Pool {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            state: Mutex::default(),
            changed: Notify::new(),
            filling: Semaphore::new(1),
            closing: watch::Sender::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state().idle.iter_mut().map(Idle::lives).filter(|lives| *lives).count()
    }

    /// One that can be the machine `vm`, with a network card or without.
    pub fn take(&self, vm: &VmConfig, card: bool) -> Option<Idle> {
        if self.size == 0 {
            return None;
        }
        let key = template::key(vm, card).ok()?;
        let mut state = self.state();
        // One that has ended is swept with the surplus.
        let place = state.idle.iter_mut().position(|idle| idle.key == key && idle.lives())?;
        Some(state.idle.remove(place))
    }

    /// Waits until nothing has been started for a moment: what is to be ready for
    /// the next container does not hold up this one. Not for ever, though.
    async fn quiet(&self) {
        let begin = Instant::now();
        loop {
            let last = self.state().last;
            let rest = last.map_or(Duration::ZERO, |last| QUIET.saturating_sub(last.elapsed()));
            if rest.is_zero() || begin.elapsed() > LONGEST {
                return;
            }
            tokio::time::sleep(rest).await;
        }
    }

    /// Answers one that comes too late.
    fn add(&self, idle: Idle) -> Option<Idle> {
        let mut state = self.state();
        if state.closed {
            return Some(idle);
        }
        state.idle.push(idle);
        None
    }

    async fn closes(&self) {
        // The sender lives as long as this.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// A template may be there that was not.
    pub(super) fn again(&self) {
        self.changed.notify_one();
    }

    /// A container has a machine `vm`: the next will want one as well.
    pub(super) fn used(&self, vm: &VmConfig) {
        if self.size == 0 || !is_poolable(vm) {
            return;
        }
        let Ok(key) = template::key(vm, template::has_card(vm)) else { return };
        let mut state = self.state();
        state.last = Some(Instant::now());
        state.recent.push_back(key.clone());
        if state.recent.len() > RECENT {
            state.recent.pop_front();
        }
        let State { recent, kinds, .. } = &mut *state;
        kinds.retain(|kind, _| recent.contains(kind));
        kinds.entry(key).or_insert_with(|| vm.clone());
        drop(state);
        self.changed.notify_one();
    }
}

/// Disks as every container has them, and no host folders: those are served by a
/// process that the machine's port is connected to from the beginning.
fn is_poolable(vm: &VmConfig) -> bool {
    let serials: Vec<&str> = vm.disks.iter().map(|disk| disk.serial.as_str()).collect();
    serials == ["rootfs", "scratch"] && vm.shares.is_none()
}

impl State {
    /// The kind that is asked for the most, and of several the latest.
    fn commonest(&self) -> Option<String> {
        let count = |key: &String| self.recent.iter().filter(|other| *other == key).count();
        let numbered = self.recent.iter().enumerate();
        numbered.max_by_key(|(n, key)| (count(key), *n)).map(|(_, key)| key.clone())
    }

    /// Those that are of no use any more.
    fn surplus(&mut self, size: usize) -> Vec<Idle> {
        let wanted =
            if self.closed || self.last.is_none_or(|last| last.elapsed() > IDLE) { None } else { self.commonest() };
        let mut kept = Vec::new();
        let mut surplus = Vec::new();
        for mut idle in std::mem::take(&mut self.idle) {
            if idle.lives() && Some(&idle.key) == wanted.as_ref() && kept.len() < size {
                kept.push(idle);
            } else {
                surplus.push(idle);
            }
        }
        self.idle = kept;
        surplus
    }
}

/// Keeps the pool as it is to be, until the engine ends. What an engine left
/// that was killed is swept first.
pub async fn run(engine: Arc<Engine>) {
    sweep(&engine);
    let pool = &engine.templates.pool;
    if pool.size == 0 {
        return;
    }
    loop {
        let _ = timeout(IDLE / 10, pool.changed.notified()).await;
        pool.quiet().await;
        let surplus = pool.state().surplus(pool.size);
        for idle in surplus {
            idle.end(&engine).await;
        }
        // Nobody closes the semaphore.
        let turn = pool.filling.acquire().await;
        let filled = fill(&engine).await;
        drop(turn);
        if let Err(err) = filled
            && !*pool.closing.borrow()
        {
            tracing::warn!("a machine that is to wait: {err}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Ends all that wait, and none will any more.
pub async fn close(engine: &Engine) {
    let pool = &engine.templates.pool;
    pool.state().closed = true;
    pool.closing.send_replace(true);
    let all = pool.state().surplus(0);
    let ends = all.into_iter().map(|idle| idle.end(engine));
    futures::future::join_all(ends).await;
    // One that is being made is ended by who makes it.
    let _ = timeout(2 * END, pool.filling.acquire()).await;
    for folder in folders(engine) {
        // It is gone, or there is something in it that the next start sweeps.
        let _ = fs::remove_dir(folder);
    }
}

async fn fill(engine: &Arc<Engine>) -> Result<()> {
    let pool = &engine.templates.pool;
    loop {
        let (key, vm) = {
            let state = pool.state();
            let Some(key) = state.commonest() else { return Ok(()) };
            let full = state.idle.len() >= pool.size;
            if full || state.closed || state.last.is_none_or(|last| last.elapsed() > IDLE) {
                return Ok(());
            }
            let Some(vm) = state.kinds.get(&key).cloned() else { return Ok(()) };
            (key, vm)
        };
        if free_mib() < LEAST_FREE {
            tracing::debug!("no machine waits: memory is short");
            return Ok(());
        }
        let Some(template) = engine.templates.find(&vm) else { return Ok(()) };
        let idle = make(engine, key, VmConfig { template: Some(template.files()), ..vm }).await?;
        if let Some(idle) = pool.add(idle) {
            idle.end(engine).await;
            return Ok(());
        }
    }
}

/// MiB that the host has available; much where it does not say.
fn free_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib >> 10)
}

/// Where they are: as long as the folder of shims, whose place they take.
fn place(engine: &Engine, id: &str) -> PathBuf {
    engine.config.exec_root.join("await").join(id)
}

fn disk_of(engine: &Engine, id: &str) -> PathBuf {
    engine.config.data_root.join("pool").join(format!("{id}.img"))
}

fn folders(engine: &Engine) -> [PathBuf; 2] {
    [engine.config.exec_root.join("await"), engine.config.data_root.join("pool")]
}

/// What an engine has left.
fn sweep(engine: &Engine) {
    for dir in folders(engine) {
        match fs::remove_dir_all(&dir) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("remove {}: {err}", dir.display());
            }
            Ok(()) | Err(_) => {}
        }
    }
}

async fn make(engine: &Arc<Engine>, key: String, vm: VmConfig) -> Result<Idle> {
    let id = hako_model::ContainerId::random().to_string();
    let made = start(engine, &id, key, vm).await;
    if made.is_err() {
        clear(engine, &id, &place(engine, &id)).await;
    }
    // The machine has it open, and puts it away when it is taken.
    let _ = fs::remove_file(disk_of(engine, &id));
    made
}

async fn start(engine: &Arc<Engine>, id: &str, key: String, mut vm: VmConfig) -> Result<Idle> {
    let dir = place(engine, id);
    let named = |path: &Path, err: std::io::Error| Error::internal(format!("{}: {err}", path.display()));
    let pool = engine.config.data_root.join("pool");
    for folder in [&dir.join("bundle/rootfs"), &pool] {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|err| named(folder, err))?;
    }
    let disk = disk_of(engine, id);
    rehearsal::prepare(engine, &vm, &dir.join("bundle")).await?;
    for entry in &mut vm.disks {
        let size = entry.size.ok_or_else(|| Error::internal("a disk of no size"))?;
        if entry.read_only {
            entry.path = rehearsal::rootfs(engine, &vm.boot.board).await?;
        } else {
            engine.images.scratch_disk(size, disk.clone()).await?;
            entry.path.clone_from(&disk);
        }
    }
    let netns = match template::has_card(&vm) {
        true => {
            let path = networks::netns_path(engine, id);
            let netns = Netns::create(&path).await.map_err(networks::told)?;
            let made = netns.run(|| hako_os::tap::create(TAP)).await.map_err(networks::told)?;
            made.map_err(|err| Error::internal(format!("make the tap device {TAP}: {err}")))?;
            vm.network = Some(VmNetwork { netns: path.clone(), interfaces: vec![interface()] });
            Some(path)
        }
        false => None,
    };
    let config = WaitConfig { vm, rootfs: spec::rehearsed_disks() };
    let text = serde_json::to_vec(&config).map_err(|err| Error::internal(err.to_string()))?;
    fs::write(dir.join("wait.json"), text).map_err(|err| named(&dir, err))?;
    let program = crate::programs::present(&engine.programs.shim)?;
    let (child, control) = crate::shim::spawn_waiting(program, &dir)?;
    let mut idle = Idle { key, id: id.to_owned(), dir, netns, control, child };
    let ready = tokio::select! {
        ready = idle.ready() => ready,
        () = engine.templates.pool.closes() => Err(Error::internal("the engine ends")),
    };
    if let Err(err) = ready {
        let words = ShimDir::new(idle.dir.clone()).last_words();
        idle.end(engine).await;
        return Err(if words.is_empty() { err } else { Error::internal(words) });
    }
    Ok(idle)
}

/// Of a rehearsal; nothing leads there.
fn interface() -> GuestInterface {
    GuestInterface {
        name: "eth0".to_owned(),
        tap: TAP.to_owned(),
        mac: "02:68:61:6b:6f:01".to_owned(),
        mtu: 1500,
        addresses: vec!["192.0.2.2/24".to_owned()],
        gateway_v4: Some(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        gateway_v6: None,
        routes: Vec::new(),
        sysctls: Vec::new(),
    }
}

impl Idle {
    fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    async fn ready(&mut self) -> Result<()> {
        let mut line = String::new();
        let mut said = BufReader::new(&mut self.control);
        let read = timeout(READY, said.read_line(&mut line)).await;
        match read {
            Ok(Ok(_)) if line == "ready\n" => Ok(()),
            _ => Err(Error::internal("it does not get ready")),
        }
    }

    /// Its network namespace, which is to be the container's.
    #[must_use]
    pub fn netns(&self) -> Option<&Path> {
        self.netns.as_deref()
    }

    /// Makes its shim that of the container of `dir`, which is whole, and in
    /// whose network namespace, at `netns`, it has been. Answers the shim.
    ///
    /// # Errors
    /// It has ended.
    pub async fn hand_over(self, engine: &Engine, dir: &ShimDir, netns: Option<&Path>) -> Result<Child> {
        let given = self.give(dir, netns);
        // The shim has taken its folder along, or has ended.
        match given {
            Ok(()) => {
                let _ = fs::remove_dir_all(self.dir.join("bundle"));
                Ok(self.child)
            }
            Err(err) => {
                self.end(engine).await;
                Err(err)
            }
        }
    }

    fn give(&self, dir: &ShimDir, netns: Option<&Path>) -> Result<()> {
        let take = Take { dir: dir.path().to_owned() };
        let text = serde_json::to_vec(&take).map_err(|err| Error::internal(err.to_string()))?;
        let (task, stdio) = (dir.bind("task.sock")?, dir.bind("stdio.sock")?);
        let netns = netns.map(fs::File::open).transpose()?;
        let mut fds: Vec<BorrowedFd<'_>> = vec![task.as_fd(), stdio.as_fd()];
        fds.extend(netns.as_ref().map(AsFd::as_fd));
        // One small message, and nothing before it: it fits.
        let sent = hako_os::fd::send(&self.control, &text, &fds);
        sent.map(drop).map_err(|err| Error::internal(format!("a machine that waited: {err}")))
    }

    /// Ends it, with what belongs to it.
    pub async fn end(self, engine: &Engine) {
        let Self { id, dir, control, mut child, .. } = self;
        // It hears of that.
        drop(control);
        if timeout(END, child.wait()).await.is_err() {
            // It may have ended meanwhile.
            let _ = child.kill().await;
        }
        clear(engine, &id, &dir).await;
    }
}

async fn clear(engine: &Engine, id: &str, dir: &Path) {
    let _ = fs::remove_dir_all(dir);
    let _ = fs::remove_file(disk_of(engine, id));
    if let Err(err) = Netns::remove(&networks::netns_path(engine, id)).await {
        tracing::warn!("network namespace of a machine that waited: {err}");
    }
}
