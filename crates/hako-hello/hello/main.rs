//! The program of the image `hello`: says what it runs behind.
//! The engine gives `HAKO_ISOLATION` and `HAKO_CREATED_AT` to images with the
//! label `hako.introspect=true`; without them it says what it can see itself.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    // The clock first: the rest is not part of the start.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_nanos() as i128).unwrap_or(0);
    let mut text = String::new();
    match std::env::var("HAKO_ISOLATION") {
        Ok(wall) if !wall.is_empty() => _ = writeln!(text, "Hello from behind the {wall} wall."),
        _ => text.push_str("Hello from a container.\n"),
    }
    if let Ok(release) = std::fs::read_to_string("/proc/sys/kernel/osrelease") {
        _ = writeln!(text, "kernel   {}", release.trim());
    }
    if let Some(root) = root_kind() {
        _ = writeln!(text, "root     {root}");
    }
    if let Some(created) = std::env::var("HAKO_CREATED_AT").ok().as_deref().and_then(epoch_ns) {
        // A guest's clock may be a little behind its host's.
        _ = writeln!(text, "created  {} ago", span((now - created).max(0)));
    }
    if std::io::stdout().write_all(text.as_bytes()).is_err() {
        std::process::exit(1);
    }
}

/// Type and source of the root mount, from its line in mountinfo.
fn root_kind() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/"))?;
    let mut tail = line.split_once(" - ")?.1.split(' ');
    let (kind, source) = (tail.next()?, tail.next().unwrap_or(""));
    if source.is_empty() || source == "none" || source == kind {
        return Some(kind.to_owned());
    }
    Some(format!("{kind} ({source})"))
}

fn span(ns: i128) -> String {
    match ns / 1_000_000 {
        0 => "less than 1 ms".to_owned(),
        ms @ 1..10_000 => format!("{ms} ms"),
        ms => format!("{} s", ms / 1000),
    }
}

/// RFC 3339 with or without a fraction, UTC (`Z`) or an offset, as nanoseconds
/// since 1970.
fn epoch_ns(text: &str) -> Option<i128> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let mut rest = text.get(19..)?;
    let mut fraction = 0i128;
    if let Some(tail) = rest.strip_prefix('.') {
        let digits = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        for place in 0..9 {
            let digit = tail.as_bytes().get(place).filter(|_| place < digits).map_or(0, |b| b - b'0');
            fraction = fraction * 10 + i128::from(digit);
        }
        rest = &tail[digits..];
    }
    let offset = match rest.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let minutes = rest.get(1..3)?.parse::<i64>().ok()? * 60 + rest.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + (minute - offset) * 60 + second;
    Some(i128::from(seconds) * 1_000_000_000 + fraction)
}

/// Days since 1970-01-01 in the Gregorian calendar; the year begins in March,
/// so that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
