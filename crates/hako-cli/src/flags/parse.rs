//! The small languages inside flag values.

use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// A size with Docker's units (powers of 1024): `512m`, `1.5g`, `1024`.
pub(crate) fn size(text: &str) -> Result<i64> {
    let invalid = || Error::msg(format!("invalid size: '{text}'"));
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(invalid()),
    };
    let scale = 1i64 << shift;
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(scale).ok_or_else(invalid);
    }
    let value: f64 = number.parse().map_err(|_| invalid())?;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    Ok((value * scale as f64) as i64)
}

/// `--memory-swap`: a size, or -1 for no limit.
pub(crate) fn swap(text: &str) -> Result<i64> {
    if text == "-1" { Ok(-1) } else { size(text) }
}

/// `--cpus` in billionths of a CPU.
pub(crate) fn nano_cpus(text: &str) -> Result<i64> {
    let invalid = || {
        Error::msg(format!(
            "invalid argument {text:?} for \"--cpus\" flag: failed to parse {text} as a rational number"
        ))
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 9 {
        return Err(Error::msg("value is too precise"));
    }
    let digits = format!("{whole}{part:0<9}");
    digits.parse::<i64>().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit())).ok_or_else(invalid)
}

/// `--ulimit NAME=SOFT[:HARD]`.
pub(crate) fn ulimit(text: &str) -> Result<Value> {
    let invalid = || Error::msg(format!("invalid argument {text:?} for \"--ulimit\" flag: use NAME=SOFT[:HARD]"));
    let (name, limits) = text.split_once('=').ok_or_else(invalid)?;
    if !hako_model::ULIMITS.contains(&name) {
        return Err(Error::msg(format!(
            "invalid argument {text:?} for \"--ulimit\" flag: invalid ulimit type: {name}"
        )));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard): (i64, i64) = (soft.parse().map_err(|_| invalid())?, hard.parse().map_err(|_| invalid())?);
    if hard != -1 && (soft > hard || soft == -1) {
        return Err(Error::msg(format!(
            "invalid argument {text:?} for \"--ulimit\" flag: ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok(json!({"Name": name, "Soft": soft, "Hard": hard}))
}

/// `--device HOST[:PATH[:RIGHTS]]`.
pub(crate) fn device(text: &str) -> Result<Value> {
    let rights = |text: &str| !text.is_empty() && text.bytes().all(|b| b"rwm".contains(&b));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, path, allowed) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, second] if rights(second) => (host, host, second),
        [host, path] => (host, path, "rwm"),
        [host, path, allowed] if rights(allowed) => (host, path, allowed),
        _ => return Err(Error::msg(format!("invalid device specification: {text}"))),
    };
    Ok(json!({"PathOnHost": host, "PathInContainer": path, "CgroupPermissions": allowed}))
}

/// `--restart NAME[:COUNT]`.
pub(crate) fn restart(text: &str) -> Result<Value> {
    let (name, count) = text.split_once(':').unwrap_or((text, "0"));
    let count: i64 = count
        .parse()
        .map_err(|_| Error::msg("invalid restart policy format: maximum retry count must be an integer"))?;
    Ok(json!({"Name": name, "MaximumRetryCount": count}))
}

/// `KEY=VALUE` pairs; a key alone has the empty value.
pub(crate) fn pairs(items: &[String]) -> Map<String, Value> {
    items
        .iter()
        .map(|item| {
            let (key, value) = item.split_once('=').unwrap_or((item, ""));
            (key.to_owned(), value.into())
        })
        .collect()
}

/// `--filter KEY=VALUE…` as the API's `filters`.
pub(crate) fn filters(items: &[String]) -> Result<Option<String>> {
    let mut map: Map<String, Value> = Map::new();
    for item in items {
        let (key, value) = item.split_once('=').ok_or_else(|| {
            Error::msg(format!("invalid argument {item:?} for \"-f, --filter\" flag: invalid filter '{item}'"))
        })?;
        let values = map.entry(key.trim().to_ascii_lowercase()).or_insert_with(|| json!({}));
        values[value.trim()] = true.into();
    }
    Ok((!map.is_empty()).then(|| Value::Object(map).to_string()))
}

/// A published port: `[[IP:]HOST:]PORT[/PROTO]`, ranges of equal length.
pub(crate) fn publish(text: &str) -> Result<Vec<(String, Value)>> {
    let invalid =
        || Error::msg(format!("invalid publish opts format (should be [[IP:]HOST:]PORT[/PROTO] but got '{text}')"));
    let (spec, proto) = text.split_once('/').unwrap_or((text, "tcp"));
    let (rest, container) = spec.rsplit_once(':').unwrap_or(("", spec));
    let (ip, host) = match rest.rsplit_once(':') {
        Some((ip, host)) => (ip.trim_matches(['[', ']']), host),
        None if rest.starts_with('[') || rest.contains('.') => (rest, ""),
        None => ("", rest),
    };
    let inside = range(container).ok_or_else(invalid)?;
    let outside = if host.is_empty() { None } else { Some(range(host).ok_or_else(invalid)?) };
    if outside.as_ref().is_some_and(|outside| outside.len() != inside.len() && inside.len() != 1) {
        return Err(invalid());
    }
    Ok(inside
        .enumerate()
        .map(|(index, port)| {
            let host = match &outside {
                Some(range) if range.len() > 1 && inside_is_single(container) => host.to_owned(),
                Some(range) => (usize::from(range.start) + index).to_string(),
                None => String::new(),
            };
            (format!("{port}/{proto}"), json!({"HostIp": ip, "HostPort": host}))
        })
        .collect())
}

fn inside_is_single(container: &str) -> bool {
    !container.contains('-')
}

/// An exposed port or range: `PORT[-PORT][/PROTO]`.
pub(crate) fn expose(text: &str) -> Result<Vec<String>> {
    let (ports, proto) = text.split_once('/').unwrap_or((text, "tcp"));
    let ports = range(ports).ok_or_else(|| Error::msg(format!("invalid range format for --expose: {text}")))?;
    Ok(ports.map(|port| format!("{port}/{proto}")).collect())
}

fn range(text: &str) -> Option<std::ops::Range<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < u16::MAX).then(|| first..last + 1)
}

