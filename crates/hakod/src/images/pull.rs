//! `POST /images/create?fromImage=…`.
//!
//! ```text
//! manifest ─► config ─► layers: up to 3 downloads at once, each into the store by digest
//!                               └─ unpacked in order, bottom first, as they arrive
//!                    ─► names, manifest and image in one transaction
//! ```

use super::{
    Choose, Document, ImageEvent, ImageService, JsonLines, PullRequest,
    install::{Kept, LayerSource, install_image, install_layer, run_blocking},
    names, offer,
    platform::Wanted,
    progress::{Lines, Meter},
    task::Task,
};
use bytes::Bytes;
use hako_model::{Digest, Error, Reference, Result};
use hako_registry::{Credentials, Descriptor, IndexEntry, Resolved, Session};
use hako_store::{Lease, NewRef, Store};
use serde_json::json;
use std::{
    collections::HashMap,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Semaphore, mpsc};

/// A pull, its parameters read.
struct Plan {
    reference: Reference,
    /// The platform, where the client names one.
    platform: Option<Wanted>,
    credentials: Option<Credentials>,
    choose: Choose,
}

impl Plan {
    fn read(request: &PullRequest, choose: Choose) -> Result<Self> {
        let mut reference = Reference::parse(&request.from_image)?;
        if !request.tag.is_empty() {
            let text = match request.tag.parse::<Digest>() {
                Ok(digest) => format!("{}@{digest}", reference.repository),
                Err(_) => format!("{}:{}", reference.repository, request.tag),
            };
            reference = Reference::parse(&text)?;
        }
        // As in Docker, a header that cannot be read is as none.
        let credentials = request.auth.as_deref().and_then(|header| Credentials::from_header(header).ok().flatten());
        Ok(Self { reference, platform: Wanted::read(&request.platform)?, credentials, choose })
    }
}

impl ImageService {
    pub(super) async fn pull_inner(self: &Arc<Self>, request: PullRequest, choose: Choose) -> Result<JsonLines> {
        let plan = Plan::read(&request, choose)?;
        let service = self.clone();
        self.stream(move |lines| async move { service.run_pull(plan, lines).await }).await
    }

    async fn run_pull(&self, mut plan: Plan, lines: Lines) -> Result<()> {
        let repository = plan.reference.repository.clone();
        let session = Arc::new(self.registry.session(&repository, plan.credentials.take())?);
        if plan.reference.tag.is_some() || plan.reference.digest.is_some() {
            return self.pull_one(&session, &plan, &lines).await;
        }
        // Neither tag nor digest: every tag, as Docker has it.
        for tag in session.tags().await? {
            plan.reference = Reference::tagged(repository.clone(), &tag)?;
            self.pull_one(&session, &plan, &lines).await?;
        }
        Ok(())
    }

    async fn pull_one(&self, session: &Arc<Session>, plan: &Plan, lines: &Lines) -> Result<()> {
        let reference = &plan.reference;
        let choose = |target: &Digest, entries: &[IndexEntry]| {
            let (image, places) = offer::index(reference, target, entries, plan.platform.as_ref());
            let chosen = (plan.choose)(&image, plan.platform.as_ref())?;
            places.get(chosen).copied().ok_or_else(|| Error::internal("the chosen manifest is gone"))
        };
        let resolved = session.resolve(reference, choose).await?;
        let shown = reference.digest.as_ref().map_or_else(|| reference.target().to_owned(), Digest::to_string);
        let from = format!("Pulling from {}", reference.repository.path());
        lines.send(json!({ "status": from, "id": shown })).await?;
        let mut lease = self.store.lease();
        let config = self.config(session, &resolved.manifest.config, lines, &mut lease).await?;
        let document = Arc::new(Document::parse(&config)?);
        check(plan, &resolved, &document)?;
        let before = self.images_named(reference.key()).await?;
        self.layers(session, &resolved, &document, lines, &mut lease).await?;
        let target = resolved.target.clone();
        let (store, names) = (self.store.clone(), new_names(reference, &resolved));
        let id =
            run_blocking(move || install_image(&store, &mut lease, &config, &document, &kept(resolved), names)).await?;
        let fresh = !before.contains(&id);
        lines.send(json!({ "status": format!("Digest: {target}") })).await?;
        let word = if fresh { "Downloaded newer image for" } else { "Image is up to date for" };
        lines.send(json!({ "status": format!("Status: {word} {}", reference.familiar()) })).await?;
        let name = reference.repository.familiar();
        self.tell(ImageEvent {
            action: "pull",
            id: reference.familiar(),
            attributes: HashMap::from([("name".to_owned(), name)]),
        });
        Ok(())
    }

