//! `cargo xtask soak`: minutes of mixed load on one hakod, whose memory, open
//! files and tasks must not grow with the containers that come and go.
//!
//! Each series is fitted by a line over the samples after the warm-up; what the
//! line gains over that time is judged, and not single samples.

use super::engine::{Engine, Setup};
use super::memory::field;
use super::scratch::Scratch;
use super::templates::Machines;
use super::{http, image, interrupt};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// The share of the time that counts as warm-up: caches fill, the ring of events too.
const WARM_UP: f64 = 0.3;
/// How long one container may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// Options of `soak`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How long the load lasts
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Containers that must have come and gone at the end
    #[arg(long, default_value_t = 200)]
    containers: usize,
    /// Clients of the process wall
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Clients of the hyperv wall
    #[arg(long, default_value_t = 1)]
    machines: usize,
    /// Seconds between two samples
    #[arg(long, default_value_t = 10.0)]
    every: f64,
    /// The most that memory may gain over the judged time, in MiB
    #[arg(long, default_value_t = 2.0)]
    most_mib: f64,
    /// The most that open files may gain
    #[arg(long, default_value_t = 4.0)]
    most_files: f64,
    /// The most that tasks may gain
    #[arg(long, default_value_t = 8.0)]
    most_tasks: f64,
    /// Also write the samples to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// hakod at one time.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Sample {
    minutes: f64,
    containers: usize,
    pss_mib: f64,
    files: f64,
    tasks: f64,
}

/// What the clients share.
struct Load<'a> {
    engine: &'a Engine,
    over: AtomicBool,
    containers: AtomicUsize,
    errors: Mutex<Vec<String>>,
}

/// Runs the load, prints the samples, and fails if anything grows or goes wrong.
pub fn run(options: &Options) -> Result<()> {
    interrupt::hold_back()?;
    let scratch = Scratch::new()?;
    let (archive, tree) = (scratch.path("small.tar"), scratch.path("small"));
    image::busybox_tree(&tree)?;
    image::archive(image::SMALL, &tree, &scratch.path("small-parts"), &archive)?;
    let engine = Engine::start(&Setup::hako("h", Machines::Pool(1))?, &scratch)?;
    engine.load(&archive)?;
    let (samples, errors) = under_load(&engine, options)?;
    let ends = [engine.end(), scratch.remove()];
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_vec_pretty(&samples)?)?;
    }
    let verdict = judge(&samples, options);
    ensure!(errors.is_empty(), "{} errors, the first: {}", errors.len(), errors[0]);
    ends.into_iter().collect::<Result<()>>()?;
    verdict
}

fn under_load(engine: &Engine, options: &Options) -> Result<(Vec<Sample>, Vec<String>)> {
    let load =
        Load { engine, over: AtomicBool::new(false), containers: AtomicUsize::new(0), errors: Mutex::new(Vec::new()) };
    println!("{:>8} {:>10} {:>9} {:>6} {:>6}", "minutes", "containers", "PSS MiB", "files", "tasks");
    let samples = scope(|scope| {
        for client in 0..options.clients + options.machines {
            let (load, wall) = (&load, if client < options.clients { "process" } else { "hyperv" });
            scope.spawn(move || load.client(client, wall));
        }
        let samples = watch(&load, options);
        load.over.store(true, Ordering::Relaxed);
        samples
    });
    let errors = load.errors.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok((samples?, errors))
}

fn watch(load: &Load<'_>, options: &Options) -> Result<Vec<Sample>> {
    let begin = Instant::now();
    let mut samples = Vec::new();
    while begin.elapsed().as_secs_f64() < options.minutes * 60.0 {
        sleep(Duration::from_secs_f64(options.every));
        interrupt::check()?;
        let sample = load.sample(begin.elapsed().as_secs_f64() / 60.0)?;
        println!(
            "{:>8.1} {:>10} {:>9.2} {:>6} {:>6}",
            sample.minutes, sample.containers, sample.pss_mib, sample.files, sample.tasks
        );
        samples.push(sample);
    }
    Ok(samples)
}

