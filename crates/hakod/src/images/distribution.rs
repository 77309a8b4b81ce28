//! `GET /distribution/{name}/json`: what a registry has under a name.

use super::ImageService;
use hako_model::{Reference, Result};
use hako_registry::Credentials;
use serde_json::{Value, json};

impl ImageService {
    pub(super) async fn distribution_inner(&self, name: &str, auth: Option<&str>) -> Result<Value> {
        let reference = Reference::parse(name)?.with_default_tag();
        // As in Docker, a header that cannot be read is as none.
        let credentials = auth.and_then(|header| Credentials::from_header(header).ok().flatten());
        let session = self.registry.session(&reference.repository, credentials)?;
        let described = session.describe(&reference).await?;
        Ok(json!({ "Descriptor": described.descriptor, "Platforms": described.platforms }))
    }
}
