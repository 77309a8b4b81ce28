//! Rounds, medians and rows.

use super::interrupt;
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};
use std::time::Instant;

/// One line of the result.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    /// What was measured: `run`, `exec`, …
    pub work: &'static str,
    /// Of whom.
    pub subject: String,
    /// `ms`, `MiB`, `MB/s` or `µs`.
    pub unit: &'static str,
    /// The figures, or why there are none.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Each measured one, in the order of the rounds.
    #[serde(skip)]
    pub samples: Vec<f64>,
}

/// The figures of a row.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Measured.
    Measured {
        /// The middle one of all samples.
        median: f64,
        /// The least.
        min: f64,
        /// Nine of ten are not above it.
        p90: f64,
        /// How many there are.
        samples: usize,
    },
    /// Not run, and why.
    Skipped(String),
}

impl Row {
    /// A row of samples.
    pub fn of(work: &'static str, subject: &str, unit: &'static str, samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1)));
        let outcome = match (median(&sorted), sorted.first(), at(0.9)) {
            (Some(median), Some(&min), Some(&p90)) => Outcome::Measured { median, min, p90, samples: sorted.len() },
            _ => Outcome::Skipped("no samples".into()),
        };
        Self { work, subject: subject.into(), unit, outcome, samples: samples.to_vec() }
    }

    /// A row that was not measured.
    pub fn skipped(work: &'static str, subject: &str, unit: &'static str, reason: &str) -> Self {
        let outcome = Outcome::Skipped(reason.into());
        Self { work, subject: subject.into(), unit, outcome, samples: Vec::new() }
    }

    /// The row's figure, if it was measured.
    pub fn median(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Measured { median, .. } => Some(median),
            Outcome::Skipped(_) => None,
        }
    }
}

/// The middle of what is sorted already.
pub fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// One subject: a name, and what one round of it does; the answer is the figure
/// (mostly in milliseconds), so that a subject decides what it leaves out.
pub struct Subject<'a> {
    pub name: String,
    pub once: Box<dyn FnMut() -> Result<f64> + 'a>,
}

impl<'a> Subject<'a> {
    pub fn new(name: &str, once: impl FnMut() -> Result<f64> + 'a) -> Self {
        Self { name: name.into(), once: Box::new(once) }
    }
}

/// A subject of one work, where several works share their rounds.
pub struct Part<'a> {
    pub work: &'static str,
    pub unit: &'static str,
    pub subject: Subject<'a>,
}

/// The rounds of one work, in milliseconds.
pub fn interleaved(work: &'static str, rounds: usize, subjects: Vec<Subject<'_>>) -> Result<Vec<Row>> {
    mixed(work, rounds, subjects.into_iter().map(|subject| Part { work, unit: "ms", subject }).collect())
}

/// Runs every subject once unmeasured, then `rounds` times in turn, forth and
/// back, so that none always follows the same one. A subject that fails becomes
/// a row with the reason, and the others go on.
pub fn mixed(title: &str, rounds: usize, parts: Vec<Part<'_>>) -> Result<Vec<Row>> {
    struct Series<'a> {
        part: Part<'a>,
        samples: Vec<f64>,
        failed: Option<String>,
    }
    let mut all: Vec<Series<'_>> =
        parts.into_iter().map(|part| Series { part, samples: Vec::new(), failed: None }).collect();
    for round in 0..=rounds {
        let mut turn: Vec<&mut Series<'_>> = all.iter_mut().filter(|series| series.failed.is_none()).collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for series in turn {
            interrupt::check()?;
            match (series.part.subject.once)() {
                Ok(_) if round == 0 => {}
                Ok(figure) => series.samples.push(figure),
                Err(e) => series.failed = Some(format!("{e:#}")),
            }
        }
        eprint!("\r{title}: round {round} of {rounds}  ");
    }
    eprintln!();
    let row = |Series { part: Part { work, unit, subject }, samples, failed }: &Series<'_>| match failed {
        Some(reason) => Row::skipped(work, &subject.name, unit, reason),
        None => Row::of(work, &subject.name, unit, samples),
    };
    Ok(all.iter().map(row).collect())
}

/// Runs a command to its end, which must be a success, and returns the time in
/// milliseconds from before its start.
pub fn timed(command: &mut Command) -> Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begin = Instant::now();
    let out = command.output().with_context(|| format!("running {:?}", command.get_program()))?;
    let millis = millis(begin);
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        let lines: Vec<&str> = text.trim().lines().collect();
        bail!("{} {}", out.status, lines[lines.len().saturating_sub(2)..].join(" / "));
    }
    Ok(millis)
}

/// Milliseconds since `begin`.
pub fn millis(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::{Row, median};

    #[test]
    fn medians() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), Some(3.0));
        assert_eq!(median(&[]), None);
        assert_eq!(Row::of("run", "x", "ms", &[3.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(Row::of("run", "x", "ms", &[]).median(), None);
    }
}
