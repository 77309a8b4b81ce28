//! `POST /images/{name}/push`.
//!
//! ```text
//! name ─► parcel (index, manifest as it came, or made) ─► layers: up to 5 at once,
//!         each: there already? ─ mounted from another repository? ─ uploaded
//!      ─► configs ─► manifests, their index ─► the name by digest
//! ```

use super::{
    ImageEvent, ImageService, JsonLines, PushRequest,
    names::split,
    parcel::{Origin, Parcel, Piece},
    progress::{Lines, Meter},
    task::Task,
};
use futures::{StreamExt, TryStreamExt};
use hako_model::{Digest, Error, Reference, Repository, Result};
use hako_registry::{Content, Credentials, Mounted, Platform, Session};
use hako_store::{NewRef, RefRow, Store};
use serde_json::json;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;

/// From how many repositories a layer is tried to be mounted, as in Docker.
const MOUNTS: usize = 4;
/// How much of a layer is read at a time.
const PIECE: usize = 256 << 10;

/// A push, its parameters read.
struct Plan {
    repository: Repository,
    /// `None` pushes every tag.
    tag: Option<Reference>,
    platform: Option<Platform>,
    credentials: Option<Credentials>,
}

impl Plan {
    fn read(request: PushRequest) -> Result<Self> {
        let named = Reference::parse(&request.name)?;
        if named.digest.is_some() {
            return Err(Error::invalid("cannot push a digest reference"));
        }
        let repository = named.repository.clone();
        let tag = match request.tag.as_str() {
            "" => named.tag.is_some().then_some(named),
            tag => Some(Reference::tagged(repository.clone(), tag)?),
        };
        // As in Docker, a header that cannot be read is as none.
        let credentials = request.auth.as_deref().and_then(|header| Credentials::from_header(header).ok().flatten());
        Ok(Self { repository, tag, platform: request.platform, credentials })
    }
}

impl ImageService {
    pub(super) async fn push_inner(self: &Arc<Self>, request: PushRequest) -> Result<JsonLines> {
        let plan = Plan::read(request)?;
        let service = self.clone();
        self.stream(move |lines| async move { service.run_push(plan, lines).await }).await
    }

    async fn run_push(&self, mut plan: Plan, lines: Lines) -> Result<()> {
        let repository = plan.repository.clone();
        lines.send(json!({ "status": format!("The push refers to repository [{repository}]") })).await?;
        let credentials = plan.credentials.take();
        let session = Arc::new(self.registry.push_session(&repository, credentials)?);
        for tag in self.tags_to_push(&plan).await? {
            self.push_tag(&session, &tag, plan.platform.as_ref(), &lines).await?;
        }
        let id = plan.tag.map_or_else(|| repository.familiar(), |tag| tag.familiar());
        let attributes = HashMap::from([("name".to_owned(), repository.familiar())]);
        self.tell(ImageEvent { action: "push", id, attributes });
        Ok(())
    }

    async fn tags_to_push(&self, plan: &Plan) -> Result<Vec<Reference>> {
        let (repository, familiar) = (plan.repository.to_string(), plan.repository.familiar());
        let names: Vec<String> = self
            .blocking(move |store| Ok(store.references(None)?.into_iter().map(|row| row.name).collect::<Vec<_>>()))
            .await?
            .into_iter()
            .filter(|name| split(name).0 == repository)
            .collect();
        if names.is_empty() {
            return Err(Error::not_found(format!("An image does not exist locally with the tag: {familiar}")));
        }
        if let Some(tag) = &plan.tag {
            if !names.contains(&tag.key()) {
                return Err(Error::not_found(format!("tag does not exist: {}", tag.familiar())));
            }
            return Ok(vec![tag.clone()]);
        }
        let mut tags: Vec<Reference> = Vec::new();
        for name in names.iter().filter(|name| !split(name).1) {
            let tag = Reference::parse(name)?;
            if tags.last() != Some(&tag) {
                tags.push(tag);
            }
        }
        if tags.is_empty() {
            return Err(Error::not_found(format!("no tags to push for {familiar}")));
        }
        Ok(tags)
    }

