//! The engine's own return: reconnecting to shims, finishing what was half done,
//! doing what restart policies want, and removing what belongs to nobody.

use super::{
    Container,
    actor::Actor,
    end, health,
    life::{self, Event, Found, Return},
    policy,
    record::{Record, State},
    remove, start, update,
};
use crate::{
    Engine,
    shim::{Live, ShimDir},
    volumes,
};
use hako_api::time;
use hako_model::ShimPhase;
use std::{collections::HashSet, fs, path::Path, sync::Arc, time::Duration};

/// At start: every container of the store gets its owner back, in the state
/// that is true now; then what belongs to none is removed.
///
/// # Errors
/// The store cannot be read.
pub async fn all(engine: &Arc<Engine>) -> anyhow::Result<()> {
    let store = engine.store.clone();
    let rows = tokio::task::spawn_blocking(move || store.containers()).await??;
    let mut found = Vec::new();
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
        volumes::mount::adopt(engine, &record);
        let (container, actor) = Container::prepare(engine.clone(), record);
        engine.containers.insert(container);
        found.push(actor);
    }
    // Who has which volume is known of all before anything is done about one.
    let mut work = tokio::task::JoinSet::new();
    for actor in found {
        work.spawn(async move {
            let actor = one(actor).await;
            tokio::spawn(actor.run());
        });
    }
    while work.join_next().await.is_some() {}
    orphans(engine, &known).await;
    volumes::mount::sweep(engine).await;
    Ok(())
}

/// Finds out what became of one container, and goes on from there.
async fn one(mut actor: Actor) -> Actor {
    let id = actor.record.id.as_str().to_owned();
    let dir = ShimDir::new(actor.engine.shim_dir(&id));
    let live = Live::connect(&id, dir.clone()).ok();
    let phase = dir.state().map(|state| state.phase);
    let found = match &live {
        Some(_) => Found::Serving(phase.unwrap_or(ShimPhase::Empty)),
        None => Found::Gone(phase.and_then(end::exit_of)),
    };
    match life::returned(&actor.record.state, found, &time::now()) {
        Return::Attend(event) => attend(&mut actor, live, event).await,
        Return::End(exit) => {
            // Killed, or the host was booted since.
            let exit = exit.unwrap_or_else(|| end::unknown(255, None));
            actor.live = live;
            end::ended(&mut actor, Ok(exit)).await;
        }
        Return::UndoStart => {
            end::end_sandbox(&actor.engine, &actor.record, live, None).await;
            end::must(&mut actor, Event::StartLost).await;
        }
        Return::Rest | Return::AwaitRestart => {
            if dir.path().exists() {
                end::end_sandbox(&actor.engine, &actor.record, live, None).await;
            }
        }
        Return::Remove => {
            end::end_sandbox(&actor.engine, &actor.record, live, None).await;
            finish_removal(&mut actor).await;
        }
    }
    go_on(&mut actor).await;
    actor
}

async fn attend(actor: &mut Actor, live: Option<Live>, event: Option<Event>) {
    let Some(live) = live else { return };
    if matches!(actor.record.state, State::Running(_)) {
        // Frozen for a commit that was cut off, or not frozen at all: which it refuses.
        let _ = live.resume().await;
    }
    actor.live = Some(live.clone());
    health::reset(&mut actor.record);
    match event {
        Some(event) => end::must(actor, event).await,
        None => actor.publish(),
    }
    actor.watch_run(live);
    health::attend(actor);
    update::overdue(actor).await;
}

/// What a container that does not run is waiting for.
async fn go_on(actor: &mut Actor) {
    if actor.is_gone() {
        return;
    }
    match &actor.record.state {
        State::Restarting(backoff) => {
            let since = time::parse(&backoff.ended.exit.exited_at).map(|end| chrono::Utc::now() - end);
            let since = since.and_then(|since| since.to_std().ok()).unwrap_or_default();
            let delay = Duration::from_millis(backoff.delay_ms).saturating_sub(since);
            actor.await_restart(delay);
        }
        State::Created { failure } => {
            if failure.is_some() && actor.record.host.auto_remove {
                finish_removal(actor).await;
            }
        }
        State::Exited(_) => {
            if actor.record.host.auto_remove {
                finish_removal(actor).await;
            } else if policy::at_engine_start(
                &actor.record.host.restart_policy,
                actor.record.restarts,
                &actor.record.state,
            ) {
                start::begin(actor, None).await;
            }
        }
        State::Starting { .. } | State::Running(_) | State::Paused(_) | State::Removing { .. } | State::Dead { .. } => {
        }
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
            end::tear_down(engine, &id, None, live, None).await;
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
