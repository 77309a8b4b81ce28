//! An engine of the test's own: hakod on temporary folders, or the reference.

use crate::{
    Client, Image, NetworkNamespace, Tool, Traces,
    places::{bin_dir, cache_dir, tool},
    traces,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env,
    ffi::OsStr,
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long hakod may take until it answers, and until it has ended.
const ENGINE_DEADLINE: Duration = Duration::from_secs(30);

/// The accelerator that a probe found, in the data root.
const VERDICT: &str = "cache/accelerator.json";

/// The configuration of an engine whose test has none of its own.
const CONFIG: &str = "home/hako.toml";

/// The same, kept from one test to the next. It names the host's boot.
fn verdict() -> PathBuf {
    cache_dir().join("tests-accelerator.json")
}

/// How an engine differs from the usual one.
#[derive(Default)]
pub struct Options {
    /// More arguments for hakod.
    pub args: Vec<String>,
    /// More variables of its environment.
    pub env: Vec<(String, String)>,
    /// Where hakod and the programs beside it lie, if not where they are built.
    pub programs: Option<PathBuf>,
    /// The engine has the network `bridge`, and a network namespace of its own
    /// as its host. Without it, it makes nothing in the machine's.
    pub networks: bool,
}

/// A running engine. Dropped, it is ended, and a trace of it is a failure.
pub struct Engine {
    root: TempDir,
    name: String,
    host: String,
    client: Mutex<PathBuf>,
    options: Options,
    child: Mutex<Option<Child>>,
    network: Option<NetworkNamespace>,
    finished: AtomicBool,
}

/// A test that has panicked still cleans up.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Whether the tests run against another engine (`HAKO_TEST_DOCKER_HOST`).
    #[must_use]
    pub fn is_reference() -> bool {
        env::var_os("HAKO_TEST_DOCKER_HOST").is_some()
    }

    /// Starts hakod with the usual options, or takes the reference.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// Starts hakod with `options`.
    #[must_use]
    pub fn with(options: Options) -> Self {
        let engine = Self::prepare(options);
        if !Self::is_reference() {
            engine.launch();
        }
        engine
    }

    /// Makes the folders of an engine that does not run yet.
    #[must_use]
    pub fn prepare(options: Options) -> Self {
        // Unix sockets have short names: not below a long TMPDIR.
        let root = tempfile::Builder::new().prefix("hako-t").tempdir_in("/tmp").expect("a temporary folder");
        let name = root.path().file_name().expect("a name").to_string_lossy().into_owned();
        let own = format!("unix://{}", root.path().join("run/hako.sock").display());
        let engine = Self {
            host: env::var("HAKO_TEST_DOCKER_HOST").unwrap_or(own),
            client: Mutex::new(tool(Tool::Docker)),
            root,
            name,
            network: (options.networks && !Self::is_reference()).then(NetworkNamespace::new),
            options,
            child: Mutex::new(None),
            finished: AtomicBool::new(false),
        };
        for folder in ["tmp", "home", "run", "data", "data/cache"] {
            fs::create_dir(engine.path(folder)).expect("a fresh folder");
        }
        // Templates likewise: what each test's engine would make anew, all have.
        let templates = cache_dir().join("tests-templates");
        let config = format!("[vm]\ntemplate-dir = {:?}\npool = 0\n", templates.display().to_string());
        fs::write(engine.path(CONFIG), config).expect("a fresh folder");
        // A probe under an accelerator that hangs takes seconds: one for all tests.
        let _ = fs::copy(verdict(), engine.path("data").join(VERDICT));
        engine
    }

    /// Starts hakod and waits until it answers.
    pub fn launch(&self) {
        let mut command = self.command();
        let mut child = match &self.network {
            Some(network) => network.within(|| command.spawn()),
            None => command.spawn(),
        }
        .expect("hakod starts");
        let begin = Instant::now();
        while !self.answers() {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                panic!("hakod ended: {status}\n{}", self.log());
            }
            assert!(begin.elapsed() < ENGINE_DEADLINE, "hakod does not answer\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
        *lock(&self.child) = Some(child);
    }

    /// Whether hakod answers a request. A connection alone says nothing: the
    /// socket of one that was just killed may for a moment be open in its child.
    fn answers(&self) -> bool {
        let ask = || {
            let mut stream = UnixStream::connect(self.socket())?;
            stream.set_read_timeout(Some(ENGINE_DEADLINE))?;
            stream.write_all(b"HEAD /_ping HTTP/1.1\r\nHost: hako\r\nConnection: close\r\n\r\n")?;
            stream.read(&mut [0; 64])
        };
        ask().is_ok_and(|read| read > 0)
    }

    fn command(&self) -> Command {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("hakod.log")).expect("a log");
        let mut hakod = Command::new(self.options.programs.clone().unwrap_or_else(bin_dir).join("hakod"));
        hakod
            .arg("--data-root")
            .arg(self.data_root())
            .arg("--exec-root")
            .arg(self.exec_root())
            .arg("--pidfile")
            .arg(self.path("hakod.pid"))
            .args(["--host", &self.host, "--cgroup-parent", &self.name, "--log-level", "debug"])
            .args((!self.options.networks).then_some("--bridge=none"))
            .args(self.config())
            .args(&self.options.args)
            .env("TMPDIR", self.path("tmp"))
            .envs(self.options.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        hakod
    }

    /// The harness's own configuration, unless the test has one.
    fn config(&self) -> Vec<String> {
        const FLAG: &str = "--config-file";
        if self.options.args.iter().any(|arg| arg.starts_with(FLAG)) {
            return Vec::new();
        }
        vec![FLAG.to_owned(), self.path(CONFIG).display().to_string()]
    }

    /// A path in the engine's own folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Where hakod keeps what lasts.
    #[must_use]
    pub fn data_root(&self) -> PathBuf {
        self.path("data")
    }

    /// Where hakod keeps what a reboot clears.
    #[must_use]
    pub fn exec_root(&self) -> PathBuf {
        self.path("run")
    }

    /// The name of the engine's folder and of its cgroup parent.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The socket that the engine serves.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        PathBuf::from(self.host.strip_prefix("unix://").expect("a unix socket"))
    }

    /// The engine's address, for `-H`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Takes another docker client from here on.
    pub fn use_client(&self, client: Tool) {
        *lock(&self.client) = tool(client);
    }

    /// The docker client, with a home of its own.
    pub fn docker<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Client {
        Client::new(&lock(&self.client))
            .args(["-H", &self.host])
            .args(args)
            .env("HOME", self.path("home"))
            .env("DOCKER_CONFIG", self.path("home"))
    }

    /// A program that runs where the engine's networks are: on its host.
    #[must_use]
    pub fn on_host(&self, program: &str) -> Client {
        let client = Client::new(std::path::Path::new(program));
        match &self.network {
            Some(network) => client.within(network),
            None => client,
        }
    }

    /// The network namespace that is the engine's host, if it has one of its own.
    #[must_use]
    pub fn network(&self) -> Option<&NetworkNamespace> {
        self.network.as_ref()
    }

    /// The `hako` client.
    pub fn hako<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Client {
        Client::new(&bin_dir().join("hako")).args(["--host", &self.host]).args(args).env("HOME", self.path("home"))
    }

    /// One request of the Engine API by hand.
    #[must_use]
    pub fn http(&self, method: &str, target: &str, body: Option<&serde_json::Value>) -> crate::Answer {
        let body = body.map(|value| value.to_string().into_bytes());
        crate::http(&self.socket(), method, target, body.as_deref())
    }

    /// One request with a body that is no JSON.
    #[must_use]
    pub fn http_bytes(&self, method: &str, target: &str, body: &[u8]) -> crate::Answer {
        crate::http(&self.socket(), method, target, Some(body))
    }

    /// Loads `image`, unless a reference has it from another test.
    pub fn load(&self, image: &Image) {
        if Self::is_reference() && self.docker(["image", "inspect", image.tag()]).run().code == 0 {
            return;
        }
        let _ =
            self.docker(["load", "--quiet"]).stdin(image.docker_archive()).deadline(Duration::from_secs(180)).text();
    }

    /// hakod's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let child = lock(&self.child);
        i32::try_from(child.as_ref().expect("hakod runs").id()).expect("a pid")
    }

    /// Ends hakod by `signal` and waits for its end.
    pub fn end_by(&self, signal: Signal) {
        let Some(mut child) = lock(&self.child).take() else { return };
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        let _ = kill(pid, signal);
        let begin = Instant::now();
        while child.try_wait().expect("a child can be waited for").is_none() {
            if begin.elapsed() > ENGINE_DEADLINE {
                let _ = child.kill();
                let _ = child.wait();
                panic!("hakod did not end on {signal}\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// As if the host were booted: hakod and every process of its containers
    /// are gone at once, and so are cgroups and the exec root. Then hakod starts.
    pub fn boot_the_host(&self) {
        self.end_by(Signal::SIGKILL);
        let begin = Instant::now();
        loop {
            let pids = self.traces().pids();
            if pids.is_empty() {
                break;
            }
            assert!(begin.elapsed() < ENGINE_DEADLINE, "processes do not end: {}", self.traces());
            for pid in pids {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            thread::sleep(Duration::from_millis(20));
        }
        for folder in ["shims", "runtime"] {
            let _ = fs::remove_dir_all(self.exec_root().join(folder));
        }
        traces::unmount(&self.exec_root());
        let _ = fs::remove_dir_all(self.exec_root().join("netns"));
        if let Some(network) = &self.network {
            network.clear();
        }
        traces::remove_cgroups(&self.name);
        self.launch();
    }

    /// `hakod --check-store`, while hakod does not run.
    #[must_use]
    pub fn check_store(&self) -> crate::Output {
        let hakod = self.options.programs.clone().unwrap_or_else(bin_dir).join("hakod");
        let (data, run) = (self.data_root(), self.exec_root());
        let line = Client::new(&hakod).arg("--check-store").arg("--data-root").arg(data).arg("--exec-root").arg(run);
        line.deadline(Duration::from_secs(180)).run()
    }

    /// The end of hakod's log.
    #[must_use]
    pub fn log(&self) -> String {
        let text = fs::read(self.path("hakod.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// What of this engine can be seen on the machine now.
    #[must_use]
    pub fn traces(&self) -> Traces {
        Traces::of(self.root.path(), &self.name)
    }

    /// Removes every container, ends the engine and panics if it leaves a
    /// trace. A test that passed calls this; one that panicked only cleans up.
    pub fn finish(&self) {
        if self.finished.swap(true, Ordering::Relaxed) {
            return;
        }
        self.remove_containers();
        if Self::is_reference() {
            return;
        }
        self.remove_volumes();
        self.end_by(Signal::SIGTERM);
        self.keep_verdict();
        if let Some(network) = &self.network {
            let left = network.left();
            assert!(left.is_empty(), "the engine left in its host's network:\n{left}\n-- log\n{}", self.log());
        }
        let mut left = self.traces();
        left.ignore_durable(&self.data_root());
        left.ignore_harness(self.root.path());
        traces::clean(self.root.path(), &self.name);
        assert!(left.is_empty(), "the engine left behind:\n{left}\n-- log\n{}", self.log());
    }

    fn keep_verdict(&self) {
        let part = cache_dir().join(format!("tests-accelerator.{}.part", self.name));
        if self.options.programs.is_none() && fs::copy(self.path("data").join(VERDICT), &part).is_ok() {
            let _ = fs::rename(&part, verdict());
        }
    }

    /// Without containers nobody has any of them.
    fn remove_volumes(&self) {
        if lock(&self.child).is_none() {
            return;
        }
        let names = self.docker(["volume", "ls", "--quiet"]).text();
        if !names.is_empty() {
            let _ = self.docker(["volume", "rm"]).args(names.lines()).text();
        }
    }

    fn remove_containers(&self) {
        if lock(&self.child).is_none() && !Self::is_reference() {
            return;
        }
        let ids = self.docker(["ps", "--all", "--quiet", "--no-trunc"]).text();
        if !ids.is_empty() {
            let _ = self.docker(["rm", "--force"]).args(ids.lines()).text();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if thread::panicking() || !self.finished.load(Ordering::Relaxed) {
            self.finished.store(true, Ordering::Relaxed);
            if thread::panicking() && !Self::is_reference() {
                eprintln!("-- hakod's log\n{}", self.log());
            }
            if Self::is_reference() {
                let ids = self.docker(["ps", "--all", "--quiet"]).run().out();
                let _ = self.docker(["rm", "--force"]).args(ids.lines()).run();
            }
            if let Some(mut child) = lock(&self.child).take() {
                let _ = child.kill();
                let _ = child.wait();
            }
            traces::clean(self.root.path(), &self.name);
        }
    }
}
