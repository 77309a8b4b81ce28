//! From what a client calls an image to the image, and back.

use super::{Document, ImageService, ResolvedImage};
use hako_model::{Digest, Error, ImageName, Reference, Result};
use hako_registry::Platform;
use hako_store::{ImageRow, RefRow, Store};
use std::path::PathBuf;

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
pub(super) fn find_for(store: &Store, name: &str, platform: &Platform) -> Result<ImageRow> {
    let found = find(store, name)?;
    let mut offered = vec![found.image.clone()];
    if let Some(reference) = &found.reference {
        for row in store.references_named(&reference.key())? {
            offered.extend(store.image(&row.image)?);
        }
    }
    let rated = offered.into_iter().filter_map(|image| Some((platform.accepts(&platform_of(&image))?, image)));
    let best = rated.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, image)| image).ok_or_else(|| mismatch(name, platform, &platform_of(&found.image)))
}

/// What an image is for.
pub(super) fn platform_of(image: &ImageRow) -> Platform {
    Platform { os: image.os.clone(), architecture: image.architecture.clone(), variant: image.variant.clone() }
}

/// That the image there is not for the platform that was asked for, in Docker's words.
pub(super) fn mismatch(name: &str, wanted: &Platform, actual: &Platform) -> Error {
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
    Ok(ResolvedImage {
        id: image.id.clone(),
        config: document(store, &image.id)?.config,
        os: image.os.clone(),
        architecture: image.architecture.clone(),
        variant: image.variant.clone(),
        layers: layers.into_iter().map(|layer| layer.dir).collect::<Vec<PathBuf>>(),
        chain,
        repo_tags,
        repo_digests,
    })
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

    pub(super) async fn resolve_for_inner(&self, name: &str, platform: &Platform) -> Result<ResolvedImage> {
        // Loads what is part of this program, if that is meant.
        let first = self.resolve_inner(name).await?;
        let own =
            Platform { os: first.os.clone(), architecture: first.architecture.clone(), variant: first.variant.clone() };
        if platform.accepts(&own) == Some(Platform::EXACT) {
            return Ok(first);
        }
        let (owned, platform) = (name.to_owned(), platform.clone());
        self.blocking(move |store| resolved(store, &find_for(store, &owned, &platform)?)).await
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
    fn stored_names_are_split() {
        assert_eq!(split("docker.io/library/a:b"), ("docker.io/library/a", false));
        assert_eq!(split("localhost:5000/a:b"), ("localhost:5000/a", false));
        assert_eq!(split("localhost:5000/a@sha256:00"), ("localhost:5000/a", true));
    }
}
