//! Scale: the next start, the list, the statistics and the memory, against the
//! number of containers that are there already.
//!
//! ```text
//! stopped 0 … 1000 ─► running 0 … 200 ─► virtual machines 0 … 40    (what is there stays)
//!     at each step: rest, then medians
//! ```

mod growth;

use super::cli::{Client, Way};
use super::engine::Engine;
use super::image::{self, SMALL};
use super::measure::{median, millis};
use super::memory::{descendants, field, parents, shims};
use super::plot::{Line, Panel};
use super::scratch::Scratch;
use super::work::TRUE;
use super::{http, interrupt, raw, report};
use anyhow::{Context, Result, anyhow};
use growth::Growth;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between the last start and the first measure of a step.
const REST: Duration = Duration::from_secs(2);
/// Measures of one figure at one step.
const TIMES: usize = 9;
/// The same of what takes long.
const FEW: usize = 5;

/// USER_HZ, which Linux has on every architecture of ours.
const TICKS: f64 = 100.0;
/// Failures after which a run ends.
const MOST_FAILURES: usize = 10;
/// What is promised.
const KEPT: &str = "Nothing grows faster than its count, and starting the next does not get slower.";

/// The counts of the steps.
#[derive(Debug, Clone, clap::Args)]
pub struct Steps {
    /// Scale: stopped containers
    #[arg(long, value_delimiter = ',', default_value = "0,100,250,500,1000")]
    stopped: Vec<usize>,
    /// Scale: running process containers, beside the stopped ones
    #[arg(long, value_delimiter = ',', default_value = "0,25,50,100,200")]
    running: Vec<usize>,
    /// Scale: running virtual machines, beside all of them
    #[arg(long, value_delimiter = ',', default_value = "0,5,10,20,40")]
    machines: Vec<usize>,
}

/// A figure at every step.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Figure {
    /// Of what.
    pub name: &'static str,
    /// `ms`, `MiB`.
    pub unit: &'static str,
    /// What it may differ by for no reason.
    #[serde(skip)]
    floor: f64,
    /// It is to be flat: the next start, which must not get slower.
    #[serde(skip)]
    flat: bool,
    /// By the count.
    pub points: Vec<(f64, f64)>,
}

/// What is counted, and every figure against it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Series {
    /// The file's name.
    pub key: &'static str,
    /// What is counted.
    pub count: &'static str,
    pub figures: Vec<Figure>,
}

/// All of it.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Scale {
    pub series: Vec<Series>,
    failures: Vec<String>,
}

const STOPPED: (&str, &str) = ("stopped", "stopped containers");
const RUNNING: (&str, &str) = ("running", "running process containers");
const MACHINES: (&str, &str) = ("machines", "running VM containers");

/// The figures' names, units, noise, and whether they are to be flat.
const START: Name = ("start, process wall", "ms", 4.0, true);
const RUNC: Name = ("start, raw runc", "ms", 4.0, true);
const VM_START: Name = ("start, hyperv wall", "ms", 20.0, true);
const PS: Name = ("ps", "ms", 1.0, false);
const STATS: Name = ("stats of all", "ms", 5.0, false);
const ONE: Name = ("stats of one", "ms", 1.0, true);
const ENGINE: Name = ("hakod, PSS", "MiB", 1.0, false);
const IDLE: Name = ("hakod at rest, of one processor", "%", 0.5, false);
const BESIDE: Name = ("shims, PSS", "MiB", 1.0, false);
const GUESTS: Name = ("machines and their shims, PSS", "MiB", 5.0, false);
type Name = (&'static str, &'static str, f64, bool);

/// All series, on one engine.
pub fn measure(scratch: &Scratch, engine: &Engine, steps: &Steps) -> Result<Scale> {
    let process = Way { engine, wall: Some("process"), client: Client::Api };
    let hyperv = Way { wall: Some("hyperv"), ..process };
    let mut lab = Lab { process, hyperv, runc: None, failures: Vec::new() };
    let mut rows = Vec::new();
    image::busybox_tree(&scratch.path("scale-bundle/rootfs"))?;
    if let Some(mut subject) = raw::runc("run", scratch, "scale-bundle", &["/bin/true"], &mut rows)? {
        lab.runc = Some(Box::new(move || (subject.once)()));
    }
    let series = vec![
        lab.climb(STOPPED, &steps.stopped, |lab| {
            let id = lab.process.start_by_api(SMALL, &["true"])?;
            http::request(&engine.socket, "POST", &format!("/containers/{id}/wait"), None).map(drop)
        })?,
        lab.climb(RUNNING, &steps.running, |lab| lab.process.start_by_api(SMALL, &["sleep", "36000"]).map(drop))?,
        lab.climb(MACHINES, &steps.machines, |lab| lab.hyperv.start_by_api(SMALL, &["sleep", "36000"]).map(drop))?,
    ];
    Ok(Scale { series, failures: lab.failures })
}

