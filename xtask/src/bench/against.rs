//! `bench --against REV`: two revisions in one run.
//!
//! ```text
//! REV ── git worktree ── cargo build ─► A ─┐
//!                                          ├─ rounds, forth and back ─► ratio, interval ─► verdict
//! the tree as it is, built beside this ─► B ┘
//! ```

mod revision;
mod statistics;

use super::cli::{Client, Way, ways};
use super::engine::{self, Engine, Setup};
use super::measure::{Outcome, Row, interleaved};
use super::scratch::Scratch;
use super::templates::Machines;
use super::{Options, Work, build, image, load, network, report, volume, work};
use anyhow::{Result, bail, ensure};
use revision::Built;
use statistics::Comparison;

/// The subjects' labels.
const LABELS: [&str; 2] = ["A", "B"];
/// What can be compared: times and rates that rounds tell.
const WORKS: [Work; 7] = [Work::Run, Work::Exec, Work::Ps, Work::Load, Work::Build, Work::Network, Work::Volume];

/// Measures both and fails on a regression.
pub fn run(options: &Options, revision: &str, scratch: &Scratch) -> Result<()> {
    let works: Vec<Work> = if options.only.is_empty() { vec![Work::Run] } else { options.only.clone() };
    if let Some(other) = works.iter().find(|work| !WORKS.contains(work)) {
        bail!("--against does not support the work {other:?}: its rows are single figures");
    }
    let built = revision::built(revision)?;
    let mut rows = Vec::new();
    let engines = engines(scratch, &built, &mut rows)?;
    if engines.len() == 2 {
        for work in works {
            rows.extend(measured(options, work, scratch, &engines)?);
        }
    }
    let ends: Vec<Result<()>> = engines.into_iter().map(Engine::end).collect();
    let comparisons = judge(&rows);
    println!("\n{}", report::machine(options.rounds));
    println!("A is {revision} ({}), B is the tree as it is.\n", &built.commit[..built.commit.len().min(12)]);
    print!("{}", table(&rows, &comparisons, options.tolerance));
    ends.into_iter().collect::<Result<()>>()?;
    ensure!(!comparisons.is_empty(), "nothing could be compared");
    let slower: Vec<&str> = comparisons
        .iter()
        .filter(|(_, comparison)| comparison.regressed(options.tolerance))
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(slower.is_empty(), "worse by more than {} %: {}", options.tolerance, slower.join("; "));
    Ok(())
}

fn engines(scratch: &Scratch, built: &Built, rows: &mut Vec<Row>) -> Result<Vec<Engine>> {
    // A pool's filling would be measured with the others.
    let own = Setup::hako("b", Machines::Template)?;
    let a = Setup { label: LABELS[0].into(), folder: "a", programs: built.programs.clone(), ..own.clone() };
    let b = Setup { label: LABELS[1].into(), ..own };
    engine::start_all(scratch, &[a, b], rows)
}

fn measured(options: &Options, work: Work, scratch: &Scratch, engines: &[Engine]) -> Result<Vec<Row>> {
    let rounds = options.rounds;
    match work {
        Work::Run => {
            // Of two revisions the docker client is the same.
            let own = ways(engines).into_iter().filter(|way| way.client != Client::Docker).collect();
            interleaved(work::TRUE.work, rounds, work::starts(own, work::TRUE, Way::name_of_wall))
        }
        Work::Exec => work::exec(engines, rounds),
        Work::Ps => work::ps(engines, rounds),
        Work::Load => load::rows(scratch, engines, rounds),
        Work::Build => build::rows(scratch, engines, rounds),
        Work::Network | Work::Volume => {
            let archive = image::traffic(scratch)?;
            engines.iter().try_for_each(|engine| engine.load(&archive))?;
            match work {
                Work::Network => network::rows(scratch, engines, rounds),
                _ => volume::rows(scratch, engines, rounds),
            }
        }
        Work::Programs | Work::Memory | Work::Starts | Work::Scale => bail!("{work:?} cannot be compared"),
    }
}

/// Each row of A with its row of B.
fn judge(rows: &[Row]) -> Vec<(String, Comparison)> {
    let pair = |a: &Row| {
        let rest = a.subject.strip_prefix(LABELS[0]).filter(|rest| rest.is_empty() || rest.starts_with([' ', ',']))?;
        let subject = format!("{}{rest}", LABELS[1]);
        let b = rows.iter().find(|b| b.work == a.work && b.subject == subject)?;
        let name = format!("{}, {}", a.work, rest.trim_start_matches([' ', ',']));
        Some((name, Comparison::of(&a.samples, &b.samples, a.unit == "MB/s")?))
    };
    rows.iter().filter_map(pair).collect()
}

fn table(rows: &[Row], comparisons: &[(String, Comparison)], tolerance: f64) -> String {
    let head = ["work", "A", "B", "B / A", "95 % of it", ""].map(str::to_owned).to_vec();
    let mut body: Vec<Vec<String>> = comparisons.iter().map(|(name, one)| one.cells(name, tolerance)).collect();
    for row in rows {
        if let Outcome::Skipped(reason) = &row.outcome {
            body.push(vec![format!("{}, {}", row.work, row.subject), format!("skipped: {reason}")]);
        }
    }
    report::table(head, body)
}

#[cfg(test)]
mod tests {
    use super::{Row, judge};

    #[test]
    fn rows_are_paired_by_their_label() {
        let samples = [10.0, 11.0, 10.5];
        let rows = ["A process", "B process", "A hyperv, API alone", "bare veth", "Apple", "Bpple"]
            .map(|subject| Row::of("run", subject, "ms", &samples));
        let names: Vec<String> = judge(&rows).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["run, process"]);
    }
}
