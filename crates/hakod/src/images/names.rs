//! From what a client calls an image to the image, and back.

use super::{Candidate, Document, ImageService, ResolvedImage, platform::Wanted};
use hako_model::{Digest, Error, ImageName, Reference, Result};
use hako_registry::Platform;
use hako_store::{ImageRow, RefRow, Store};
use std::{collections::HashMap, path::PathBuf};

/// An embedded image's name.
const HELLO: &str = "docker.io/library/hello:latest";
/// The key of an image without layers: the digest of nothing.
const NO_LAYERS: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a client's name led to.
pub(super) struct Found {
    pub image: ImageRow,
    /// The reference that was named; `None` where it was an id.
    pub reference: Option<Reference>,
}

/// Finds an image by id, reference or the start of an id. Hidden images are
/// found by their whole id alone.
pub(super) fn find(store: &Store, name: &str) -> Result<Found> {
    let (reference, prefix) = match ImageName::parse(name)? {
        ImageName::Id(id) => {
            let image = store.image(&id)?.ok_or_else(|| no_such(name))?;
            return Ok(Found { image, reference: None });
        }
        ImageName::Reference { reference, id_prefix } => (reference, id_prefix),
    };
    if let Some(reference) = &reference
        && let Some(row) = lookup(store, reference)?
        && let Some(image) = store.image(&row.image)?
    {
        return Ok(Found { image, reference: Some(reference.clone()) });
    }
    if let Some(prefix) = prefix {
        let mut images = store.images_by_prefix(&prefix)?;
        match (images.pop(), images.pop()) {
            (Some(image), None) => return Ok(Found { image, reference: None }),
            (Some(_), Some(_)) => return Err(no_such(name).context(format!("id prefix {prefix} is ambiguous"))),
            (None, _) => {}
        }
    }
    Err(no_such(&reference.map_or_else(|| name.to_owned(), |r| r.familiar())))
}

/// [`find`], for a platform: of the images that a name leads to the one that
/// serves it best.
pub(super) fn find_for(store: &Store, name: &str, wanted: &Wanted) -> Result<ImageRow> {
    let found = find(store, name)?;
    let mut best: Option<(u32, ImageRow)> = None;
    for image in all(store, &found)? {
        let rate = wanted.rate(store, &image)?;
        if let Some(rate) = rate.filter(|rate| best.as_ref().is_none_or(|(most, _)| rate > most)) {
            best = Some((rate, image));
        }
    }
    best.map(|(_, image)| image).ok_or_else(|| mismatch(name, wanted, &platform_of(&found.image)))
}

/// All images that a name leads to, the one that it means alone first.
fn all(store: &Store, found: &Found) -> Result<Vec<ImageRow>> {
    let mut images = vec![found.image.clone()];
    if let Some(reference) = &found.reference {
        for row in store.references_named(&reference.key())? {
            if row.image != found.image.id {
                images.extend(store.image(&row.image)?);
            }
        }
    }
    Ok(images)
}

/// What an image is for.
pub(super) fn platform_of(image: &ImageRow) -> Platform {
    Platform { os: image.os.clone(), architecture: image.architecture.clone(), variant: image.variant.clone() }
}

/// That the image there is not for the platform that was asked for, in Docker's words.
pub(super) fn mismatch(name: &str, wanted: &Wanted, actual: &Platform) -> Error {
    Error::not_found(format!(
        "image with reference {name} was found but does not match the specified platform: \
         wanted {wanted}, actual: {actual}"
    ))
}

/// A reference by digest also matches the image that was tagged from it.
fn lookup(store: &Store, reference: &Reference) -> Result<Option<RefRow>> {
    if let Some(row) = store.reference(&reference.key())? {
        return Ok(Some(row));
    }
    // name@<image id> is accepted too.
    let Some(digest) = &reference.digest else { return Ok(None) };
    let repository = reference.repository.to_string();
    let rows = store.references(Some(digest))?;
    Ok(rows.into_iter().find(|row| split(&row.name).0 == repository))
}

pub(super) fn no_such(name: &str) -> Error {
    Error::not_found(format!("No such image: {name}"))
}

/// A stored name's repository, and whether the rest is a digest.
pub(super) fn split(name: &str) -> (&str, bool) {
    if let Some((repository, _)) = name.split_once('@') {
        return (repository, true);
    }
    let slash = name.rfind('/').unwrap_or(0);
    match name[slash..].find(':') {
        Some(colon) => (&name[..slash + colon], false),
        None => (name, false),
    }
}

/// A stored name as Docker shows it.
pub(super) fn familiar(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |r| r.familiar())
}

/// Tags and digests of an image's names, familiar.
pub(super) fn tags_and_digests<'a>(rows: impl IntoIterator<Item = &'a RefRow>) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for row in rows {
        let list = if split(&row.name).1 { &mut digests } else { &mut tags };
        list.push(familiar(&row.name));
    }
    (tags, digests)
}

/// The image's config document.
pub(super) fn document(store: &Store, id: &Digest) -> Result<Document> {
    Document::stored(&store.read_blob(id, hako_registry::MAX_CONFIG)?)
}

