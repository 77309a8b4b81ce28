//! `changes` of a commit: Dockerfile instructions that alter the configuration.
//! Those that would run something are refused.

use super::expand::{expand, words};
use hako_api::{
    signal,
    types::{ContainerConfig, HealthConfig},
};
use hako_model::{Error, Result};
use serde_json::{Value, json};

/// Applies all instructions in order.
///
/// # Errors
/// Docker's words for what is wrong with one.
pub(super) fn apply(config: &mut ContainerConfig, lines: &[&str]) -> Result<()> {
    let mut cmd_was_set = false;
    for line in logical_lines(&lines.join("\n")) {
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
        let (word, rest) = (word.to_ascii_lowercase(), rest.trim());
        match word.as_str() {
            "cmd" => {
                config.cmd = Some(command(config, rest));
                cmd_was_set = true;
            }
            "entrypoint" => {
                config.entrypoint = (!rest.is_empty()).then(|| command(config, rest));
                if !cmd_was_set {
                    config.cmd = None;
                }
            }
            "env" => env(config, rest)?,
            "label" => {
                for (key, value) in pairs("LABEL", rest, config)? {
                    config.labels.insert(key, value);
                }
            }
            "expose" => expose(config, rest)?,
            "user" => config.user = one("USER", rest, config)?,
            "workdir" => workdir(config, rest)?,
            "volume" => volume(config, rest)?,
            "stopsignal" => {
                let text = one("STOPSIGNAL", rest, config)?;
                signal::parse(&text)?;
                config.stop_signal = text;
            }
            "onbuild" => onbuild(config, rest)?,
            "healthcheck" => config.healthcheck = Some(healthcheck(rest)?),
            other => return Err(Error::invalid(format!("{other} is not a valid change command"))),
        }
    }
    Ok(())
}

/// Lines without comments and empty ones, continued ones joined.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(begun) => open.push_str(begun),
            None => lines.push(std::mem::take(&mut open) + line),
        }
    }
    if !open.is_empty() {
        lines.push(open);
    }
    lines
}

/// A list of strings in JSON, if it is one.
fn list(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

/// The exec form as it is, anything else for the shell.
fn command(config: &ContainerConfig, text: &str) -> Vec<String> {
    if let Some(words) = list(text) {
        return words;
    }
    let shell = config.shell.clone().filter(|shell| !shell.is_empty());
    let mut words = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
    words.push(text.to_owned());
    words
}

fn variables(config: &ContainerConfig) -> &[String] {
    config.env.as_deref().unwrap_or_default()
}

fn at_least_one(instruction: &str) -> Error {
    Error::invalid(format!("{instruction} requires at least one argument"))
}

/// The only argument: the whole line.
fn one(instruction: &str, text: &str, config: &ContainerConfig) -> Result<String> {
    if text.is_empty() {
        return Err(Error::invalid(format!("{instruction} requires exactly one argument")));
    }
    expand(text, variables(config))
}

/// `key=value …`, or the older `key value` with one pair on the line.
fn pairs(instruction: &str, text: &str, config: &ContainerConfig) -> Result<Vec<(String, String)>> {
    let env = variables(config);
    let found = words(text);
    let first = found.first().ok_or_else(|| at_least_one(instruction))?;
    if !first.contains('=') {
        let (key, value) = text
            .split_once([' ', '\t'])
            .ok_or_else(|| Error::invalid(format!("{instruction} must have two arguments")))?;
        return Ok(vec![(expand(key, env)?, expand(value.trim(), env)?)]);
    }
    let pair = |word: &String| {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            Error::invalid(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))
        })?;
        if key.is_empty() {
            return Err(Error::invalid(format!("{instruction} names can not be blank")));
        }
        Ok((expand(key, env)?, expand(value, env)?))
    };
    found.iter().map(pair).collect()
}

fn env(config: &mut ContainerConfig, text: &str) -> Result<()> {
    for (key, value) in pairs("ENV", text, config)? {
        let list = config.env.get_or_insert_default();
        let entry = format!("{key}={value}");
        match list.iter_mut().find(|old| old.split('=').next() == Some(&key)) {
            Some(old) => *old = entry,
            None => list.push(entry),
        }
    }
    Ok(())
}

