//! The budgets of the design, judged on the rows of one run.

use super::boot::ALONE;
use super::load::LEAST;
use super::measure::Row;
use super::network::{START, TAP, THROUGHPUT, VETH};
use super::volume::{VIRTIOFSD, WORKS};

/// One budget and what was measured of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Verdict {
    /// The work.
    pub work: &'static str,
    /// The limit in words.
    pub budget: String,
    /// What was measured, in the limit's unit.
    pub measured: Option<f64>,
    /// Whether it is kept; unknown where nothing was measured.
    pub met: Option<bool>,
    /// What a reader must know to judge it.
    pub remark: &'static str,
}

/// What a limit is counted in.
enum Limit {
    /// Times the figure of another subject of some work.
    Times(f64, &'static str, &'static str),
    /// At least so many times that.
    AtLeast(f64, &'static str, &'static str),
    /// So much more than the figure of another subject of the same work.
    More(f64, &'static str),
    /// MiB.
    Mib(f64),
}

struct Budget {
    title: &'static str,
    work: &'static str,
    subject: &'static str,
    limit: Limit,
    remark: &'static str,
}

const TEMPLATE: &str = "hako hyperv, template";
const POOL: &str = "hako hyperv, pool";

const BUDGETS: &[Budget] = &[
    budget("run of true, process wall", "run", "hako process", Limit::Times(1.0, "run", "runc"), ""),
    budget("run of true, hyperv wall, template", "run", TEMPLATE, Limit::Times(1.0, "run", "docker"), "aim: half"),
    budget("run of true, hyperv wall, waiting clone", "run", POOL, Limit::Times(3.0, "run", "runc"), ""),
    budget("run of true, hyperv wall, cold", "run", "hako hyperv, cold", Limit::Times(1.3, "run", ALONE), ""),
    budget("exec of true, process wall", "exec", "hako process", Limit::Times(0.3, "exec", "docker"), ""),
    budget("exec of true, hyperv wall", "exec", "hako hyperv", Limit::Times(0.6, "exec", "docker"), ""),
    budget(
        "engine memory per process container",
        "memory",
        "hako process, beside a container, PSS",
        Limit::Mib(2.0),
        "",
    ),
    budget(
        "VM container beyond the workload",
        "memory",
        "hako hyperv, template, virtual machine, anonymous",
        Limit::Mib(40.0),
        "from a template",
    ),
    budget("hakod idle", "memory", "hako, idle, PSS", Limit::Mib(20.0), ""),
    budget("ps with 50 containers", "ps", "hako", Limit::Times(0.25, "ps", "docker"), ""),
    budget("load of a 200 MB layer", "load", "hako", Limit::Times(1.2, "load", LEAST), ""),
    budget(
        "cached build of seven steps",
        "build, cached",
        "hako process",
        Limit::Times(1.0, "build, cached", "docker"),
        "",
    ),
    budget(
        "bridge network added, process wall",
        START,
        "hako process, bridge",
        Limit::More(20.0, "hako process, none"),
        "",
    ),
    budget(
        "bridge network added, hyperv wall",
        START,
        "hako hyperv, bridge",
        Limit::More(20.0, "hako hyperv, none"),
        "",
    ),
    throughput("throughput host to container, process wall", THROUGHPUT[0], "hako process", 0.95, VETH),
    throughput("throughput of two containers, process wall", THROUGHPUT[1], "hako process", 0.95, VETH),
    throughput("throughput host to container, hyperv wall", THROUGHPUT[0], "hako hyperv", 0.9, TAP),
    throughput("throughput of two containers, hyperv wall", THROUGHPUT[1], "hako hyperv", 0.9, TAP),
    on_volume(WORKS[0]),
    on_volume(WORKS[1]),
    on_volume(WORKS[2]),
    on_volume(WORKS[3]),
    on_volume(WORKS[4]),
];

/// Where more is better.
const fn throughput(
    title: &'static str,
    work: &'static str,
    subject: &'static str,
    times: f64,
    base: &'static str,
) -> Budget {
    budget(title, work, subject, Limit::AtLeast(times, work, base), "")
}

/// The hyperv wall beside virtiofsd.
const fn on_volume(work: &'static str) -> Budget {
    budget(work, work, "hako hyperv", Limit::Times(1.0, work, VIRTIOFSD), "hyperv wall")
}

const fn budget(
    title: &'static str,
    work: &'static str,
    subject: &'static str,
    limit: Limit,
    remark: &'static str,
) -> Budget {
    Budget { title, work, subject, limit, remark }
}

/// Judges every budget.
pub fn judge(rows: &[Row]) -> Vec<Verdict> {
    BUDGETS.iter().map(|budget| verdict(budget, rows)).collect()
}

fn verdict(budget: &Budget, rows: &[Row]) -> Verdict {
    let own = figure(rows, budget.work, budget.subject);
    let ratio = |work, subject| own.zip(figure(rows, work, subject)).map(|(own, other)| own / other);
    let (words, measured, limit) = match budget.limit {
        Limit::Mib(limit) => (format!("<= {limit} MiB"), own, limit),
        Limit::Times(limit, work, subject) => (format!("<= {limit} x {subject}"), ratio(work, subject), limit),
        Limit::AtLeast(limit, work, subject) => (format!(">= {limit} x {subject}"), ratio(work, subject), limit),
        Limit::More(limit, subject) => {
            let other = figure(rows, budget.work, subject);
            (format!("<= {limit} ms more than {subject}"), own.zip(other).map(|(own, other)| own - other), limit)
        }
    };
    let least = matches!(budget.limit, Limit::AtLeast(..));
    let met = |measured| if least { measured >= limit } else { measured <= limit };
    Verdict { work: budget.title, budget: words, measured, met: measured.map(met), remark: budget.remark }
}

/// The median of a row, if there is one.
pub fn figure(rows: &[Row], work: &str, subject: &str) -> Option<f64> {
    rows.iter().find(|row| row.work == work && row.subject == subject).and_then(Row::median)
}

#[cfg(test)]
mod tests {
    use super::{Row, START, THROUGHPUT, VETH, Verdict, judge};

