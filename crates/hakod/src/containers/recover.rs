//! The end of a run, and the engine's own return: reconnecting to shims,
//! finishing what was half done, and removing what belongs to nobody.

use super::{
    Container,
    actor::Actor,
    record::{Ended, Failure, Record, Run, State},
    remove,
};
use crate::{
    Engine,
    shim::{Live, ShimDir, ShimProcess},
};
use hako_api::time;
use hako_model::{ExitDetails, Isolation, Result, ShimPhase};
use std::{collections::HashSet, fs, path::Path, sync::Arc, time::Duration};
use tokio::process::Command;

/// How long a shim gets to shut down before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A run has ended (or its shim has died): record it, tear down, and remove
/// the container if it was created so.
pub(super) async fn ended(actor: &mut Actor, exit: Result<ExitDetails>) {
    let live = actor.live.take();
    let exit = exit.unwrap_or_else(|err| {
        let state = live.as_ref().and_then(|live| live.dir().state());
        lost(state.map(|s| s.phase), 137, &format!("the shim has died: {}", err.message))
    });
    let started_at = match &actor.record.state {
        State::Running(run) | State::Paused(run) => run.started_at.clone(),
        State::Exited(ended) => ended.started_at.clone(),
        State::Created { .. } | State::Starting { .. } | State::Removing => time::now(),
    };
    if exit.oom_killed {
        actor.emit("oom", &[]);
    }
    let code = exit.exit_code.to_string();
    let lasted =
        time::parse(&exit.exited_at).zip(time::parse(&started_at)).map_or(0, |(to, from)| (to - from).num_seconds());
    actor.exits += 1;
    if let Err(err) = actor.set_state(State::Exited(Ended { started_at, exit })).await {
        tracing::error!("{err}");
    }
    actor.emit("die", &[("exitCode", code), ("execDuration", lasted.to_string())]);
    actor.engine.execs.container_ended(actor.record.id.as_str());
    end_sandbox(&actor.engine, &actor.record, live, None).await;
    if actor.goes_with_its_run()
        && let Err(err) = remove::finish(actor).await
    {
        tracing::error!("remove container {}: {err}", actor.record.id);
    }
}

/// What is known of a run whose shim is gone.
fn lost(phase: Option<ShimPhase>, code: i32, why: &str) -> ExitDetails {
    match phase {
        Some(ShimPhase::Exited(exit)) => exit,
        Some(ShimPhase::Empty | ShimPhase::Created { .. } | ShimPhase::Running { .. }) | None => {
            ExitDetails { exit_code: code, exited_at: time::now(), oom_killed: false, error: Some(why.to_owned()) }
        }
    }
}

/// Ends whatever is left of a container's sandbox: goes on past errors and logs them.
pub(super) async fn end_sandbox(engine: &Engine, record: &Record, live: Option<Live>, pid: Option<i32>) {
    let id = record.id.as_str();
    tear_down(engine, id, Some(record.isolation), live, pid).await;
}

