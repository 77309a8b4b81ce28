//! `cargo xtask bench`: Hako side by side with what is installed, in one run.
//!
//! ```text
//! Scratch ── bundle, image archives          (a folder, a cgroup parent: both go at the end)
//!   ├─ raw:     unshare, crun, runc          on a bundle
//!   ├─ bare:    veth pairs, QEMU, virtiofsd  in network namespaces
//!   ├─ engines: dockerd, podman, hakod       each on folders and a network of its own
//!   ├─ rounds, interleaved ─► medians ─► table, budgets, JSON, docs/performance.md
//!   ├─ starts:  many, none of which may fail
//!   └─ scale:   figures against counts ─► growth, plots
//! ```
//!
//! With `--against` the engines are two revisions of Hako, and the result is a
//! ratio with an interval.
//!
//! Everything that it starts it ends, also on failure and on an interrupt.
//! What cannot run here is a row with the reason.

mod against;
mod bare;
mod boot;
mod budget;
mod build;
mod cli;
mod doc;
mod engine;
mod http;
mod image;
pub mod inside;
mod interrupt;
mod load;
mod machine;
mod measure;
mod memory;
mod namespace;
mod network;
mod plot;
mod podman;
mod profile;
mod raw;
mod report;
mod scale;
mod scratch;
mod servers;
pub mod soak;
mod starts;
mod templates;
mod volume;
mod work;

use crate::programs;
use anyhow::Result;
use clap::ValueEnum as _;
use engine::{Engine, Kind, Setup};
use measure::Row;
use scratch::Scratch;
use std::path::PathBuf;
use templates::Machines;

/// Options of `bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Measured rounds; each subject runs once per round
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Only this work (may be given more than once)
    #[arg(long, value_enum)]
    only: Vec<Work>,
    /// Where a start behind the process wall goes, and nothing else
    #[arg(long)]
    profile: bool,
    /// The picture of the profile
    #[arg(long, value_name = "SVG", requires = "profile")]
    profile_plot: Option<PathBuf>,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also starts and scale; then the generated parts of docs/performance.md and its pictures
    #[arg(long, conflicts_with = "against")]
    plot: bool,
    /// Compare this revision with the tree as it is (works: run unless --only says others)
    #[arg(long, value_name = "REV", conflicts_with_all = ["json", "plot"])]
    against: Option<String>,
    /// With --against: fail where the tree is worse by more than this for sure
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    tolerance: f64,
    /// Starts: virtual machines in a row from templates; a fifth of them from the pool
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    starts: usize,
    #[command(flatten)]
    steps: scale::Steps,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Work {
    /// A container that runs `true`, from nothing to removed
    Run,
    /// The same of `hello` and of a dynamic `bash -c true`
    Programs,
    /// `true` in a running container
    Exec,
    /// The list of 50 containers
    Ps,
    /// Memory of engines, shims and virtual machines
    Memory,
    /// An image with one layer of 200 MB
    Load,
    /// A build of seven steps, cold and cached
    Build,
    /// A start with a bridge, throughput and round trips of TCP
    Network,
    /// Files on a named volume
    Volume,
    /// 200 virtual machines in a row and 20 at once, idle and under load: none may fail
    Starts,
    /// Start, list, statistics and memory against the number of containers
    Scale,
}

impl Options {
    fn wants(&self, work: Work) -> bool {
        match work {
            _ if self.profile => false,
            // Minutes, and no figure beside others'.
            Work::Starts | Work::Scale if self.only.is_empty() => self.plot,
            _ => self.only.is_empty() || self.only.contains(&work),
        }
    }

    /// Whether a work has each way of beginning a virtual machine in it.
    fn wants_machines(&self) -> bool {
        [Work::Run, Work::Programs, Work::Memory, Work::Starts].iter().any(|work| self.wants(*work))
    }
}

/// Clones that wait in the engine with a pool.
const WAITING: usize = 2;

/// What was measured.
#[derive(Default)]
struct Found {
    rows: Vec<Row>,
    starts: Option<starts::Starts>,
    scale: Option<scale::Scale>,
}

/// Measures, prints the table and the budgets, and then says what did not end
/// as it should.
pub fn run(options: &Options) -> Result<()> {
    interrupt::hold_back()?;
    report::load();
    let scratch = Scratch::new()?;
    if let Some(revision) = &options.against {
        let result = against::run(options, revision, &scratch);
        return [result, scratch.remove()].into_iter().collect();
    }
    let mut found = Found::default();
    let engines = engines(options, &scratch, &mut found.rows)?;
    measure(options, &scratch, &engines, &mut found)?;
    let mut ends: Vec<Result<()>> = engines.into_iter().map(Engine::end).collect();
    if options.wants(Work::Scale) {
        // Alone on the machine, which gets full.
        for engine in engine::start_all(&scratch, &[Setup::hako("s", Machines::Template)?], &mut found.rows)? {
            found.scale = Some(scale::measure(&scratch, &engine, &options.steps)?);
            ends.push(engine.end());
        }
    }
    let verdicts = budget::judge(&found.rows);
    found.print(options.rounds, &verdicts);
    if let Some(file) = &options.json {
        report::write_json(file, options.rounds, &found, &verdicts)?;
        println!("\nfigures in {}", file.display());
    }
    if options.plot {
        found.write(options.rounds, &verdicts)?;
    }
    ends.push(found.starts.as_ref().map_or(Ok(()), starts::Starts::verdict));
    ends.push(found.scale.as_ref().map_or(Ok(()), scale::Scale::verdict));
    ends.into_iter().chain([scratch.remove()]).collect()
}

