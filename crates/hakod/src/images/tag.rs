//! `POST /images/{name}/tag`.

use super::{ImageEvent, ImageService};
use hako_model::{Error, Reference, Result, reference::DEFAULT_TAG};
use hako_store::NewRef;
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
        let key = reference.key();
        let target = id.clone();
        self.blocking(move |store| {
            // The new name keeps what the old one knows of the registry.
            let known = store.references(Some(&target))?.into_iter().find(|row| row.manifest.is_some());
            let (to, manifest) = known.map_or((None, None), |row| (row.target, row.manifest));
            store.put_ref(&target, &NewRef { name: key, target: to, manifest }).map_err(Error::from)
        })
        .await?;
        let attributes = HashMap::from([("name".to_owned(), reference.familiar())]);
        self.tell(ImageEvent { action: "tag", id: id.to_string(), attributes });
        Ok(())
    }
}