    async fn images_named(&self, key: String) -> Result<Vec<Digest>> {
        self.blocking(move |store| Ok(store.references_named(&key)?.into_iter().map(|row| row.image).collect())).await
    }

    /// The image's config, from the store where it is there already.
    async fn config(
        &self,
        session: &Session,
        descriptor: &Descriptor,
        lines: &Lines,
        lease: &mut Lease,
    ) -> Result<Vec<u8>> {
        lease.hold(&descriptor.digest);
        let digest = descriptor.digest.clone();
        // Two pulls of an image fetch it once.
        let _once = self.store.lock(&format!("blob:{digest}")).await;
        let stored = self
            .blocking(move |store| {
                if !store.has_blob(&digest) {
                    return Ok(None);
                }
                Ok(Some(store.read_blob(&digest, hako_registry::MAX_CONFIG)?))
            })
            .await?;
        if let Some(bytes) = stored {
            return Ok(bytes);
        }
        let bytes = session.small_blob(descriptor).await?;
        let (digest, content, held) = (descriptor.digest.clone(), bytes.clone(), lines.clone());
        self.blocking(move |store| {
            let put = store.put_blob(&content, Some(&digest));
            drop(held);
            Ok(put?)
        })
        .await?;
        Ok(bytes)
    }

    /// Brings every layer into the store, unpacked.
    async fn layers(
        &self,
        session: &Arc<Session>,
        resolved: &Resolved,
        document: &Arc<Document>,
        lines: &Lines,
        lease: &mut Lease,
    ) -> Result<()> {
        let descriptors = &resolved.manifest.layers;
        let chains = Arc::new(document.chains());
        for (descriptor, chain) in descriptors.iter().zip(chains.iter()) {
            lease.hold(&descriptor.digest);
            lease.hold(chain);
        }
        let present = self.present(chains.clone()).await?;
        for (descriptor, there) in descriptors.iter().zip(&present) {
            let status = if *there { "Already exists" } else { "Pulling fs layer" };
            lines.status(status, descriptor.digest.short()).await?;
        }
        let downloads: Vec<(usize, Task<()>)> = descriptors
            .iter()
            .enumerate()
            .filter(|(index, _)| !present[*index])
            .map(|(index, descriptor)| {
                let download = Download {
                    store: self.store.clone(),
                    session: session.clone(),
                    descriptor: descriptor.clone(),
                    lines: lines.clone(),
                    slots: self.downloads.clone(),
                };
                (index, Task::spawn(download.run()))
            })
            .collect();
        for (index, download) in downloads {
            download.join().await?;
            self.extract(&descriptors[index], index, document, &chains, lines).await?;
            lines.status("Pull complete", descriptors[index].digest.short()).await?;
        }
        Ok(())
    }

    async fn present(&self, chains: Arc<Vec<Digest>>) -> Result<Vec<bool>> {
        self.blocking(move |store| {
            chains
                .iter()
                .map(|chain| Ok(store.layer(chain)?.is_some_and(|layer| store.has_archive(&layer))))
                .collect::<Result<Vec<bool>>>()
        })
        .await
    }

    async fn extract(
        &self,
        descriptor: &Descriptor,
        index: usize,
        document: &Arc<Document>,
        chains: &Arc<Vec<Digest>>,
        lines: &Lines,
    ) -> Result<()> {
        let (store, descriptor) = (self.store.clone(), descriptor.clone());
        let (document, chains) = (document.clone(), chains.clone());
        let meter = Mutex::new(Meter::new(lines, "Extracting", descriptor.digest.short(), descriptor.size));
        run_blocking(move || {
            // A pull that is cancelled drops its own, and this goes on.
            let mut lease = store.lease();
            lease.hold(&descriptor.digest);
            lease.hold(&chains[index]);
            let source = LayerSource {
                archive: store.open_blob(&descriptor.digest)?,
                blob: &descriptor.digest,
                media_type: &descriptor.media_type,
                index,
                document: &document,
                chains: &chains,
            };
            install_layer(&store, source, &|done| meter.lock().unwrap_or_else(PoisonError::into_inner).at(done))
        })
        .await
    }
}

/// The image's own word for what it is counts, whatever its index says.
fn check(plan: &Plan, resolved: &Resolved, document: &Document) -> Result<()> {
    let actual = document.platform();
    if let Some(wanted) = &plan.platform
        && (wanted.platform.accepts(&actual).is_none() || !wanted.admits(&document.os_version))
    {
        return Err(names::mismatch(&plan.reference.familiar(), wanted, &actual));
    }
    (plan.choose)(&offer::image(&plan.reference, resolved, document), None)?;
    let (layers, diffs) = (resolved.manifest.layers.len(), document.rootfs.diff_ids.len());
    if layers != diffs {
        return Err(Error::invalid(format!("manifest has {layers} layers and the image config {diffs}")));
    }
    Ok(())
}

