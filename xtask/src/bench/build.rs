//! A build of seven steps by the docker client: with nothing in the cache, and
//! with all of it there.

use super::cli::{Client, Way, walls};
use super::engine::{Engine, Kind};
use super::image;
use super::measure::{Row, Subject, interleaved, timed};
use super::scratch::Scratch;
use crate::deb;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// A cold round starts a container, behind the hyperv wall two virtual machines.
const ROUNDS: usize = 7;

/// Every engine builds the same context. The reference has one builder more,
/// which its client would choose: the classic one is asked for.
pub fn rows(scratch: &Scratch, engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let context = scratch.path("context");
    fs::create_dir_all(&context)?;
    let dockerfile = format!(
        "FROM {}\nENV A=b\nWORKDIR /srv\nCOPY data /data\nRUN cat /data > /copy\nLABEL c=d\nCMD [\"true\"]\n",
        image::SMALL
    );
    fs::write(context.join("Dockerfile"), dockerfile)?;
    fs::write(context.join("data"), vec![7; 4 << 20])?;
    let (mut cold, mut cached) = (Vec::new(), Vec::new());
    for engine in engines {
        for wall in walls(engine) {
            let way = Way { engine, wall, client: Client::Docker };
            cold.push(subject(way, &context, &["--no-cache"]));
            if wall != Some("hyperv") {
                // Nothing is executed: there is no wall in it.
                cached.push(subject(way, &context, &[]));
            }
        }
    }
    let mut rows = interleaved("build, cold", rounds.min(ROUNDS), cold)?;
    rows.extend(interleaved("build, cached", rounds, cached)?);
    Ok(rows)
}

fn subject<'a>(way: Way<'a>, context: &Path, flags: &'static [&'static str]) -> Subject<'a> {
    let context: PathBuf = context.to_owned();
    Subject::new(&way.name_of_wall(), move || {
        let isolation = way.wall.map(|wall| format!("--isolation={wall}"));
        let mut args = vec!["build", "-q", "--network=none", "-t", "hako-bench/built:1"];
        args.extend(isolation.as_deref());
        args.extend(flags);
        let mut command = way.engine.docker(&args);
        let millis = timed(command.env("DOCKER_BUILDKIT", "0").arg(&context))?;
        if way.engine.kind == Kind::Docker && !flags.is_empty() {
            deb::output(&mut way.engine.docker(&["image", "prune", "-f"]))?;
        }
        Ok(millis)
    })
}
