//! Where a start behind the process wall goes: the time of one `hako run`, cut
//! at the moments that the kernel tells of (a program is executed, a process is
//! made or ends). Nothing is built into the programs for it, and nothing slows
//! them down; who listens is told with the kernel's own clock.

mod events;

use super::cli::{Client, Way};
use super::engine::{Engine, Kind};
use super::measure::Row;
use super::work::TRUE;
use anyhow::{Context, Result, ensure};
use events::{Event, Kind as What, Listener};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the removal of a container's remains may take after the answer.
const REST: Duration = Duration::from_millis(300);

/// The pieces, in their order, and what is done in each.
pub const PIECES: [&str; 8] = [
    "client to shim: client, API, store, bundle",
    "shim: its start, root filesystem mounted",
    "runtime: bundle read, cgroups made",
    "intermediate process: cgroups entered, limits",
    "first process: namespaces, mounts, user, seccomp",
    "the container's program",
    "end to answer: wait, store, client",
    "after the answer: runtime delete, unmount, folders",
];

/// The rows of one engine, a median for each piece.
pub fn rows(engines: &[Engine], rounds: usize) -> Result<Vec<Row>> {
    let Some(engine) = engines.iter().find(|engine| engine.kind == Kind::Hako) else { return Ok(Vec::new()) };
    let way = Way { engine, wall: Some("process"), client: Client::Hako };
    let mut samples = vec![Vec::new(); PIECES.len() + 1];
    // The first also compiles a filter.
    way.run_once(TRUE.image, TRUE.command)?;
    for _ in 0..rounds {
        let cuts = one(&way, &engine.dir)?;
        let pieces = cuts.windows(2).map(|pair| pair[1] - pair[0]);
        let whole = cuts[PIECES.len() - 1] - cuts[0];
        for (samples, piece) in samples.iter_mut().zip(pieces.chain([whole])) {
            samples.push(piece);
        }
    }
    let names = PIECES.into_iter().chain(["all of it, to the client's end"]);
    Ok(names.zip(&samples).map(|(name, samples)| Row::of("profile", name, "ms", samples)).collect())
}

/// One run: when each piece began, and when the last ended, in milliseconds.
fn one(way: &Way<'_>, dir: &Path) -> Result<Vec<f64>> {
    let mut listener = Listener::open()?;
    let mut command = way.container(&["run", "--rm"], &["true"])?;
    let client = status(&mut command)?;
    let begin = Instant::now();
    let mut events = Vec::new();
    // The shim is the last to end.
    while begin.elapsed() < REST {
        listener.read_into(&mut events)?;
        sleep(Duration::from_millis(5));
    }
    let hakod = way.engine.pid().context("no engine runs")?;
    cuts(&events, hakod, client).with_context(|| format!("{} events of a run in {}", events.len(), dir.display()))
}

fn status(command: &mut Command) -> Result<i32> {
    let mut child = command.spawn().context("starting hako")?;
    let status = child.wait()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(i32::try_from(child.id())?)
}

/// What belongs to the run: the shim is the first process that hakod makes after
/// the client's start, and all others descend from it.
fn cuts(events: &[Event], hakod: i32, client: i32) -> Result<Vec<f64>> {
    let find = |what: What, of: &dyn Fn(&Event) -> bool| events.iter().find(|event| event.what == what && of(event));
    let begin = find(What::Exec, &|event| event.pid == client).context("the client's start")?;
    let end = find(What::Exit, &|event| event.pid == client).context("the client's end")?;
    let executes = |pid: i32| events.iter().any(|event| event.what == What::Exec && event.pid == pid);
    let made_by = |parent: i32| move |event: &Event| event.pid == parent && event.child != 0;
    let shim = events
        .iter()
        .find(|event| event.what == What::Fork && event.at > begin.at && event.pid == hakod && executes(event.child))
        .context("the shim")?;
    let runtime = find(What::Fork, &made_by(shim.child)).context("the runtime")?;
    let executed = find(What::Exec, &|event| event.pid == runtime.child).context("the runtime's start")?;
    let middle = find(What::Fork, &made_by(runtime.child)).context("the intermediate process")?;
    // It is made as the runtime's child, by the intermediate process: which of
    // the two the kernel names is its own affair.
    let first = events
        .iter()
        .find(|event| event.at > middle.at && [runtime.child, middle.child].contains(&event.pid) && event.child != 0)
        .context("the first process")?;
    let program = find(What::Exec, &|event| event.pid == first.child).context("the container's program")?;
    let over = find(What::Exit, &|event| event.pid == first.child).context("the container's end")?;
    let gone = find(What::Exit, &|event| event.pid == shim.child).context("the shim's end")?;
    let cuts = [begin, shim, executed, middle, first, program, over, end, gone];
    Ok(cuts.map(|event| event.at).to_vec())
}