struct Lab<'a> {
    process: Way<'a>,
    hyperv: Way<'a>,
    /// The same start without an engine: what is the machine's own.
    runc: Option<Box<dyn FnMut() -> Result<f64> + 'a>>,
    /// Starts that failed: the others go on.
    failures: Vec<String>,
}

impl Lab<'_> {
    fn climb(
        &mut self,
        (key, count): (&'static str, &'static str),
        steps: &[usize],
        one_more: impl Fn(&Self) -> Result<()>,
    ) -> Result<Series> {
        let mut series = Series { key, count, figures: Vec::new() };
        let mut there = 0;
        for &step in steps {
            while there < step {
                interrupt::check()?;
                if let Err(e) = one_more(self).with_context(|| format!("{count}, number {}", there + 1)) {
                    self.failed(e)?;
                    continue;
                }
                there += 1;
                eprint!("\r{count}: {there} of {step}  ");
            }
            eprintln!("\r{count}: measuring at {step}  ");
            sleep(REST);
            self.measure(key, step, &mut series)?;
        }
        Ok(series)
    }

    fn measure(&mut self, key: &str, step: usize, series: &mut Series) -> Result<()> {
        let count = step as f64;
        let engine = self.process.engine;
        // At rest first: what follows is work.
        series.add(IDLE, count, idle(engine)?);
        // Once unmeasured, as everywhere.
        self.starts(self.process, 1)?;
        let (mut own, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            own.extend(self.starts(self.process, 1)?);
            if let Some(runc) = &mut self.runc {
                bare.push(runc()?);
            }
        }
        series.add(START, count, middle(own));
        series.add(RUNC, count, middle(bare));
        series.add(PS, count, times(TIMES, || list(engine))?);
        series.add(ENGINE, count, field(engine.pid().context("hakod has ended")?, "Pss")?);
        if key == STOPPED.0 {
            return Ok(());
        }
        let ids = running(engine)?;
        series.add(STATS, count, times(FEW, || stats(engine, &ids))?);
        if let Some(first) = ids.first() {
            series.add(ONE, count, times(TIMES, || stats(engine, std::slice::from_ref(first)))?);
        }
        let (beside, guests) = memory(engine);
        if key == RUNNING.0 {
            series.add(BESIDE, count, beside);
        } else {
            series.add(GUESTS, count, guests);
            self.starts(self.hyperv, 1)?;
            let figures = self.starts(self.hyperv, FEW)?;
            series.add(VM_START, count, middle(figures));
        }
        Ok(())
    }

    /// So many starts; those that fail have no figure.
    fn starts(&mut self, way: Way<'_>, number: usize) -> Result<Vec<f64>> {
        let mut figures = Vec::new();
        for _ in 0..number {
            interrupt::check()?;
            match way.run_once(TRUE.image, TRUE.command) {
                Ok(figure) => figures.push(figure),
                Err(e) => self.failed(e.context(format!("a start behind the wall {:?}", way.wall)))?,
            }
        }
        Ok(figures)
    }

    /// Notes a failure; too many end the run.
    fn failed(&mut self, error: anyhow::Error) -> Result<()> {
        if self.failures.len() >= MOST_FAILURES {
            return Err(error.context("too many starts have failed"));
        }
        let text = format!("{error:#}");
        eprintln!("\n{text}");
        self.failures.push(text);
        Ok(())
    }
}

impl Series {
    fn add(&mut self, (name, unit, floor, flat): Name, count: f64, figure: f64) {
        if !figure.is_finite() {
            return;
        }
        let found = self.figures.iter().position(|figure| figure.name == name).unwrap_or_else(|| {
            self.figures.push(Figure { name, unit, floor, flat, points: Vec::new() });
            self.figures.len() - 1
        });
        self.figures[found].points.push((count, figure));
    }

