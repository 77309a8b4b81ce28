//! `DELETE /networks/{id}`.

use super::{emit, raise, record::Network, stored};
use crate::{
    Engine,
    http::{Request, Response, no_content},
};
use hako_model::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Removes a network that nobody is on.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let network = engine.networks.find(&req.param)?;
    let engine = engine.clone();
    // A removal that has begun is finished, also if the client goes.
    let work = tokio::spawn(async move { remove(&engine, &network).await });
    work.await.map_err(|err| Error::internal(err.to_string()))??;
    Ok(no_content())
}

/// Removes it: the bridge first, so that one that cannot be removed is not
/// forgotten.
pub(super) async fn remove(engine: &Engine, network: &Network) -> Result<()> {
    if network.is_predefined() {
        let text = format!("{} is a pre-defined network and cannot be removed", network.name);
        return Err(Error::new(ErrorKind::Forbidden, text));
    }
    engine.networks.all_left(&network.id).await;
    let _turn = engine.networks.turn.lock().await;
    if engine.networks.is_used(&network.id) {
        let text =
            format!("error while removing network: network {} id {} has active endpoints", network.name, network.id);
        return Err(Error::new(ErrorKind::Forbidden, text));
    }
    if engine.networks.exactly(&network.id).is_none() {
        return Err(Error::not_found(format!("network {} not found", network.name)));
    }
    raise::lower(engine, network)
        .await
        .map_err(|err| err.context(format!("error while removing network {}", network.name)))?;
    let id = network.id.clone();
    stored(engine, move |store| store.delete_network(&id)).await?;
    engine.networks.state().networks.remove(&network.id);
    emit(engine, network, "destroy", None);
    Ok(())
}
