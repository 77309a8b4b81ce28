//! What a container takes from its image where the request says nothing.

use crate::images::ImageConfig;
use hako_api::types::{ContainerConfig, HealthConfig};
use hako_model::{Error, Result};

/// Merges as moby does: an entrypoint in the request drops the image's command.
///
/// # Errors
/// `no command specified`.
pub fn merge(config: &mut ContainerConfig, image: &ImageConfig) -> Result<()> {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    if !image.exposed_ports.is_empty() {
        let ports = config.exposed_ports.get_or_insert_default();
        for (port, value) in &image.exposed_ports {
            ports.entry(port.clone()).or_insert_with(|| value.clone());
        }
    }
    merge_env(config, image);
    for (path, value) in &image.volumes {
        config.volumes.get_or_insert_default().entry(path.clone()).or_insert_with(|| value.clone());
    }
    for (key, value) in &image.labels {
        config.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    merge_command(config, image);
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    config.stop_timeout = config.stop_timeout.or(image.stop_timeout);
    merge_healthcheck(config, image);
    let words = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    if words(&config.entrypoint) && words(&config.cmd) {
        return Err(Error::invalid("no command specified"));
    }
    Ok(())
}

/// What the request leaves out of a health check is the image's.
fn merge_healthcheck(config: &mut ContainerConfig, image: &ImageConfig) {
    let Some(theirs) = &image.healthcheck else { return };
    let ours = config.healthcheck.get_or_insert_with(HealthConfig::default);
    if ours.test.as_ref().is_none_or(Vec::is_empty) {
        ours.test = Some(theirs.test.clone());
    }
    for (ours, theirs) in [
        (&mut ours.interval, theirs.interval),
        (&mut ours.timeout, theirs.timeout),
        (&mut ours.start_period, theirs.start_period),
        (&mut ours.start_interval, theirs.start_interval),
        (&mut ours.retries, theirs.retries),
    ] {
        if *ours == 0 {
            *ours = theirs;
        }
    }
}

fn merge_env(config: &mut ContainerConfig, image: &ImageConfig) {
    let env = config.env.get_or_insert_default();
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let missing: Vec<String> =
        image.env.iter().filter(|theirs| !env.iter().any(|ours| name(ours) == name(theirs))).cloned().collect();
    env.extend(missing);
}

fn merge_command(config: &mut ContainerConfig, image: &ImageConfig) {
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
            config.args_escaped = image.args_escaped;
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    // `--entrypoint ""` is one empty word: it clears the image's.
    if config.entrypoint.as_ref().is_some_and(|words| words.len() == 1 && words[0].is_empty()) {
        config.entrypoint = None;
    }
}

/// The program and its arguments.
#[must_use]
pub fn command(config: &ContainerConfig) -> (String, Vec<String>) {
    let words = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten());
    let mut words = words.cloned();
    (words.next().unwrap_or_default(), words.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|w| (*w).to_owned()).collect())
    }

    #[test]
    fn commands() {
        let image = ImageConfig { entrypoint: list(&["/e"]), cmd: list(&["c"]), ..ImageConfig::default() };
        let run = |entrypoint, cmd| {
            let mut config = ContainerConfig { entrypoint, cmd, ..ContainerConfig::default() };
            merge(&mut config, &image).map(|()| command(&config))
        };
        let words = |program: &str, args: &[&str]| (program.to_owned(), list(args).unwrap_or_default());
        assert_eq!(run(None, None).unwrap(), words("/e", &["c"]));
        assert_eq!(run(None, list(&["x", "y"])).unwrap(), words("/e", &["x", "y"]));
        assert_eq!(run(list(&["/f"]), None).unwrap(), words("/f", &[]));
        assert_eq!(run(list(&[""]), list(&["x"])).unwrap(), words("x", &[]));
        assert_eq!(run(list(&[""]), None).unwrap_err().message, "no command specified");
    }

    #[test]
    fn health_checks_are_merged_field_by_field() {
        let theirs = crate::images::Healthcheck {
            test: vec!["CMD".into(), "a".into()],
            interval: 5,
            retries: 7,
            ..Default::default()
        };
        let image = ImageConfig { healthcheck: Some(theirs), cmd: list(&["c"]), ..ImageConfig::default() };
        let merged = |ours: Option<HealthConfig>| {
            let mut config = ContainerConfig { healthcheck: ours, ..ContainerConfig::default() };
            merge(&mut config, &image).unwrap();
            config.healthcheck.unwrap()
        };
        assert_eq!((merged(None).test, merged(None).interval), (list(&["CMD", "a"]), 5));
        let some = merged(Some(HealthConfig { interval: 9, ..HealthConfig::default() }));
        assert_eq!((some.test, some.interval, some.retries), (list(&["CMD", "a"]), 9, 7));
        let none = merged(Some(HealthConfig { test: list(&["NONE"]), ..HealthConfig::default() }));
        assert_eq!(none.test, list(&["NONE"]));
    }

    #[test]
    fn env_of_the_request_wins() {
        let image = ImageConfig { env: vec!["A=1".into(), "B=2".into()], cmd: list(&["c"]), ..ImageConfig::default() };
        let mut config = ContainerConfig { env: list(&["B=3"]), ..ContainerConfig::default() };
        merge(&mut config, &image).unwrap();
        assert_eq!(config.env, list(&["B=3", "A=1"]));
    }
}
