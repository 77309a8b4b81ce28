//! Loading an image with one large layer, against the least that it takes.

use super::cli::{Client, Way};
use super::engine::{Engine, Kind};
use super::image;
use super::measure::{Row, Subject, interleaved, timed};
use super::podman;
use super::scratch::Scratch;
use crate::deb;
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The row's subject that the others are measured against.
pub const LEAST: &str = "tar -x and sha256sum";
/// A round moves a gigabyte or more: fewer of them.
const ROUNDS: usize = 5;

/// Every engine loads the archive; the image is removed outside the measure.
pub fn rows(scratch: &Scratch, engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let (tree, parts, archive) = (scratch.path("large"), scratch.path("large-parts"), scratch.path("large.tar"));
    image::large_tree(&tree)?;
    image::archive(image::LARGE, &tree, &parts, &archive)?;
    let layer = parts.join("layer.tar");
    let out = scratch.path("large-out");
    let mut subjects = vec![Subject::new(LEAST, move || least(&layer, &out))];
    for engine in engines {
        let way = Way { engine, wall: None, client: Client::Docker };
        subjects.push(load_subject(way, archive.clone()));
        if engine.kind == Kind::Hako {
            subjects.push(load_subject(Way { client: Client::Hako, ..way }, archive.clone()));
        }
    }
    let mut rows = Vec::new();
    match podman::load(scratch, &archive, image::LARGE) {
        Ok(subject) => subjects.push(subject),
        Err(reason) => rows.push(Row::skipped("load", "podman", "ms", &reason)),
    }
    rows.extend(interleaved("load", rounds.min(ROUNDS), subjects)?);
    Ok(rows)
}

fn load_subject(way: Way<'_>, archive: PathBuf) -> Subject<'_> {
    Subject::new(&way.name(), move || {
        let millis = timed(way.command(&["load", "--quiet", "--input"])?.arg(&archive))?;
        deb::output(&mut way.engine.docker(&["rmi", image::LARGE]))?;
        Ok(millis)
    })
}

fn least(layer: &PathBuf, out: &PathBuf) -> Result<f64> {
    fs::create_dir_all(out)?;
    let unpacked = timed(Command::new("tar").arg("-xf").arg(layer).arg("-C").arg(out))?;
    let summed = timed(Command::new("sha256sum").arg(layer))?;
    fs::remove_dir_all(out)?;
    Ok(unpacked + summed)
}
