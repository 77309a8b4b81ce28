//! Times as Docker writes and reads them.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use hako_model::{Error, Result};

/// What Docker writes for a time that has not come.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 with nanoseconds, UTC.
#[must_use]
pub fn format(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// Now, formatted.
#[must_use]
pub fn now() -> String {
    format(Utc::now())
}

/// Reads RFC 3339.
#[must_use]
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|t| t.with_timezone(&Utc))
}

/// Reads `since` and `until`: seconds since 1970 with up to nine decimals,
/// RFC 3339 (also without a zone), a date, or a Go duration that is counted back from now. Empty
/// text and `0` are `None`.
///
/// # Errors
/// `invalid value …`.
pub fn parse_query(name: &str, text: &str) -> Result<Option<DateTime<Utc>>> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let found = parse_unix(text)
        .or_else(|| parse(text))
        .or_else(|| parse_local(text))
        .or_else(|| parse_duration(text).and_then(|ago| Utc::now().checked_sub_signed(ago)));
    found.map(Some).ok_or_else(|| Error::invalid(format!("invalid value for \"{name}\": {text}")))
}

fn parse_unix(text: &str) -> Option<DateTime<Utc>> {
    let (secs, fraction) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = secs.parse().ok()?;
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    DateTime::from_timestamp(secs, nanos)
}

fn parse_local(text: &str) -> Option<DateTime<Utc>> {
    let date = |t: &str| chrono::NaiveDate::parse_from_str(t, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
    let time = forms.iter().find_map(|f| chrono::NaiveDateTime::parse_from_str(text, f).ok());
    time.or_else(|| date(text.trim_end_matches('Z'))).map(|t| t.and_utc())
}

/// A Go duration such as `1h30m`, `10s` or `1.5s`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        nanos += number
            * match &rest[..end] {
                "h" => 3600e9,
                "m" => 60e9,
                "s" => 1e9,
                "ms" => 1e6,
                "us" | "µs" => 1e3,
                "ns" => 1.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    #[allow(clippy::cast_possible_truncation)] // Saturates, which is what a silly duration deserves.
    Some(Duration::nanoseconds(nanos as i64))
}

/// A duration as Go prints it: `1h2m3s`, `1.5s`, `250ms`, `0s`.
#[must_use]
pub fn go_duration(duration: std::time::Duration) -> String {
    let decimals = |whole: u128, part: u128, digits: usize| {
        let part = format!("{part:0digits$}");
        let part = part.trim_end_matches('0');
        if part.is_empty() { whole.to_string() } else { format!("{whole}.{part}") }
    };
    let nanos = duration.as_nanos();
    match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{nanos}ns"),
        1_000..1_000_000 => return format!("{}µs", decimals(nanos / 1_000, nanos % 1_000, 3)),
        1_000_000..1_000_000_000 => return format!("{}ms", decimals(nanos / 1_000_000, nanos % 1_000_000, 6)),
        _ => {}
    }
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let seconds = format!("{}s", decimals(seconds % 60, rest, 9));
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

/// go-units' `HumanDuration`, the words of the `STATUS` column.
#[must_use]
pub fn human(duration: Duration) -> String {
    let seconds = duration.num_seconds().max(0);
    let minutes = duration.num_minutes().max(0);
    // go-units rounds hours to the nearest.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    let hours = (seconds as f64 / 3600.0).round() as i64;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn human_words() {
        let words = |s| human(Duration::seconds(s));
        assert_eq!(words(0), "Less than a second");
        assert_eq!(words(59), "59 seconds");
        assert_eq!(words(100), "About a minute");
        assert_eq!(words(3600), "About an hour");
        assert_eq!(words(3 * 86400), "3 days");
    }

    #[test]
    fn durations_as_go_prints_them() {
        let text = |nanos| go_duration(std::time::Duration::from_nanos(nanos));
        assert_eq!(text(0), "0s");
        assert_eq!(text(1_500), "1.5µs");
        assert_eq!(text(250_000_000), "250ms");
        assert_eq!(text(1_500_000_000), "1.5s");
        assert_eq!(text(30_000_000_000), "30s");
        assert_eq!(text(90_000_000_000), "1m30s");
        assert_eq!(text(3_600_000_000_000), "1h0m0s");
    }

    #[test]
    fn query_forms() {
        let t = parse_query("since", "1700000000.5").unwrap().unwrap();
        assert_eq!(t.timestamp_subsec_millis(), 500);
        assert!(parse_query("since", "2024-01-02T03:04:05Z").unwrap().is_some());
        assert!(parse_query("since", "10m").unwrap().is_some());
        assert!(parse_query("since", "").unwrap().is_none());
        assert!(parse_query("since", "soon").is_err());
        assert_eq!(parse_duration("1h30m").unwrap().num_minutes(), 90);
    }
}
