//! Points in time, as Docker's client reads and shows them.

use crate::error::{Error, Result};
use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone, Utc};

/// `2026-11-23 08:50:08 +0000 UTC`, as Go prints a time.
pub(crate) fn local_stamp(seconds: i64) -> String {
    let Some(time) = Local.timestamp_opt(seconds, 0).single() else { return seconds.to_string() };
    format!("{} {}", time.format("%Y-%m-%d %H:%M:%S %z"), zone(&time))
}

fn zone(time: &DateTime<Local>) -> String {
    if time.offset().local_minus_utc() == 0 { "UTC".into() } else { time.format("%z").to_string() }
}

/// RFC 3339 with nanoseconds in the local zone, as `events` shows it.
pub(crate) fn local_nanos(nanos: i64) -> String {
    let time = Local.timestamp_nanos(nanos);
    time.format("%Y-%m-%dT%H:%M:%S%.9f").to_string() + &time.to_rfc3339_opts(SecondsFormat::Secs, true)[19..]
}

/// Seconds from `then` (Unix time) to now.
pub(crate) fn since_now(then: i64) -> i64 {
    Utc::now().timestamp() - then
}

/// `--since` and `--until` as the engine wants them: Unix time with nanoseconds.
/// Takes Docker's forms: a number, a span before now (`10m`, `1h30m`), RFC 3339
/// and its shortened forms in the local zone.
pub(crate) fn timestamp(text: &str) -> Result<String> {
    if let Some(span) = go_duration(text) {
        return Ok(unix(&(Utc::now() - span)));
    }
    if text.parse::<f64>().is_ok() {
        return Ok(text.to_owned());
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(unix(&time.to_utc()));
    }
    let zulu = text.strip_suffix('Z');
    let bare = zulu.unwrap_or(text);
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(bare, form).ok())
        .or_else(|| NaiveDateTime::parse_from_str(&format!("{bare}:00"), "%Y-%m-%dT%H:%M").ok())
        .or_else(|| NaiveDate::parse_from_str(bare, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
        .ok_or_else(|| {
            Error::msg(format!("invalid time {text:?}: use a timestamp, 2013-01-02T13:23:37Z or a span such as 42m"))
        })?;
    let time = match zulu {
        Some(_) => Some(naive.and_utc()),
        None => Local.from_local_datetime(&naive).earliest().map(|time| time.to_utc()),
    };
    time.map(|time| unix(&time)).ok_or_else(|| Error::msg(format!("invalid time {text:?}")))
}

fn unix(time: &DateTime<Utc>) -> String {
    format!("{}.{:09}", time.timestamp(), time.timestamp_subsec_nanos())
}

/// Go's durations: `1h30m`, `1.5s`, `100ms`.
fn go_duration(text: &str) -> Option<chrono::Duration> {
    let (sign, mut rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let mut nanos = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, scale) =
            [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("h", 3.6e12), ("m", 6e10), ("s", 1e9)]
                .into_iter()
                .find(|(unit, _)| rest.starts_with(unit))?;
        nanos += value * scale;
        rest = &rest[unit.len()..];
    }
    #[allow(clippy::cast_possible_truncation)]
    Some(chrono::Duration::nanoseconds((sign * nanos) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_forms() {
        let read = |text| timestamp(text).unwrap_or_else(|err| err.to_string());
        assert_eq!(read("1700000000"), "1700000000");
        assert_eq!(read("1700000000.5"), "1700000000.5");
        assert_eq!(read("2023-11-14T22:13:20Z"), "1700000000.000000000");
        assert_eq!(read("2023-11-14T22:13:20.25+00:00"), "1700000000.250000000");
        assert!(read("yesterday").contains("invalid time"));
        assert!(read("10m").parse::<f64>().is_ok());
    }

    #[test]
    fn spans() {
        assert_eq!(go_duration("1h30m"), Some(chrono::Duration::minutes(90)));
        assert_eq!(go_duration("100ms"), Some(chrono::Duration::milliseconds(100)));
        assert_eq!(go_duration("10"), None);
        assert_eq!(go_duration(""), None);
    }
}