fn resolved(store: &Store, image: &ImageRow) -> Result<ResolvedImage> {
    let layers = store.image_layers(&image.id)?;
    let chain = match layers.last() {
        Some(top) => top.chain.clone(),
        None => NO_LAYERS.parse().map_err(|_| Error::internal("the digest of nothing is malformed"))?,
    };
    let (repo_tags, repo_digests) = tags_and_digests(&store.references(Some(&image.id))?);
    let document = document(store, &image.id)?;
    Ok(ResolvedImage {
        id: image.id.clone(),
        config: document.config,
        os_version: document.os_version,
        os_features: document.os_features,
        os: image.os.clone(),
        architecture: image.architecture.clone(),
        variant: image.variant.clone(),
        layers: layers.into_iter().map(|layer| layer.dir).collect::<Vec<PathBuf>>(),
        chain,
        repo_tags,
        repo_digests,
    })
}

/// An image with what its manifests, and the indexes that led to them, say of it.
fn candidate(store: &Store, image: &ImageRow) -> Result<Candidate> {
    let (mut digests, mut annotations) = (Vec::new(), Vec::new());
    let rows = store.references(Some(&image.id))?;
    for row in &rows {
        for digest in row.manifest.iter().chain(&row.target) {
            if digests.contains(digest) {
                continue;
            }
            digests.push(digest.clone());
            // What was lost says nothing, and is no reason not to run the image.
            if let Ok(bytes) = store.read_blob(digest, hako_registry::MAX_MANIFEST) {
                annotations.extend(annotated(&bytes, row.manifest.as_ref()));
            }
        }
    }
    let names = rows.into_iter().map(|row| row.name).collect();
    Ok(Candidate { image: resolved(store, image)?, names, digests, annotations })
}

/// The annotations of a manifest, or of its entry in an index.
fn annotated(document: &[u8], manifest: Option<&Digest>) -> Vec<(String, String)> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Noted {
        annotations: Option<HashMap<String, String>>,
        digest: String,
        manifests: Option<Vec<Noted>>,
    }
    let noted: Noted = serde_json::from_slice(document).unwrap_or_default();
    let own =
        noted.manifests.into_iter().flatten().filter(|entry| manifest.is_some_and(|own| entry.digest == own.as_str()));
    let of_entries = own.filter_map(|entry| entry.annotations);
    noted.annotations.into_iter().chain(of_entries).flatten().collect()
}

impl ImageService {
    /// [`find`], for async callers.
    pub(super) async fn find(&self, name: &str) -> Result<Found> {
        let name = name.to_owned();
        self.blocking(move |store| find(store, &name)).await
    }

    pub(super) async fn resolve_inner(&self, name: &str) -> Result<ResolvedImage> {
        let owned = name.to_owned();
        let first = self.blocking(move |store| resolved(store, &find(store, &owned)?.image)).await;
        match first {
            Err(err) if err.kind == hako_model::ErrorKind::NotFound && is_hello(name) => {
                self.load_embedded().await?;
                let owned = name.to_owned();
                self.blocking(move |store| resolved(store, &find(store, &owned)?.image)).await
            }
            other => other,
        }
    }

    pub(super) async fn resolve_for_inner(&self, name: &str, wanted: &Wanted) -> Result<ResolvedImage> {
        // Loads what is part of this program, if that is meant.
        let first = self.resolve_inner(name).await?;
        let own =
            Platform { os: first.os.clone(), architecture: first.architecture.clone(), variant: first.variant.clone() };
        if wanted.version.is_none() && wanted.platform.accepts(&own) == Some(Platform::EXACT) {
            return Ok(first);
        }
        let (owned, wanted) = (name.to_owned(), wanted.clone());
        self.blocking(move |store| resolved(store, &find_for(store, &owned, &wanted)?)).await
    }

    pub(super) async fn candidates_inner(&self, name: &str) -> Result<Vec<Candidate>> {
        let owned = name.to_owned();
        let find = move |store: &Store| {
            let images = all(store, &find(store, &owned)?)?;
            images.iter().map(|image| candidate(store, image)).collect()
        };
        match self.blocking(find.clone()).await {
            Err(err) if err.kind == hako_model::ErrorKind::NotFound && is_hello(name) => {
                self.load_embedded().await?;
                self.blocking(find).await
            }
            other => other,
        }
    }

    /// Loads the image that is part of this program, once.
    async fn load_embedded(&self) -> Result<()> {
        let _once = self.store.lock("hello").await;
        self.blocking(|store| {
            if store.reference(HELLO)?.is_some() {
                return Ok(());
            }
            let lines = super::progress::Lines::none();
            super::load::load_blocking(store, hako_hello::image(), true, None, &lines).map(|_| ())
        })
        .await
    }
}

fn is_hello(name: &str) -> bool {
    Reference::parse(name).is_ok_and(|r| r.with_default_tag().key() == HELLO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_of_a_manifest_and_of_its_entry() {
        let one = "sha256:aa".to_owned() + &"0".repeat(62);
        let index = format!(
            r#"{{"annotations":{{"a":"1"}},"manifests":[{{"digest":"{one}","annotations":{{"b":"2"}}}},
            {{"digest":"sha256:bb","annotations":{{"c":"3"}}}},{{"digest":"sha256:cc"}}]}}"#
        );
        let mut found = annotated(index.as_bytes(), Some(&one.parse().unwrap()));
        found.sort();
        assert_eq!(found, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        assert_eq!(annotated(index.as_bytes(), None).len(), 1);
        assert!(annotated(b"[]", None).is_empty() && annotated(br#"{"annotations":null}"#, None).is_empty());
    }

    #[test]
    fn stored_names_are_split() {
        assert_eq!(split("docker.io/library/a:b"), ("docker.io/library/a", false));
        assert_eq!(split("localhost:5000/a:b"), ("localhost:5000/a", false));
        assert_eq!(split("localhost:5000/a@sha256:00"), ("localhost:5000/a", true));
    }
}
