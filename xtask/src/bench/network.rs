//! Networks: what a bridge adds to a container's start, and what it carries.
//!
//! Traffic is measured in each engine's own network namespace, against a veth
//! pair on a bridge and, for the hyperv wall, against a machine on such a pair,
//! both without an engine.

use super::bare::{Lab, Process};
use super::cli::{Client, Way, walls};
use super::engine::{Engine, Kind};
use super::inside::{self, Order};
use super::machine::{Accelerator, Machine};
use super::measure::{Part, Row, Subject, interleaved, mixed, timed};
use super::namespace::Namespace;
use super::scratch::Scratch;
use super::{servers, templates};
use anyhow::{Context, Result};
use std::any::Any;
use std::net::Ipv4Addr;

/// Traffic lasts seconds for each subject: fewer rounds.
const ROUNDS: usize = 7;
/// How long is sent.
const MILLIS: u64 = 2000;
/// How often a message goes forth and back.
const TRIPS: usize = 1000;

/// The start of containers: the work's name in the rows.
pub const START: &str = "start";
/// From a process on the host to a container, and between two.
pub const THROUGHPUT: [&str; 2] = ["throughput, host to container", "throughput, container to container"];
/// The same for round trips.
pub const ROUND_TRIP: [&str; 2] = ["round trip, host to container", "round trip, container to container"];
/// What the process wall is measured against.
pub const VETH: &str = "bare veth";
/// What the hyperv wall is measured against.
pub const TAP: &str = "QEMU's tap alone";

/// Everything about networks.
pub fn rows(scratch: &Scratch, engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let mut rows = start(engines, rounds)?;
    rows.extend(traffic(scratch, engines, rounds.min(ROUNDS))?);
    Ok(rows)
}

/// `true` in a container of its own, without a network and with a bridge.
fn start(engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let (mut rows, mut subjects) = (Vec::new(), Vec::new());
    for engine in engines {
        let client = if engine.kind == Kind::Hako { Client::Hako } else { Client::Docker };
        if engine.kind == Kind::Hako && engine.no_templates.is_none() {
            // A machine with a card has a template of its own.
            if let Err(reason) = templates::ready(engine, "bridge") {
                rows.push(Row::skipped(
                    START,
                    &format!("{} hyperv, bridge: its template", engine.label),
                    "ms",
                    &reason,
                ));
            }
        }
        for wall in walls(engine) {
            let way = Way { engine, wall, client };
            for network in ["none", "bridge"] {
                let name = format!("{}, {network}", way.name());
                match &engine.no_networks {
                    Some(reason) if network == "bridge" => rows.push(Row::skipped(START, &name, "ms", reason)),
                    _ => subjects.push(Subject::new(&name, move || {
                        timed(&mut way.container_on(network, &["run", "--rm"], &["true"])?)
                    })),
                }
            }
        }
    }
    rows.extend(interleaved(START, rounds, subjects)?);
    Ok(rows)
}

/// Two servers that reach each other, and the host that reaches them.
struct Pair {
    name: String,
    host: Namespace,
    ends: [Ipv4Addr; 2],
    /// What has to live as long.
    _alive: Box<dyn Any>,
}

fn traffic(scratch: &Scratch, engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let mut made = vec![(VETH.to_owned(), bare(scratch))];
    for engine in engines {
        for wall in walls(engine) {
            let way = Way { engine, wall, client: Client::Docker };
            made.push((way.name_of_wall(), containers(way)));
        }
    }
    // After the engine's machines: they have had the accelerator probed.
    made.push((TAP.to_owned(), machines(scratch, engines)));
    let (mut rows, mut pairs) = (Vec::new(), Vec::new());
    for (name, pair) in made {
        match pair {
            Ok(pair) => pairs.push(pair),
            Err(e) => {
                let works =
                    THROUGHPUT.map(|work| (work, "MB/s")).into_iter().chain(ROUND_TRIP.map(|work| (work, "µs")));
                rows.extend(works.map(|(work, unit)| Row::skipped(work, &name, unit, &format!("{e:#}"))));
            }
        }
    }
    let mut parts = Vec::new();
    for inner in [false, true] {
        for pair in &pairs {
            let [to, other] = pair.ends;
            let from = inner.then_some(other);
            let send = Order::Send { to, millis: MILLIS };
            parts.push(pair.part(THROUGHPUT[usize::from(inner)], "MB/s", from, send));
        }
    }
    for inner in [false, true] {
        for pair in &pairs {
            let [to, other] = pair.ends;
            let from = inner.then_some(other);
            parts.push(pair.part(ROUND_TRIP[usize::from(inner)], "µs", from, Order::Ping { to, times: TRIPS }));
        }
    }
    rows.extend(mixed("traffic", rounds, parts)?);
    drop(pairs);
    engines.iter().try_for_each(Engine::remove_containers)?;
    Ok(rows)
}

impl Pair {
    /// What the end `from`, or the host, is ordered.
    fn part(&self, work: &'static str, unit: &'static str, from: Option<Ipv4Addr>, order: Order) -> Part<'_> {
        let once = move || {
            let figures = self.host.within(|| inside::ask(from, &order))?;
            figures.first().copied().context("no figure")
        };
        Part { work, unit, subject: Subject::new(&self.name, once) }
    }
}

fn bare(scratch: &Scratch) -> Result<Pair> {
    let lab = Lab::new()?;
    let processes = [Process::start(scratch, &lab)?, Process::start(scratch, &lab)?];
    let ends = [processes[0].address, processes[1].address];
    Ok(Pair { name: VETH.into(), host: lab.host, ends, _alive: Box::new(processes) })
}

fn containers(way: Way<'_>) -> Result<Pair> {
    let ends = [servers::start(way, &[])?, servers::start(way, &[])?];
    Ok(Pair { name: way.name_of_wall(), host: way.engine.network.clone(), ends, _alive: Box::new(()) })
}

fn machines(scratch: &Scratch, engines: &[Engine]) -> Result<Pair> {
    let accelerator = Accelerator::of(engines);
    let lab = Lab::new()?;
    let boot = || Machine::boot(scratch, &lab, &accelerator, None);
    let machines = [boot()?, boot()?];
    let ends = [machines[0].address, machines[1].address];
    Ok(Pair { name: TAP.into(), host: lab.host, ends, _alive: Box::new(machines) })
}
