//! The body of `POST /containers/create`: its `Config` half.

use super::container::{ContainerFlags, Health};
use super::env::{labels, variables};
use super::host::host_config;
use super::mount::Mounts;
use super::network::{self, networks};
use super::parse::{expose, pairs, publish};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// Which streams a container is attached to when it starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attach {
    /// stdin.
    pub(crate) stdin: bool,
    /// stdout.
    pub(crate) stdout: bool,
    /// stderr.
    pub(crate) stderr: bool,
}

impl Attach {
    fn of(flags: &ContainerFlags, detached: bool) -> Result<Self> {
        if flags.attach.is_empty() {
            return Ok(Self { stdin: flags.interactive && !detached, stdout: !detached, stderr: !detached });
        }
        let mut attach = Self { stdin: false, stdout: false, stderr: false };
        for stream in &flags.attach {
            match stream.to_ascii_lowercase().as_str() {
                "stdin" => attach.stdin = true,
                "stdout" => attach.stdout = true,
                "stderr" => attach.stderr = true,
                _ => {
                    return Err(Error::msg(format!(
                        "invalid argument {stream:?} for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
                    )));
                }
            }
        }
        Ok(attach)
    }
}

/// The request's body, and what is to be attached.
pub(crate) fn create_body(flags: &ContainerFlags, detached: bool) -> Result<(Value, Attach)> {
    let attach = Attach::of(flags, detached)?;
    let open_stdin = flags.interactive || attach.stdin;
    let mounts = Mounts::parse(&flags.files.volume, &flags.files.tmpfs, &flags.files.mount)?;
    let (image, command) = flags.words.split_first().ok_or_else(|| Error::msg("an image is needed"))?;
    let (exposed, bindings) = ports(flags)?;
    let mut body = json!({
        "Hostname": flags.hostname.as_deref().unwrap_or_default(),
        "Domainname": flags.domainname.as_deref().unwrap_or_default(),
        "User": flags.user.as_deref().unwrap_or_default(),
        "AttachStdin": attach.stdin,
        "AttachStdout": attach.stdout,
        "AttachStderr": attach.stderr,
        "Tty": flags.tty,
        "OpenStdin": open_stdin,
        "StdinOnce": open_stdin && attach.stdin,
        "Env": variables(&flags.env_file, &flags.env)?,
        "Cmd": if command.is_empty() { Value::Null } else { command.into() },
        "Image": image,
        "Volumes": mounts.volumes,
        "WorkingDir": flags.workdir.as_deref().unwrap_or_default(),
        "Labels": pairs(&labels(&flags.label_file, &flags.label)?),
    });
    if let Some(entrypoint) = &flags.entrypoint {
        body["Entrypoint"] = json!([entrypoint]);
    }
    if let Some(signal) = &flags.stop_signal {
        body["StopSignal"] = signal.as_str().into();
    }
    if let Some(timeout) = flags.stop_timeout {
        body["StopTimeout"] = timeout.into();
    }
    if !exposed.is_empty() {
        body["ExposedPorts"] = exposed.into();
    }
    if let Some(check) = health(&flags.health)? {
        body["Healthcheck"] = check;
    }
    let (mode, endpoints) = networks(&flags.network)?;
    body["HostConfig"] = host_config(flags, mounts, bindings, mode.as_deref())?;
    if let Some(config) = network::config(endpoints) {
        body["NetworkingConfig"] = config;
    }
    Ok((body, attach))
}

/// `Config.Healthcheck`, if anything of it was asked for.
fn health(flags: &Health) -> Result<Option<Value>> {
    let mut check = Map::new();
    let durations = [
        ("Interval", "--health-interval", &flags.health_interval),
        ("Timeout", "--health-timeout", &flags.health_timeout),
        ("StartPeriod", "--health-start-period", &flags.health_start_period),
        ("StartInterval", "--health-start-interval", &flags.health_start_interval),
    ];
    for (key, flag, text) in durations {
        if let Some(text) = text {
            check.insert(key.to_owned(), nanoseconds(flag, text)?.into());
        }
    }
    if let Some(retries) = flags.health_retries {
        check.insert("Retries".to_owned(), retries.into());
    }
    if let Some(command) = &flags.health_cmd {
        check.insert("Test".to_owned(), json!(["CMD-SHELL", command]));
    }
    if flags.no_healthcheck {
        if !check.is_empty() {
            return Err(Error::msg("--no-healthcheck conflicts with --health-* options"));
        }
        check.insert("Test".to_owned(), json!(["NONE"]));
    }
    Ok((!check.is_empty()).then_some(check.into()))
}

fn nanoseconds(flag: &str, text: &str) -> Result<i64> {
    let nanos = hako_api::time::parse_duration(text).and_then(|duration| duration.num_nanoseconds());
    nanos.ok_or_else(|| Error::msg(format!("invalid argument {text:?} for \"{flag}\" flag: invalid duration {text:?}")))
}