/// Docker and Hako, and Hako once more for each other way to begin a machine.
fn engines(options: &Options, scratch: &Scratch, rows: &mut Vec<Row>) -> Result<Vec<Engine>> {
    if !options.profile && !Work::value_variants().iter().any(|work| *work != Work::Scale && options.wants(*work)) {
        return Ok(Vec::new());
    }
    let main = [Setup::docker(), Setup::hako("h", Machines::Template)?];
    let mut engines = engine::start_all(scratch, &main, rows)?;
    let templates = engines.iter().any(|engine| engine.kind == Kind::Hako && engine.no_templates.is_none());
    if templates && options.wants_machines() {
        let others = [Setup::hyperv("c", Machines::Cold)?, Setup::hyperv("w", Machines::Pool(WAITING))?];
        engines.extend(engine::start_all(scratch, &others, rows)?);
    }
    Ok(engines)
}

fn measure(options: &Options, scratch: &Scratch, all: &[Engine], found: &mut Found) -> Result<()> {
    let rows = &mut found.rows;
    // The others are the same programs with less to do.
    let engines = &all[..all.iter().take_while(|engine| engine.walls != ["hyperv"]).count()];
    if options.profile {
        rows.extend(profile::rows(engines, options.rounds)?);
        if let Some(file) = &options.profile_plot {
            profile::plot(rows, file)?;
        }
    }
    if options.wants(Work::Memory) {
        rows.extend(memory::engines(engines));
    }
    if options.wants(Work::Run) {
        rows.extend(work::run(scratch, all, options.rounds)?);
    }
    if options.wants(Work::Programs) {
        rows.extend(work::programs(scratch, all, options.rounds)?);
    }
    if options.wants(Work::Exec) {
        rows.extend(work::exec(engines, options.rounds)?);
    }
    if options.wants(Work::Memory) {
        rows.extend(memory::containers(all)?);
    }
    if options.wants(Work::Ps) {
        rows.extend(work::ps(engines, options.rounds)?);
    }
    if options.wants(Work::Load) {
        rows.extend(load::rows(scratch, engines, options.rounds)?);
    }
    if options.wants(Work::Build) {
        rows.extend(build::rows(scratch, engines, options.rounds)?);
    }
    if options.wants(Work::Network) || options.wants(Work::Volume) {
        let archive = image::traffic(scratch)?;
        engines.iter().try_for_each(|engine| engine.load(&archive))?;
    }
    if options.wants(Work::Network) {
        rows.extend(network::rows(scratch, engines, options.rounds)?);
    }
    if options.wants(Work::Volume) {
        rows.extend(volume::rows(scratch, engines, options.rounds)?);
    }
    if options.wants(Work::Starts) {
        found.starts = Some(starts::measure(scratch, all, options.starts)?);
    }
    Ok(())
}

impl Found {
    fn print(&self, rounds: usize, verdicts: &[budget::Verdict]) {
        if !self.rows.is_empty() {
            report::print(rounds, &self.rows, verdicts);
        }
        if let Some(starts) = &self.starts {
            println!("\nMany starts\n\n{}", starts.table());
        }
        if let Some(scale) = &self.scale {
            println!("\nScale\n\n{}", scale.text());
        }
    }

    /// The pictures, and the generated parts of the page; of what was not
    /// measured the page keeps what it has.
    fn write(&self, rounds: usize, verdicts: &[budget::Verdict]) -> Result<()> {
        let docs = programs::workspace()?.join("docs");
        let pictures = docs.join("performance");
        let mut parts = Vec::new();
        if self.rows.iter().any(|row| row.median().is_some()) {
            parts.push(("figures", report::figures(rounds, &self.rows)));
            parts.push(("budgets", report::budgets(verdicts)));
            work::picture(&self.rows, &pictures.join("run.svg"))?;
        }
        parts.extend(self.starts.as_ref().map(|starts| ("starts", starts.table())));
        for series in self.scale.iter().flat_map(|scale| &scale.series) {
            let file = pictures.join(format!("{}.svg", series.key));
            plot::panels(&file, &format!("Against {}", series.count), &series.panels())?;
        }
        if let Some(scale) = &self.scale {
            parts.push(("scale", format!("{}\n\n{}", report::machine(rounds), scale.text())));
        }
        let page = docs.join("performance.md");
        doc::write(&page, &parts)?;
        println!("\nwritten: {} and pictures in {}", page.display(), pictures.display());
        Ok(())
    }
}
