//! The Rust client `bollard`: a container's life by its calls and its strict
//! types, behind both walls.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use bollard::{
    API_DEFAULT_VERSION, Docker, body_full,
    container::LogOutput,
    errors::Error,
    exec::StartExecResults,
    models::{ContainerCreateBody, ContainerUpdateBody, ExecConfig, HostConfig, HostConfigIsolationEnum},
    query_parameters as query,
};
use futures::{StreamExt, TryStreamExt};
use hako_tests::{Case, Wall, both_walls};
use std::collections::HashMap;

const SCRIPT: &str = "echo up; trap 'exit 4' TERM; while :; do sleep 0.1; done";

fn words(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

fn body(wall: Wall, cmd: &[&str]) -> ContainerCreateBody {
    let isolation = match wall {
        Wall::Process => HostConfigIsolationEnum::PROCESS,
        Wall::Hyperv => HostConfigIsolationEnum::HYPERV,
    };
    let host = HostConfig {
        isolation: Some(isolation),
        network_mode: Some("none".to_owned()),
        memory: Some(128 << 20),
        pids_limit: Some(64),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some("busybox".to_owned()),
        cmd: words(cmd),
        labels: Some(HashMap::from([("team".to_owned(), "a".to_owned())])),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

async fn text(stream: impl futures::Stream<Item = Result<LogOutput, Error>>) -> String {
    let pieces: Vec<LogOutput> = stream.try_collect().await.unwrap();
    pieces.iter().map(ToString::to_string).collect()
}

async fn exec(docker: &Docker, id: &str, script: &str) -> (String, i64) {
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: words(&["sh", "-c", script]),
        ..ExecConfig::default()
    };
    let exec = docker.create_exec(id, config).await.unwrap().id;
    let StartExecResults::Attached { output, .. } = docker.start_exec(&exec, None).await.unwrap() else {
        panic!("attached was asked for")
    };
    let said = text(output).await;
    (said, docker.inspect_exec(&exec).await.unwrap().exit_code.unwrap())
}

/// The exit code, which bollard makes an error of unless it is 0.
async fn wait(docker: &Docker, id: &str) -> i64 {
    let ended = docker.wait_container(id, None::<query::WaitContainerOptions>).next().await.unwrap();
    match ended {
        Ok(answer) => answer.status_code,
        Err(Error::DockerContainerWaitError { code, .. }) => code,
        Err(err) => panic!("{err}"),
    }
}

async fn life(docker: &Docker, wall: Wall) {
    let name = query::CreateContainerOptionsBuilder::default().name("box").build();
    let id = docker.create_container(Some(name), body(wall, &["sh", "-c", SCRIPT])).await.unwrap().id;
    docker.start_container(&id, None::<query::StartContainerOptions>).await.unwrap();
    let list =
        query::ListContainersOptionsBuilder::default().filters(&HashMap::from([("label", vec!["team=a"])])).build();
    let listed = docker.list_containers(Some(list)).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id.as_deref(), Some(id.as_str()));
    assert_eq!(exec(docker, &id, "echo hello; exit 9").await, ("hello\n".to_owned(), 9));
    let top = docker.top_processes("box", None::<query::TopOptions>).await.unwrap();
    assert!(top.titles.unwrap().contains(&"PID".to_owned()));
    assert!(!top.processes.unwrap().is_empty());
    let once = query::StatsOptionsBuilder::default().stream(false).build();
    let stats = docker.stats("box", Some(once)).next().await.unwrap().unwrap();
    assert_eq!(stats.memory_stats.unwrap().limit, Some(128 << 20));
    docker.pause_container("box").await.unwrap();
    let inspected = docker.inspect_container("box", None::<query::InspectContainerOptions>).await.unwrap();
    assert_eq!(inspected.state.unwrap().paused, Some(true));
    docker.unpause_container("box").await.unwrap();
    let update = ContainerUpdateBody { pids_limit: Some(99), ..ContainerUpdateBody::default() };
    docker.update_container("box", update).await.unwrap();
    docker
        .rename_container("box", query::RenameContainerOptionsBuilder::default().name("other").build())
        .await
        .unwrap();
    let stop = query::StopContainerOptionsBuilder::default().t(30).build();
    docker.stop_container("other", Some(stop)).await.unwrap();
    assert_eq!(wait(docker, &id).await, 4);
    let logs = query::LogsOptionsBuilder::default().stdout(true).stderr(true).build();
    assert_eq!(text(docker.logs(&id, Some(logs))).await, "up\n");
    docker.start_container(&id, None::<query::StartContainerOptions>).await.unwrap();
    docker.kill_container(&id, None::<query::KillContainerOptions>).await.unwrap();
    assert_eq!(wait(docker, &id).await, 137);
    let force = query::RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(&id, Some(force)).await.unwrap();
    let gone = docker.inspect_container(&id, None::<query::InspectContainerOptions>).await.unwrap_err();
    assert!(matches!(gone, Error::DockerResponseServerError { status_code: 404, .. }), "{gone}");
}

async fn files(docker: &Docker, wall: Wall) {
    let none = None::<query::CreateContainerOptions>;
    let id = docker.create_container(none, body(wall, &["sleep", "1000"])).await.unwrap().id;
    docker.start_container(&id, None::<query::StartContainerOptions>).await.unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut head = tar::Header::new_gnu();
    head.set_size(5);
    head.set_mode(0o644);
    archive.append_data(&mut head, "word", &b"words"[..]).unwrap();
    let into = query::UploadToContainerOptionsBuilder::default().path("/tmp").build();
    docker.upload_to_container(&id, Some(into), body_full(archive.into_inner().unwrap().into())).await.unwrap();
    assert_eq!(exec(docker, &id, "cat /tmp/word").await, ("words".to_owned(), 0));
    let from = query::DownloadFromContainerOptionsBuilder::default().path("/tmp/word").build();
    let pieces: Vec<_> = docker.download_from_container(&id, Some(from)).try_collect().await.unwrap();
    let bytes = pieces.concat();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entry = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(entry.path().unwrap().to_str(), Some("word"));
    let changes = docker.container_changes(&id).await.unwrap().unwrap();
    assert!(changes.iter().any(|change| change.path == "/tmp/word"), "{changes:?}");
    let force = query::RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(&id, Some(force)).await.unwrap();
}

fn with_client<F: Future<Output = ()>>(case: &Case, work: impl FnOnce(Docker, Wall) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let socket = case.engine.socket();
    let docker = Docker::connect_with_unix(socket.to_str().unwrap(), 120, API_DEFAULT_VERSION).unwrap();
    runtime.block_on(async { work(docker.negotiate_version().await.unwrap(), case.wall).await });
}

both_walls! {
    fn life_cycle(case) {
        with_client(case, |docker, wall| async move { life(&docker, wall).await });
    }

    fn files_in_and_out(case) {
        with_client(case, |docker, wall| async move { files(&docker, wall).await });
    }
}
