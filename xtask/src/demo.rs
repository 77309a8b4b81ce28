//! `cargo xtask demo`: from a clone to `hello` behind both walls.

use crate::{guest, programs, setup};
use anyhow::{Context, Result, bail};
use std::{
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// How long the engine may take until it answers.
const ENGINE_DEADLINE: Duration = Duration::from_secs(30);

/// Builds everything, and runs `hello` on an engine with folders of its own.
pub fn run() -> Result<()> {
    let begin = Instant::now();
    setup::packages(setup::Purpose::Run)?;
    programs::build()?;
    guest::run(guest::Args { no_build: true, ..guest::Args::default() })?;
    eprintln!("xtask: set up and built in {} s", begin.elapsed().as_secs());
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "containers need root: run this as root");
    let bin = programs::bin_dir()?;
    let dir = tempfile::Builder::new().prefix("hako-demo-").tempdir()?;
    let mut engine = start(&bin, dir.path())?;
    let result = ["process", "hyperv"].iter().try_for_each(|wall| hello(&bin, dir.path(), wall));
    stop(&mut engine)?;
    result?;
    println!("\nThe programs are in {}. Next:", bin.display());
    println!("    {}/hako run --rm --isolation=hyperv hello", bin.display());
    Ok(())
}

fn start(bin: &Path, dir: &Path) -> Result<Child> {
    let socket = dir.join("hako.sock");
    let mut engine = Command::new(bin.join("hakod"))
        .arg("--data-root")
        .arg(dir.join("data"))
        .arg("--exec-root")
        .arg(dir.join("run"))
        .arg("--pidfile")
        .arg(dir.join("hakod.pid"))
        .arg("--host")
        .arg(format!("unix://{}", socket.display()))
        .args(["--log-level", "warn"])
        .spawn()
        .context("hakod does not start")?;
    let begin = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        if let Some(status) = engine.try_wait()? {
            bail!("hakod ended: {status}");
        }
        if begin.elapsed() > ENGINE_DEADLINE {
            engine.kill()?;
            bail!("hakod does not answer");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(engine)
}

fn hello(bin: &Path, dir: &Path, wall: &str) -> Result<()> {
    let flag = format!("--isolation={wall}");
    println!("\n$ hako run --rm {flag} hello");
    let host = format!("unix://{}", dir.join("hako.sock").display());
    // No network asked for, no warning that there is none.
    let args = ["--host", &host, "run", "--rm", "--network=none", &flag, "hello"];
    programs::run(Command::new(bin.join("hako")).args(args))
}

fn stop(engine: &mut Child) -> Result<()> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(engine.id())?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
    engine.wait()?;
    Ok(())
}
