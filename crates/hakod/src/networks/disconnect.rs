//! `POST /networks/{id}/disconnect`.

use super::{
    connect::{has, settle},
    emit, files,
    inside::Inside,
    leave,
    record::Network,
    spot,
};
use crate::{
    Engine,
    containers::{self, record::Record},
    http::{Request, Response, empty},
    shim::Live,
};
use hako_api::{decode, types::network::NetworkDisconnect};
use hako_model::{Error, Result};
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
        return Err(not_on(record, &network.name));
    }
    let plumbing = engine.networks.plumbing()?;
    let inside = Inside::running(engine, id, record.isolation, live).await?;
    for endpoint in &gone {
        inside.withdraw(endpoint).await?;
    }
    if !leave::unplug(plumbing, id, &gone).await {
        return Err(Error::internal(format!(
            "an interface of container {id} on network {} cannot be removed",
            network.name
        )));
    }
    for endpoint in &gone {
        inside.clear(&before, endpoint).await?;
    }
    let mut sandbox = before.clone();
    sandbox.endpoints.retain(|end| end.network != network.id);
    spot::set_leaders(&engine.networks, &mut sandbox);
    settle(engine, record, &inside, &before, &mut sandbox).await?;
    engine.networks.left.notify_waiters();
    let mut now = record.clone();
    now.networks.remove(&network.name);
    files::refresh(engine, &now, Some(&facts));
    emit(engine, network, "disconnect", Some(id));
    Ok(())
}

/// Docker's words.
pub fn not_on(record: &Record, network: &str) -> Error {
    Error::internal(format!("container {} is not connected to network {network}", record.id))
}
