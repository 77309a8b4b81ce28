//! Builds: the classic build API. The builder is a client of the engine's own
//! verbs, so that what a container can do, a `RUN` can, behind either wall.
//!
//! ```text
//! POST /build ─► context (tmp/…) ─► Dockerfile ─► plan: the stages that are needed
//!    stage: FROM ─► step ─► step … each step: key = parent + instruction
//!       known to the build cache?  ─► its image
//!       ENV, CMD, …                ─► a config
//!       COPY, ADD, WORKDIR         ─► the image mounted here, files into it, its layer   (no wall needed)
//!       RUN                        ─► a container behind the wall, its layer
//!    last stage ─► names ─► visible image
//! ```
//!
//! A step's image is durable before the next one begins, and in no list until
//! it has a name or is a result. A build that is cut off leaves its cache.
//!
//! ([`options`] what was asked, [`context`] what was sent, [`output`] what is
//! told, [`stage`] the steps of one stage, [`copy`] and [`run`] the two that make
//! layers, [`cache`] and [`prune`] what is kept.)

mod cache;
mod context;
mod copy;
mod created_by;
mod mounts;
mod options;
mod output;
mod plan;
mod prune;
mod root;
mod run;
mod sources;
mod stage;
mod usage;

pub use mounts::clean;
pub use prune::serve as prune;
pub(crate) use root::ImageRoot;
pub use usage::{Usage, usage};

use crate::{
    Engine,
    http::{Request, Response, empty, streaming},
    images::Wanted,
    placement::{self, Source},
};
use context::Context;
use hako_dockerfile::{Dockerfile, args::Global};
use hako_model::{Digest, Error, Reference, Result};
use hako_store::Lease;
use hyper::StatusCode;
use options::Options;
use output::Output;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// Builds that run.
#[derive(Default)]
pub struct Builds {
    /// By a number: the client's id, and what ends it.
    running: Mutex<HashMap<u64, (String, CancellationToken)>>,
    /// Private caches that are in use.
    private: Mutex<HashSet<String>>,
    /// Read by who uses a cache, written to by who removes some.
    caches: Arc<tokio::sync::RwLock<()>>,
    /// Digests of files of images, which never change.
    digests: Mutex<HashMap<String, String>>,
}

/// So many digests of files are remembered.
const REMEMBERED: usize = 1024;

/// What the stages of one build share.
struct Build {
    engine: Arc<Engine>,
    options: Options,
    file: Dockerfile,
    global: Global,
    context: Context,
    /// Keep its images from being collected.
    leases: Mutex<Vec<Lease>>,
    /// Steps that the cache had.
    used: Mutex<Vec<String>>,
    /// Warnings of containers that were shown.
    warned: Mutex<HashSet<String>>,
    /// What stages have come to, by their index.
    results: Mutex<BTreeMap<usize, Option<Digest>>>,
    /// What they are made of.
    sources: Mutex<BTreeMap<usize, Vec<Source>>>,
}

/// Why a build failed: `code` is a command's exit code.
#[derive(Debug)]
struct Failure {
    error: Error,
    code: Option<i32>,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(err: E) -> Self {
        Self { error: err.into(), code: None }
    }
}

type Done<T> = std::result::Result<T, Failure>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocking work that takes long, on a thread of its own: the pool is everybody's.
pub(crate) async fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, end) = tokio::sync::oneshot::channel();
    let work = move || {
        // Whoever waited may have gone.
        let _ = done.send(work());
    };
    std::thread::Builder::new().name(name.into()).stack_size(1 << 20).spawn(work)?;
    end.await.map_err(|_| Error::internal(format!("{name} broke off")))?
}

/// `POST /build`.
///
/// # Errors
/// Whatever is wrong before the first step; later it is the stream's last line.
pub async fn serve(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    let options = Options::read(&req)?;
    let context = Context::receive(engine.store.clone(), req).await?;
    let name = options.dockerfile.clone();
    let (options, (file, global, needed), context) = on_thread("context", move || {
        let file = hako_dockerfile::parse(context.dockerfile(&name)?.as_bytes())?;
        context.apply_ignore(&name)?;
        let planned = plan::plan(file, &options)?;
        Ok((options, planned, context))
    })
    .await?;
    let (client, response) = streaming("application/json");
    let output = Output::new(client, needed.len(), options.quiet, engine.store.clone());
    let build = Arc::new(Build {
        leases: Mutex::default(),
        engine: engine.clone(),
        options,
        file,
        global,
        context,
        used: Mutex::default(),
        warned: Mutex::default(),
        results: Mutex::default(),
        sources: Mutex::default(),
    });
    let running = engine.builds.begin(&build.options.id);
    tokio::spawn(async move {
        let done = tokio::select! {
            done = plan::run(&build, &needed, &output) => done,
            () = output.closed() => Err(Error::internal("the client has gone").into()),
            () = running.token.cancelled() => Err(Error::internal("Build cancelled").into()),
        };
        build.note_used().await;
        if let Err(failure) = done {
            tracing::debug!("build: {}", failure.error);
            output.fail(&failure.error, failure.code).await;
        }
        // The context goes with the last of the stages' tasks.
        let engine = build.engine.clone();
        drop((build, running));
        tidy(&engine).await;
    });
    Ok(response)
}

