//! Memory: of idle engines, of what stands beside a container's process, and of
//! a virtual machine beyond its workload.

use super::cli::{Client, Way, walls};
use super::engine::{Engine, Kind};
use super::measure::Row;
use super::scratch::processes;
use super::templates::Machines;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// Containers of the process wall, whose memory is shared out by PSS.
const MANY: usize = 5;
/// Virtual machines.
const FEW: usize = 2;
/// Virtual machines of one template.
const TEN: usize = 10;
/// Long enough for a container to have come to rest.
const REST: Duration = Duration::from_secs(2);

/// PSS of each engine with an image and without containers, its helpers too.
pub fn engines(engines: &[Engine]) -> Vec<Row> {
    sleep(REST);
    let mut rows = Vec::new();
    for engine in engines {
        let pids = processes(&engine.dir.display().to_string()).into_iter().map(|(pid, _)| pid);
        let total: f64 = pids.filter_map(|pid| field(pid, "Pss").ok()).sum();
        rows.push(Row::of("memory", &format!("{}, idle, PSS", engine.label), "MiB", &[total]));
    }
    rows
}

/// What stands beside a container that sleeps.
pub fn containers(engines: &[Engine]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    // Who waits in a pool has no container yet.
    for engine in engines.iter().filter(|engine| !matches!(engine.machines, Machines::Pool(_))) {
        for wall in walls(engine) {
            let way = Way { engine, wall, client: Client::Docker };
            match per_container(&way) {
                Ok(found) => rows.extend(found),
                Err(e) => rows.push(Row::skipped("memory", &way.name(), "MiB", &format!("{e:#}"))),
            }
            engine.remove_containers()?;
        }
        if engine.kind == Kind::Hako && engine.machines == Machines::Template {
            rows.extend(of_a_template(engine)?);
        }
    }
    Ok(rows)
}

fn per_container(way: &Way<'_>) -> Result<Vec<Row>> {
    let machines = way.wall == Some("hyperv");
    for _ in 0..if machines { FEW } else { MANY } {
        way.sleeper()?;
    }
    sleep(REST);
    let shims = shims(way.engine);
    let parents = parents();
    let (mut beside, mut virtual_machine) = (Vec::new(), Vec::new());
    for shim in shims {
        let mut pss = field(shim, "Pss")?;
        for pid in descendants(shim, &parents) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.starts_with("qemu") {
                // Guest memory is anonymous, or shared where a file backs it.
                virtual_machine.push(field(pid, "Anonymous")? + field(pid, "Pss_Shmem")?);
            } else if name.starts_with("hako") || name.starts_with("docker") {
                pss += field(pid, "Pss")?;
            }
        }
        beside.push(pss);
    }
    let name = way.name_of_start();
    let mut rows = vec![Row::of("memory", &format!("{name}, beside a container, PSS"), "MiB", &beside)];
    if machines {
        rows.push(Row::of("memory", &format!("{name}, virtual machine, anonymous"), "MiB", &virtual_machine));
    }
    Ok(rows)
}

/// Ten idle virtual machines from one template: what they have together, and
/// what each adds to those before it.
fn of_a_template(engine: &Engine) -> Result<Vec<Row>> {
    let way = Way { engine, wall: Some("hyperv"), client: Client::Docker };
    let subjects = ["together, PSS", "each adds, PSS", "each adds, anonymous"];
    let subjects = subjects.map(|what| format!("{TEN} idle VM containers of a template, {what}"));
    if let Some(reason) = &engine.no_templates {
        return Ok(subjects.iter().map(|subject| Row::skipped("memory", subject, "MiB", reason)).collect());
    }
    let (mut totals, mut anonymous) = (Vec::new(), Vec::new());
    for _ in 0..TEN {
        way.sleeper()?;
        sleep(REST);
        let parents = parents();
        let all: Vec<i32> =
            shims(engine).into_iter().flat_map(|shim| [vec![shim], descendants(shim, &parents)].concat()).collect();
        totals.push(all.iter().filter_map(|pid| field(*pid, "Pss").ok()).sum::<f64>());
        anonymous.push(all.iter().filter_map(|pid| field(*pid, "Anonymous").ok()).sum::<f64>());
    }
    engine.remove_containers()?;
    let added = |sums: &[f64]| sums.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<f64>>();
    let figures = [totals.last().copied().into_iter().collect(), added(&totals), added(&anonymous)];
    Ok(subjects.iter().zip(figures).map(|(subject, figures)| Row::of("memory", subject, "MiB", &figures)).collect())
}

/// The shims of an engine.
pub fn shims(engine: &Engine) -> Vec<i32> {
    processes(&engine.dir.display().to_string())
        .into_iter()
        .filter(|(pid, _)| Some(*pid) != engine.pid())
        .filter(|(_, line)| {
            let program = line.split(' ').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            program.contains("shim")
        })
        .map(|(pid, _)| pid)
        .collect()
}

/// Every process's parent.
pub fn parents() -> BTreeMap<i32, i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it is in brackets and may hold anything.
        let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()?;
        Some((pid, parent))
    })
    .collect()
}

pub fn descendants(of: i32, parents: &BTreeMap<i32, i32>) -> Vec<i32> {
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, p)| **p == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// A figure of `smaps_rollup` in MiB.
pub fn field(pid: i32, name: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).with_context(|| format!("memory of {pid}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = value.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("no {name} of {pid}"))? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::descendants;

    #[test]
    fn descendants_of_descendants() {
        let parents = [(2, 1), (3, 2), (4, 3), (9, 8)].into_iter().collect();
        assert_eq!(descendants(2, &parents), [3, 4]);
    }
}
