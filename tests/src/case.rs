//! One test: an engine, a wall, and short words for what most tests do.

use crate::{
    Client, Engine, Options, Output, busybox,
    verbs::{Record, Verbs},
};
use std::{ffi::OsStr, fmt};

/// Which wall a test's containers run behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    /// Namespaces and cgroups.
    Process,
    /// A virtual machine.
    Hyperv,
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Hyperv => "hyperv",
        })
    }
}

/// What a test body gets.
pub struct Case {
    /// The engine, with the image `busybox` loaded.
    pub engine: Engine,
    /// The wall.
    pub wall: Wall,
    verbs: Verbs,
}

/// Runs `body` on a fresh engine behind `wall`.
pub fn with_wall(wall: Wall, body: fn(&Case)) {
    with_options(wall, Options::default(), body);
}

/// Runs `body` on a fresh engine with networks, which has a network namespace
/// of its own as its host.
pub fn with_networks(wall: Wall, body: fn(&Case)) {
    with_options(wall, Options { networks: true, ..Options::default() }, body);
}

fn with_options(wall: Wall, options: Options, body: fn(&Case)) {
    if wall == Wall::Hyperv && Engine::is_reference() {
        eprintln!("not run: the reference engine has no such wall");
        return;
    }
    let verbs = Verbs::default();
    let _record = Record { wall, verbs: verbs.clone() };
    let engine = Engine::with(options);
    engine.load(&busybox());
    let case = Case { engine, wall, verbs };
    body(&case);
    case.engine.finish();
}

impl Case {
    /// A case of a test that makes its own engine; the table of verbs has nothing of it.
    #[must_use]
    pub fn new(engine: Engine, wall: Wall) -> Self {
        Self { engine, wall, verbs: Verbs::default() }
    }

    /// The docker client with these arguments.
    pub fn docker<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Client {
        let args: Vec<S> = args.into_iter().collect();
        self.verbs.note(&args);
        self.engine.docker(args)
    }

    /// `docker <verb> --isolation=… <arguments>`, for `run` and `create`. Asks for
    /// no network, or the client would print the engine's warning each time.
    #[must_use]
    pub fn walled(&self, verb: &str, args: &[&str]) -> Client {
        self.docker([verb, &self.isolation(), "--network=none"]).args(args)
    }

    /// `docker <verb> --isolation=… <arguments>`, on the default network.
    #[must_use]
    pub fn networked(&self, verb: &str, args: &[&str]) -> Client {
        self.docker([verb, &self.isolation()]).args(args)
    }

    /// A container `name` in the background, from flags, image and command, on
    /// the networks that the flags name.
    pub fn on_network(&self, name: &str, args: &[&str]) {
        let _ = self.networked("run", &["-d", "--name", name]).args(args).text();
    }

    /// `docker run --rm --isolation=… <flags and image and command>`.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Client {
        self.walled("run", &["--rm"]).args(args)
    }

    /// Runs a shell's script in a busybox with `flags`.
    #[must_use]
    pub fn sh(&self, flags: &[&str], script: &str) -> Client {
        self.run(flags).args(["busybox", "sh", "-c", script])
    }

    /// Starts a container `name` in the background, from flags, image and command.
    pub fn daemon(&self, name: &str, args: &[&str]) {
        let _ = self.walled("run", &["-d", "--name", name]).args(args).text();
    }

    /// Starts a container `name` that only waits, and ends at once on SIGTERM.
    pub fn idle(&self, name: &str) {
        self.idle_with(name, &[]);
    }

    /// The same with flags of its own.
    pub fn idle_with(&self, name: &str, flags: &[&str]) {
        let words = ["busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"];
        self.daemon(name, &[flags, &words].concat());
    }

    /// `docker exec <container> sh -c <script>`.
    #[must_use]
    pub fn exec(&self, container: &str, script: &str) -> Output {
        self.docker(["exec", container, "sh", "-c", script]).run()
    }

    /// `docker inspect -f <format> <container>`.
    #[must_use]
    pub fn inspect(&self, container: &str, format: &str) -> String {
        self.docker(["inspect", "--format", format, container]).text()
    }

    /// Waits until the container's state is `status`.
    pub fn wait_for(&self, container: &str, status: &str) {
        let what = format!("{container} to be {status}");
        crate::wait_until(std::time::Duration::from_secs(60), &what, || {
            self.inspect(container, "{{.State.Status}}") == status
        });
    }

    /// Waits until a container `name` runs; it may not exist yet.
    pub fn wait_for_name(&self, name: &str) {
        crate::wait_until(std::time::Duration::from_secs(60), &format!("{name} to run"), || {
            self.docker(["inspect", "-f", "{{.State.Running}}", name]).run().out() == "true"
        });
    }

    /// The flag that chooses the wall. The reference has only its default.
    #[must_use]
    pub fn isolation(&self) -> String {
        if Engine::is_reference() { "--isolation=default".into() } else { format!("--isolation={}", self.wall) }
    }
}