/// The names that a pull gives: the tag, and the repository with the digest.
fn new_names(reference: &Reference, resolved: &Resolved) -> Vec<NewRef> {
    let by_digest = Reference::by_digest(reference.repository.clone(), resolved.target.clone());
    let mut keys = vec![by_digest.key()];
    if reference.digest.is_none() {
        keys.push(reference.key());
    }
    let new = |name| NewRef { name, target: Some(resolved.target.clone()), manifest: Some(resolved.digest.clone()) };
    keys.into_iter().map(new).collect()
}

/// The manifest, and the index that led to it.
fn kept(resolved: Resolved) -> Vec<Kept> {
    let mut kept =
        vec![Kept { bytes: resolved.bytes, digest: resolved.digest, media_type: resolved.manifest.media_type }];
    if let Some((bytes, media_type)) = resolved.index {
        kept.push(Kept { bytes, digest: resolved.target, media_type });
    }
    kept
}

/// The download of one layer.
struct Download {
    store: Store,
    session: Arc<Session>,
    descriptor: Descriptor,
    lines: Lines,
    slots: Arc<Semaphore>,
}

impl Download {
    async fn run(self) -> Result<()> {
        let id = self.descriptor.digest.short();
        // Two pulls that want the same bytes fetch them once.
        let _once = self.store.lock(&format!("blob:{}", self.descriptor.digest)).await;
        if self.store.has_blob(&self.descriptor.digest) {
            return self.lines.status("Download complete", id).await;
        }
        let _slot = match self.slots.try_acquire() {
            Ok(slot) => slot,
            Err(_) => {
                self.lines.status("Waiting", id).await?;
                self.slots.acquire().await.map_err(|_| Error::internal("the engine is ending"))?
            }
        };
        let mirrored = self.session.has_mirrors();
        let mut done = self.fetch().await;
        if mirrored && matches!(&done, Err(failed) if failed.wrong) {
            // A mirror may have sent it: the registry itself has the word.
            self.session.leave_mirrors();
            done = self.fetch().await;
        }
        done.map_err(|failed| failed.error)?;
        self.lines.status("Download complete", id).await
    }

    /// Brings the bytes into the store.
    async fn fetch(&self) -> std::result::Result<(), Failed> {
        // The disk may be slow, so that writing has a thread of its own.
        let (sender, receiver) = mpsc::channel(16);
        let (store, descriptor, lines) = (self.store.clone(), self.descriptor.clone(), self.lines.clone());
        let writer = tokio::task::spawn_blocking(move || write(&store, &descriptor, &lines, receiver));
        let sent = self.session.blob(&self.descriptor, &sender).await;
        drop(sender);
        let written = match writer.await {
            Ok(written) => written,
            Err(err) => Err(Error::internal(format!("download broke off: {err}")).into()),
        };
        match (sent, written) {
            // The writer stopped first: what it says is why.
            (Err(hako_registry::Error::Cancelled), Err(failed)) => Err(failed),
            (Err(err), _) => {
                use hako_registry::Error::{Registry, TooLarge};
                Err(Failed { wrong: matches!(err, Registry(_) | TooLarge { .. }), error: err.into() })
            }
            (Ok(()), written) => written,
        }
    }
}

/// Why a layer did not come.
struct Failed {
    error: Error,
    /// All that was asked for came, and it was something else.
    wrong: bool,
}

impl<E: Into<Error>> From<E> for Failed {
    fn from(err: E) -> Self {
        Self { error: err.into(), wrong: false }
    }
}

fn write(
    store: &Store,
    descriptor: &Descriptor,
    lines: &Lines,
    mut pieces: mpsc::Receiver<Bytes>,
) -> std::result::Result<(), Failed> {
    let mut meter = Meter::new(lines, "Downloading", descriptor.digest.short(), descriptor.size);
    let mut writer = store.write_blob(Some(&descriptor.digest), Some(descriptor.size))?;
    while let Some(piece) = pieces.blocking_recv() {
        writer.write_all(&piece)?;
        meter.at(writer.written());
    }
    if writer.written() == descriptor.size {
        lines.send_blocking(json!({
            "status": "Verifying Checksum", "progressDetail": {}, "id": descriptor.digest.short()
        }))?;
    }
    writer.finish().map_err(refused)?.commit()?;
    Ok(())
}

/// What a registry promised and did not send, in Docker's words.
fn refused(err: hako_store::Error) -> Failed {
    match err {
        hako_store::Error::Digest { expected, actual } => Failed {
            error: Error::internal(format!(
                "filesystem layer verification failed for digest {expected}: the content has digest {actual}"
            )),
            wrong: true,
        },
        other => other.into(),
    }
}