    async fn push_tag(
        &self,
        session: &Arc<Session>,
        reference: &Reference,
        platform: Option<&Platform>,
        lines: &Lines,
    ) -> Result<()> {
        let (packer, told, wanted, key) = (self.packer.clone(), lines.clone(), platform.cloned(), reference.key());
        let familiar = reference.familiar();
        let (parcel, _lease, mounts) = {
            let repository = reference.repository.clone();
            self.blocking(move |store| {
                let mut lease = store.lease();
                let rows = store.references_named(&key)?;
                if rows.is_empty() {
                    return Err(Error::not_found(format!("tag does not exist: {familiar}")));
                }
                let origin = Origin { store, packer: &packer, lines: &told };
                let parcel = origin.parcel(&mut lease, &rows, wanted.as_ref())?;
                let mounts = mounts(store, &repository, &parcel.pieces)?;
                Ok((parcel, lease, mounts))
            })
            .await?
        };
        self.send_layers(session, &parcel, &mounts, reference, lines).await?;
        for config in &parcel.configs {
            if !session.has_blob(&config.digest).await? {
                let (store, digest) = (self.store.clone(), config.digest.clone());
                session.upload(config, None, &move || content(store.clone(), digest.clone(), None)).await?;
            }
        }
        self.send_documents(session, &parcel, reference, lines).await
    }

    async fn send_layers(
        &self,
        session: &Arc<Session>,
        parcel: &Parcel,
        mounts: &HashMap<Digest, Vec<String>>,
        reference: &Reference,
        lines: &Lines,
    ) -> Result<()> {
        for piece in &parcel.pieces {
            lines.status("Preparing", &piece.id).await?;
        }
        let upload = |piece: &Piece| Upload {
            store: self.store.clone(),
            session: session.clone(),
            piece: piece.clone(),
            mounts: mounts.get(&piece.descriptor.digest).cloned().unwrap_or_default(),
            repository: reference.repository.to_string(),
            lines: lines.clone(),
            slots: self.uploads.clone(),
        };
        let uploads: Vec<Task<()>> = parcel.pieces.iter().map(|piece| Task::spawn(upload(piece).run())).collect();
        for upload in uploads {
            upload.join().await?;
        }
        Ok(())
    }

    /// Manifests under their digests, and the last one under the tag.
    async fn send_documents(
        &self,
        session: &Session,
        parcel: &Parcel,
        reference: &Reference,
        lines: &Lines,
    ) -> Result<()> {
        let Some((top, below)) = parcel.documents.split_last() else { return Ok(()) };
        for document in below {
            session.put_manifest(document.digest.as_str(), &document.media_type, &document.bytes).await?;
        }
        let tag = reference.target();
        session.put_manifest(tag, &top.media_type, &top.bytes).await?;
        let by_digest = Reference::by_digest(reference.repository.clone(), top.digest.clone()).key();
        let (images, target) = (parcel.images.clone(), top.digest.clone());
        self.blocking(move |store| {
            for (image, manifest) in images {
                let (name, target) = (by_digest.clone(), Some(target.clone()));
                // An image that was removed meanwhile needs no name.
                if store.image(&image)?.is_some() {
                    store.keep(&image, &[], &[NewRef { name, target, manifest: Some(manifest) }])?;
                }
            }
            Ok(())
        })
        .await?;
        let (digest, size) = (&top.digest, top.bytes.len());
        lines.send(json!({ "status": format!("{tag}: digest: {digest} size: {size}") })).await?;
        let aux = json!({ "Tag": tag, "Digest": digest, "Size": size });
        lines.send(json!({ "progressDetail": {}, "aux": aux })).await
    }
}