async fn tear_down(engine: &Engine, id: &str, isolation: Option<Isolation>, live: Option<Live>, pid: Option<i32>) {
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
    if clean || isolation == Some(Isolation::Hyperv) {
        // The shim has let go of its files, and a namespace takes its time to go.
        tokio::join!(gone(process, id), remove_folders(engine, id));
    } else {
        gone(process, id).await;
        force_delete(engine, id).await;
        remove_folders(engine, id).await;
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

/// At start: every container of the store gets its owner back, in the state
/// that is true now; then what belongs to none is removed.
///
/// # Errors
/// The store cannot be read.
pub async fn all(engine: &Arc<Engine>) -> anyhow::Result<()> {
    let store = engine.store.clone();
    let rows = tokio::task::spawn_blocking(move || store.containers()).await??;
    let mut work = tokio::task::JoinSet::new();
    let mut known = HashSet::new();
    for row in rows {
        known.insert(row.id.clone());
        let mut record: Record = match serde_json::from_str(&row.json) {
            Ok(record) => record,
            Err(err) => {
                tracing::error!("record of container {} is unreadable and left alone: {err}", row.id);
                continue;
            }
        };
        record.name = row.name;
        engine.containers.reserve(&record.name, record.id.as_str())?;
        let (container, actor) = Container::prepare(engine.clone(), record);
        engine.containers.insert(container);
        work.spawn(async move {
            let actor = one(actor).await;
            tokio::spawn(actor.run());
        });
    }
    while work.join_next().await.is_some() {}
    orphans(engine, &known).await;
    Ok(())
}

/// Finds out what became of one container.
async fn one(mut actor: Actor) -> Actor {
    let id = actor.record.id.as_str().to_owned();
    let dir = ShimDir::new(actor.engine.shim_dir(&id));
    let live = Live::connect(&id, dir.clone()).ok();
    let phase = dir.state().map(|state| state.phase);
    match actor.record.state.clone() {
        State::Running(run) | State::Paused(run) => still_running(&mut actor, live, phase, run).await,
        State::Starting { before } => match (live, phase) {
            (Some(live), Some(ShimPhase::Running { pid })) => {
                let run = Run { pid: i64::from(pid), started_at: time::now() };
                still_running(&mut actor, Some(live), Some(ShimPhase::Running { pid }), run).await;
            }
            (Some(live), Some(ShimPhase::Exited(exit))) => {
                actor.live = Some(live);
                ended(&mut actor, Ok(exit)).await;
            }
            (live, _) => {
                end_sandbox(&actor.engine, &actor.record, live, None).await;
                interrupted(&mut actor, before).await;
            }
        },
        State::Created { .. } => {
            if dir.path().exists() {
                end_sandbox(&actor.engine, &actor.record, live, None).await;
            }
        }
        State::Exited(_) => {
            if dir.path().exists() {
                end_sandbox(&actor.engine, &actor.record, live, None).await;
            }
            if actor.record.host.auto_remove {
                finish_removal(&mut actor).await;
            }
        }
        State::Removing => {
            end_sandbox(&actor.engine, &actor.record, live, None).await;
            finish_removal(&mut actor).await;
        }
    }
    actor
}

async fn still_running(actor: &mut Actor, live: Option<Live>, phase: Option<ShimPhase>, run: Run) {
    match live {
        Some(live) => {
            let paused = matches!(actor.record.state, State::Paused(_));
            if !paused {
                // Frozen for a commit that was cut off, or not frozen at all: which it refuses.
                let _ = live.resume().await;
            }
            actor.live = Some(live.clone());
            let state = if paused { State::Paused(run) } else { State::Running(run) };
            if let Err(err) = actor.set_state(state).await {
                tracing::error!("{err}");
            }
            actor.watch_run(live);
        }
        // No shim: killed, or the host was booted since.
        None => ended(actor, Ok(lost(phase, 255, ""))).await,
    }
}

async fn interrupted(actor: &mut Actor, before: Option<Ended>) {
    let state = match before {
        Some(ended) => State::Exited(ended),
        None => State::Created {
            failure: Some(Failure { exit_code: 128, error: "the engine ended during the start".to_owned() }),
        },
    };
    if let Err(err) = actor.set_state(state).await {
        tracing::error!("{err}");
    }
    if actor.record.host.auto_remove {
        finish_removal(actor).await;
    }
}

async fn finish_removal(actor: &mut Actor) {
    if let Err(err) = remove::finish(actor).await {
        tracing::error!("remove container {}: {err}", actor.record.id);
    }
}

/// Folders of containers that are in no record: a create or a remove that was cut off.
async fn orphans(engine: &Engine, known: &HashSet<String>) {
    for id in names_in(&engine.config.exec_root.join("shims")) {
        if !known.contains(&id) {
            tracing::info!("removing what is left of container {id}");
            let live = Live::connect(&id, ShimDir::new(engine.shim_dir(&id))).ok();
            tear_down(engine, &id, None, live, None).await;
        }
    }
    for id in names_in(&engine.config.data_root.join("containers")) {
        if !known.contains(&id)
            && let Err(err) = fs::remove_dir_all(engine.container_dir(&id))
        {
            tracing::warn!("remove folder of container {id}: {err}");
        }
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
