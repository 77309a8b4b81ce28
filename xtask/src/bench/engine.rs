//! The engines of a run: dockerd and hakod, each on folders of its own.

use super::http;
use super::image;
use super::measure::Row;
use super::namespace::Namespace;
use super::scratch::{Scratch, spawn_apart};
use super::templates::{self, Machines};
use crate::{deb, programs};
use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(30);

/// dockerd's flags for networks, from all that it usually has to nothing.
const DOCKERS_NETWORKS: [(&str, &[&str]); 3] = [
    ("with networks", &[]),
    ("without a firewall", &["--iptables=false", "--ip-masq=false"]),
    ("without networks", &["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]),
];

/// A running engine with the small image. Dropped, it and its containers end.
pub struct Engine {
    /// Its folder, which is in the command line of all that it starts.
    pub dir: PathBuf,
    /// The socket that it serves.
    pub socket: PathBuf,
    /// Whose it is.
    pub kind: Kind,
    /// Its name in the rows.
    pub label: String,
    /// Where its programs lie, if it is Hako's.
    pub programs: PathBuf,
    /// The walls that it is asked for; of an engine without a choice none.
    pub walls: &'static [&'static str],
    /// How its virtual machines begin.
    pub machines: Machines,
    /// Why they cannot begin so, if so.
    pub no_templates: Option<String>,
    /// The docker client.
    pub docker: PathBuf,
    /// The network namespace that is its host.
    pub network: Namespace,
    /// Why its containers can have no network, if so.
    pub no_networks: Option<String>,
    child: Option<Child>,
}

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Docker,
    Hako,
}

impl Kind {
    /// Its name in the rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Hako => "hako",
        }
    }
}

/// What an engine is started as.
#[derive(Debug, Clone)]
pub struct Setup {
    pub kind: Kind,
    /// Its name in the rows.
    pub label: String,
    /// Its folder in the scratch folder: a letter, since sockets lie below it.
    pub folder: &'static str,
    /// Where Hako's programs lie.
    pub programs: PathBuf,
    /// The walls that it is asked for.
    pub walls: &'static [&'static str],
    /// How Hako's virtual machines begin.
    pub machines: Machines,
}

impl Setup {
    /// Docker's, which is installed or fetched.
    pub fn docker() -> Self {
        let (kind, machines) = (Kind::Docker, Machines::Cold);
        Self { kind, label: kind.name().into(), folder: "d", programs: PathBuf::new(), walls: &[], machines }
    }

    /// Hako as it was built beside this program, asked for both walls.
    pub fn hako(folder: &'static str, machines: Machines) -> Result<Self> {
        let (kind, walls): (_, &[_]) = (Kind::Hako, &["process", "hyperv"]);
        Ok(Self { kind, label: kind.name().into(), folder, programs: programs::bin_dir()?, walls, machines })
    }

    /// The same, asked for virtual machines alone.
    pub fn hyperv(folder: &'static str, machines: Machines) -> Result<Self> {
        Ok(Self { walls: &["hyperv"], ..Self::hako(folder, machines)? })
    }
}

/// Starts what can be started; for the others there is a row with the reason.
pub fn start_all(scratch: &Scratch, setups: &[Setup], rows: &mut Vec<Row>) -> Result<Vec<Engine>> {
    let archive = scratch.path("small.tar");
    if !archive.exists() {
        let tree = scratch.path("small");
        image::busybox_tree(&tree)?;
        image::archive(image::SMALL, &tree, &scratch.path("small-parts"), &archive)?;
    }
    let mut engines = Vec::new();
    for setup in setups {
        match setup.kind {
            Kind::Docker => eprintln!("starting {}", setup.label),
            Kind::Hako => eprintln!("starting {} (virtual machines: {})", setup.label, setup.machines.word()),
        }
        match Engine::start(setup, scratch).and_then(|engine| engine.load(&archive).map(|()| engine)) {
            Ok(engine) => engines.push(engine),
            Err(e) => rows.push(Row::skipped("engine", &setup.label, "", &format!("{e:#}"))),
        }
    }
    // What is to begin from a template does so from here on.
    for engine in &mut engines {
        engine.no_templates = templates::ready(engine, "none").err();
    }
    Ok(engines)
}

