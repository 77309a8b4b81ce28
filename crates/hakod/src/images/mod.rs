//! Images: one [`ImageService`] over the store, the registry client and the
//! layer reader; one file for each verb. The HTTP router calls these; nothing
//! here knows HTTP.

mod config;
mod face;

pub use config::{Healthcheck, ImageConfig};
pub use face::{Consumer, ImageEvent, ImagesConfig, InUse, JsonLines, ListParams, Notify, PullRequest, ResolvedImage};

use hako_model::{Digest, Error, Result};
use hako_store::Store;
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};
use tokio::io::AsyncRead;

/// Everything about images. Shared as `Arc<ImageService>`.
pub struct ImageService {
    pub(crate) store: Store,
    pub(crate) cfg: ImagesConfig,
    in_use: OnceLock<InUse>,
    notify: OnceLock<Notify>,
}

impl ImageService {
    /// A service over an open store.
    ///
    /// # Errors
    /// Where the registry client cannot be made.
    pub fn new(store: Store, cfg: ImagesConfig) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { store, cfg, in_use: OnceLock::new(), notify: OnceLock::new() }))
    }
    /// Says who asks which containers use an image. Called once, before any remove.
    pub fn set_in_use(&self, in_use: InUse) {
        let _ = self.in_use.set(in_use);
    }
    /// Says who hears of events. Called once.
    pub fn set_notify(&self, notify: Notify) {
        let _ = self.notify.set(notify);
    }
    /// `POST /images/create?fromImage=…`: an error before the first line is an
    /// HTTP error; later ones are lines `{"errorDetail":…,"error":…}`. Dropping
    /// the stream cancels the pull.
    pub async fn pull(self: &Arc<Self>, _request: PullRequest) -> Result<JsonLines> {
        Err(Error::unsupported("pull"))
    }
    /// `POST /images/load`.
    pub async fn load(self: &Arc<Self>, _body: impl AsyncRead + Send + Unpin + 'static, _quiet: bool) -> Result<JsonLines> {
        Err(Error::unsupported("load"))
    }
    /// `GET /images/json`.
    pub async fn list(self: &Arc<Self>, _params: ListParams) -> Result<Value> {
        Err(Error::unsupported("image list"))
    }
    /// `GET /images/{name}/json`. `api_minor` is n of API version 1.n.
    pub async fn inspect(self: &Arc<Self>, _name: &str, _api_minor: u32) -> Result<Value> {
        Err(Error::unsupported("image inspect"))
    }
    /// `GET /images/{name}/history`.
    pub async fn history(self: &Arc<Self>, _name: &str) -> Result<Value> {
        Err(Error::unsupported("image history"))
    }
    /// `POST /images/{name}/tag`.
    pub async fn tag(self: &Arc<Self>, _name: &str, _repo: &str, _tag: Option<&str>) -> Result<()> {
        Err(Error::unsupported("image tag"))
    }
    /// `DELETE /images/{name}`: the answer's body.
    pub async fn remove(self: &Arc<Self>, _name: &str, _force: bool, _noprune: bool) -> Result<Value> {
        Err(Error::unsupported("image remove"))
    }
    /// The image that a client calls `name`: what create needs. `hello` is
    /// loaded from the program itself where no such reference exists. Not
    /// found: `No such image: name:tag` (404), upon which clients pull.
    pub async fn resolve(self: &Arc<Self>, _name: &str) -> Result<ResolvedImage> {
        Err(Error::unsupported("image resolve"))
    }
    /// The EROFS image of its root filesystem, built on first use; all who
    /// ask meanwhile wait for the one build.
    pub async fn rootfs_erofs(self: &Arc<Self>, _image: &ResolvedImage) -> Result<PathBuf> {
        Err(Error::unsupported("erofs"))
    }
    /// An empty ext4 of `size` bytes, copied sparsely to `target`.
    pub async fn scratch_disk(self: &Arc<Self>, _size: u64, _target: PathBuf) -> Result<()> {
        Err(Error::unsupported("ext4"))
    }
    /// Called after a container's record is gone: ends an image that was
    /// removed by force while the container used it.
    pub async fn container_removed(self: &Arc<Self>, _image: &Digest) -> Result<()> {
        Ok(())
    }
    /// How many images there are, for `info`.
    pub async fn count(self: &Arc<Self>) -> Result<usize> {
        Ok(0)
    }
}
