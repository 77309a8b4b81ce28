//! `POST /images/create?fromSrc=…`. The source is the request's body: this
//! engine fetches from registries and from nowhere else.

use super::{reader, stream};
use crate::{
    Engine,
    containers::commit::new_name,
    http::{Request, Response},
    images::ImportRequest,
};
use hako_api::types::ContainerConfig;
use hako_model::{Error, Result};
use std::sync::Arc;

/// Makes an image of the body.
pub(super) async fn serve(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    if req.query.get("fromSrc") != "-" {
        return Err(hako_api::unsupported::IMPORT_URL.error());
    }
    let mut config = ContainerConfig::default();
    hako_dockerfile::config::apply_changes(&mut config, &req.query.all("changes"))?;
    let message = match req.query.get("message") {
        "" => "Imported from -",
        message => message,
    };
    let request = ImportRequest {
        name: new_name(req.query.get("repo"), req.query.get("tag"))?,
        message: message.to_owned(),
        config: serde_json::to_value(&config).map_err(|err| Error::internal(err.to_string()))?,
        platform: req.query.get("platform").to_owned(),
    };
    Ok(stream(engine.images.import(reader(req.body), request).await?))
}
