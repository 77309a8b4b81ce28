//! The engine's end: what nobody uses goes. It is made again when it is needed.

use super::raise;
use crate::Engine;

/// Takes away the bridges that no container is on, and the rules with the last.
pub async fn put_away(engine: &Engine) {
    for network in engine.networks.all() {
        if !engine.networks.is_used(&network.id)
            && let Err(err) = raise::lower(engine, &network).await
        {
            tracing::warn!("network {}: {err}", network.name);
        }
    }
}