fn expose(config: &mut ContainerConfig, text: &str) -> Result<()> {
    let mut ports = Vec::new();
    for word in words(text) {
        for spec in expand(&word, variables(config))?.split_whitespace() {
            ports.extend(port_range(spec)?);
        }
    }
    if ports.is_empty() {
        return Err(at_least_one("EXPOSE"));
    }
    let exposed = config.exposed_ports.get_or_insert_default();
    exposed.extend(ports.into_iter().map(|port| (port, json!({}))));
    Ok(())
}

/// `[host:]port[-port][/protocol]`.
fn port_range(spec: &str) -> Result<Vec<String>> {
    let (ports, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::invalid(format!("invalid proto: {protocol}")));
    }
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (from, to) = ports.split_once('-').unwrap_or((ports, ports));
    let invalid = || Error::invalid(format!("invalid containerPort: {ports}"));
    let (from, to): (u16, u16) = (from.parse().map_err(|_| invalid())?, to.parse().map_err(|_| invalid())?);
    if from > to {
        return Err(invalid());
    }
    Ok((from..=to).map(|port| format!("{port}/{protocol}")).collect())
}

fn workdir(config: &mut ContainerConfig, text: &str) -> Result<()> {
    let wanted = one("WORKDIR", text, config)?;
    if wanted.is_empty() {
        return Err(Error::invalid("cannot normalize nothing"));
    }
    let whole = if wanted.starts_with('/') { wanted } else { format!("{}/{wanted}", config.working_dir) };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    config.working_dir = format!("/{}", parts.join("/"));
    Ok(())
}

fn volume(config: &mut ContainerConfig, text: &str) -> Result<()> {
    let env = variables(config);
    let paths: Vec<String> = match list(text) {
        Some(list) => list.iter().map(|path| expand(path, env)).collect::<Result<_>>()?,
        None => words(text).iter().map(|path| expand(path, env)).collect::<Result<_>>()?,
    };
    if paths.is_empty() {
        return Err(at_least_one("VOLUME"));
    }
    for path in paths {
        let path = path.trim();
        if path.is_empty() {
            return Err(Error::invalid("VOLUME specified can not be an empty string"));
        }
        config.volumes.get_or_insert_default().insert(path.to_owned(), Value::Object(serde_json::Map::new()));
    }
    Ok(())
}

