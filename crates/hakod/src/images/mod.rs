//! Images: one [`ImageService`] over the store, the registry client and the
//! layer reader; one file for each verb. The HTTP router calls these; nothing
//! here knows HTTP.

mod archive;
mod commit;
mod config;
mod disk_usage;
mod distribution;
mod document;
mod face;
mod filters;
mod history;
mod import;
mod inspect;
mod install;
mod list;
mod load;
mod names;
mod offer;
mod pack;
mod parcel;
mod platform;
mod progress;
mod prune;
mod pull;
mod push;
mod remove;
mod rootfs;
mod save;
mod step;
mod tag;
mod task;
#[doc(hidden)]
pub mod untrusted;

pub use commit::CommitRequest;
pub use config::{Healthcheck, ImageConfig};
pub use disk_usage::DiskUsage;
pub use face::{
    Candidate, Choose, Consumer, ImageEvent, ImagesConfig, InUse, JsonLines, ListParams, Notify, PullRequest,
    PushRequest, ResolvedImage,
};
pub use import::ImportRequest;
pub use platform::Wanted;
pub use prune::Pruned;

use bytes::Bytes;
use document::Document;
use futures::{Stream, StreamExt, stream};
use hako_model::{Digest, Error, ErrorKind, Result};
use hako_store::Store;
use progress::{Lines, error_line};
use serde_json::Value;
use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
};
use tokio::{io::AsyncRead, sync::Semaphore};

/// Everything about images. Shared as `Arc<ImageService>`.
pub struct ImageService {
    store: Store,
    registry: hako_registry::Client,
    /// How many layers are downloaded at once, over all pulls.
    downloads: Arc<Semaphore>,
    /// How many layers are uploaded at once, over all pushes.
    uploads: Arc<Semaphore>,
    packer: Arc<pack::Packer>,
    in_use: OnceLock<InUse>,
    notify: OnceLock<Notify>,
}

impl ImageService {
    /// A service over an open store.
    ///
    /// # Errors
    /// None yet.
    pub fn new(store: Store, cfg: ImagesConfig) -> Result<Arc<Self>> {
        let registry = hako_registry::Config {
            insecure_registries: cfg.insecure_registries,
            mirrors: cfg.mirrors,
            certs_dirs: cfg.certs_dirs,
        };
        Ok(Arc::new(Self {
            store,
            registry: hako_registry::Client::new(registry),
            downloads: Arc::new(Semaphore::new(cfg.max_concurrent_downloads.max(1))),
            uploads: Arc::new(Semaphore::new(cfg.max_concurrent_uploads.max(1))),
            packer: Arc::default(),
            in_use: OnceLock::new(),
            notify: OnceLock::new(),
        }))
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
    /// HTTP error; a later one is the last line, `{"errorDetail":…,"error":…}`.
    /// Dropping the stream cancels the pull.
    ///
    /// # Errors
    /// In Docker's words; `choose`'s.
    pub async fn pull(self: &Arc<Self>, request: PullRequest, choose: Choose) -> Result<JsonLines> {
        self.pull_inner(request, choose).await
    }

    /// `POST /images/{name}/push`; errors as [`ImageService::pull`].
    ///
    /// # Errors
    /// In Docker's words.
    pub async fn push(self: &Arc<Self>, request: PushRequest) -> Result<JsonLines> {
        self.push_inner(request).await
    }

    /// `GET /distribution/{name}/json`, with the `X-Registry-Auth` header.
    ///
    /// # Errors
    /// In Docker's words.
    pub async fn distribution(&self, name: &str, auth: Option<String>) -> Result<Value> {
        self.distribution_inner(name, auth.as_deref()).await
    }

    /// `POST /images/load`; errors as [`ImageService::pull`].
    ///
    /// # Errors
    /// In Docker's words.
    pub async fn load(
        self: &Arc<Self>,
        body: impl AsyncRead + Send + Unpin + 'static,
        quiet: bool,
        platform: &str,
    ) -> Result<JsonLines> {
        self.load_inner(body, quiet, platform).await
    }

    /// `GET /images/get`: the archive, piece by piece. A piece that is an error
    /// is the last one: the archive is not whole then.
    ///
    /// # Errors
    /// `NotFound`; `InvalidParameter` without a name.
    pub async fn save(
        &self,
        names: Vec<String>,
        platform: &str,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
        self.save_inner(names, platform).await
    }

    /// `POST /images/create?fromSrc=-`; errors as [`ImageService::pull`].
    ///
    /// # Errors
    /// In Docker's words.
    pub async fn import(
        self: &Arc<Self>,
        body: impl AsyncRead + Send + Unpin + 'static,
        request: ImportRequest,
    ) -> Result<JsonLines> {
        self.import_inner(body, request).await
    }

    /// `POST /images/prune`.
    ///
    /// # Errors
    /// `InvalidParameter` for a filter that is none.
    pub async fn prune(&self, filters: hako_api::Filters) -> Result<Pruned> {
        self.prune_inner(filters).await
    }

    /// `GET /images/json`.
    ///
    /// # Errors
    /// `InvalidParameter` for an unknown filter.
    pub async fn list(self: &Arc<Self>, params: ListParams) -> Result<Value> {
        let service = self.clone();
        self.blocking(move |store| list::list(store, &params, |id| service.users(id).len())).await
    }

    /// `GET /images/{name}/json`, for one platform of several. `api_minor` is n of API version 1.n.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn inspect(self: &Arc<Self>, name: &str, platform: Option<Wanted>, api_minor: u32) -> Result<Value> {
        let name = name.to_owned();
        self.blocking(move |store| inspect::inspect(store, &name, platform.as_ref(), api_minor)).await
    }

