//! `POST /networks/{id}/connect`.

use super::{
    asked::{NONE, endpoint_of, network_of},
    disconnect, emit, files,
    inside::Inside,
    join, leave, links, put_sandbox, raise,
    record::{Asked, Network, Sandbox},
    spot,
};
use crate::{
    Engine,
    containers::{self, record::Record},
    http::{Request, Response, empty},
    shim::Live,
};
use hako_api::{decode, types::network::NetworkConnect};
use hako_model::{Error, ErrorKind, Result};
use hako_net::Gateways;
use hyper::StatusCode;
use std::sync::Arc;

/// Connects a container to a network, also one that runs.
pub async fn serve(engine: &Arc<Engine>, mut req: Request) -> Result<Response> {
    let body = req.read().await?;
    let body: NetworkConnect = decode::decode(decode::parse(&body)?)?;
    let network = engine.networks.find(&req.param)?;
    let container = engine.containers.find(&body.container)?;
    let asked = endpoint_of(&network.name, &body.endpoint_config.unwrap_or_default())?;
    containers::connect(&container, network, asked).await?;
    Ok(empty(StatusCode::OK))
}

/// moby's words for networks that do not go together.
///
/// # Errors
/// `InvalidParameter`, or `Forbidden` for one that it is on already.
pub fn check(engine: &Engine, record: &Record, network: &Network, runs: bool) -> Result<()> {
    const SHARED: &str = "container sharing network namespace with another container or host cannot be connected to any \
                          other network";
    let invalid = |text: &str| Err(Error::invalid(text));
    let Some(mode) = network_of(&record.host.network_mode) else { return invalid(SHARED) };
    if (mode == "host") != (network.name == "host") && network.name == "host" {
        return invalid("container cannot be disconnected from host network or connected to host network");
    }
    for name in record.networks.keys().filter(|name| **name != network.name) {
        let other = engine.networks.exactly(name);
        let is = |what: &str| name == what || network.name == what;
        if is("host") || other.is_some_and(|other| other.name == "host") {
            return invalid(SHARED);
        }
        if is("none") {
            return invalid(NONE);
        }
    }
    if runs && record.networks.contains_key(&network.name) {
        let text = format!("endpoint with name {} already exists in network {}", record.name, network.name);
        return Err(Error::new(ErrorKind::Forbidden, text));
    }
    Ok(())
}

/// Connects a container that runs. On an error it has what it had.
///
/// # Errors
/// An address that is taken, or the kernel's.
pub async fn live(
    engine: &Arc<Engine>,
    record: &Record,
    live: Option<&Live>,
    (network, asked): (&Arc<Network>, &Asked),
) -> Result<()> {
    let id = record.id.as_str();
    let mut before = has(engine, id)?;
    let left: Vec<_> = before.endpoints.iter().filter(|end| end.network == network.id).cloned().collect();
    if !left.is_empty() {
        // Of a change that was cut off, and could not be taken away at once.
        disconnect::take_out(engine, record, live, &before, &left).await?;
        before = has(engine, id)?;
    }
    let facts = files::facts(engine, record)?;
    let wanted = [(network.clone(), asked.clone())];
    let mut sandbox = spot::take(engine, id, &wanted, &before).await?;
    let done = match Inside::running(engine, id, record.isolation, live).await {
        Ok(inside) => {
            let plugged = plug(engine, record, &inside, network, (&before, &mut sandbox)).await;
            if plugged.is_err() {
                undo(engine, record, Some(&inside), &before, &sandbox).await;
            }
            plugged
        }
        Err(err) => {
            undo(engine, record, None, &before, &sandbox).await;
            Err(err)
        }
    };
    done?;
    let mut now = record.clone();
    now.networks.insert(network.name.clone(), asked.clone());
    files::refresh(engine, &now, live, Some(&facts)).await;
    links::tell(engine, id).await;
    emit(engine, network, "connect", Some(id));
    Ok(())
}

/// What a running container has.
///
/// # Errors
/// It was started by an engine that made no namespaces, or behind a wall that has none.
pub(super) fn has(engine: &Engine, container: &str) -> Result<Sandbox> {
    let none = || {
        Error::unsupported(
            "networks of a running container that was started without a network namespace of the engine's",
        )
    };
    engine.networks.sandbox(container).ok_or_else(none)
}

async fn plug(
    engine: &Engine,
    record: &Record,
    inside: &Inside<'_>,
    network: &Network,
    (before, sandbox): (&Sandbox, &mut Sandbox),
) -> Result<()> {
    raise::raise(engine, network).await?;
    put_sandbox(engine, record.id.as_str(), sandbox).await?;
    let plumbing = engine.networks.plumbing()?;
    let Some(mut endpoint) = sandbox.on(&network.id).cloned() else { return Ok(()) };
    // Another network's may be there yet: all are set below.
    endpoint.interface.gateways = Gateways::default();
    inside.plug(plumbing, &endpoint).await?;
    settle(engine, record, inside, before, sandbox).await
}

/// After interfaces have come or gone: the routes, the ports, and the row.
pub(super) async fn settle(
    engine: &Engine,
    record: &Record,
    inside: &Inside<'_>,
    before: &Sandbox,
    sandbox: &mut Sandbox,
) -> Result<()> {
    if spot::gateways(sandbox) != spot::gateways(before) {
        inside.set_gateways(sandbox).await?;
    }
    join::move_ports(engine, record, before, sandbox).await?;
    put_sandbox(engine, record.id.as_str(), sandbox).await?;
    engine.networks.keep(record.id.as_str(), sandbox, None);
    Ok(())
}

/// Takes back what a connect has made.
async fn undo(engine: &Engine, record: &Record, inside: Option<&Inside<'_>>, before: &Sandbox, sandbox: &Sandbox) {
    let id = record.id.as_str();
    let new: Vec<_> = sandbox.endpoints.iter().filter(|end| before.on(&end.network).is_none()).cloned().collect();
    let Ok(plumbing) = engine.networks.plumbing() else { return };
    leave::unplug(plumbing, id, &new).await;
    let mut back = before.clone();
    if let Some(inside) = inside {
        for end in &new {
            // It may not have got that far.
            let _ = inside.clear(before, end).await;
        }
        if let Err(err) = settle(engine, record, inside, sandbox, &mut back).await {
            tracing::warn!("networks of container {id}: {err}");
        }
    } else if let Err(err) = put_sandbox(engine, id, &back).await {
        tracing::warn!("networks of container {id}: {err}");
    }
    engine.networks.keep(id, &back, None);
    engine.networks.left.notify_waiters();
}