fn onbuild(config: &mut ContainerConfig, text: &str) -> Result<()> {
    let trigger = text.split([' ', '\t']).next().unwrap_or_default().to_ascii_uppercase();
    match trigger.as_str() {
        "" => Err(at_least_one("ONBUILD")),
        "ONBUILD" => Err(Error::invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        "MAINTAINER" | "FROM" => Err(Error::invalid(format!("{trigger} isn't allowed as an ONBUILD trigger"))),
        _ => {
            config.on_build.get_or_insert_default().push(text.to_owned());
            Ok(())
        }
    }
}

fn healthcheck(text: &str) -> Result<HealthConfig> {
    let mut check = HealthConfig::default();
    let mut rest = text;
    let mut flagged = false;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once([' ', '\t']).unwrap_or((flag, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let time = match name {
            "interval" => &mut check.interval,
            "timeout" => &mut check.timeout,
            "start-period" => &mut check.start_period,
            "start-interval" => &mut check.start_interval,
            "retries" => &mut check.retries,
            other => return Err(Error::invalid(format!("Unknown flag: {other}"))),
        };
        *time = if name == "retries" { retries(value)? } else { duration(name, value)? };
        flagged = true;
        rest = after.trim_start();
    }
    let (kind, command) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let command = command.trim();
    check.test = Some(match kind.to_ascii_uppercase().as_str() {
        "" => return Err(at_least_one("HEALTHCHECK")),
        "NONE" if flagged || !command.is_empty() => {
            return Err(Error::invalid("HEALTHCHECK NONE takes no arguments"));
        }
        "NONE" => vec!["NONE".to_owned()],
        "CMD" if command.is_empty() => return Err(Error::invalid("Missing command after HEALTHCHECK CMD")),
        "CMD" => match list(command) {
            Some(words) => [vec!["CMD".to_owned()], words].concat(),
            None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        other => {
            return Err(Error::invalid(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)")));
        }
    });
    Ok(check)
}

fn retries(text: &str) -> Result<i64> {
    match text.parse() {
        Ok(number @ 0..) => Ok(number),
        _ => Err(Error::invalid(format!("--retries cannot be negative or no number ({text})"))),
    }
}

/// Go's durations, in nanoseconds: `1m30s`, `1.5h`, `100ms`.
fn duration(flag: &str, text: &str) -> Result<i64> {
    let invalid = || Error::invalid(format!("invalid duration {text:?} of --{flag}"));
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |n| digits + n);
        total += number
            * match &rest[digits..unit_end] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(invalid()),
            };
        rest = &rest[unit_end..];
    }
    // Less than a millisecond is refused, as in Docker.
    let (least, most) = (1e6, 9e18);
    match total {
        0.0 if !text.is_empty() => Ok(0),
        total if total >= least && total < most => Ok(total as i64),
        _ => Err(Error::invalid(format!("Interval {text:?} cannot be less than 1ms"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(lines: &[&str]) -> Result<ContainerConfig> {
        let mut config = ContainerConfig {
            env: Some(vec!["PATH=/bin".into(), "A=1".into()]),
            cmd: Some(vec!["old".into()]),
            working_dir: "/w".into(),
            ..ContainerConfig::default()
        };
        apply(&mut config, lines).map(|()| config)
    }

    fn strings(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn commands() {
        assert_eq!(applied(&["CMD [\"a\", \"b c\"]"]).unwrap().cmd, strings(&["a", "b c"]));
        assert_eq!(applied(&["cmd echo $HOME"]).unwrap().cmd, strings(&["/bin/sh", "-c", "echo $HOME"]));
        let config = applied(&["ENTRYPOINT [\"/e\"]"]).unwrap();
        assert_eq!((config.entrypoint, config.cmd), (strings(&["/e"]), None));
        let config = applied(&["CMD x", "ENTRYPOINT [\"/e\"]"]).unwrap();
        assert_eq!(config.cmd, strings(&["/bin/sh", "-c", "x"]));
    }

    #[test]
    fn variables_and_labels() {
        let config = applied(&["ENV A=2 B=\"x y\" C=$A", "LABEL a.b=$B 'c'=d", "env D hello there"]).unwrap();
        assert_eq!(config.env, strings(&["PATH=/bin", "A=2", "B=x y", "C=1", "D=hello there"]));
        assert_eq!(config.labels.get("a.b").map(String::as_str), Some("x y"));
        assert_eq!(config.labels.get("c").map(String::as_str), Some("d"));
        assert!(applied(&["ENV"]).is_err() && applied(&["ENV a"]).is_err() && applied(&["ENV =x"]).is_err());
        let config = applied(&["# a comment\n\nENV X=1 \\\n  Y=2"]).unwrap();
        assert_eq!(config.env.unwrap()[2..], ["X=1", "Y=2"]);
    }

    #[test]
    fn the_others() {
        let config = applied(&[
            "EXPOSE 80 8000-8002/udp",
            "USER u:g",
            "WORKDIR sub/../x",
            "VOLUME /v [\"/w\"]",
            "VOLUME [\"/a b\"]",
            "STOPSIGNAL SIGUSR1",
            "ONBUILD RUN make",
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl x",
        ])
        .unwrap();
        let ports: Vec<String> = config.exposed_ports.unwrap().into_keys().collect();
        assert_eq!(ports, ["80/tcp", "8000/udp", "8001/udp", "8002/udp"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("u:g", "/w/x"));
        assert!(config.volumes.unwrap().contains_key("/a b"));
        assert_eq!(config.stop_signal, "SIGUSR1");
        assert_eq!(config.on_build, strings(&["RUN make"]));
        let check = config.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
        assert_eq!(check.test, strings(&["CMD-SHELL", "curl x"]));
    }

    #[test]
    fn what_is_refused() {
        let message = |line: &str| applied(&[line]).unwrap_err().message;
        assert_eq!(message("RUN rm -rf /"), "run is not a valid change command");
        assert_eq!(message("USER"), "USER requires exactly one argument");
        assert!(message("EXPOSE x").contains("invalid containerPort: x"));
        assert!(message("ONBUILD FROM x").contains("isn't allowed as an ONBUILD trigger"));
        assert!(message("HEALTHCHECK --interval=5 CMD x").contains("invalid duration"));
        assert!(applied(&["STOPSIGNAL NOSUCH"]).is_err());
    }
}
