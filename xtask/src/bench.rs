//! `cargo xtask bench`: Hako side by side with what is installed, in one run.
//!
//! ```text
//! Scratch ── bundle, image archives          (a folder, a cgroup parent: both go at the end)
//!   ├─ raw:     unshare, crun, runc          on a bundle
//!   ├─ bare:    veth pairs, QEMU, virtiofsd  in network namespaces
//!   ├─ engines: dockerd, podman, hakod       each on folders and a network of its own
//!   └─ rounds, interleaved ─► medians ─► table, budgets, JSON
//! ```
//!
//! Everything that it starts it ends, also on failure and on an interrupt.
//! What cannot run here is a row with the reason.

mod bare;
mod boot;
mod budget;
mod build;
mod cli;
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
mod podman;
mod profile;
mod raw;
mod report;
mod scratch;
mod servers;
pub mod soak;
mod volume;
mod work;

use anyhow::Result;
use measure::Row;
use scratch::Scratch;
use std::path::PathBuf;

/// Options of `bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Measured rounds; each subject runs once per round
    #[arg(long, default_value_t = 15)]
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
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Work {
    /// A container that runs `true`, from nothing to removed
    Run,
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
}

impl Options {
    fn wants(&self, work: Work) -> bool {
        !self.profile && (self.only.is_empty() || self.only.contains(&work))
    }
}

/// Measures, prints the table and the budgets, and then says what did not end
/// as it should.
pub fn run(options: &Options) -> Result<()> {
    interrupt::hold_back()?;
    let scratch = Scratch::new()?;
    let mut rows = Vec::new();
    let engines = engine::start_all(&scratch, &mut rows)?;
    measure(options, &scratch, &engines, &mut rows)?;
    let ends: Vec<Result<()>> = engines.into_iter().map(engine::Engine::end).collect();
    let verdicts = budget::judge(&rows);
    report::print(options.rounds, &rows, &verdicts);
    if let Some(file) = &options.json {
        report::write_json(file, options.rounds, &rows, &verdicts)?;
        println!("\nfigures in {}", file.display());
    }
    ends.into_iter().chain([scratch.remove()]).collect()
}

fn measure(options: &Options, scratch: &Scratch, engines: &[engine::Engine], rows: &mut Vec<Row>) -> Result<()> {
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
        rows.extend(work::run(scratch, engines, options.rounds)?);
    }
    if options.wants(Work::Exec) {
        rows.extend(work::exec(engines, options.rounds)?);
    }
    if options.wants(Work::Memory) {
        rows.extend(memory::containers(engines)?);
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
    Ok(())
}
