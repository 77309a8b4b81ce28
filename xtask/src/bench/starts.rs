//! Many starts of virtual machines: in a row and at once, on an idle machine
//! and beside busy processes. None may fail, and none may hang.

use super::cli::{Client, Way};
use super::engine::{Engine, Kind};
use super::image::SMALL;
use super::measure::millis;
use super::scratch::Scratch;
use super::templates::Machines;
use super::{interrupt, report, templates};
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{PipeReader, Read, pipe};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread::scope;
use std::time::{Duration, Instant};

/// From the pool, which takes from templates once it is empty, so many times fewer.
const FEWER: usize = 5;
/// Starts at once.
const AT_ONCE: usize = 20;
/// Busy processes beside them.
const BUSY: usize = 8;
/// How long one start may take until it counts as hung.
const DEADLINE: Duration = Duration::from_secs(120);

/// The figures, and what has failed or hung.
#[derive(Debug, Default, serde::Serialize)]
pub struct Starts {
    lines: Vec<Line>,
    failures: Vec<String>,
}

/// One series.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// In milliseconds, sorted.
    Measured { name: String, figures: Vec<f64>, failed: usize },
    /// Not run, and why.
    Skipped { name: String, reason: String },
}

impl Starts {
    /// A line for each series.
    pub fn table(&self) -> String {
        let head = ["starts", "median, ms", "p95, ms", "max, ms", "failed or hung"].map(str::to_owned).to_vec();
        let lines = self.lines.iter().map(|line| match line {
            Line::Measured { name, figures, failed } => {
                let at = |share| quantile(figures, share).map(|figure| format!("{figure:.0}")).unwrap_or_default();
                vec![name.clone(), at(0.5), at(0.95), at(1.0), failed.to_string()]
            }
            Line::Skipped { name, reason } => vec![name.clone(), format!("skipped: {reason}")],
        });
        report::table(head, lines.collect())
    }

    /// Fails if a start did.
    pub fn verdict(&self) -> Result<()> {
        let first = self.failures.first().map(String::as_str).unwrap_or_default();
        ensure!(self.failures.is_empty(), "{} starts failed or hung, the first: {first}", self.failures.len());
        Ok(())
    }
}

/// Everything, on each engine that is set up for templates.
pub fn measure(scratch: &Scratch, engines: &[Engine], in_a_row: usize) -> Result<Starts> {
    let mut starts = Starts::default();
    for engine in engines.iter().filter(|e| e.kind == Kind::Hako && e.machines != Machines::Cold) {
        let way = Way { engine, wall: Some("hyperv"), client: Client::Hako };
        let name = format!("{} hyperv, {}", engine.label, engine.machines.word());
        if let Some(reason) = &engine.no_templates {
            starts.lines.push(Line::Skipped { name, reason: reason.clone() });
            continue;
        }
        let row = if engine.machines == Machines::Template { in_a_row } else { in_a_row.div_ceil(FEWER) };
        starts.of(way, row, &name, "")?;
        let busy = Busy::start(scratch)?;
        starts.of(way, row, &name, &format!(", {BUSY} busy processes"))?;
        drop(busy);
    }
    Ok(starts)
}

