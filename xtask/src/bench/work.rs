//! The work of the rounds: run, exec, ps.

use super::cli::{Client, Way, walls, ways};
use super::engine::{Engine, Kind};
use super::image::{self, BASH, HELLO, SMALL};
use super::measure::{Row, Subject, interleaved, timed};
use super::scratch::Scratch;
use super::templates::{self, Machines};
use super::{boot, plot, podman, raw};
use crate::deb;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Containers in the list that `ps` shows.
const LISTED: usize = 50;

/// What is run from nothing to removed.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The work's name in the rows.
    pub work: &'static str,
    /// The image.
    pub image: &'static str,
    /// The command; the image's own if empty.
    pub command: &'static [&'static str],
}

/// The work that everything is measured by.
pub const TRUE: Asked = Asked { work: "run", image: SMALL, command: &["true"] };
/// A small static program that looks where it is.
pub const HELLO_RUN: Asked = Asked { work: "run of hello", image: HELLO, command: &[] };
/// A shell that is linked dynamically.
pub const BASH_RUN: Asked = Asked { work: "run of bash -c true", image: BASH, command: &["bash", "-c", "true"] };

/// `true` in a container of its own, by everyone.
pub fn run(scratch: &Scratch, engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut subjects = raw::subjects(scratch, &mut rows)?;
    subjects.extend(podman::subject(scratch, &TRUE, &scratch.path("small.tar"), &mut rows));
    // In the same rounds: a cold container is measured against it.
    subjects.extend(boot::subject(scratch, &mut rows)?);
    rows.extend(without_templates(engines, &TRUE));
    subjects.extend(starts(ways(engines), TRUE, Way::name_of_start));
    let before = boots(engines);
    rows.extend(interleaved(TRUE.work, rounds, subjects)?);
    rows.extend(booted(engines, &before, &TRUE));
    Ok(rows)
}

/// `hello`, and a shell that is linked dynamically, likewise.
pub fn programs(scratch: &Scratch, engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (asked, made, words) in [
        (HELLO_RUN, hello(scratch, engines), &["/hello"][..]),
        (BASH_RUN, bash(scratch, engines), &["/bin/bash", "-c", "true"][..]),
    ] {
        let (archive, bundle) = match made {
            Ok(made) => made,
            Err(e) => {
                rows.push(Row::skipped(asked.work, "everyone", "ms", &format!("{e:#}")));
                continue;
            }
        };
        let mut subjects: Vec<Subject<'_>> = Vec::new();
        subjects.extend(raw::runc(asked.work, scratch, bundle, words, &mut rows)?);
        subjects.extend(podman::subject(scratch, &asked, &archive, &mut rows));
        rows.extend(without_templates(engines, &asked));
        let own = ways(engines).into_iter().filter(|way| match way.engine.kind {
            Kind::Hako => way.client == Client::Hako,
            Kind::Docker => way.client == Client::Docker,
        });
        subjects.extend(starts(own.collect(), asked, Way::name_of_start));
        let before = boots(engines);
        rows.extend(interleaved(asked.work, rounds, subjects)?);
        rows.extend(booted(engines, &before, &asked));
    }
    Ok(rows)
}

/// One subject for each way.
pub fn starts<'a>(ways: Vec<Way<'a>>, asked: Asked, name: fn(&Way<'a>) -> String) -> Vec<Subject<'a>> {
    let subject = |way: Way<'a>| {
        let name = name(&way) + way.remark();
        Subject::new(&name, move || way.run_once(asked.image, asked.command))
    };
    ways.into_iter().map(subject).collect()
}

/// Rows for what the engines were to have, and have not.
fn without_templates(engines: &[Engine], asked: &Asked) -> Vec<Row> {
    let lacking = engines.iter().filter_map(|engine| engine.no_templates.as_deref().map(|reason| (engine, reason)));
    let words = |engine: &Engine| match engine.machines {
        // Without it there was no reason to start one with a pool.
        Machines::Template => vec![Machines::Template.word(), Machines::Pool(1).word()],
        machines => vec![machines.word()],
    };
    let row = |(engine, reason): (&Engine, &str)| {
        let subjects = words(engine).into_iter().map(|word| format!("{} hyperv, {word}", engine.label));
        subjects.map(|subject| Row::skipped(asked.work, &subject, "ms", reason)).collect::<Vec<Row>>()
    };
    lacking.flat_map(row).collect()
}

/// How many machines each engine has booted.
fn boots(engines: &[Engine]) -> Vec<usize> {
    let one = |engine: &Engine| templates::counts(engine).ok().flatten().map_or(0, |counts| counts.cold_boots);
    engines.iter().map(one).collect()
}

/// Rows for machines that were to begin from a template, and were booted: their
/// times are in the figures.
fn booted(engines: &[Engine], before: &[usize], asked: &Asked) -> Vec<Row> {
    let more = engines.iter().zip(boots(engines)).zip(before);
    more.filter(|((engine, now), before)| engine.machines != Machines::Cold && now > before)
        .map(|((engine, now), before)| {
            let reason = format!("{} of its machines were booted cold", now - before);
            Row::skipped(asked.work, &format!("{} hyperv, {}", engine.label, engine.machines.word()), "ms", &reason)
        })
        .collect()
}

/// Bars of what was run from nothing to removed.
pub fn picture(rows: &[Row], file: &Path) -> Result<()> {
    let works = [TRUE.work, HELLO_RUN.work, BASH_RUN.work];
    let bar = |row: &Row| {
        let name = format!("{}: {}", row.work.trim_start_matches("run of "), row.subject);
        Some((name, vec![("run".to_owned(), row.median()?)]))
    };
    let bars: Vec<_> = rows.iter().filter(|row| works.contains(&row.work)).filter_map(bar).collect();
    if bars.is_empty() {
        return Ok(());
    }
    plot::stacked_bars(file, "From the client's call to its exit, container removed: medians", &bars)
}

/// The image `hello`, which is in hakod: its archive, for the others, and a
/// bundle of its tree.
fn hello(scratch: &Scratch, engines: &[Engine]) -> Result<(PathBuf, &'static str)> {
    let (archive, bundle) = (scratch.path("hello.tar"), "hello-bundle");
    let hako = engines.iter().find(|engine| engine.kind == Kind::Hako).context("no hakod, whose image it is")?;
    let id = deb::output(&mut hako.docker(&["create", "--network=none", HELLO]))?;
    deb::output(hako.docker(&["save", HELLO, "--output"]).arg(&archive))?;
    let (tree, root) = (scratch.path("hello-tree.tar"), scratch.path(bundle).join("rootfs"));
    deb::output(hako.docker(&["export", id.trim(), "--output"]).arg(&tree))?;
    hako.remove_containers()?;
    fs::create_dir_all(&root)?;
    deb::output(Command::new("tar").arg("-xf").arg(&tree).arg("-C").arg(&root))?;
    engines.iter().filter(|engine| engine.kind != Kind::Hako).try_for_each(|engine| engine.load(&archive))?;
    Ok((archive, bundle))
}

/// The image with a shell, in every engine.
fn bash(scratch: &Scratch, engines: &[Engine]) -> Result<(PathBuf, &'static str)> {
    let (archive, bundle) = (scratch.path("bash.tar"), "bash-bundle");
    let root = scratch.path(bundle).join("rootfs");
    image::bash_tree(&root)?;
    image::archive(BASH, &root, &scratch.path("bash-parts"), &archive)?;
    engines.iter().try_for_each(|engine| engine.load(&archive))?;
    Ok((archive, bundle))
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