impl Engine {
    /// Starts one and waits until it answers.
    pub fn start(setup: &Setup, scratch: &Scratch) -> Result<Self> {
        let Setup { kind, label, folder, programs, walls, machines } = setup.clone();
        let dir = scratch.path(folder);
        fs::create_dir_all(dir.join("home"))?;
        let docker = match programs::find("docker") {
            Some(docker) => docker,
            None => deb::unpacked("docker.io")?.join("usr/bin/docker"),
        };
        let (socket, network) = (dir.join("api.sock"), Namespace::new()?);
        let (no_networks, no_templates, child) = (None, None, None);
        let mut engine = Self {
            socket,
            kind,
            label,
            programs,
            walls,
            machines,
            docker,
            network,
            no_networks,
            no_templates,
            dir,
            child,
        };
        match kind {
            Kind::Docker => engine.start_dockerd(scratch)?,
            Kind::Hako => engine.start_hakod(scratch)?,
        }
        Ok(engine)
    }

    /// hakod as it is set up; one of before there were templates refuses to be
    /// told of them.
    fn start_hakod(&mut self, scratch: &Scratch) -> Result<()> {
        let config = self.dir.join("config.toml");
        fs::write(&config, self.machines.config()).context("writing hakod's configuration")?;
        self.child = Some(self.spawn_hakod(scratch)?);
        let Err(refused) = self.wait_until_it_answers() else { return Ok(()) };
        self.stop();
        if !self.log().contains("config file") {
            return Err(refused);
        }
        fs::write(&config, "").context("writing hakod's configuration")?;
        self.child = Some(self.spawn_hakod(scratch)?);
        self.wait_until_it_answers()
    }

    /// dockerd with as much of networks as it can have here.
    fn start_dockerd(&mut self, scratch: &Scratch) -> Result<()> {
        let mut reason = None;
        for (what, flags) in DOCKERS_NETWORKS {
            self.child = Some(self.spawn_dockerd(scratch, flags)?);
            match self.wait_until_it_answers() {
                Ok(()) => {
                    if let Some(reason) = &reason {
                        eprintln!("docker runs {what}: {reason}");
                    }
                    self.no_networks = reason.filter(|_| flags.contains(&"--bridge=none"));
                    return Ok(());
                }
                Err(e) => {
                    self.stop();
                    reason = Some(format!("{e:#}"));
                }
            }
        }
        bail!(reason.unwrap_or_default())
    }

    /// The flags that both engines have.
    fn flags(&self, command: &mut Command, scratch: &Scratch) -> Result<()> {
        let log = File::create(self.dir.join("log"))?;
        command
            .arg(format!("--host=unix://{}", self.socket.display()))
            .arg(format!("--data-root={}", self.dir.join("data").display()))
            .arg(format!("--exec-root={}", self.dir.join("run").display()))
            .arg(format!("--pidfile={}", self.dir.join("pid").display()))
            .arg(format!("--cgroup-parent={}", scratch.cgroup))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(())
    }

    fn spawn_hakod(&self, scratch: &Scratch) -> Result<Child> {
        let mut command = Command::new(self.programs.join("hakod"));
        self.flags(&mut command, scratch)?;
        command.arg("--config-file").arg(self.dir.join("config.toml"));
        self.network.within(|| command.spawn().context("starting hakod (not built?)"))
    }