impl Starts {
    fn of(&mut self, way: Way<'_>, row: usize, name: &str, load: &str) -> Result<()> {
        let before = templates::counts(way.engine)?.context("info without counts")?;
        let mut one_by_one = Vec::new();
        for number in 1..=row {
            interrupt::check()?;
            one_by_one.push(start(way));
            eprint!("\r{name}{load}: start {number} of {row}  ");
        }
        eprintln!();
        let at_once: Vec<Result<f64>> = scope(|scope| {
            let all: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| start(way))).collect();
            all.into_iter().map(|one| one.join().unwrap_or_else(|_| bail!("a thread panicked"))).collect()
        });
        self.take(&format!("{name}, {row} in a row{load}"), one_by_one);
        self.take(&format!("{name}, {AT_ONCE} at once{load}"), at_once);
        let after = templates::counts(way.engine)?.context("info without counts")?;
        let cold = after.cold_boots.saturating_sub(before.cold_boots);
        // Allowed, but it is not what was to be measured.
        if cold > 0 {
            self.failures.push(format!("{name}{load}: {cold} of {} were booted cold", row + AT_ONCE));
        }
        Ok(())
    }

    fn take(&mut self, name: &str, outcomes: Vec<Result<f64>>) {
        let mut figures = Vec::new();
        let mut failed = 0;
        for outcome in outcomes {
            match outcome {
                Ok(figure) => figures.push(figure),
                Err(e) => {
                    failed += 1;
                    self.failures.push(format!("{name}: {e:#}"));
                }
            }
        }
        figures.sort_by(f64::total_cmp);
        self.lines.push(Line::Measured { name: name.to_owned(), figures, failed });
    }
}

/// The least that so large a share is not above.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.max(1) - 1).copied()
}

/// One `true` from nothing to removed, within the deadline. Nothing is looked at
/// again and again meanwhile: twenty threads that do so each millisecond, beside
/// busy processes of one group, starve the cgroups of the machines (Linux 6.18).
fn start(way: Way<'_>) -> Result<f64> {
    let mut command = way.run(SMALL, &["true"])?;
    let (held, client) = pipe().context("a pipe for the client's end")?;
    command.stdin(Stdio::null()).stdout(client);
    let errors = tempfile::tempfile().context("a file for errors")?;
    command.stderr(errors.try_clone()?);
    let begin = Instant::now();
    let mut child = command.spawn().context("starting the client")?;
    // What has the pipe's other end, besides the child.
    drop(command);
    if !closed(held, begin)? {
        let _ = child.kill();
        let _ = child.wait();
        bail!("hung for {} s: {}", DEADLINE.as_secs(), said(errors));
    }
    let status = child.wait()?;
    let millis = millis(begin);
    ensure!(status.success(), "{status}: {}", said(errors));
    Ok(millis)
}

/// Whether whoever wrote to the pipe has ended before the deadline.
fn closed(mut held: PipeReader, begin: Instant) -> Result<bool> {
    loop {
        let left = DEADLINE.saturating_sub(begin.elapsed());
        let mut waited = [PollFd::new(held.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waited, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(e) => bail!("waiting for the client: {e}"),
        }
        if held.read(&mut [0; 512])? == 0 {
            return Ok(true);
        }
    }
}

fn said(mut file: File) -> String {
    use std::io::Seek;
    let mut text = String::new();
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text).map(drop));
    text.trim().lines().last().unwrap_or_default().to_owned()
}

/// Processes that only count. Dropped, they end.
struct Busy(Vec<Child>);

impl Busy {
    fn start(scratch: &Scratch) -> Result<Self> {
        let mut busy = Self(Vec::new());
        // By the path in the scratch folder, by which they are found should this program die.
        let busybox = scratch.path("small/bin/busybox");
        for _ in 0..BUSY {
            let mut command = Command::new(&busybox);
            command.args(["sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
            busy.0.push(command.spawn().context("starting a busy process")?);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Starts, quantile};

    #[test]
    fn quantiles() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.95, 1.0].map(|share| quantile(&hundred, share)), [1.0, 50.0, 95.0, 100.0].map(Some));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_failure_fails_the_run() {
        let mut starts = Starts::default();
        starts.take("in a row", vec![Ok(3.0), Ok(1.0)]);
        assert!(starts.verdict().is_ok());
        starts.take("at once", vec![Ok(2.0), Err(anyhow::anyhow!("hung for 120 s"))]);
        assert!(starts.verdict().unwrap_err().to_string().contains("1 starts failed or hung"));
        let Line::Measured { figures, failed, .. } = &starts.lines[1] else { panic!("measured") };
        assert_eq!((figures.as_slice(), *failed), ([2.0].as_slice(), 1));
        assert!(starts.table().contains("| in a row | 1          | 3       | 3       | 0 "), "{}", starts.table());
    }
}
