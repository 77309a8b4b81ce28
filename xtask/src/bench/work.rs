//! The work of the rounds: run, exec, ps.

use super::cli::{Client, Way, walls, ways};
use super::engine::{Engine, Kind};
use super::measure::{Row, Subject, interleaved, timed};
use super::scratch::Scratch;
use super::{boot, podman, raw};
use crate::deb;
use anyhow::Result;

/// Containers in the list that `ps` shows.
const LISTED: usize = 50;

/// `true` in a container of its own, by everyone.
pub fn run(scratch: &Scratch, engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut subjects = raw::subjects(scratch, &mut rows)?;
    subjects.extend(podman::subject(scratch, &mut rows));
    // In the same rounds: a cold container is measured against it.
    subjects.extend(boot::subject(scratch, &mut rows)?);
    for way in ways(engines) {
        subjects.push(Subject::new(&way.name(), move || way.run_true()));
    }
    rows.extend(interleaved("run", rounds, subjects)?);
    Ok(rows)
}

/// `true` in a container that runs already.
pub fn exec(engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut subjects = Vec::new();
    for engine in engines {
        for wall in walls(engine) {
            let way = Way { engine, wall, client: Client::Docker };
            match way.sleeper() {
                Ok(id) => {
                    if engine.kind == Kind::Hako {
                        subjects.push(exec_subject(Way { client: Client::Hako, ..way }, &id));
                    }
                    subjects.push(exec_subject(way, &id));
                }
                Err(e) => rows.push(Row::skipped("exec", &way.name(), "ms", &format!("{e:#}"))),
            }
        }
    }
    rows.extend(interleaved("exec", rounds, subjects)?);
    engines.iter().try_for_each(Engine::remove_containers)?;
    Ok(rows)
}

fn exec_subject<'a>(way: Way<'a>, id: &str) -> Subject<'a> {
    let id = id.to_owned();
    Subject::new(&way.name(), move || timed(&mut way.command(&["exec", &id, "true"])?))
}

/// The list of containers that were created and never started.
pub fn ps(engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut subjects = Vec::new();
    for engine in engines {
        let way = Way { engine, wall: None, client: Client::Docker };
        let made = (0..LISTED).try_for_each(|_| deb::output(&mut way.container(&["create"], &["true"])?).map(drop));
        if let Err(e) = made {
            rows.push(Row::skipped("ps", &way.name(), "ms", &format!("{e:#}")));
            continue;
        }
        subjects.push(ps_subject(way));
        if engine.kind == Kind::Hako {
            subjects.push(ps_subject(Way { client: Client::Hako, ..way }));
        }
    }
    rows.extend(interleaved("ps", rounds, subjects)?);
    engines.iter().try_for_each(Engine::remove_containers)?;
    Ok(rows)
}

fn ps_subject(way: Way<'_>) -> Subject<'_> {
    Subject::new(&way.name(), move || timed(&mut way.command(&["ps", "--all"])?))
}