/// `Config.ExposedPorts` and `HostConfig.PortBindings`.
fn ports(flags: &ContainerFlags) -> Result<(Map<String, Value>, Map<String, Value>)> {
    let (mut exposed, mut bindings) = (Map::new(), Map::new());
    for text in &flags.network.expose {
        exposed.extend(expose(text)?.into_iter().map(|port| (port, json!({}))));
    }
    for text in &flags.network.publish {
        for (port, binding) in publish(text)? {
            exposed.insert(port.clone(), json!({}));
            if let Some(list) = bindings.entry(port).or_insert_with(|| json!([])).as_array_mut() {
                list.push(binding);
            }
        }
    }
    Ok((exposed, bindings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &[&str]) -> ContainerFlags {
        ContainerFlags { words: words.iter().map(|&w| w.to_owned()).collect(), ..ContainerFlags::default() }
    }

    #[test]
    fn streams_follow_docker() {
        let interactive = ContainerFlags { interactive: true, ..flags(&["img", "cat"]) };
        let (body, attach) = create_body(&interactive, false).unwrap_or_else(|e| panic!("{e}"));
        assert!(attach.stdin && attach.stdout && attach.stderr);
        assert_eq!(body["StdinOnce"], true);
        assert_eq!(body["Cmd"], json!(["cat"]));
        let (body, attach) = create_body(&interactive, true).unwrap_or_else(|e| panic!("{e}"));
        assert!(!attach.stdin && !attach.stdout);
        assert_eq!((&body["OpenStdin"], &body["StdinOnce"]), (&json!(true), &json!(false)));
        let only = ContainerFlags { attach: vec!["stderr".into()], ..flags(&["img"]) };
        let (body, attach) = create_body(&only, false).unwrap_or_else(|e| panic!("{e}"));
        assert!(attach.stderr && !attach.stdout);
        assert_eq!(body["Cmd"], Value::Null);
    }

    #[test]
    fn health_checks() {
        let with =
            |health: Health| create_body(&ContainerFlags { health, ..flags(&["img"]) }, false).map(|(body, _)| body);
        let body = with(Health {
            health_cmd: Some("true".into()),
            health_interval: Some("1m30s".into()),
            ..Health::default()
        });
        let check = body.map(|body| body["Healthcheck"].clone()).unwrap_or_default();
        assert_eq!(check, json!({"Interval": 90_000_000_000_i64, "Test": ["CMD-SHELL", "true"]}));
        let none = with(Health { no_healthcheck: true, ..Health::default() }).unwrap_or_default();
        assert_eq!(none["Healthcheck"]["Test"], json!(["NONE"]));
        assert!(with(Health { no_healthcheck: true, health_retries: Some(1), ..Health::default() }).is_err());
        assert!(with(Health { health_timeout: Some("soon".into()), ..Health::default() }).is_err());
    }

    #[test]
    fn vm_is_hyperv_in_the_api() {
        let vm = ContainerFlags { isolation: Some("vm".into()), ..flags(&["img"]) };
        let body = create_body(&vm, false).map(|(body, _)| body).unwrap_or_default();
        assert_eq!(body["HostConfig"]["Isolation"], "hyperv");
        let bad = ContainerFlags { isolation: Some("jail".into()), ..flags(&["img"]) };
        assert!(create_body(&bad, false).is_err());
    }

    /// What remedies name is a flag, and every option reaches the engine.
    #[test]
    fn options_of_the_machine() {
        use clap::{Args, FromArgMatches};
        let command = ContainerFlags::augment_args(clap::Command::new("run"));
        let mut words = vec!["run".to_owned()];
        for option in hako_platform::OPTIONS {
            let flag = if option == "kernel" { "--kernel".to_owned() } else { format!("--vm-{option}") };
            words.extend([flag, format!("of-{option}")]);
        }
        words.extend(
            ["--vm-kernel-args", "more", "--annotation", "hako.vm.cpus=7", "--annotation", "a=b", "img"]
                .map(str::to_owned),
        );
        let matches = command.try_get_matches_from(words).unwrap_or_else(|err| panic!("{err}"));
        let flags = ContainerFlags::from_arg_matches(&matches).unwrap_or_else(|err| panic!("{err}"));
        let body = create_body(&flags, false).map(|(body, _)| body).unwrap_or_default();
        let expected = json!({
            "a": "b", "hako.vm.memory": "of-memory", "hako.vm.cpus": "of-cpus", "hako.vm.kernel": "of-kernel",
            "hako.vm.kernel-args": "of-kernel-args more", "hako.vm.disk": "of-disk",
            "hako.vm.accelerator": "of-accelerator",
        });
        assert_eq!(body["HostConfig"]["Annotations"], expected);
    }
}