/// Removes images of steps that have come to another one since. Not while
/// builds run: there is time.
async fn tidy(engine: &Arc<Engine>) {
    if engine.builds.any() {
        return;
    }
    let store = engine.store.clone();
    let tidied = tokio::task::spawn_blocking(move || match store.drop_unused_steps()? {
        0 => Ok(()),
        _ => store.collect().map(|_| ()),
    });
    if let Ok(Err(err)) = tidied.await {
        tracing::warn!("remove what no step of the build cache needs: {err}");
    }
}

/// `POST /build/cancel`.
///
/// # Errors
/// No id.
pub fn cancel(engine: &Engine, req: &Request) -> Result<Response> {
    let id = req.query.get("id");
    if id.is_empty() {
        return Err(Error::invalid("build ID not provided"));
    }
    for (_, (name, token)) in lock(&engine.builds.running).iter() {
        if name == id {
            token.cancel();
        }
    }
    Ok(empty(StatusCode::OK))
}

/// A build that runs, until it is dropped.
struct Running {
    builds: Arc<Builds>,
    number: u64,
    token: CancellationToken,
}

impl Builds {
    fn begin(self: &Arc<Self>, id: &str) -> Running {
        let mut all = lock(&self.running);
        let number = all.keys().max().map_or(0, |last| last + 1);
        let token = CancellationToken::new();
        all.insert(number, (id.to_owned(), token.clone()));
        Running { builds: self.clone(), number, token }
    }

    /// Whether any runs.
    fn any(&self) -> bool {
        !lock(&self.running).is_empty()
    }

    fn remembered(&self, key: &str) -> Option<String> {
        lock(&self.digests).get(key).cloned()
    }

    fn remember(&self, key: String, digest: String) {
        let mut digests = lock(&self.digests);
        if digests.len() >= REMEMBERED {
            digests.clear();
        }
        digests.insert(key, digest);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.builds.running).remove(&self.number);
    }
}

impl Build {
    /// Keeps an image and its layers for as long as the build runs; whether it is
    /// still there to be kept.
    async fn hold(&self, image: &Digest) -> Result<bool> {
        let (store, image) = (self.engine.store.clone(), image.clone());
        let held = tokio::task::spawn_blocking(move || -> Result<Option<Lease>> {
            let mut lease = store.lease();
            lease.hold(&image);
            store.image_layers(&image)?.iter().for_each(|layer| lease.hold(&layer.chain));
            // Held now: was it removed just before?
            Ok(store.image(&image)?.is_some().then_some(lease))
        });
        let held = held.await.map_err(|err| Error::internal(err.to_string()))??;
        let there = held.is_some();
        lock(&self.leases).extend(held);
        Ok(there)
    }

    /// Notes in the store which steps were used: `prune` takes the oldest first.
    async fn note_used(&self) {
        let keys = std::mem::take(&mut *lock(&self.used));
        if keys.is_empty() {
            return;
        }
        let store = self.engine.store.clone();
        let noted = tokio::task::spawn_blocking(move || store.steps_used(&keys)).await;
        if let Ok(Err(err)) = noted {
            tracing::warn!("note which steps a build has used: {err}");
        }
    }

    /// The image `name`: pulled where it is not there or a new one is asked for.
    async fn image(&self, name: &str, platform: &str, out: &output::StageOutput) -> Result<Digest> {
        use futures::StreamExt;
        let images = &self.engine.images;
        let platform = if platform.is_empty() { &self.options.platform } else { platform };
        let _one = self.engine.store.lock(&format!("build:pull:{name}:{platform}")).await;
        let by_id = name.starts_with("sha256:");
        if !self.options.pull || by_id {
            match self.local(name, platform).await {
                Ok(image) if self.hold(&image).await? => return Ok(image),
                Ok(_) if by_id => return Err(Error::not_found(format!("No such image: {name}"))),
                Ok(_) => {}
                Err(err) if err.kind == hako_model::ErrorKind::NotFound && !by_id => {}
                Err(err) => return Err(err),
            }
        }
        let reference = Reference::parse(name)?.with_default_tag();
        let request = crate::images::PullRequest {
            from_image: reference.familiar(),
            tag: String::new(),
            platform: platform.to_owned(),
            auth: self.options.auth(&reference),
        };
        let choose = placement::for_pull(&self.engine, &self.options.peer);
        let mut lines = images.pull(request, choose).await?;
        while let Some(line) = lines.next().await {
            if let Some(text) = line.get("error").and_then(|error| error.as_str()) {
                return Err(Error::internal(text));
            }
            out.value(&line).await?;
        }
        let image = self.local(name, platform).await?;
        match self.hold(&image).await? {
            true => Ok(image),
            false => Err(Error::not_found(format!("No such image: {name}"))),
        }
    }

    /// The image `name` that is here, for `platform` where one is named. One of
    /// another system has its files elsewhere, so that no step can be upon it.
    async fn local(&self, name: &str, platform: &str) -> Result<Digest> {
        let images = &self.engine.images;
        let image = match Wanted::read(platform)? {
            None => images.resolve(name).await?,
            Some(wanted) => images.resolve_for(name, &wanted).await?,
        };
        let choose = placement::for_pull(&self.engine, &self.options.peer);
        for candidate in images.candidates(image.id.as_str()).await? {
            choose(&hako_platform::Image::of(candidate.manifest()), None)?;
        }
        Ok(image.id)
    }
}
