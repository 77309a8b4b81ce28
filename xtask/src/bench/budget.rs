//! The budgets of the design, judged on the rows of one run.

use super::boot::ALONE;
use super::load::LEAST;
use super::measure::Row;

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

const COLD: &str = "booted cold: templates are a later issue";

const BUDGETS: [Budget; 11] = [
    budget("run of true, process wall", "run", "hako process", Limit::Times(1.0, "run", "runc"), ""),
    budget("run of true, hyperv wall (template, TCG)", "run", "hako hyperv", Limit::Times(1.0, "run", "docker"), COLD),
    budget("run of true, hyperv wall, cold", "run", "hako hyperv", Limit::Times(1.3, "run", ALONE), ""),
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
        "hako hyperv, virtual machine, anonymous",
        Limit::Mib(40.0),
        COLD,
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
];

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
    let (words, measured, limit) = match budget.limit {
        Limit::Mib(limit) => (format!("<= {limit} MiB"), own, limit),
        Limit::Times(limit, work, subject) => {
            let other = figure(rows, work, subject);
            (format!("<= {limit} x {subject}"), own.zip(other).map(|(own, other)| own / other), limit)
        }
    };
    Verdict {
        work: budget.title,
        budget: words,
        measured,
        met: measured.map(|measured| measured <= limit),
        remark: budget.remark,
    }
}

/// The median of a row, if there is one.
pub fn figure(rows: &[Row], work: &str, subject: &str) -> Option<f64> {
    rows.iter().find(|row| row.work == work && row.subject == subject).and_then(Row::median)
}

#[cfg(test)]
mod tests {
    use super::{Row, judge};

    #[test]
    fn ratios_are_judged() {
        let rows = [Row::of("run", "runc", "ms", &[40.0]), Row::of("run", "hako process", "ms", &[30.0])];
        let verdicts = judge(&rows);
        assert_eq!((verdicts[0].measured, verdicts[0].met), (Some(0.75), Some(true)));
        assert_eq!(verdicts[1].met, None);
    }
}