    /// dockerd, installed or unpacked. It has no supervisor here. `/run`, where
    /// its shims keep their sockets, and `/etc`, where it writes a key, are its own.
    fn spawn_dockerd(&self, scratch: &Scratch, networks: &[&str]) -> Result<Child> {
        let (dockerd, path) = dockerd()?;
        let mut command = Command::new(dockerd);
        self.flags(&mut command, scratch)?;
        command.args(networks).args(["--userland-proxy=false", "--oom-score-adjust=0"]).env("PATH", path);
        let (upper, work) = (self.dir.join("etc"), self.dir.join("etc-work"));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        let overlay = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
        let prepare = || {
            let none = MsFlags::empty();
            mount(Some("tmpfs"), "/run", Some("tmpfs"), none, Some("mode=755")).context("mounting /run")?;
            mount(Some("etc"), "/etc", Some("overlay"), none, Some(overlay.as_str())).context("mounting /etc")
        };
        // Its thread is begun in the namespace, and so is in it.
        self.network.within(|| spawn_apart(&mut command, prepare))
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let begin = Instant::now();
        while http::request(&self.socket, "GET", "/_ping", None).is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                bail!("{} ended ({status}): {}", self.kind.name(), self.log_end());
            }
            if begin.elapsed() > START {
                bail!("{} does not answer: {}", self.kind.name(), self.log_end());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn log_end(&self) -> String {
        self.log().trim().lines().last().unwrap_or("no log").to_owned()
    }

    /// The docker client on this engine, with a home of its own.
    pub fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.docker);
        command.arg("-H").arg(format!("unix://{}", self.socket.display())).args(args);
        command.env("HOME", self.dir.join("home")).env("DOCKER_CONFIG", self.dir.join("home"));
        command
    }

    /// Loads an image archive.
    pub fn load(&self, archive: &Path) -> Result<()> {
        deb::output(self.docker(&["load", "--quiet", "--input"]).arg(archive)).map(drop)
    }

    /// Removes every container.
    pub fn remove_containers(&self) -> Result<()> {
        let ids = deb::output(&mut self.docker(&["ps", "--all", "--quiet"]))?;
        let ids: Vec<&str> = ids.lines().collect();
        if ids.is_empty() {
            return Ok(());
        }
        deb::output(self.docker(&["rm", "--force"]).args(ids)).map(drop)
    }

    /// Removes the containers and ends the engine, which must end by itself.
    pub fn end(mut self) -> Result<()> {
        self.remove_containers()?;
        if !self.stop() {
            bail!("{} did not end on SIGTERM", self.kind.name());
        }
        // dockerd keeps its bridge for the next time.
        let left = if self.kind == Kind::Hako { self.network.left()? } else { Vec::new() };
        ensure!(left.is_empty(), "left in the engine's network: {}", left.join(", "));
        Ok(())
    }

    /// The engine's process.
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    fn stop(&mut self) -> bool {
        let Some(pid) = self.pid() else { return true };
        let Some(mut child) = self.child.take() else { return true };
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let begin = Instant::now();
        while begin.elapsed() < END {
            match child.try_wait() {
                Ok(None) => sleep(Duration::from_millis(20)),
                _ => return true,
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.remove_containers();
            self.stop();
        }
    }
}

/// dockerd and the path on which it finds its helpers.
fn dockerd() -> Result<(PathBuf, String)> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    if let Some(dockerd) = programs::find("dockerd") {
        return Ok((dockerd, path.into()));
    }
    let (engine, containerd) = (deb::unpacked("docker.io")?, deb::unpacked("containerd")?);
    let mut folders = vec![engine.join("usr/sbin"), engine.join("usr/bin"), containerd.join("usr/bin")];
    folders.extend(runc()?.parent().map(Path::to_owned));
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    Ok((engine.join("usr/sbin/dockerd"), format!("{}:{path}", folders.join(":"))))
}

/// runc, installed or unpacked.
pub fn runc() -> Result<PathBuf> {
    match programs::find("runc") {
        Some(runc) => Ok(runc),
        None => Ok(deb::unpacked("runc")?.join("usr/sbin/runc")),
    }
}
