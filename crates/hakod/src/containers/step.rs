//! The container of a build's `RUN`: made, run, read and removed by the builder
//! as a client would, without HTTP between them.
//!
//! It is noted in the store before it is made. What is noted there when the
//! engine starts was left by one that was killed, and is removed.

use super::{
    Container, View,
    actor::Request as Ask,
    commit, create,
    remove::{self, How},
    view::End,
};
use crate::{Engine, http::Peer, placement::Source};
use bytes::Bytes;
use hako_api::types::{ContainerConfig, HostConfig};
use hako_model::{ContainerId, Error, ErrorKind, Result};
use hako_store::Blob;
use hako_task::stdio::{AttachRequest, FRAME_HEAD};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, BufReader},
    net::UnixStream,
    sync::mpsc,
};

pub use super::record::{StepMount, StepSource};

/// How much output is handed on at once.
const PIECE: usize = 32 << 10;

/// A container for one `RUN`. Dropped, it is removed by force.
pub struct StepContainer {
    engine: Arc<Engine>,
    container: Option<Arc<Container>>,
    id: ContainerId,
    /// What the step had mounted: those places are no part of its layer.
    mounted: Vec<String>,
    /// What must stay as long as the container may use it.
    held: Option<Box<dyn Send + Sync>>,
}

/// What a step's container is made of.
pub struct Wanted {
    /// As of a client's create.
    pub config: ContainerConfig,
    /// As of a client's create.
    pub host: HostConfig,
    /// Empty for the image's.
    pub platform: String,
    /// Who has asked for the build.
    pub peer: Peer,
    /// What the image is made of.
    pub sources: Vec<Source>,
    /// What it mounts besides.
    pub mounts: Vec<StepMount>,
    /// Where it has a tmpfs.
    pub tmpfs: Vec<String>,
    /// What must stay as long as the container may use it: dropped when it is gone.
    pub held: Box<dyn Send + Sync>,
}

impl StepContainer {
    /// Makes it; the answer also has create's warnings.
    ///
    /// # Errors
    /// As a client's create.
    pub async fn create(engine: &Arc<Engine>, wanted: Wanted) -> Result<(Self, Vec<String>)> {
        let engine = engine.clone();
        // A create that has begun is finished, and then removed if nobody waits for it.
        let work = tokio::spawn(async move { Self::make(engine, wanted).await });
        work.await.map_err(|err| Error::internal(err.to_string()))?
    }