    /// `GET /images/{name}/history`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn history(self: &Arc<Self>, name: &str) -> Result<Value> {
        let name = name.to_owned();
        self.blocking(move |store| history::history(store, &name)).await
    }

    /// `POST /images/{name}/tag`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidParameter` for a malformed name.
    pub async fn tag(self: &Arc<Self>, name: &str, repo: &str, tag: Option<&str>) -> Result<()> {
        self.tag_inner(name, repo, tag).await
    }

    /// `DELETE /images/{name}`: the answer's body. `noprune` changes nothing:
    /// no image here has a parent image.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while containers use it.
    pub async fn remove(self: &Arc<Self>, name: &str, force: bool, _noprune: bool) -> Result<Value> {
        self.remove_inner(name, force).await
    }

    /// Makes an image of a container's layer on top of its image; its id.
    ///
    /// # Errors
    /// Of the layer, and of the store; nothing is left then.
    pub async fn commit(self: &Arc<Self>, request: CommitRequest) -> Result<Digest> {
        self.commit_inner(request).await
    }

    /// The image that a client calls `name`: what create needs. `hello` is
    /// loaded from the program itself where no such reference exists. Not
    /// found: `No such image: name:tag` (404), upon which clients pull.
    ///
    /// # Errors
    /// `NotFound`, `InvalidParameter`.
    pub async fn resolve(self: &Arc<Self>, name: &str) -> Result<ResolvedImage> {
        self.resolve_inner(name).await
    }

    /// The same for one platform: of the images that `name` leads to, the one
    /// for it.
    ///
    /// # Errors
    /// As [`ImageService::resolve`]; `NotFound` in Docker's words where only
    /// other platforms' are there, upon which clients pull.
    pub async fn resolve_for(self: &Arc<Self>, name: &str, wanted: &Wanted) -> Result<ResolvedImage> {
        self.resolve_for_inner(name, wanted).await
    }

    /// All images that `name` leads to, the one of [`ImageService::resolve`]
    /// first: what a container's is chosen from.
    ///
    /// # Errors
    /// As [`ImageService::resolve`].
    pub async fn candidates(self: &Arc<Self>, name: &str) -> Result<Vec<Candidate>> {
        self.candidates_inner(name).await
    }

    /// The EROFS image of its root filesystem, built on first use; all who
    /// ask meanwhile wait for the one build.
    ///
    /// # Errors
    /// `Unavailable` without mkfs.erofs; what the host answered.
    pub async fn rootfs_erofs(self: &Arc<Self>, image: &ResolvedImage) -> Result<PathBuf> {
        self.rootfs_erofs_inner(image).await
    }

    /// An empty ext4 of `size` bytes, copied sparsely to the new file `target`.
    ///
    /// # Errors
    /// `Unavailable` without mkfs.ext4; what the host answered.
    pub async fn scratch_disk(self: &Arc<Self>, size: u64, target: PathBuf) -> Result<()> {
        self.scratch_disk_inner(size, target).await
    }

    /// Called after a container's record is gone: ends an image that was
    /// removed by force while the container used it.
    ///
    /// # Errors
    /// Of the store.
    pub async fn container_removed(self: &Arc<Self>, image: &Digest) -> Result<()> {
        self.container_removed_inner(image).await
    }

    /// Presents credentials to a registry; answers what may be kept instead of a password.
    ///
    /// # Errors
    /// `Unauthorized` in Docker's words, or why the registry does not answer.
    pub async fn log_in(&self, address: &str, credentials: Option<hako_registry::Credentials>) -> Result<String> {
        self.registry.log_in(address, credentials.as_ref()).await.map_err(|err| match err {
            // A pull that is refused is a failure of the engine's; a login that is refused is the client's.
            hako_registry::Error::Unauthorized(why) => Error::new(ErrorKind::Unauthorized, why),
            other => other.into(),
        })
    }

    /// What images take on the disk.
    ///
    /// # Errors
    /// Of the store.
    pub async fn disk_usage(self: &Arc<Self>, api_minor: u32) -> Result<DiskUsage> {
        let service = self.clone();
        self.blocking(move |store| disk_usage::read(store, api_minor, |id| service.users(id).len())).await
    }

    /// How many images there are, for `info`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn count(self: &Arc<Self>) -> Result<usize> {
        self.blocking(|store| Ok(store.images()?.len())).await
    }

    fn users(&self, id: &Digest) -> Vec<Consumer> {
        self.in_use.get().map_or_else(Vec::new, |ask| ask(id))
    }

    fn tell(&self, event: ImageEvent) {
        if let Some(notify) = self.notify.get() {
            notify(event);
        }
    }

    /// Runs `work` on a task of its own and gives its lines. It ends when
    /// nobody listens any more.
    async fn stream<F>(&self, work: impl FnOnce(Lines) -> F) -> Result<JsonLines>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (lines, mut receiver) = Lines::channel();
        let listener = lines.clone();
        let work = work(lines);
        let store = self.store.clone();
        let task = tokio::spawn(async move {
            let result = tokio::select! {
                result = work => result,
                () = listener.closed() => Err(Error::internal("the client has gone")),
            };
            // What came before the failure has no image: its leases are gone by now.
            if result.is_err() {
                listener.alone().await;
                if let Err(err) = install::run_blocking(move || Ok(store.collect()?)).await {
                    tracing::warn!("remove what a failed pull or load left: {err}");
                }
            }
            result
        });
        let end = async move |task: tokio::task::JoinHandle<Result<()>>| match task.await {
            Ok(result) => result,
            Err(err) => Err(Error::internal(format!("work on images broke off: {err}"))),
        };
        let Some(first) = receiver.recv().await else {
            end(task).await?;
            return Ok(stream::empty().boxed());
        };
        let rest = stream::unfold((receiver, Some(task)), move |(mut receiver, mut task)| async move {
            if let Some(line) = receiver.recv().await {
                return Some((line, (receiver, task)));
            }
            let err = end(task.take()?).await.err()?;
            Some((error_line(&err), (receiver, None)))
        });
        Ok(stream::iter([first]).chain(rest).boxed())
    }
}