    /// The table, and the verdict of every figure.
    pub fn table(&self) -> String {
        let counts = self.figures.first().map(|figure| figure.points.iter().map(|point| format!("{:.0}", point.0)));
        let mut head = vec![self.count.to_owned()];
        head.extend(counts.into_iter().flatten());
        head.push("growth".into());
        let columns = head.len();
        let body = self.figures.iter().map(|figure| {
            let mut cells = vec![format!("{}, {}", figure.name, figure.unit)];
            // One that begins later has no figure for the first steps.
            cells.resize(columns - 1 - figure.points.len().min(columns - 2), String::new());
            cells.extend(figure.points.iter().map(|point| format!("{:.1}", point.1)));
            cells.push(self.verdict(figure).0);
            cells
        });
        report::table(head, body.collect())
    }

    /// In words, and whether it is as promised.
    fn verdict(&self, figure: &Figure) -> (String, bool) {
        let growth = Growth::of(&figure.points, figure.floor);
        let faster = matches!(growth, Growth::Faster(_));
        if !figure.flat || growth == Growth::Flat {
            return (growth.words(), !faster);
        }
        // A start may get slower by what the machine's own gets slower.
        let own = |name| self.figures.iter().find(|figure| figure.name == name);
        let more = own(RUNC.0).filter(|runc| runc.name != figure.name).is_some_and(|runc| {
            let less = |(point, own): (&(f64, f64), &(f64, f64))| (point.0, point.1 - own.1);
            let points: Vec<_> = figure.points.iter().zip(&runc.points).map(less).collect();
            Growth::of(&points, figure.floor) == Growth::Flat
        });
        match (more, figure.name == RUNC.0) {
            (_, true) => (format!("{}: the machine's own", growth.words()), true),
            (true, _) => ("as raw runc does".into(), true),
            (false, _) => (format!("SLOWER: {}", growth.words()), false),
        }
    }

    /// Figures that do not grow as promised.
    fn faults(&self) -> impl Iterator<Item = String> {
        let told = |figure| (figure, self.verdict(figure));
        let faults = self.figures.iter().map(told).filter(|(_, (_, kept))| !kept);
        faults.map(|(figure, (words, _))| format!("{} against {}: {words}", figure.name, self.count))
    }

    /// One panel for each figure; starts share one.
    pub fn panels(&self) -> Vec<Panel> {
        let line = |figure: &Figure, name: &str| Line { name: name.to_owned(), points: figure.points.clone() };
        let (starts, others): (Vec<&Figure>, Vec<&Figure>) =
            self.figures.iter().partition(|figure| figure.name.starts_with("start, "));
        let mut panels = vec![Panel {
            title: "the next start, ms".into(),
            count: self.count.into(),
            lines: starts.iter().map(|figure| line(figure, figure.name.trim_start_matches("start, "))).collect(),
        }];
        panels.extend(others.iter().map(|figure| Panel {
            title: format!("{}, {}", figure.name, figure.unit),
            count: self.count.into(),
            lines: vec![line(figure, figure.name)],
        }));
        panels
    }
}

impl Scale {
    /// The sentence about all of it, and every table.
    pub fn text(&self) -> String {
        let tables: Vec<String> = self.series.iter().map(Series::table).collect();
        let sentence = self.faults().map_or_else(|faults| format!("Not as promised: {faults}."), |()| KEPT.to_owned());
        format!("{sentence}\n\n{}\n", tables.join("\n"))
    }

    /// Fails if a start did, or if something does not grow as promised.
    pub fn verdict(&self) -> Result<()> {
        self.faults().map_err(|faults| anyhow!("scale: {faults}"))
    }

    fn faults(&self) -> Result<(), String> {
        let mut faults: Vec<String> = self.series.iter().flat_map(Series::faults).collect();
        if let Some(first) = self.failures.first() {
            let line = first.lines().next().unwrap_or_default();
            faults.push(format!("{} starts failed, the first: {line}", self.failures.len()));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }
}

fn times(number: usize, mut once: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut figures = Vec::new();
    for _ in 0..number {
        interrupt::check()?;
        figures.push(once()?);
    }
    Ok(middle(figures))
}

/// Of none it is no number.
fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    median(&figures).unwrap_or(f64::NAN)
}

