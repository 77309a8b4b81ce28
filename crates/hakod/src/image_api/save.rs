//! `GET /images/get` and `GET /images/{name}/get`.

use crate::{
    Engine,
    http::{Request, Response, body_of},
};
use hako_model::Result;
use std::sync::Arc;

/// An archive of the images of the query and of the path.
pub(super) async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let mut names: Vec<String> = req.query.all("names").into_iter().map(str::to_owned).collect();
    if !req.param.is_empty() {
        names = vec![req.param.clone()];
    }
    let pieces = engine.images.save(names, req.query.get("platform")).await?;
    Ok(body_of("application/x-tar", pieces))
}
