//! The result for people (aligned markdown tables) and for programs (JSON).

use super::Found;
use super::budget::{Verdict, figure};
use super::load::LEAST;
use super::measure::{Outcome, Row};
use super::network::{ROUND_TRIP, START, THROUGHPUT, VETH};
use super::volume::{HOST, WORKS};
use super::work::{BASH_RUN, HELLO_RUN};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// Whom the ratios of a row are to: the raw one, and docker.
fn bases(row: &Row) -> [Option<&'static str>; 2] {
    match row.work {
        "run" => [Some("runc"), Some("docker")],
        work if [HELLO_RUN.work, BASH_RUN.work].contains(&work) => [Some("runc"), Some("docker")],
        "exec" | "ps" | "build, cold" | "build, cached" => [None, Some("docker")],
        "load" => [Some(LEAST), Some("docker")],
        START if row.subject.ends_with(", bridge") => [None, Some("docker, bridge")],
        START => [None, Some("docker, none")],
        work if THROUGHPUT.contains(&work) || ROUND_TRIP.contains(&work) => [Some(VETH), Some("docker")],
        work if WORKS.contains(&work) => [Some(HOST), Some("docker")],
        _ => [None, None],
    }
}

/// Prints both tables.
pub fn print(rounds: usize, rows: &[Row], verdicts: &[Verdict]) {
    print!("\n{}\nBudgets\n\n{}", figures(rounds, rows), budgets(verdicts));
}

/// The machine and the table of rows.
pub fn figures(rounds: usize, rows: &[Row]) -> String {
    let head = ["work", "subject", "median", "min", "p90", "x raw", "x docker"].map(str::to_owned).to_vec();
    let body = table(head, rows.iter().map(|row| line(row, rows)).collect());
    let raw = format!("Raw is runc for run, `{LEAST}` for load, {VETH} for traffic and the {HOST} for volumes.");
    format!("{}\n\n{raw}\n\n{body}", machine(rounds))
}

/// The table of budgets.
pub fn budgets(verdicts: &[Verdict]) -> String {
    let head = ["work", "budget", "measured", "", "remark"].map(str::to_owned).to_vec();
    table(head, verdicts.iter().map(judged).collect())
}

fn line(row: &Row, rows: &[Row]) -> Vec<String> {
    let name = vec![row.work.to_owned(), row.subject.clone()];
    let figures = match &row.outcome {
        Outcome::Skipped(reason) => vec![format!("skipped: {reason}")],
        Outcome::Measured { median, min, p90, .. } => {
            let ratio = |base: Option<&str>| {
                let other = base.and_then(|subject| figure(rows, row.work, subject));
                other.map(|other| format!("{:.2}", median / other)).unwrap_or_default()
            };
            let [raw, docker] = bases(row);
            let unit = row.unit;
            let number = |value: &f64| format!("{value:.1} {unit}");
            vec![number(median), number(min), number(p90), ratio(raw), ratio(docker)]
        }
    };
    [name, figures].concat()
}

fn judged(verdict: &Verdict) -> Vec<String> {
    let measured = verdict.measured.map(|value| format!("{value:.2}")).unwrap_or_default();
    let word = match verdict.met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "not measured",
    };
    vec![verdict.work.into(), verdict.budget.clone(), measured, word.into(), verdict.remark.into()]
}

/// A table with columns as wide as their cells. A short row's last cell may be
/// wider than its column.
pub fn table(head: Vec<String>, body: Vec<Vec<String>>) -> String {
    let columns = head.len();
    let lines: Vec<Vec<String>> = [vec![head], body].concat();
    let width = |column: usize| {
        let cells = lines.iter().filter(|line| line.len() == columns).filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).max(3)).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        text += &format!("| {} |\n", cells.join(" | "));
        if number == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text += &format!("| {} |\n", rules.join(" | "));
        }
    }
    text
}

pub fn machine(rounds: usize) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "kernel {}, {processors} processors, load before it {}, {rounds} rounds, medians",
        read("/proc/sys/kernel/osrelease"),
        load(),
    )
}

/// The machine's load when this was first asked: before a run, which is a load itself.
pub fn load() -> &'static str {
    static LOAD: OnceLock<String> = OnceLock::new();
    LOAD.get_or_init(|| {
        let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        text.split(' ').take(3).collect::<Vec<_>>().join(" ")
    })
}

/// Writes every figure to `file`.
pub fn write_json(file: &Path, rounds: usize, found: &Found, verdicts: &[Verdict]) -> Result<()> {
    let value = serde_json::json!({
        "machine": machine(rounds),
        "rounds": rounds,
        "rows": found.rows,
        "starts": found.starts,
        "scale": found.scale,
        "budgets": verdicts,
    });
    let text = serde_json::to_string_pretty(&value).context("writing JSON")?;
    fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))
}
