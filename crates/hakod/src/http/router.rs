//! From a request to its handler: version, table, dispatch, and the headers
//! that every answer carries.

use super::{Peer, Query, Request, Response, error, json, query::decode};
use crate::{Engine, build, containers, exec, image_api, networks, system, volumes};
use hako_api::{ApiVersion, Method, Op, endpoint::no_plugin, lookup, version};
use hako_model::{Error, ErrorKind, Result};
use hyper::{body::Incoming, header::HeaderValue};
use std::sync::Arc;

/// Serves one request of `peer`'s.
pub async fn route(engine: Arc<Engine>, peer: Peer, req: hyper::Request<Incoming>) -> Response {
    let line = format!("{} {}", req.method(), req.uri());
    let (mut response, version) = match resolve(peer, req) {
        Ok((op, request)) => {
            let version = request.version;
            match Box::pin(dispatch(&engine, op, request)).await {
                Ok(response) => (response, version),
                Err(err) => {
                    tracing::debug!("{line}: {err}");
                    (error(&err), version)
                }
            }
        }
        Err(err) => (error(&err), version::MAX),
    };
    tracing::debug!("{line}: {}", response.status().as_u16());
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("api-version", &version::MAX.to_string());
    set("docker-experimental", "false");
    set("ostype", "linux");
    set("server", concat!("Hako/", env!("CARGO_PKG_VERSION"), " (linux)"));
    // Which version this very request was served by: shapes differ by it.
    tracing::trace!(%version, "served");
    response
}

fn resolve(peer: Peer, mut req: hyper::Request<Incoming>) -> Result<(Op, Request)> {
    let page_not_found = || Error::not_found("page not found");
    let upgrade = hyper::upgrade::on(&mut req);
    let (parts, body) = req.into_parts();
    let (version, path) = ApiVersion::from_path(parts.uri.path())?;
    let method = Method::parse(parts.method.as_str()).ok_or_else(page_not_found)?;
    let hit = lookup(method, path).ok_or_else(page_not_found)?;
    let request = Request {
        version,
        param: decode(hit.param, false),
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body,
        peer,
        upgrade,
        head: method == Method::Head,
    };
    Ok((hit.op, request))
}

async fn dispatch(engine: &Arc<Engine>, op: Op, req: Request) -> Result<Response> {
    match op {
        Op::Ping => Ok(system::ping::serve(req.head)),
        Op::Version => Ok(system::version::serve(engine)),
        Op::Info => system::info::serve(engine, &req).await,
        Op::Events => system::events::serve(engine, &req),
        Op::SystemDf => system::df::serve(engine, &req).await,
        Op::Auth => system::auth::serve(engine, req).await,
        Op::Build => build::serve(engine, req).await,
        Op::BuildPrune => build::prune(engine, &req).await,
        Op::BuildCancel => build::cancel(engine, &req),
        Op::NetworkList => networks::list(engine, &req),
        Op::NetworkInspect => networks::inspect(engine, &req),
        Op::NetworkCreate => networks::create(engine, req).await,
        Op::NetworkRemove => networks::remove(engine, &req).await,
        Op::NetworkPrune => networks::prune(engine, &req).await,
        Op::NetworkConnect => networks::connect::serve(engine, req).await,
        Op::NetworkDisconnect => networks::disconnect::serve(engine, req).await,
        Op::VolumeList => volumes::list(engine, &req).await,
        Op::VolumeCreate => volumes::create(engine, req).await,
        Op::VolumePrune => volumes::prune(engine, &req).await,
        Op::VolumeInspect => volumes::inspect(engine, &req).await,
        Op::VolumeRemove => volumes::remove(engine, &req).await,
        Op::ContainerList => containers::list::serve(engine, &req).await,
        Op::ContainerCreate => containers::create::serve(engine, req).await,
        Op::ContainerPrune => containers::prune::serve(engine, &req).await,
        Op::ContainerInspect => containers::inspect::serve(engine, &req).await,
        Op::ContainerLogs => containers::logs::serve(engine, &req).await,
        Op::ContainerStart => containers::start::serve(engine, req).await,
        Op::ContainerStop => containers::stop::serve(engine, &req).await,
        Op::ContainerRestart => containers::restart::serve(engine, &req).await,
        Op::ContainerKill => containers::kill::serve(engine, &req).await,
        Op::ContainerPause => containers::pause::pause(engine, &req).await,
        Op::ContainerUnpause => containers::pause::unpause(engine, &req).await,
        Op::ContainerUpdate => containers::update::serve(engine, req).await,
        Op::ContainerRename => containers::rename::serve(engine, &req).await,
        Op::ContainerResize => containers::resize::serve(engine, &req).await,
        Op::ContainerAttach => containers::attach::serve(engine, req).await,
        Op::ContainerAttachWebsocket => containers::attach::serve_websocket(engine, req).await,
        Op::ContainerWait => containers::wait::serve(engine, &req),
        Op::ContainerStats => containers::stats::serve(engine, &req).await,
        Op::ContainerTop => containers::top::serve(engine, &req).await,
        Op::ContainerRemove => containers::remove::serve(engine, &req).await,
        Op::ContainerArchiveStat => containers::archive::stat(engine, &req).await,
        Op::ContainerArchive => containers::archive::get(engine, &req).await,
        Op::ContainerExtract => containers::archive::put(engine, req).await,
        Op::ContainerChanges => containers::diff::serve(engine, &req).await,
        Op::ContainerExport => containers::export::serve(engine, &req).await,
        Op::ContainerCommit => containers::commit::serve(engine, req).await,
        Op::ExecCreate => exec::create::serve(engine, req).await,
        Op::ExecStart => exec::start::serve(engine, req).await,
        Op::ExecResize => exec::resize::serve(engine, &req).await,
        Op::ExecInspect => exec::inspect::serve(engine, &req),
        Op::ImageList
        | Op::ImagePull
        | Op::ImageLoad
        | Op::ImageSave
        | Op::ImagePrune
        | Op::ImageInspect
        | Op::ImageHistory
        | Op::ImageTag
        | Op::ImageRemove
        | Op::ImagePush
        | Op::DistributionInspect => image_api::serve(engine, op, req).await,
        Op::PluginList => Ok(json(&Vec::<u8>::new())),
        Op::PluginAbsent => Err(Error::not_found(no_plugin(&req.param))),
        Op::SwarmAbsent(why) => Err(Error::new(ErrorKind::Unavailable, why)),
        Op::Unsupported(what) => Err(Error::unsupported(what)),
    }
}
