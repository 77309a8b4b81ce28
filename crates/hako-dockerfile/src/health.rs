//! `HEALTHCHECK`'s flags and Go's durations.

use crate::{Error, Result, flags::Flags, types::Healthcheck};

pub(crate) const FLAGS: &[&str] = &["interval", "timeout", "start-period", "start-interval", "retries"];

/// A check's times and retries; the command is the caller's.
pub(crate) fn times(flags: &Flags) -> Result<Healthcheck> {
    let time = |name| flags.one(name)?.map_or(Ok(0), |value| interval(name, &value));
    Ok(Healthcheck {
        command: None,
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries: flags.one("retries")?.map_or(Ok(0), |value| retries(&value))?,
    })
}

fn retries(text: &str) -> Result<i64> {
    match text.parse::<i32>() {
        Ok(number @ 0..) => Ok(number.into()),
        Ok(number) => Err(Error::value(format!("--retries cannot be negative ({number})"))),
        Err(_) => Err(Error::value(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
    }
}

/// A duration in nanoseconds: 0, or a millisecond and more.
fn interval(name: &str, text: &str) -> Result<i64> {
    match duration(text)? {
        0 => Ok(0),
        time if time < 1_000_000 => Err(Error::value(format!("Interval {name:?} cannot be less than 1ms"))),
        time => Ok(time),
    }
}

/// Go's `time.ParseDuration`, in nanoseconds: `1m30s`, `1.5h`, `-100ms`.
fn duration(text: &str) -> Result<i64> {
    let invalid = || Error::value(format!("time: invalid duration {text:?}"));
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let missing = || Error::value(format!("time: missing unit in duration {text:?}"));
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.').ok_or_else(missing)?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        let unit = rest[digits..].find(|char: char| char.is_ascii_digit() || char == '.');
        let end = unit.map_or(rest.len(), |length| digits + length);
        total += number * unit_of(&rest[digits..end]).ok_or_else(invalid)?;
        rest = &rest[end..];
    }
    // i64::MAX nanoseconds, a little less so that the float's rounding stays below.
    if total > 9.22e18 { Err(invalid()) } else { Ok((sign * total) as i64) }
}

fn unit_of(name: &str) -> Option<f64> {
    Some(match name {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", 0),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("100ms", 100_000_000),
            ("5us", 5_000),
            ("-1s", -1_000_000_000),
        ] {
            assert_eq!(duration(text).unwrap(), expected, "{text}");
        }
        for text in ["", "5", "s", "1x", "1.2.3s", "-", "1e9s", "999999999999h", "ä"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(interval("interval", "1us").unwrap_err().text(), "Interval \"interval\" cannot be less than 1ms");
        assert!(interval("interval", "-1s").is_err());
    }
}