/// Comma-separated fields with Go's csv quoting: `a,"b,c"`.
pub(crate) fn csv(text: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let read = |text| size(text).unwrap_or(-99);
        assert_eq!(read("512m"), 512 << 20);
        assert_eq!(read("1.5g"), 3 << 29);
        assert_eq!(read("64MiB"), 64 << 20);
        assert_eq!(read("4kb"), 4096);
        assert_eq!(read("10b"), 10);
        assert_eq!(read("x"), -99);
        assert_eq!(read("9999999999g"), -99);
        assert_eq!(swap("-1").unwrap_or(0), -1);
    }

    #[test]
    fn cpus() {
        assert_eq!(nano_cpus("1.5").unwrap_or(0), 1_500_000_000);
        assert_eq!(nano_cpus(".5").unwrap_or(0), 500_000_000);
        assert_eq!(nano_cpus("2").unwrap_or(0), 2_000_000_000);
        assert!(nano_cpus("x").is_err());
        assert!(nano_cpus("1.-5").is_err());
    }

    #[test]
    fn ulimits_and_devices() {
        assert_eq!(ulimit("nofile=10:20").unwrap_or_default(), json!({"Name": "nofile", "Soft": 10, "Hard": 20}));
        assert!(ulimit("nofile=30:20").is_err());
        assert!(ulimit("nonsense=1").is_err());
        assert_eq!(device("/dev/a:r").unwrap_or_default()["CgroupPermissions"], "r");
        assert_eq!(device("/dev/a:/dev/b").unwrap_or_default()["PathInContainer"], "/dev/b");
    }

    #[test]
    fn ports() {
        let read = |text| publish(text).unwrap_or_default();
        assert_eq!(read("80"), [("80/tcp".to_owned(), json!({"HostIp": "", "HostPort": ""}))]);
        assert_eq!(
            read("127.0.0.1:8080:80/udp"),
            [("80/udp".to_owned(), json!({"HostIp": "127.0.0.1", "HostPort": "8080"}))]
        );
        assert_eq!(read("[::1]:8080:80")[0].1["HostIp"], "::1");
        assert_eq!(read("90-91:80-81")[1], ("81/tcp".to_owned(), json!({"HostIp": "", "HostPort": "91"})));
        assert!(publish("a:b").is_err());
    }

    #[test]
    fn fields() {
        assert_eq!(csv(r#"type=bind,"src=/a,b",dst=/c"#), ["type=bind", "src=/a,b", "dst=/c"]);
        let both = filters(&["label=a=b".into(), "label=c".into()]).ok().flatten();
        assert_eq!(both.as_deref(), Some(r#"{"label":{"a=b":true,"c":true}}"#));
        assert!(filters(&["bad".into()]).is_err());
    }
}