/// The picture: a bar for each piece, one after the other.
pub fn plot(rows: &[Row], file: &Path) -> Result<()> {
    let medians: Vec<f64> = PIECES.iter().filter_map(|name| median_of(rows, name)).collect();
    if medians.len() < PIECES.len() {
        return Ok(());
    }
    fs::write(file, picture(&medians)).with_context(|| format!("write {}", file.display()))
}

fn median_of(rows: &[Row], name: &str) -> Option<f64> {
    rows.iter().find(|row| row.work == "profile" && row.subject == name)?.median()
}

fn picture(medians: &[f64]) -> String {
    const HEIGHT: usize = 26;
    const LEFT: f64 = 330.0;
    const WIDTH: f64 = 520.0;
    let total: f64 = medians.iter().sum();
    let scale = WIDTH / total.max(0.1);
    let height = HEIGHT * medians.len() + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"920\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"920\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let mut at = 0.0;
    for (line, (name, median)) in PIECES.iter().zip(medians).enumerate() {
        let (y, x, width) = (10 + line * HEIGHT, LEFT + at * scale, (median * scale).max(1.0));
        let colour = if line + 1 == PIECES.len() { "#b0b0b0" } else { "#3b6ea5" };
        svg += &format!(
            "<text x=\"10\" y=\"{text}\">{name}</text>\n\
             <rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"18\" fill=\"{colour}\"/>\n\
             <text x=\"{label:.1}\" y=\"{text}\">{median:.1}</text>\n",
            text = y + 14,
            label = x + width + 4.0,
        );
        at += median;
    }
    let shown: f64 = medians[..medians.len() - 1].iter().sum();
    svg += &format!(
        "<text x=\"10\" y=\"{}\">milliseconds, medians; {shown:.1} to the client's end</text>\n</svg>\n",
        height - 8
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What, at: f64, pid: i32, child: i32) -> Event {
        Event { what, at, pid, child }
    }

    #[test]
    fn a_run_is_cut_where_processes_begin_and_end() {
        let events = [
            event(What::Exec, 1.0, 10, 0),
            // hakod's thread, the shim; another thread of somebody else's.
            event(What::Fork, 2.0, 6, 11),
            event(What::Exec, 2.5, 11, 0),
            event(What::Fork, 3.0, 5, 20),
            event(What::Exec, 3.5, 20, 0),
            event(What::Fork, 4.0, 20, 21),
            event(What::Exec, 4.5, 21, 0),
            event(What::Fork, 5.0, 21, 22),
            event(What::Fork, 6.0, 22, 23),
            event(What::Exit, 6.5, 22, 0),
            event(What::Exec, 8.0, 23, 0),
            event(What::Exit, 9.0, 23, 0),
            event(What::Exit, 10.0, 10, 0),
            event(What::Exit, 12.0, 20, 0),
        ];
        assert_eq!(cuts(&events, 5, 10).unwrap(), [1.0, 3.0, 4.5, 5.0, 6.0, 8.0, 9.0, 10.0, 12.0]);
        assert!(cuts(&events[..6], 5, 10).is_err());
    }

    #[test]
    fn the_picture_has_every_piece() {
        let svg = picture(&[1.0; 8]);
        assert!(PIECES.iter().all(|name| svg.contains(name)));
        assert!(svg.contains("7.0 to the client's end"));
    }
}
