//! Instructions that alter an image's configuration alone, in a build and in
//! `--change` of `docker commit` and `docker import`.

use crate::{
    Command, Error, Healthcheck, Instruction, Result, expand, expand::Lookup, expand_words, instruction, lines,
    words::at_least_one,
};
use hako_api::{
    signal,
    types::{ContainerConfig, HealthConfig},
};
use serde_json::{Map, Value};

/// What runs a shell form where no `SHELL` says otherwise.
pub const SHELL: &[&str] = &["/bin/sh", "-c"];

/// The shell of `config`.
pub fn shell(config: &ContainerConfig) -> Vec<String> {
    let own = config.shell.clone().filter(|shell| !shell.is_empty());
    own.unwrap_or_else(|| SHELL.iter().map(|word| (*word).to_owned()).collect())
}

/// How a stage's configuration is being made.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Whether this stage has a `CMD`: if not, an `ENTRYPOINT` takes the base's away.
    cmd_was_set: bool,
}

impl Changes {
    /// Applies `instruction` to `config`, its words expanded with `env` and the escape
    /// character. `false`, and nothing done, for those that do more than alter the
    /// configuration: `RUN COPY ADD ARG MAINTAINER`.
    ///
    /// # Errors
    /// Docker's words for what is wrong.
    pub fn apply(
        &mut self,
        config: &mut ContainerConfig,
        instruction: &Instruction,
        env: Lookup<'_>,
        escape: char,
    ) -> Result<bool> {
        let one = |word: &String| expand(word, env, escape);
        match instruction {
            Instruction::Env(pairs) => set_env(config, expand_pairs(pairs, &one)?),
            Instruction::Label(pairs) => config.labels.extend(expand_pairs(pairs, &one)?),
            Instruction::User(user) => config.user = one(user)?,
            Instruction::Workdir(path) => workdir(config, &one(path)?)?,
            Instruction::Volume(paths) => {
                let mut left = MOST;
                let paths = paths.iter().map(|path| spend(one(path)?, &mut left)).collect::<Result<Vec<_>>>()?;
                let volumes = config.volumes.get_or_insert_default();
                volumes.extend(paths.into_iter().map(|path| (path, Value::Object(Map::new()))));
            }
            Instruction::Expose(ports) => expose(config, ports, env, escape)?,
            Instruction::StopSignal(signal) => {
                let signal = one(signal)?;
                signal::parse(&signal).map_err(|err| Error::value(err.message))?;
                config.stop_signal = signal;
            }
            Instruction::Healthcheck(check) => config.healthcheck = Some(healthcheck(check)),
            Instruction::Shell(words) => config.shell = Some(words.clone()),
            Instruction::Onbuild(trigger) => config.on_build.get_or_insert_default().push(trigger.clone()),
            Instruction::Entrypoint(command) => {
                config.entrypoint = (!command.is_empty()).then(|| command.argv(&shell(config)));
                if !self.cmd_was_set {
                    config.cmd = None;
                }
            }
            Instruction::Cmd(command) => {
                config.cmd = Some(command.argv(&shell(config)));
                self.cmd_was_set = true;
            }
            Instruction::Run(_)
            | Instruction::Copy(_)
            | Instruction::Add(_)
            | Instruction::Arg(_)
            | Instruction::Maintainer(_) => return Ok(false),
        }
        Ok(true)
    }
}

/// Applies the lines of `--change`; variables are those of the configuration.
///
/// # Errors
/// Docker's words; an instruction that would do more than alter the configuration.
pub fn apply_changes(config: &mut ContainerConfig, changes: &[&str]) -> Result<()> {
    let text = changes.join("\n");
    // No change, or comments alone, is none: not a file without instructions.
    let empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(empty) {
        return Ok(());
    }
    let bare = |err: Error| Error::value(err.text());
    let (directives, lines) = lines::read(text.as_bytes()).map_err(bare)?;
    let mut done = Changes::default();
    for line in lines {
        let word = instruction::keyword(&line.text).0.to_lowercase();
        if !VALID.contains(&word.as_str()) {
            return Err(Error::value(format!("{word} is not a valid change command")));
        }
        if let instruction::Parsed::Step(found) = instruction::parse(line, directives.escape).map_err(bare)? {
            let env = config.env.clone().unwrap_or_default();
            done.apply(config, &found, &|name| lookup(&env, name), directives.escape)?;
        }
    }
    Ok(())
}

