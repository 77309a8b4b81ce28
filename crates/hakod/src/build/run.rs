//! `RUN`: a container of the image so far, behind the wall that was asked for.

use super::{Done, Failure, cache::Asked, lock, mounts, stage::Stage};
use crate::containers::step::StepContainer;
use bytes::Bytes;
use hako_api::types::{ContainerConfig, HealthConfig, HostConfig};
use hako_dockerfile::{Run, config};
use hako_model::{Digest, Error, Result};
use tokio::sync::mpsc;

/// Executes `RUN`.
pub async fn run(stage: &mut Stage<'_>, step: &Run) -> Done<()> {
    if step.security.as_deref().is_some_and(|security| security != "sandbox") {
        return Err(hako_api::unsupported::BUILD_INSECURE.error().into());
    }
    let mut wanted = mounts::read(stage, step).await?;
    let argv = wanted.argv(step, &config::shell(&stage.config));
    if argv.is_empty() {
        return Err(Error::invalid("RUN: no command specified").into());
    }
    let env = stage.config.env.clone().unwrap_or_default();
    let given = stage.scope.environment(&env);
    let mut command = argv.clone();
    if !given.is_empty() {
        // Arguments that the command sees are part of the step; proxies are not.
        let visible = stage.scope.visible(&env);
        let mut words = vec![format!("|{}", visible.len())];
        words.extend(visible);
        words.append(&mut command);
        command = words;
    }
    let mut more = wanted.key.clone();
    more.extend(step.network.iter().map(|network| format!("network={network}")));
    let image = stage.standing().await?;
    let (config, author) = (stage.config.clone(), stage.author.clone());
    let asked = Asked { parent: Some(&image), command, more, config: &config, author: &author, kind: "regular" };
    if stage.cached(&asked).await? {
        return Ok(());
    }
    let mut host = stage.build.options.host.clone();
    match step.network.as_deref() {
        // A Dockerfile does not give what its client has taken away.
        None | Some("default") => {}
        Some(_) if host.network_mode == "none" => {}
        Some(network) => network.clone_into(&mut host.network_mode),
    }
    let container = container_config(&image, &config, argv, given);
    let (wall, platform) = stage.wall(&container, &host).await?;
    wanted.prepare(stage, &mut host, wall).await?;
    execute(stage, &asked, container, host, (wanted, platform)).await
}

/// The configuration of the container: the image's, without its entrypoint and
/// its health check, and with the build's arguments.
fn container_config(
    image: &Digest,
    config: &ContainerConfig,
    argv: Vec<String>,
    given: Vec<String>,
) -> ContainerConfig {
    let mut env = config.env.clone().unwrap_or_default();
    env.extend(given);
    ContainerConfig {
        image: image.to_string(),
        cmd: Some(argv),
        entrypoint: Some(vec![String::new()]),
        env: Some(env),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        attach_stdout: true,
        attach_stderr: true,
        on_build: None,
        // What a step writes there is the image's.
        volumes: None,
        ..config.clone()
    }
}

async fn execute(
    stage: &mut Stage<'_>,
    asked: &Asked<'_>,
    config: ContainerConfig,
    host: HostConfig,
    (wanted, platform): (mounts::Wanted, String),
) -> Done<()> {
    let build = stage.build.clone();
    let shown = config.cmd.clone().unwrap_or_default().join(" ");
    let (container, warnings) = wanted.container(stage, config, host, platform).await?;
    for warning in warnings {
        // Once, and not for every step.
        if lock(&build.warned).insert(warning.clone()) {
            stage.out.text(&format!(" ---> [Warning] {warning}\n")).await?;
        }
    }
    let short = container.id().short().to_owned();
    stage.out.text(&format!(" ---> Running in {short}\n")).await?;
    let done = attend(stage, &container, &shown).await;
    if let Err(failure) = done {
        if build.options.force_remove {
            container.remove().await?;
            stage.out.text(&format!(" ---> Removed intermediate container {short}\n")).await?;
        } else {
            container.keep().await?;
        }
        return Err(failure);
    }
    let layer = container.layer().await?;
    stage.commit(asked, Some(layer), container.id().as_str()).await?;
    if build.options.remove {
        container.remove().await?;
        stage.out.text(&format!(" ---> Removed intermediate container {short}\n")).await?;
    } else {
        container.keep().await?;
    }
    Ok(())
}

/// Runs the container; its output is the stage's.
async fn attend(stage: &Stage<'_>, container: &StepContainer, shown: &str) -> Done<()> {
    let (sender, receiver) = mpsc::channel::<Bytes>(16);
    let work = async {
        let end = container.run(&sender).await;
        drop(sender);
        end
    };
    let (end, told) = tokio::join!(work, tell(stage, receiver));
    let end = end?;
    told?;
    if end.code == 0 {
        return Ok(());
    }
    let why = end.error.map(|why| format!(": {why}")).unwrap_or_default();
    let text = format!("The command '{shown}' returned a non-zero code: {}{why}", end.code);
    Err(Failure { error: Error::internal(text), code: Some(end.code) })
}

/// Hands the output on. A character that comes in two pieces is kept together.
async fn tell(stage: &Stage<'_>, mut pieces: mpsc::Receiver<Bytes>) -> Result<()> {
    let mut left: Vec<u8> = Vec::new();
    while let Some(piece) = pieces.recv().await {
        left.extend_from_slice(&piece);
        let whole = whole_characters(&left);
        if whole > 0 {
            let text = String::from_utf8_lossy(&left[..whole]).into_owned();
            left.drain(..whole);
            stage.out.text(&text).await?;
        }
    }
    if !left.is_empty() {
        stage.out.text(&String::from_utf8_lossy(&left)).await?;
    }
    Ok(())
}

/// How many of the bytes are no beginning of a character that goes on.
fn whole_characters(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let needs = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return bytes.len(),
        };
        return if needs > back { bytes.len() - back } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::whole_characters;

    #[test]
    fn characters_are_kept_together() {
        let text = "aé€😀".as_bytes();
        for (cut, whole) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 3), (6, 6), (7, 6), (8, 6), (9, 6), (10, 10)] {
            assert_eq!(whole_characters(&text[..cut]), whole, "{cut}");
        }
        assert_eq!(whole_characters(&[0x80, 0x80, 0x80, 0x80]), 4);
        assert_eq!(whole_characters(&[0xff]), 1);
    }
}
