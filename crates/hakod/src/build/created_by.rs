//! What stands in the history of an image for a step: Docker's comments.

use hako_api::{time, types::HealthConfig};
use hako_dockerfile::{Instruction, Result, config};

/// `#(nop)` behind the shell, as one word or two: Docker has it both ways.
pub fn nop(shell: &[String], text: &str, one_word: bool) -> Vec<String> {
    let mut words = shell.to_vec();
    if one_word {
        words.push(format!("#(nop) {text}"));
    } else {
        words.extend(["#(nop) ".to_owned(), text.to_owned()]);
    }
    words
}

/// The comment of an instruction that alters the configuration alone; `after`
/// is what it has made of it.
///
/// # Errors
/// A word that cannot be expanded.
pub fn comment(
    instruction: &Instruction,
    after: &hako_api::types::ContainerConfig,
    expand: &dyn Fn(&str) -> Result<String>,
) -> Result<String> {
    let pairs = |pairs: &[(String, String)]| -> Result<String> {
        pairs.iter().map(|(key, value)| Ok(format!(" {}={}", expand(key)?, expand(value)?))).collect()
    };
    Ok(match instruction {
        Instruction::Env(list) => format!("ENV{}", pairs(list)?),
        Instruction::Label(list) => format!("LABEL{}", pairs(list)?),
        Instruction::User(_) => format!("USER {}", after.user),
        Instruction::Workdir(_) => format!("WORKDIR {}", after.working_dir),
        Instruction::Volume(paths) => {
            let paths = paths.iter().map(|path| expand(path)).collect::<Result<Vec<_>>>()?;
            format!("VOLUME [{}]", paths.join(" "))
        }
        Instruction::Expose(ports) => {
            let ports = ports.iter().map(|port| expand(port)).collect::<Result<Vec<_>>>()?;
            format!("EXPOSE {}", ports.join(" "))
        }
        Instruction::StopSignal(_) => format!("STOPSIGNAL {}", after.stop_signal),
        Instruction::Healthcheck(_) => format!("HEALTHCHECK {}", health(after.healthcheck.as_ref())),
        Instruction::Shell(_) => format!("SHELL [{}]", config::shell(after).join(" ")),
        Instruction::Onbuild(trigger) => format!("ONBUILD {trigger}"),
        Instruction::Entrypoint(_) => format!("ENTRYPOINT {}", quoted(after.entrypoint.as_deref())),
        Instruction::Cmd(_) => format!("CMD {}", quoted(after.cmd.as_deref())),
        Instruction::Maintainer(name) => format!("MAINTAINER {name}"),
        Instruction::Arg(list) => {
            let word = |(name, value): &(String, Option<String>)| {
                let value = value.as_deref().map(expand).transpose()?;
                Ok(value.map_or_else(|| name.clone(), |value| format!("{name}={value}")))
            };
            format!("ARG {}", list.iter().map(word).collect::<Result<Vec<_>>>()?.join(" "))
        }
        Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) => String::new(),
    })
}

/// Go's `%q` of a list.
fn quoted(words: Option<&[String]>) -> String {
    let words: Vec<String> = words.unwrap_or_default().iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

/// Go's `%q` of a pointer to a health check.
fn health(check: Option<&HealthConfig>) -> String {
    let check = check.cloned().unwrap_or_default();
    let times = [check.interval, check.timeout, check.start_period, check.start_interval].map(duration);
    let retries = match u32::try_from(check.retries) {
        Ok(n @ (0..=31 | 127)) => format!("'\\x{n:02x}'"),
        Ok(n) => char::from_u32(n).map_or_else(|| n.to_string(), |char| format!("'{char}'")),
        Err(_) => check.retries.to_string(),
    };
    format!("&{{{} {} {retries}}}", quoted(check.test.as_deref()), times.map(|time| format!("{time:?}")).join(" "))
}

fn duration(nanos: i64) -> String {
    time::go_duration(std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_docker_writes_them() {
        let shell = ["/bin/sh".to_owned(), "-c".to_owned()];
        assert_eq!(nop(&shell, "ENV A=b", false).join(" "), "/bin/sh -c #(nop)  ENV A=b");
        assert_eq!(nop(&shell, "WORKDIR /x", true).join(" "), "/bin/sh -c #(nop) WORKDIR /x");
        let check = HealthConfig {
            test: Some(vec!["CMD-SHELL".into(), "true".into()]),
            interval: 90_500_000_000,
            retries: 3,
            ..HealthConfig::default()
        };
        assert_eq!(health(Some(&check)), r#"&{["CMD-SHELL" "true"] "1m30.5s" "0s" "0s" "0s" '\x03'}"#);
        assert_eq!(quoted(Some(&["a\"b".to_owned(), "c".to_owned()])), r#"["a\"b" "c"]"#);
    }
}