const VALID: &[&str] = &[
    "cmd",
    "entrypoint",
    "healthcheck",
    "env",
    "expose",
    "label",
    "onbuild",
    "stopsignal",
    "user",
    "volume",
    "workdir",
];

/// The latest value of `name` in `NAME=value`s.
pub fn lookup(env: &[String], name: &str) -> Option<String> {
    let mut entries = env.iter().rev().filter_map(|entry| entry.split_once('='));
    entries.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

fn expand_pairs(pairs: &[(String, String)], one: &dyn Fn(&String) -> Result<String>) -> Result<Vec<(String, String)>> {
    let mut left = MOST;
    pairs.iter().map(|(key, value)| Ok((spend(one(key)?, &mut left)?, spend(one(value)?, &mut left)?))).collect()
}

/// The most bytes that the words of an instruction may have together: a
/// configuration is not longer.
const MOST: usize = 8 << 20;

fn spend(text: String, left: &mut usize) -> Result<String> {
    *left = left
        .checked_sub(text.len())
        .ok_or_else(|| Error::value(format!("an instruction whose words have more than {MOST} bytes")))?;
    Ok(text)
}

fn set_env(config: &mut ContainerConfig, pairs: Vec<(String, String)>) {
    let list = config.env.get_or_insert_default();
    for (key, value) in pairs {
        let entry = format!("{key}={value}");
        match list.iter_mut().find(|old| old.split('=').next() == Some(&key)) {
            Some(old) => *old = entry,
            None => list.push(entry),
        }
    }
}

/// The most ports that one instruction may expose: all of two protocols.
const MAX_PORTS: usize = 131_072;

/// The only instruction of which a variable may give several words.
fn expose(config: &mut ContainerConfig, ports: &[String], env: Lookup<'_>, escape: char) -> Result<()> {
    let mut found = Vec::new();
    for word in ports {
        for spec in expand_words(word, env, escape)? {
            found.extend(port_range(&spec)?);
            if found.len() > MAX_PORTS {
                return Err(Error::value(format!("EXPOSE of more than {MAX_PORTS} ports")));
            }
        }
    }
    if found.is_empty() {
        return Err(at_least_one("EXPOSE"));
    }
    let exposed = config.exposed_ports.get_or_insert_default();
    exposed.extend(found.into_iter().map(|port| (port, Value::Object(Map::new()))));
    Ok(())
}

/// `[host:]port[-port][/protocol]`.
fn port_range(spec: &str) -> Result<Vec<String>> {
    let (ports, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::value(format!("invalid proto: {protocol}")));
    }
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (from, to) = ports.split_once('-').unwrap_or((ports, ports));
    let invalid = || Error::value(format!("invalid containerPort: {ports}"));
    let (from, to): (u16, u16) = (from.parse().map_err(|_| invalid())?, to.parse().map_err(|_| invalid())?);
    if from > to {
        return Err(invalid());
    }
    Ok((from..=to).map(|port| format!("{port}/{protocol}")).collect())
}

fn workdir(config: &mut ContainerConfig, wanted: &str) -> Result<()> {
    if wanted.is_empty() {
        return Err(Error::value("cannot normalize nothing"));
    }
    config.working_dir = join(&config.working_dir, wanted);
    Ok(())
}

/// `path`, below `folder` if it is relative, without `.` and `..`.
pub fn join(folder: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") };
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
    format!("/{}", parts.join("/"))
}

fn healthcheck(check: &Healthcheck) -> HealthConfig {
    let words = |kind: &str, rest: &[String]| [std::slice::from_ref(&kind.to_owned()), rest].concat();
    let test = match &check.command {
        None => words("NONE", &[]),
        Some(Command::Shell(text)) => words("CMD-SHELL", std::slice::from_ref(text)),
        Some(Command::Exec(argv)) => words("CMD", argv),
    };
    HealthConfig {
        test: Some(test),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    }
}

#[cfg(test)]
mod tests;
