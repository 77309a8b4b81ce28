//! `POST /commit`: an image of a container.
//!
//! ```text
//! freeze ─► layer's tar, frame by frame ─► tmp/… with its digest ─► thaw
//!        ─► unpacked as a layer ─► config ─► layer, image and name in one transaction
//! ```
//!
//! The work goes on when the client has gone, so that the container is thawed.

use super::{
    Container,
    actor::{self, Request as Ask},
    files::{mount_points, not_made_yet},
    merge,
    record::State,
};
use crate::{
    Engine,
    http::{Request, Response, json_status},
    images::{CommitRequest, ImageConfig},
};
use hako_api::{
    decode,
    types::{ContainerConfig, IdAnswer},
};
use hako_model::{Error, Isolation, Reference, Result};
use hako_store::Blob;
use hako_task::files::{FilesRequest, FrameReader, read_end_blocking};
use hyper::StatusCode;
use serde_json::Value;
use std::{io, sync::Arc};
use tokio::{net::UnixStream, sync::oneshot};

/// What a client asked for.
struct Asked {
    pause: bool,
    author: String,
    comment: String,
    name: Option<Reference>,
    config: ContainerConfig,
}

/// The name that `repo` and `tag` give, if any.
///
/// # Errors
/// `InvalidParameter` for a malformed one, and for a digest.
pub(crate) fn new_name(repo: &str, tag: &str) -> Result<Option<Reference>> {
    name(repo, tag)
}

/// Makes an image of a container.
pub async fn serve(engine: &Arc<Engine>, mut req: Request) -> Result<Response> {
    let body = req.read().await?;
    let container = engine.containers.find(req.query.get("container"))?;
    let record = &container.view().record;
    let mut config = config(&body)?.unwrap_or_else(|| record.config.clone());
    let lines: Vec<&str> = req.query.all("changes");
    hako_dockerfile::config::apply_changes(&mut config, &lines)?;
    merge_config(&mut config, &record.config)?;
    let pause = req.query.get("pause");
    let asked = Asked {
        pause: pause.is_empty() || req.query.flag("pause"),
        author: req.query.get("author").to_owned(),
        comment: req.query.get("comment").to_owned(),
        name: name(req.query.get("repo"), req.query.get("tag"))?,
        config,
    };
    let engine = engine.clone();
    let work = tokio::spawn(async move { commit(&engine, &container, asked).await });
    let id = work.await.map_err(|err| Error::internal(format!("commit broke off: {err}")))??;
    Ok(json_status(StatusCode::CREATED, &IdAnswer { id }))
}

/// The body's configuration; none where it is empty or `null`.
fn config(body: &[u8]) -> Result<Option<ContainerConfig>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    match decode::parse(body)? {
        Value::Null => Ok(None),
        value => decode::decode(value).map(Some),
    }
}

fn name(repo: &str, tag: &str) -> Result<Option<Reference>> {
    if repo.is_empty() {
        return Ok(None);
    }
    let reference = Reference::parse(repo)?;
    if reference.digest.is_some() {
        return Err(Error::invalid("cannot import digest reference"));
    }
    if tag.is_empty() {
        return Ok(Some(reference.with_default_tag()));
    }
    Reference::tagged(reference.repository, tag).map(Some)
}

/// What the new configuration does not say is as the container has it.
fn merge_config(config: &mut ContainerConfig, container: &ContainerConfig) -> Result<()> {
    let value = serde_json::to_value(container).map_err(|err| Error::internal(err.to_string()))?;
    let from: ImageConfig = serde_json::from_value(value).map_err(|err| Error::internal(err.to_string()))?;
    merge::merge(config, &from)?;
    for (path, value) in container.volumes.iter().flatten() {
        config.volumes.get_or_insert_default().entry(path.clone()).or_insert_with(|| value.clone());
    }
    Ok(())
}

