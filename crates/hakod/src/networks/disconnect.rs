//! `POST /networks/{id}/disconnect`.

use super::{
    connect::{has, settle},
    emit, files,
    inside::Inside,
    leave,
    record::{Endpoint, Network, Sandbox},
    spot,
};
use crate::{
    Engine,
    containers::{self, record::Record},
    http::{Request, Response, empty},
    shim::Live,
};
use hako_api::{decode, types::network::NetworkDisconnect};
use hako_model::{Error, ErrorKind, Result};
use hyper::StatusCode;
use std::sync::Arc;

/// Disconnects a container from a network, also one that runs.
pub async fn serve(engine: &Arc<Engine>, mut req: Request) -> Result<Response> {
    let body = req.read().await?;
    let body: NetworkDisconnect = decode::decode(decode::parse(&body)?)?;
    let network = engine.networks.find(&req.param);
    let container = match engine.containers.find(&body.container) {
        Ok(container) => container,
        // Its place goes with a container, so that by force there is nothing left to do.
        Err(_) if body.force && network.is_ok() => return Ok(empty(StatusCode::OK)),
        Err(err) => return Err(err),
    };
    // A network that is gone may still be named by a container that does not run.
    let name = match network {
        Ok(network) => network.name.clone(),
        Err(_) if container.view().record.networks.contains_key(&req.param) => req.param.clone(),
        Err(err) => return Err(err),
    };
    containers::disconnect(&container, name).await?;
    Ok(empty(StatusCode::OK))
}

/// Disconnects a container that runs.
///
/// # Errors
/// Docker's words, or the kernel's; then it has what it had.
pub async fn live(engine: &Arc<Engine>, record: &Record, live: Option<&Live>, network: &Arc<Network>) -> Result<()> {
    let id = record.id.as_str();
    if network.name == "host" {
        return Err(Error::invalid("container cannot be disconnected from host network or connected to host network"));
    }
    let before = has(engine, id)?;
    let facts = files::facts(engine, record)?;
    let gone: Vec<_> = before.endpoints.iter().filter(|end| end.network == network.id).cloned().collect();
    if gone.is_empty() {
        // What a disconnect is to come to, however it came to it.
        return Ok(());
    }
    take_out(engine, record, live, &before, &gone).await?;
    files::refresh(engine, record, live, Some(&facts)).await;
    emit(engine, network, "disconnect", Some(id));
    Ok(())
}

/// Takes `gone` out of a container that runs and has what `before` says. It may be
/// out of it already, or not have come into it: then what is left of it goes.
///
/// # Errors
/// The kernel's, or the guest's.
pub(super) async fn take_out(
    engine: &Engine,
    record: &Record,
    live: Option<&Live>,
    before: &Sandbox,
    gone: &[Endpoint],
) -> Result<()> {
    let id = record.id.as_str();
    let inside = Inside::running(engine, id, record.isolation, live).await?;
    for endpoint in gone {
        match inside.withdraw(endpoint).await {
            Err(err) if err.kind == ErrorKind::NotFound => {}
            withdrawn => withdrawn?,
        }
    }
    if !leave::unplug(engine.networks.plumbing()?, id, gone).await {
        let names: Vec<&str> = gone.iter().map(|end| end.name.as_str()).collect();
        let text = format!("an interface of container {id} on network {} cannot be removed", names.join(", "));
        return Err(Error::internal(text));
    }
    for endpoint in gone {
        inside.clear(before, endpoint).await?;
    }
    let mut sandbox = before.clone();
    sandbox.endpoints.retain(|end| !gone.contains(end));
    spot::set_leaders(&engine.networks, &mut sandbox);
    settle(engine, record, &inside, before, &mut sandbox).await?;
    engine.networks.left.notify_waiters();
    Ok(())
}

/// Docker's words.
pub fn not_on(record: &Record, network: &str) -> Error {
    Error::internal(format!("container {} is not connected to network {network}", record.id))
}
