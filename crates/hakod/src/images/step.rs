//! What a build has come to becomes an image for everybody.

use super::{ImageEvent, ImageService};
use hako_model::{Digest, Reference, Result};
use hako_store::NewRef;
use std::{collections::HashMap, sync::Arc};

impl ImageService {
    /// Shows an image that so far was a step of a build, with these names.
    ///
    /// # Errors
    /// Of the store.
    pub async fn publish(self: &Arc<Self>, image: &Digest, names: &[Reference]) -> Result<()> {
        let new = |name: &Reference| NewRef { name: name.key(), target: None, manifest: None };
        let (id, refs) = (image.clone(), names.iter().map(new).collect::<Vec<_>>());
        self.blocking(move |store| Ok(store.show_image(&id, &refs)?)).await?;
        for name in names {
            let attributes = HashMap::from([("name".to_owned(), name.familiar())]);
            self.tell(ImageEvent { action: "tag", id: image.to_string(), attributes });
        }
        Ok(())
    }
}