async fn commit(engine: &Arc<Engine>, container: &Container, asked: Asked) -> Result<String> {
    if matches!(container.view().record.state, State::Removing { .. } | State::Dead { .. }) {
        return Err(Error::conflict(format!("You cannot commit container {} which is being removed", container.id)));
    }
    let held = asked.pause && container.ask(Ask::Hold).await?;
    let layer = layer(engine, container, &[]).await;
    if held && let Err(err) = container.ask(Ask::LetGo).await {
        tracing::warn!("thaw container {} after a commit: {err}", container.id);
    }
    let record = &container.view().record;
    let request = CommitRequest {
        parent: Some(record.image_id.parse().map_err(|_| Error::internal("the container's image has no digest"))?),
        platform: None,
        layer: Some(layer?),
        container: container.id.to_string(),
        created_by: record.config.cmd.as_deref().unwrap_or_default().join(" "),
        author: asked.author,
        comment: asked.comment.clone(),
        config: serde_json::to_value(&asked.config).map_err(|err| Error::internal(err.to_string()))?,
        name: asked.name.clone(),
        step: None,
    };
    let id = engine.images.commit(request).await?.to_string();
    let image = asked.name.map(|name| name.familiar()).unwrap_or_default();
    let about = [("comment", asked.comment), ("imageID", id.clone()), ("imageRef", image)];
    actor::emit(engine, record, "commit", &about);
    Ok(id)
}

/// What the container has written, as a layer's tar in the store's temporary
/// folder; `more` are further paths on which something was mounted.
pub(super) async fn layer(engine: &Arc<Engine>, container: &Container, more: &[String]) -> Result<Blob> {
    let lease = container.ask(Ask::Files).await?;
    let hidden = mount_points(&[more, &not_made_yet(&container.view().record)].concat());
    let (stream, _) = lease.open(&FilesRequest::Layer { hidden }).await?;
    let store = engine.store.clone();
    let most = match container.view().record.isolation {
        Isolation::Process => u64::MAX,
        // A guest's layer may have as many bytes as its disk, and the heads of its entries.
        Isolation::Hyperv => {
            let disk = engine.container_dir(container.id.as_str()).join(crate::spec::SCRATCH);
            let size = std::fs::metadata(disk)?.len();
            size.saturating_add(size / 2)
        }
    };
    let (done, end) = oneshot::channel();
    // As long as the disks take: not on the pool that all share.
    std::thread::Builder::new().name("commit".into()).stack_size(1 << 20).spawn(move || {
        let kept = keep(&store, stream, most);
        drop(lease);
        // Whoever waits does so to the end.
        let _ = done.send(kept);
    })?;
    end.await.map_err(|_| Error::internal("reading the layer broke off"))?
}

fn keep(store: &hako_store::Store, stream: UnixStream, most: u64) -> Result<Blob> {
    let mut stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    let mut blob = store.write_blob(None, None)?;
    let mut frames = io::Read::take(FrameReader::new(&stream), most.saturating_add(1));
    let copied = io::copy(&mut frames, &mut blob).map_err(|err| Error::internal(format!("read the layer: {err}")))?;
    if copied > most {
        return Err(Error::invalid(format!("the layer has more than {most} bytes")));
    }
    read_end_blocking(&mut stream)?;
    Ok(blob.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(name("", "x").unwrap().is_none());
        assert_eq!(name("a/b", "").unwrap().unwrap().familiar(), "a/b:latest");
        assert_eq!(name("a/b:1", "2").unwrap().unwrap().familiar(), "a/b:2");
        assert!(name("A", "").is_err());
    }

    #[test]
    fn an_empty_body_is_the_containers_own() {
        for body in ["", " ", "null", "null\n"] {
            assert!(config(body.as_bytes()).unwrap().is_none(), "{body:?}");
        }
        let given = config(br#"{"User":"x","Labels":null}"#).unwrap().unwrap();
        assert_eq!(given.user, "x");
    }

    #[test]
    fn what_is_not_said_is_the_containers() {
        let list = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let container = ContainerConfig {
            cmd: list(&["sh"]),
            env: list(&["A=1", "B=2"]),
            working_dir: "/w".into(),
            ..ContainerConfig::default()
        };
        let mut config = ContainerConfig { env: list(&["A=3"]), ..ContainerConfig::default() };
        merge_config(&mut config, &container).unwrap();
        assert_eq!((config.cmd, config.working_dir.as_str()), (list(&["sh"]), "/w"));
        assert_eq!(config.env, list(&["A=3", "B=2"]));
    }
}
