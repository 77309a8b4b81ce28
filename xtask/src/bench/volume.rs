//! A named volume behind each wall, against a folder of the host beside it and
//! against virtiofsd in a machine without an engine.
//!
//! The host's cache is warm throughout. A file that is read was touched by the
//! host before: a guest that has it in its own cache may not use that.

use super::bare::Lab;
use super::cli::{Client, Way, walls};
use super::engine::Engine;
use super::inside::{self, Order};
use super::machine::{Accelerator, Machine, SHARE};
use super::measure::{Part, Row, Subject, mixed};
use super::namespace::Namespace;
use super::scratch::Scratch;
use super::servers;
use crate::deb;
use anyhow::{Context, Result};
use std::any::Any;
use std::cell::RefCell;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

/// Small files and large ones: seconds for each subject.
const ROUNDS: usize = 5;
/// The large file.
const MIB: usize = 256;
const NAME: &str = "hako-bench";
const PLACE: &str = "/volume";

/// The works, in their order: the first three are one series of calls, of
/// [`inside::FILES`] files; then [`MIB`].
pub const WORKS: [&str; 5] = [
    "volume, create 1000 files",
    "volume, list and stat them",
    "volume, create and remove them",
    "volume, write 256 MiB and fsync",
    "volume, read 256 MiB",
];
/// Whom the ratios are to.
pub const HOST: &str = "host";
/// What the hyperv wall is measured against.
pub const VIRTIOFSD: &str = "virtiofsd";

/// One who has the folder.
struct Place {
    name: String,
    /// The folder's path there, and on the host.
    inside: PathBuf,
    outside: PathBuf,
    /// Its host and its address; none is this program.
    at: Option<(Namespace, Ipv4Addr)>,
    /// What has to live as long.
    _alive: Box<dyn Any>,
}

/// Everything about volumes.
pub fn rows(scratch: &Scratch, engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let mut made = vec![(HOST.to_owned(), host(scratch))];
    for engine in engines {
        for wall in walls(engine) {
            let way = Way { engine, wall, client: Client::Docker };
            made.push((way.name_of_wall(), container(way)));
        }
    }
    // After the engine's machines: they have had the accelerator probed.
    made.push((VIRTIOFSD.to_owned(), machine(scratch, engines)));
    let (mut rows, mut places) = (Vec::new(), Vec::new());
    for (name, place) in made {
        match place {
            Ok(place) => places.push(place),
            Err(e) => rows.extend(WORKS.map(|work| Row::skipped(work, &name, "ms", &format!("{e:#}")))),
        }
    }
    let mut parts: Vec<(usize, Part<'_>)> = places.iter().flat_map(Place::parts).collect();
    // All of one work, then all of the next; the sort keeps the order within.
    parts.sort_by_key(|(work, _)| *work);
    rows.extend(mixed("volume", rounds.min(ROUNDS), parts.into_iter().map(|(_, part)| part).collect())?);
    drop(places);
    engines.iter().try_for_each(Engine::remove_containers)?;
    Ok(rows)
}

impl Place {
    fn parts(&self) -> Vec<(usize, Part<'_>)> {
        let series = Rc::new(RefCell::new(Vec::new()));
        let of_series = |pick: fn(&[f64]) -> Option<f64>| {
            let series = Rc::clone(&series);
            move || pick(&series.borrow()).context("no files were made")
        };
        let (listed, both) = (of_series(|of| of.get(1).copied()), of_series(|of| Some(of.first()? + of.get(2)?)));
        let large = self.inside.join("large");
        let (write, read) = (Order::Write { file: large.clone(), mib: MIB }, Order::Read { file: large, mib: MIB });
        let made = move || {
            let figures = self.ask(&Order::Files { dir: self.inside.join("files") });
            *series.borrow_mut() = figures.as_ref().map(Vec::clone).unwrap_or_default();
            figures?.first().copied().context("no figure")
        };
        let written = move || self.figure(&write);
        let read = move || {
            touch(&self.outside.join("large"))?;
            self.figure(&read)
        };
        let subjects = [
            Subject::new(&self.name, made),
            Subject::new(&self.name, listed),
            Subject::new(&self.name, both),
            Subject::new(&self.name, written),
            Subject::new(&self.name, read),
        ];
        let part = |(number, subject)| (number, Part { work: WORKS[number], unit: "ms", subject });
        subjects.into_iter().enumerate().map(part).collect()
    }

    fn ask(&self, order: &Order) -> Result<Vec<f64>> {
        match &self.at {
            Some((host, address)) => host.within(|| inside::ask(Some(*address), order)),
            None => inside::ask(None, order),
        }
    }

    fn figure(&self, order: &Order) -> Result<f64> {
        self.ask(order)?.first().copied().context("no figure")
    }
}

fn touch(file: &Path) -> Result<()> {
    let open = File::options().write(true).open(file);
    open.and_then(|open| open.set_modified(SystemTime::now())).with_context(|| format!("touching {}", file.display()))
}

/// A folder beside the engines' own, on the same disk.
fn host(scratch: &Scratch) -> Result<Place> {
    let folder = scratch.path("volume-host");
    fs::create_dir_all(&folder)?;
    Ok(Place { name: HOST.into(), inside: folder.clone(), outside: folder, at: None, _alive: Box::new(()) })
}

fn container(way: Way<'_>) -> Result<Place> {
    let engine = way.engine;
    let volume = format!("{NAME}-{}", way.wall.unwrap_or("default"));
    let address = servers::start(way, &["--volume", &format!("{volume}:{PLACE}")])?;
    let outside = deb::output(&mut engine.docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &volume]))?;
    Ok(Place {
        name: way.name_of_wall(),
        inside: PLACE.into(),
        outside: outside.trim().into(),
        at: Some((engine.network.clone(), address)),
        _alive: Box::new(()),
    })
}

fn machine(scratch: &Scratch, engines: &[Engine]) -> Result<Place> {
    let folder = scratch.path("volume-virtiofsd");
    fs::create_dir_all(&folder)?;
    let lab = Lab::new()?;
    let machine = Machine::boot(scratch, &lab, &Accelerator::of(engines), Some(&folder))?;
    let at = Some((lab.host, machine.address));
    Ok(Place { name: VIRTIOFSD.into(), inside: SHARE.into(), outside: folder, at, _alive: Box::new(machine) })
}