impl Load<'_> {
    fn request(&self, method: &str, target: &str, body: Option<&Value>) -> Result<String> {
        http::request(&self.engine.socket, method, target, body)
    }

    fn sample(&self, minutes: f64) -> Result<Sample> {
        let pid = self.engine.pid().context("hakod has ended")?;
        let info: Value = http::json(&self.request("GET", "/info", None)?)?;
        Ok(Sample {
            minutes,
            containers: self.containers.load(Ordering::Relaxed),
            pss_mib: field(pid, "Pss")?,
            files: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64,
            tasks: info["NGoroutines"].as_f64().context("info without NGoroutines")?,
        })
    }

    /// One container after the other, of every kind in turn.
    fn client(&self, client: usize, wall: &str) {
        let mut round = client;
        while !self.over.load(Ordering::Relaxed) {
            match self.life(round, wall) {
                Ok(()) => drop(self.containers.fetch_add(1, Ordering::Relaxed)),
                Err(err) => {
                    let mut errors = self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    errors.push(format!("{wall}, kind {}: {err:#}", round % 5));
                    // It is not to fill the machine with what is left of failures.
                    if errors.len() > 10 {
                        return;
                    }
                }
            }
            round += 1;
        }
    }

    fn life(&self, round: usize, wall: &str) -> Result<()> {
        match round % 5 {
            0 => self.short(wall),
            1 => self.used(wall),
            2 => self.checked(wall),
            3 => self.restarted(wall),
            _ => self.removed_by_itself(wall),
        }
    }

    fn create(&self, wall: &str, command: &[&str], host: Value, more: Value) -> Result<String> {
        let mut all = json!({"Image": image::SMALL, "Cmd": command, "HostConfig": host});
        all["HostConfig"]["NetworkMode"] = "none".into();
        all["HostConfig"]["Isolation"] = wall.into();
        for (key, value) in more.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let id = http::id(&self.request("POST", "/containers/create", Some(&all))?)?;
        self.request("POST", &format!("/containers/{id}/start"), None)?;
        Ok(id)
    }

    fn remove(&self, id: &str) -> Result<()> {
        self.request("DELETE", &format!("/containers/{id}?force=1"), None).map(drop)
    }

    fn short(&self, wall: &str) -> Result<()> {
        let id = self.create(wall, &["sh", "-c", "echo some output; exit 3"], json!({}), json!({}))?;
        let waited = self.request("POST", &format!("/containers/{id}/wait"), None)?;
        ensure!(http::json(&waited)?["StatusCode"] == 3, "exit code: {waited}");
        let logs = self.request("GET", &format!("/containers/{id}/logs?stdout=1&stderr=1"), None)?;
        ensure!(logs.contains("some output"), "logs: {logs:?}");
        self.remove(&id)
    }

    /// Everything that a running container is asked.
    fn used(&self, wall: &str) -> Result<()> {
        let id = self.create(wall, &["sleep", "1000"], json!({}), json!({}))?;
        for _ in 0..3 {
            let exec = json!({"Cmd": ["true"], "AttachStdout": true});
            let exec = http::id(&self.request("POST", &format!("/containers/{id}/exec"), Some(&exec))?)?;
            self.request("POST", &format!("/exec/{exec}/start"), Some(&json!({"Detach": true})))?;
            self.request("GET", &format!("/exec/{exec}/json"), None)?;
        }
        self.request("GET", "/containers/json?all=1", None)?;
        self.request("GET", &format!("/containers/{id}/json"), None)?;
        self.request("POST", &format!("/containers/{id}/pause"), None)?;
        self.request("POST", &format!("/containers/{id}/unpause"), None)?;
        self.request("POST", &format!("/containers/{id}/restart?t=0"), None)?;
        self.request("POST", &format!("/containers/{id}/kill"), None)?;
        self.remove(&id)
    }

    fn checked(&self, wall: &str) -> Result<()> {
        let check = json!({"Test": ["CMD", "true"], "Interval": 200_000_000_i64});
        let id = self.create(wall, &["sleep", "1000"], json!({}), json!({"Healthcheck": check}))?;
        self.until(&id, |state| state["State"]["Health"]["Status"] == "healthy")?;
        self.request("POST", &format!("/containers/{id}/stop?t=0"), None)?;
        self.remove(&id)
    }

    fn restarted(&self, wall: &str) -> Result<()> {
        let policy = json!({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}});
        let id = self.create(wall, &["sh", "-c", "exit 1"], policy, json!({}))?;
        self.until(&id, |state| state["RestartCount"] == 2 && state["State"]["Status"] == "exited")?;
        self.remove(&id)
    }

    fn removed_by_itself(&self, wall: &str) -> Result<()> {
        let id = self.create(wall, &["sleep", "1"], json!({"AutoRemove": true}), json!({}))?;
        let begin = Instant::now();
        while self.request("GET", &format!("/containers/{id}/json"), None).is_ok() {
            ensure!(begin.elapsed() < PATIENCE, "{id} is not removed");
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn until(&self, id: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
        let begin = Instant::now();
        loop {
            let state = http::json(&self.request("GET", &format!("/containers/{id}/json"), None)?)?;
            if holds(&state) {
                return Ok(());
            }
            ensure!(begin.elapsed() < PATIENCE, "waited in vain: {}", state["State"]);
            sleep(Duration::from_millis(50));
        }
    }
}

/// A series, its unit and the most that it may gain.
type Bound = (&'static str, fn(&Sample) -> f64, f64);

fn judge(samples: &[Sample], options: &Options) -> Result<()> {
    let last = samples.last().context("no samples")?;
    let judged: Vec<&Sample> = samples.iter().filter(|sample| sample.minutes >= last.minutes * WARM_UP).collect();
    let span = last.minutes - judged.first().map_or(0.0, |first| first.minutes);
    println!("\n{} containers in {:.1} minutes; judged: the last {span:.1}", last.containers, last.minutes);
    let bounds: [Bound; 3] = [
        ("MiB of memory", |sample| sample.pss_mib, options.most_mib),
        ("open files", |sample| sample.files, options.most_files),
        ("tasks", |sample| sample.tasks, options.most_tasks),
    ];
    let mut grown = Vec::new();
    for (what, of, most) in bounds {
        let points: Vec<(f64, f64)> = judged.iter().map(|sample| (sample.minutes, of(sample))).collect();
        let gain = slope(&points) * span;
        println!("{what}: {gain:+.2} over that time, at most {most} is allowed");
        if gain > most {
            grown.push(format!("{gain:+.2} {what}"));
        }
    }
    ensure!(last.containers >= options.containers, "only {} containers came and went", last.containers);
    if grown.is_empty() { Ok(()) } else { bail!("hakod grows: {}", grown.join(", ")) }
}

/// The slope of the line that fits best.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0 / n, sum.1 + point.1 / n));
    let (over, under) = points.iter().fold((0.0, 0.0), |sum, point| {
        let dx = point.0 - x;
        (sum.0 + dx * (point.1 - y), sum.1 + dx * dx)
    });
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::slope;

    #[test]
    fn lines() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0);
        assert_eq!(slope(&[(0.0, 4.0), (1.0, 4.0), (2.0, 4.0)]), 0.0);
        assert_eq!(slope(&[(1.0, 4.0)]), 0.0);
        assert_eq!(slope(&[]), 0.0);
    }
}
