//! The end of a run: what is recorded, what its restart policy makes of it, and
//! how what is left of its sandbox goes.

use super::{
    actor::Actor,
    files, health,
    life::{self, Event},
    policy,
    record::{Record, State},
    remove,
    view::End,
};
use crate::{
    Engine, networks,
    shim::{Live, ShimDir, ShimProcess},
    volumes,
};
use hako_api::time;
use hako_model::{ExitDetails, Isolation, Result, ShimPhase};
use hako_os::cgroup::Cgroup;
use std::{
    fs, io,
    time::{Duration, Instant},
};
use tokio::process::Command;

/// How long a shim gets to shut down before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes what has happened even if it cannot be written down: it is true all
/// the same, and a restart of the engine finds it again.
pub(super) async fn must(actor: &mut Actor, event: Event) {
    let state = life::next(actor.record.state.clone(), event.clone());
    if let Err(err) = actor.happen(event).await {
        tracing::error!("{err}");
        actor.record.state = state;
        actor.publish();
    }
}

/// A run has ended (or its shim has died): record it, tear down, and then start
/// the container again or remove it, as it was created to be.
pub(super) async fn ended(actor: &mut Actor, exit: Result<ExitDetails>) {
    let live = actor.live.take();
    health::close(actor);
    let serves = exit.is_ok();
    let exit = exit.unwrap_or_else(|err| {
        let written = live.as_ref().and_then(|live| live.dir().state()).and_then(|state| exit_of(state.phase));
        written.unwrap_or_else(|| unknown(137, Some(format!("the shim has died: {}", err.message))))
    });
    let started_at = actor.record.state.run().map_or_else(|| exit.exited_at.clone(), |run| run.started_at.clone());
    let lasted = time::parse(&exit.exited_at).zip(time::parse(&started_at)).map(|(to, from)| to - from);
    let lasted = lasted.and_then(|lasted| lasted.to_std().ok()).unwrap_or_default();
    let again = policy::after_end(
        &actor.record.host.restart_policy,
        actor.record.restarts,
        exit.exit_code,
        lasted,
        actor.cancelled,
    );
    if exit.oom_killed {
        actor.emit("oom", &[]);
    }
    // Who hears of the end may want its ports.
    networks::leave_ports(&actor.engine, actor.record.id.as_str()).await;
    let code = exit.exit_code.to_string();
    actor.ends.push(End { code: exit.exit_code, error: exit.error.clone() });
    actor.record.restarts = again.unwrap_or(actor.record.restarts);
    let goes = actor.goes_with_its_run();
    let over = Event::Ended { exit, restart_in: again.map(|again| again.delay_ms) };
    if goes {
        // What the store says already comes to the same after a restart.
        actor.take(over);
    } else {
        must(actor, over).await;
    }
    actor.emit("die", &[("exitCode", code), ("execDuration", lasted.as_secs().to_string())]);
    volumes::emit_unmounts(&actor.engine, &actor.record);
    actor.engine.execs.container_ended(actor.record.id.as_str());
    match live {
        // The build reads its files next: no other sandbox is needed for that.
        Some(live) if serves && actor.record.is_step => {
            networks::leave(&actor.engine, actor.record.id.as_str()).await;
            files::take_over(actor, live);
        }
        Some(live) if serves && goes && may_end_later(&actor.engine, &actor.record) => {
            networks::leave(&actor.engine, actor.record.id.as_str()).await;
            return finish_removal(actor, Some(live)).await;
        }
        live => end_sandbox(&actor.engine, &actor.record, live, None).await,
    }
    if let State::Restarting(backoff) = &actor.record.state {
        actor.await_restart(Duration::from_millis(backoff.delay_ms));
    } else if goes {
        finish_removal(actor, None).await;
    }
}

async fn finish_removal(actor: &mut Actor, sandbox: Option<Live>) {
    if let Err(err) = remove::finish_with(actor, sandbox).await {
        tracing::error!("remove container {}: {err}", actor.record.id);
    }
}

/// Whether the sandbox of a run that is over holds nothing that somebody may
/// want, once he has heard of the end: no process has outlived the first one, no
/// guest has kept to itself what was written to a folder of the host, and no
/// volume is mounted for it.
fn may_end_later(engine: &Engine, record: &Record) -> bool {
    let alone = match record.isolation {
        Isolation::Process => record.host.pid_mode.is_empty(),
        Isolation::Hyperv => record.mounts.is_empty(),
    };
    alone && !volumes::mount::is_user(engine, record.id.as_str())
}

/// How a run ended, if its shim knew.
pub(super) fn exit_of(phase: ShimPhase) -> Option<ExitDetails> {
    match phase {
        ShimPhase::Exited(exit) => Some(exit),
        ShimPhase::Empty | ShimPhase::Created { .. } | ShimPhase::Running { .. } => None,
    }
}

