//! The endpoints of images: from HTTP to [`crate::images::ImageService`] and back.

mod import;
mod prune;
mod save;

use crate::{
    Engine,
    http::{Request, Response, empty, json, streaming},
    images::{JsonLines, ListParams, PullRequest, PushRequest, Wanted},
    placement,
};
use bytes::Bytes;
use futures::StreamExt;
use hako_api::{Filters, Op};
use hako_model::{Error, Result};
use http_body_util::BodyExt;
use hyper::{StatusCode, body::Incoming};
use std::{collections::HashMap, io, sync::Arc};
use tokio::io::AsyncRead;

/// Serves one of the image endpoints.
pub async fn serve(engine: &Arc<Engine>, op: Op, req: Request) -> Result<Response> {
    let images = &engine.images;
    let minor = u32::from(req.version.minor);
    match op {
        Op::ImageList => {
            let params = ListParams {
                all: req.query.flag("all"),
                filters: filters(&req)?,
                shared_size: req.query.flag("shared-size"),
                api_minor: minor,
            };
            Ok(json(&images.list(params).await?))
        }
        Op::ImagePull if !req.query.get("fromSrc").is_empty() => import::serve(engine, req).await,
        Op::ImagePull => pull(engine, &req).await,
        Op::ImageLoad => load(engine, req).await,
        Op::ImageSave => save::serve(engine, &req).await,
        Op::ImagePrune => prune::serve(engine, &req).await,
        Op::ImageInspect => {
            Ok(json(&images.inspect(&req.param, Wanted::read(req.query.get("platform"))?, minor).await?))
        }
        Op::ImageHistory => Ok(json(&images.history(&req.param).await?)),
        Op::ImageTag => {
            let tag = Some(req.query.get("tag")).filter(|tag| !tag.is_empty());
            images.tag(&req.param, req.query.get("repo"), tag).await?;
            Ok(empty(StatusCode::CREATED))
        }
        Op::ImageRemove => {
            let (force, noprune) = (req.query.flag("force"), req.query.flag("noprune"));
            Ok(json(&images.remove(&req.param, force, noprune).await?))
        }
        Op::ImagePush => {
            let request = PushRequest {
                name: req.param.clone(),
                tag: req.query.get("tag").to_owned(),
                platform: Wanted::read(req.query.get("platform"))?,
                auth: auth(&req),
            };
            Ok(stream(images.push(request).await?))
        }
        Op::DistributionInspect => Ok(json(&images.distribution(&req.param, auth(&req)).await?)),
        _ => Err(Error::internal("not an endpoint of images")),
    }
}

fn filters(req: &Request) -> Result<HashMap<String, Vec<String>>> {
    Ok(Filters::parse(req.query.get("filters"))?.into_iter().collect())
}

/// The `X-Registry-Auth` header.
fn auth(req: &Request) -> Option<String> {
    req.headers.get("x-registry-auth").and_then(|value| value.to_str().ok()).map(str::to_owned)
}

async fn pull(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let request = PullRequest {
        from_image: req.query.get("fromImage").to_owned(),
        tag: req.query.get("tag").to_owned(),
        platform: req.query.get("platform").to_owned(),
        auth: auth(req),
    };
    let lines = engine.images.pull(request, placement::for_pull(engine, &req.peer)).await?;
    Ok(stream(lines))
}

async fn load(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    let quiet = req.query.flag_or("quiet", true);
    let platform = req.query.get("platform").to_owned();
    let lines = engine.images.load(reader(req.body), quiet, &platform).await?;
    Ok(stream(lines))
}

fn reader(body: Incoming) -> impl AsyncRead + Send + Unpin + 'static {
    let pieces = body.into_data_stream().map(|piece| piece.map_err(io::Error::other));
    tokio_util::io::StreamReader::new(Box::pin(pieces))
}

/// Each value as a line. Dropping the stream, when the client goes, ends the work.
fn stream(mut lines: JsonLines) -> Response {
    let (sender, response) = streaming("application/json");
    tokio::spawn(async move {
        loop {
            tokio::select! {
                line = lines.next() => {
                    let Some(line) = line else { return };
                    let mut text = serde_json::to_vec(&line).unwrap_or_default();
                    text.extend_from_slice(b"\r\n");
                    if sender.send(Bytes::from(text)).await.is_err() { return; }
                }
                () = sender.closed() => return,
            }
        }
    });
    response
}