    async fn make(engine: Arc<Engine>, wanted: Wanted) -> Result<(Self, Vec<String>)> {
        let id = ContainerId::random();
        note(&engine, &id, true).await?;
        let Wanted { config, host, platform, peer, sources, mounts, mut tmpfs, held } = wanted;
        tmpfs.extend(mounts.iter().map(|mount| mount.destination.clone()));
        let wanted = create::Wanted {
            id: id.clone(),
            name: "",
            platform: &platform,
            config,
            host,
            endpoints: std::collections::BTreeMap::new(),
            peer: &peer,
            step: Some(create::Step { mounts, sources }),
        };
        match create::make(&engine, wanted).await {
            Ok(answer) => {
                let container = Some(engine.containers.find(id.as_str())?);
                Ok((Self { engine, container, id, mounted: tmpfs, held: Some(held) }, answer.warnings))
            }
            Err(err) => {
                note(&engine, &id, false).await?;
                Err(err)
            }
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    fn container(&self) -> Result<&Arc<Container>> {
        self.container.as_ref().ok_or_else(|| Error::internal("a step without a container"))
    }

    /// Runs it to its end. What it writes goes to `output`, which may be closed.
    ///
    /// # Errors
    /// The start's; its exit code is none.
    pub async fn run(&self, output: &mpsc::Sender<Bytes>) -> Result<End> {
        let container = self.container()?;
        let request = AttachRequest { exec_id: String::new(), stdin: false, stdout: true, stderr: true };
        let ticket = container.ask(|reply| Ask::Attach { request, reply }).await?;
        container.ask(Ask::Start).await?;
        if let Ok(Ok(stream)) = ticket.await {
            copy(stream, output).await?;
        }
        let mut watch = container.watch();
        let over = |view: &Arc<View>| {
            let state = &view.record.state;
            view.removed || !(state.is_running() || state.is_starting())
        };
        // An error means that somebody has removed it.
        let _ = watch.wait_for(over).await;
        let view = container.view();
        if view.removed {
            return Err(Error::conflict(format!("container {} was removed while it ran", self.id)));
        }
        Ok(view.end())
    }

    /// What it has written, as a layer's tar.
    ///
    /// # Errors
    /// As a commit.
    pub async fn layer(&self) -> Result<Blob> {
        commit::layer(&self.engine, self.container()?, &self.mounted).await
    }

    /// Removes it.
    ///
    /// # Errors
    /// What could not be removed; it stays noted then, for the next start.
    pub async fn remove(mut self) -> Result<()> {
        match self.container.take() {
            Some(container) => gone(&self.engine, &container).await,
            None => Ok(()),
        }
    }

    /// Leaves it to the user, as a container that has ended.
    ///
    /// # Errors
    /// The store's.
    pub async fn keep(mut self) -> Result<()> {
        if let Some(container) = self.container.take() {
            // Nothing of it runs any more, and what is held may be another's.
            container.ask(Ask::FilesEnd).await?;
            note(&self.engine, &self.id, false).await?;
        }
        Ok(())
    }
}

impl Drop for StepContainer {
    fn drop(&mut self) {
        if let Some(container) = self.container.take() {
            let (engine, held) = (self.engine.clone(), self.held.take());
            tokio::spawn(async move {
                let _held = held;
                if let Err(err) = gone(&engine, &container).await {
                    tracing::warn!("remove container {} of a build: {err}", container.id);
                }
            });
        }
    }
}

async fn gone(engine: &Engine, container: &Container) -> Result<()> {
    match remove::remove(container, container.id.as_str(), How { force: true, volumes: false }).await {
        Err(err) if err.kind != ErrorKind::NotFound => return Err(err),
        Ok(()) | Err(_) => {}
    }
    note(engine, &container.id, false).await
}

/// Notes that a container is a build's, or no longer.
async fn note(engine: &Engine, id: &ContainerId, is: bool) -> Result<()> {
    let (store, id) = (engine.store.clone(), id.to_string());
    let noted = tokio::task::spawn_blocking(move || match is {
        true => store.put_build_container(&id),
        false => store.delete_build_container(&id),
    });
    let noted = noted.await.map_err(|err| Error::internal(err.to_string()))?;
    noted.map_err(|err| Error::internal(format!("note a build's container: {err}")))
}

/// Hands on what the frames carry.
async fn copy(stream: UnixStream, output: &mpsc::Sender<Bytes>) -> Result<()> {
    let mut stream = BufReader::with_capacity(PIECE, stream);
    let mut head = [0; FRAME_HEAD];
    loop {
        match stream.read_exact(&mut head).await {
            Err(err) if err.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        };
        let mut left = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE)];
            stream.read_exact(&mut piece).await?;
            left -= piece.len();
            // Nobody listens: the process goes on, and is read to its end.
            let _ = output.send(piece.into()).await;
        }
    }
}

/// At start: removes what builds of a killed engine have left.
pub async fn leftovers(engine: &Arc<Engine>) -> Result<()> {
    let store = engine.store.clone();
    let noted = tokio::task::spawn_blocking(move || store.build_containers()).await;
    let noted =
        noted.map_err(|err| Error::internal(err.to_string()))?.map_err(|err| Error::internal(err.to_string()))?;
    for id in noted {
        match engine.containers.find(&id) {
            Ok(container) => {
                tracing::info!("removing container {id}, left by a build that was cut off");
                if let Err(err) = gone(engine, &container).await {
                    tracing::warn!("remove container {id} of a build: {err}");
                }
            }
            Err(_) => {
                let id = ContainerId::try_from(id.clone())
                    .map_err(|_| Error::internal(format!("malformed id {id:?} in the store")))?;
                note(engine, &id, false).await?;
            }
        }
    }
    Ok(())
}