fn list(engine: &Engine) -> Result<f64> {
    let begin = Instant::now();
    http::request(&engine.socket, "GET", "/containers/json?all=1", None)?;
    Ok(millis(begin))
}

/// The ids of all that runs.
fn running(engine: &Engine) -> Result<Vec<String>> {
    let ids = crate::deb::output(&mut engine.docker(&["ps", "--quiet", "--no-trunc"]))?;
    Ok(ids.lines().map(str::to_owned).collect())
}

/// One look at each, one after the other.
fn stats(engine: &Engine, ids: &[String]) -> Result<f64> {
    let begin = Instant::now();
    for id in ids {
        http::request(&engine.socket, "GET", &format!("/containers/{id}/stats?stream=0&one-shot=1"), None)?;
    }
    Ok(millis(begin))
}

/// The share of a processor that hakod uses while nobody asks for anything.
fn idle(engine: &Engine) -> Result<f64> {
    let pid = engine.pid().context("hakod has ended")?;
    let ticks = || -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("hakod's time")?;
        // The name before it is in brackets: utime and stime are the 14th and 15th of all.
        let words: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let one = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok()).context("no time of hakod");
        Ok(one(11)? + one(12)?)
    };
    let (before, begin) = (ticks()?, Instant::now());
    sleep(REST);
    Ok((ticks()? - before) / TICKS / begin.elapsed().as_secs_f64() * 100.0)
}

/// PSS of shims without a machine, and of machines and theirs.
fn memory(engine: &Engine) -> (f64, f64) {
    let (mut beside, mut guests) = (0.0, 0.0);
    let parents = parents();
    for shim in shims(engine) {
        let below = descendants(shim, &parents);
        let of = |pid: &i32| field(*pid, "Pss").unwrap_or(0.0);
        let name = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if below.iter().any(|pid| name(pid).starts_with("qemu")) {
            guests += of(&shim) + below.iter().map(of).sum::<f64>();
        } else {
            beside += of(&shim);
        }
    }
    (beside, guests)
}

#[cfg(test)]
mod tests {
    use super::{PS, RUNC, RUNNING, START, Scale, Series};

    fn verdict(series: &Series) -> String {
        Scale { series: vec![series.clone()], failures: Vec::new() }.text()
    }

    fn series(start: impl Fn(f64) -> f64, runc: impl Fn(f64) -> f64, ps: impl Fn(f64) -> f64) -> Series {
        let mut series = Series { key: RUNNING.0, count: RUNNING.1, figures: Vec::new() };
        for count in [0.0, 25.0, 50.0, 100.0, 200.0] {
            series.add(START, count, start(count));
            series.add(RUNC, count, runc(count));
            series.add(PS, count, ps(count));
        }
        series
    }

    #[test]
    fn a_start_that_gets_slower_is_told() {
        let good = series(|_| 40.0, |_| 39.0, |x| 1.0 + x * 0.02);
        assert!(verdict(&good).starts_with("Nothing grows faster"), "{}", good.table());
        let slower = series(|x| 40.0 + x * 0.2, |_| 39.0, |x| x * 0.02);
        assert!(verdict(&slower).contains("promised: start, process wall against running"), "told");
        // The kernel's own cost is not ours.
        let machine = series(|x| 40.0 + x * 0.2, |x| 39.0 + x * 0.2, |x| x * 0.02);
        assert!(verdict(&machine).starts_with("Nothing"), "not ours");
        let square = series(|_| 40.0, |_| 39.0, |x| 1.0 + x * x * 0.01);
        assert!(verdict(&square).contains("ps against running"), "told");
    }

    #[test]
    fn a_failed_start_is_told() {
        let scale = Scale { series: Vec::new(), failures: vec!["number 3: no\nmore".into(), "number 9".into()] };
        assert_eq!(scale.verdict().unwrap_err().to_string(), "scale: 2 starts failed, the first: number 3: no");
        assert!(Scale::default().verdict().is_ok());
    }

    #[test]
    fn tables_have_every_step() {
        let table = series(|_| 40.0, |_| 39.0, |x| 1.0 + x).table();
        assert!(table.contains("| running process containers | 0 "), "{table}");
        assert!(table.contains("200") && table.contains("201.0"), "{table}");
    }
}