/// An end that nobody saw.
pub(super) fn unknown(exit_code: i32, error: Option<String>) -> ExitDetails {
    ExitDetails { exit_code, exited_at: time::now(), oom_killed: false, error }
}

/// Ends whatever is left of a container's sandbox: goes on past errors and logs them.
pub(super) async fn end_sandbox(engine: &Engine, record: &Record, live: Option<Live>, pid: Option<i32>) {
    tear_down(engine, record.id.as_str(), Some(record.isolation), live, pid).await;
}

/// Ends a sandbox whose shim is busy, without asking it.
pub(super) async fn kill_sandbox(engine: &Engine, record: &Record, pid: Option<i32>) {
    let dir = ShimDir::new(engine.shim_dir(record.id.as_str()));
    if let Some(process) = pid.and_then(|pid| ShimProcess::open(pid, dir.path())) {
        process.kill();
    }
    end_sandbox(engine, record, None, pid).await;
}

pub(super) async fn tear_down(
    engine: &Engine,
    id: &str,
    isolation: Option<Isolation>,
    live: Option<Live>,
    pid: Option<i32>,
) {
    let dir = ShimDir::new(engine.shim_dir(id));
    let pid = pid.or_else(|| dir.state().map(|state| state.shim_pid));
    // Opened before the shim is told to go, so that its number cannot be another's.
    let process = pid.and_then(|pid| ShimProcess::open(pid, dir.path()));
    let mut clean = false;
    if let Some(live) = live {
        let deleted = live.delete("").await;
        clean = match &deleted {
            Ok(()) => true,
            // Nothing was created.
            Err(err) => err.kind == hako_model::ErrorKind::NotFound,
        };
        if let Err(err) = deleted.and(live.shutdown().await)
            && !clean
        {
            tracing::warn!("shim of {id}: {err}");
        }
    }
    if clean {
        // The shim has let go of its files, and a namespace takes its time to go.
        tokio::join!(gone(process, id), remove_folders(engine, id), networks::leave(engine, id));
        volumes::mount::release(engine, id).await;
        return;
    }
    gone(process, id).await;
    if isolation != Some(Isolation::Hyperv) {
        force_delete(engine, id).await;
    }
    // Before the bundle goes, which says where it is.
    if let Some(path) = dir.cgroup() {
        remove_cgroup(path).await;
    }
    remove_folders(engine, id).await;
    networks::leave(engine, id).await;
    volumes::mount::release(engine, id).await;
}

/// Removes a cgroup that a shim could not: its processes (a virtual machine
/// dies with its shim) are killed first.
async fn remove_cgroup(path: String) {
    let work = tokio::task::spawn_blocking(move || {
        let group = Cgroup::at(&path)?;
        let begin = Instant::now();
        loop {
            for pid in group.pids()?.unwrap_or_default() {
                // It may have ended since.
                let _ = hako_os::process::kill(pid, libc::SIGKILL);
            }
            match group.remove_with_parents() {
                Err(err) if err.kind() == io::ErrorKind::ResourceBusy && begin.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                done => return done,
            }
        }
    });
    match work.await {
        Ok(Ok(())) => {}
        Ok(Err(err)) => tracing::warn!("{err}"),
        Err(err) => tracing::warn!("remove a cgroup: {err}"),
    }
}

/// Waits for a shim's end, and helps.
async fn gone(process: Option<ShimProcess>, id: &str) {
    if let Some(process) = process
        && !process.ends_within(PATIENCE).await
    {
        tracing::warn!("shim of {id} does not end; killed");
        process.kill();
        process.ends_within(PATIENCE).await;
    }
}

async fn remove_folders(engine: &Engine, id: &str) {
    let (runtime, dir) = (engine.runtime_root(id), ShimDir::new(engine.shim_dir(id)));
    let work = tokio::task::spawn_blocking(move || {
        if let Err(err) = fs::remove_dir_all(&runtime)
            && err.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("remove {}: {err}", runtime.display());
        }
        if let Err(err) = dir.remove() {
            tracing::warn!("{err}");
        }
    });
    if let Err(err) = work.await {
        tracing::warn!("remove folders of {id}: {err}");
    }
}

/// For a container whose shim could not delete it.
async fn force_delete(engine: &Engine, id: &str) {
    let root = engine.runtime_root(id);
    if !root.join(id).exists() {
        return;
    }
    let mut command = Command::new(&engine.programs.runtime);
    command.arg("--root").arg(&root).args(["delete", "--force", id]);
    match command.output().await {
        Ok(output) if output.status.success() => {}
        Ok(output) => tracing::warn!("delete {id}: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(err) => tracing::warn!("{}: {err}", engine.programs.runtime.display()),
    }
}