    fn verdict(rows: &[Row], work: &str) -> (Option<f64>, Option<bool>) {
        let found: Option<Verdict> = judge(rows).into_iter().find(|verdict| verdict.work == work);
        found.map(|verdict| (verdict.measured, verdict.met)).unwrap()
    }

    #[test]
    fn ratios_are_judged() {
        let rows = [Row::of("run", "runc", "ms", &[40.0]), Row::of("run", "hako process", "ms", &[30.0])];
        let verdicts = judge(&rows);
        assert_eq!((verdicts[0].measured, verdicts[0].met), (Some(0.75), Some(true)));
        assert_eq!(verdicts[1].met, None);
    }

    #[test]
    fn what_is_better_when_it_is_more() {
        let work = "throughput host to container, process wall";
        let bare = Row::of(THROUGHPUT[0], VETH, "MB/s", &[1000.0]);
        for (own, met) in [(960.0, true), (940.0, false)] {
            let rows = [bare.clone(), Row::of(THROUGHPUT[0], "hako process", "MB/s", &[own])];
            assert_eq!(verdict(&rows, work), (Some(own / 1000.0), Some(met)));
        }
        assert_eq!(verdict(&[bare], work), (None, None));
    }

    #[test]
    fn differences_are_judged() {
        let work = "bridge network added, process wall";
        for (with, met) in [(60.0, true), (61.0, false)] {
            let none = Row::of(START, "hako process, none", "ms", &[40.0]);
            let rows = [none, Row::of(START, "hako process, bridge", "ms", &[with])];
            assert_eq!(verdict(&rows, work), (Some(with - 40.0), Some(met)));
        }
    }
}