/// For each layer, other repositories of the same registry that have it: those
/// of the images here that have the layer and a name by digest, which is given
/// by pulls and pushes alone.
fn mounts(store: &Store, target: &Repository, pieces: &[Piece]) -> Result<HashMap<Digest, Vec<String>>> {
    let wanted: HashSet<&Digest> = pieces.iter().map(|piece| &piece.descriptor.digest).collect();
    let mut found: HashMap<Digest, Vec<String>> = HashMap::new();
    let mut known: HashMap<Digest, Vec<Digest>> = HashMap::new();
    for RefRow { name, image, .. } in store.references(None)? {
        let (repository, true) = split(&name) else { continue };
        let Some((registry, path)) = repository.split_once('/') else { continue };
        if registry != target.registry() || path == target.path() {
            continue;
        }
        if !known.contains_key(&image) {
            let layers = store.image_layers(&image)?.into_iter().filter_map(|layer| layer.blob);
            let kept = store.kept(&image)?.into_iter().map(|(digest, _)| digest);
            known.insert(image.clone(), layers.chain(kept).filter(|blob| wanted.contains(blob)).collect());
        }
        for blob in &known[&image] {
            let paths = found.entry(blob.clone()).or_default();
            if paths.len() < MOUNTS && !paths.iter().any(|known| known == path) {
                paths.push(path.to_owned());
            }
        }
    }
    Ok(found)
}

/// The upload of one layer.
struct Upload {
    store: Store,
    session: Arc<Session>,
    piece: Piece,
    mounts: Vec<String>,
    repository: String,
    lines: Lines,
    slots: Arc<Semaphore>,
}

impl Upload {
    async fn run(self) -> Result<()> {
        let (descriptor, id) = (&self.piece.descriptor, self.piece.id.as_str());
        // Two pushes that send the same bytes to one place send them once.
        let _once = self.store.lock(&format!("push:{}:{}", self.repository, descriptor.digest)).await;
        let _slot = match self.slots.try_acquire() {
            Ok(slot) => slot,
            Err(_) => {
                self.lines.status("Waiting", id).await?;
                self.slots.acquire().await.map_err(|_| Error::internal("the engine is ending"))?
            }
        };
        if self.session.has_blob(&descriptor.digest).await? {
            return self.lines.status("Layer already exists", id).await;
        }
        let mut begun = None;
        for from in &self.mounts {
            if let Some(place) = begun.take() {
                self.session.cancel(place).await;
            }
            match self.session.mount(&descriptor.digest, from).await {
                Ok(Mounted::There) => return self.lines.status(&format!("Mounted from {from}"), id).await,
                Ok(Mounted::Begun(place)) => begun = Some(place),
                // A repository that is closed to this user, for one.
                Err(err) => tracing::debug!("mount layer {} from {from}: {err}", descriptor.digest),
            }
        }
        let (store, digest, lines) = (self.store.clone(), descriptor.digest.clone(), self.lines.clone());
        let (name, size) = (id.to_owned(), descriptor.size);
        let open = move || {
            let meter = Meter::new(&lines, "Pushing", &name, size);
            content(store.clone(), digest.clone(), Some(meter))
        };
        self.session.upload(descriptor, begun, &open).await?;
        self.lines.status("Pushed", id).await
    }
}

/// A blob's bytes, read as they are sent.
fn content(store: Store, digest: Digest, meter: Option<Meter>) -> Content {
    let meter = Mutex::new((meter, 0u64));
    let opened = async move {
        let file =
            tokio::task::spawn_blocking(move || store.open_blob(&digest)).await.map_err(std::io::Error::other)?;
        let file = tokio::fs::File::from_std(file.map_err(std::io::Error::other)?);
        Ok::<_, std::io::Error>(ReaderStream::with_capacity(file, PIECE))
    };
    let pieces = futures::stream::once(opened).try_flatten();
    pieces
        .inspect_ok(move |piece| {
            let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            meter.1 += piece.len() as u64;
            let done = meter.1;
            if let Some(meter) = &mut meter.0 {
                meter.at(done);
            }
        })
        .boxed()
}
