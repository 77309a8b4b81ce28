//! `POST /images/{name}/tag`.

use super::{ImageEvent, ImageService};
use hako_model::{Digest, Error, Reference, Result, reference::DEFAULT_TAG};
use hako_store::{NewRef, RefRow, Store};
use std::collections::HashMap;

impl ImageService {
    pub(super) async fn tag_inner(&self, name: &str, repo: &str, tag: Option<&str>) -> Result<()> {
        let repo = Reference::parse(repo)?;
        if repo.digest.is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        if repo.repository.familiar() == "sha256" {
            return Err(Error::invalid("refusing to create an ambiguous tag using digest algorithm as name"));
        }
        let tag = tag.or(repo.tag.as_deref()).unwrap_or(DEFAULT_TAG);
        let reference = Reference::tagged(repo.repository.clone(), tag)?;
        let found = self.find(name).await?;
        let id = found.image.id;
        let (key, image) = (reference.key(), id.clone());
        let source = found.reference.as_ref().map(Reference::key);
        self.blocking(move |store| {
            // A name leads to the images of every platform that the old one leads to.
            let rows = source.map_or_else(|| Ok(Vec::new()), |source| store.references_named(&source))?;
            let new = match rows.as_slice() {
                [] | [RefRow { manifest: None, .. }] => vec![entry(store, image, key)?],
                rows => rows.iter().map(|row| (row.image.clone(), like(row, &key))).collect(),
            };
            store.put_refs(&new).map_err(Error::from)
        })
        .await?;
        let attributes = HashMap::from([("name".to_owned(), reference.familiar())]);
        self.tell(ImageEvent { action: "tag", id: id.to_string(), attributes });
        Ok(())
    }
}

/// Another name that knows of the registry what this one knows.
fn like(row: &RefRow, key: &str) -> NewRef {
    NewRef { name: key.to_owned(), target: row.target.clone(), manifest: row.manifest.clone() }
}

/// The new name of an image, which keeps what any other one knows of the registry.
fn entry(store: &Store, image: Digest, key: String) -> Result<(Digest, NewRef)> {
    let known = store.references(Some(&image))?.into_iter().find(|row| row.manifest.is_some());
    let (target, manifest) = known.map_or((None, None), |row| (row.target, row.manifest));
    Ok((image, NewRef { name: key, target, manifest }))
}
