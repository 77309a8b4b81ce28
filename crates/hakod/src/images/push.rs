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
    platform::Wanted,
    progress::{Lines, Meter},
    task::Task,
};
use futures::{StreamExt, TryStreamExt};
use hako_model::{Digest, Error, Reference, Repository, Result};
use hako_registry::{Content, Credentials, MAX_MANIFEST, Mounted, Session, parse_manifest};
use hako_store::{Lease, NewRef, RefRow, Store};
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
    platform: Option<Wanted>,
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
        platform: Option<&Wanted>,
        lines: &Lines,
    ) -> Result<()> {
        let mut packed = self.pack(reference, platform, false, lines).await?;
        if !self.send_layers(session, &packed, reference, lines).await? {
            // The registry lacks a layer that is not here as the manifest names it.
            packed = self.pack(reference, platform, true, lines).await?;
            if !self.send_layers(session, &packed, reference, lines).await? {
                return Err(Error::internal(format!("a layer of {} is not in the store", reference.familiar())));
            }
        }
        let parcel = &packed.parcel;
        for config in &parcel.configs {
            if !session.has_blob(&config.digest).await? {
                let (store, digest) = (self.store.clone(), config.digest.clone());
                session.upload(config, None, &move || content(store.clone(), digest.clone(), None)).await?;
            }
        }
        self.send_documents(session, parcel, reference, lines).await
    }

    /// What is to be sent, under a lease.
    async fn pack(
        &self,
        reference: &Reference,
        platform: Option<&Wanted>,
        all_held: bool,
        lines: &Lines,
    ) -> Result<PackedUp> {
        let (packer, told, platform) = (self.packer.clone(), lines.clone(), platform.cloned());
        let reference = reference.clone();
        self.blocking(move |store| {
            let mut lease = store.lease();
            let rows = store.references_named(&reference.key())?;
            if rows.is_empty() {
                return Err(Error::not_found(format!("tag does not exist: {}", reference.familiar())));
            }
            let origin = Origin { all_held, store, packer: &packer, lines: &told };
            let parcel = origin.parcel(&mut lease, &rows, platform.as_ref())?;
            let mounts = mounts(store, &reference.repository, &parcel.pieces)?;
            Ok(PackedUp { parcel, mounts, _lease: lease })
        })
        .await
    }

    /// Whether the registry has every layer then.
    async fn send_layers(
        &self,
        session: &Arc<Session>,
        PackedUp { parcel, mounts, .. }: &PackedUp,
        reference: &Reference,
        lines: &Lines,
    ) -> Result<bool> {
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
        let uploads: Vec<Task<bool>> = parcel.pieces.iter().map(|piece| Task::spawn(upload(piece).run())).collect();
        let mut all = true;
        for upload in uploads {
            all &= upload.join().await?;
        }
        Ok(all)
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

/// What a push sends, and from where layers may be mounted.
struct PackedUp {
    parcel: Parcel,
    mounts: HashMap<Digest, Vec<String>>,
    _lease: Lease,
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
            let blobs = blobs_of(store, &image)?;
            known.insert(image.clone(), blobs.into_iter().filter(|blob| wanted.contains(blob)).collect());
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

/// Every layer's archive that an image is known to have: here, or by its manifests.
fn blobs_of(store: &Store, image: &Digest) -> Result<Vec<Digest>> {
    let mut blobs: Vec<Digest> = store.image_layers(image)?.into_iter().filter_map(|layer| layer.blob).collect();
    for (digest, media_type) in store.kept(image)? {
        if store.has_blob(&digest)
            && !hako_registry::is_layer(&media_type)
            && let Ok(manifest) = parse_manifest(&store.read_blob(&digest, MAX_MANIFEST)?, &media_type)
        {
            blobs.extend(manifest.layers.into_iter().map(|layer| layer.digest));
        }
        blobs.push(digest);
    }
    Ok(blobs)
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
    /// Whether the registry has the layer then: what is not here cannot be sent.
    async fn run(self) -> Result<bool> {
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
            self.lines.status("Layer already exists", id).await?;
            return Ok(true);
        }
        let mut begun = None;
        for from in &self.mounts {
            if let Some(place) = begun.take() {
                self.session.cancel(place).await;
            }
            match self.session.mount(&descriptor.digest, from).await {
                Ok(Mounted::There) => {
                    self.lines.status(&format!("Mounted from {from}"), id).await?;
                    return Ok(true);
                }
                Ok(Mounted::Begun(place)) => begun = Some(place),
                // A repository that is closed to this user, for one.
                Err(err) => tracing::debug!("mount layer {} from {from}: {err}", descriptor.digest),
            }
        }
        if !self.piece.held {
            if let Some(place) = begun {
                self.session.cancel(place).await;
            }
            return Ok(false);
        }
        let (store, digest, lines) = (self.store.clone(), descriptor.digest.clone(), self.lines.clone());
        let (name, size) = (id.to_owned(), descriptor.size);
        let open = move || {
            let meter = Meter::new(&lines, "Pushing", &name, size);
            content(store.clone(), digest.clone(), Some(meter))
        };
        self.session.upload(descriptor, begun, &open).await?;
        self.lines.status("Pushed", id).await?;
        Ok(true)
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
