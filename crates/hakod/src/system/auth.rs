//! `POST /auth`: whether a registry lets these credentials in.

use crate::{
    Engine,
    http::{Request, Response, json},
};
use hako_model::{Error, Result};
use hako_registry::Credentials;
use serde::Deserialize;
use serde_json::json as value;
use std::sync::Arc;

/// The registry's address beside the credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    serveraddress: String,
}

/// Asks the registry. Nothing is kept: clients keep credentials themselves.
pub async fn serve(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    let body = req.bytes().await?;
    let bad = |err: String| Error::invalid(format!("invalid X-Registry-Auth header: {err}"));
    let address: Address = serde_json::from_slice(&body).map_err(|err| bad(err.to_string()))?;
    let credentials = Credentials::from_json(&body).map_err(|err| bad(err.to_string()))?;
    let token = engine.images.log_in(&address.serveraddress, credentials).await?;
    Ok(json(&value!({"Status": "Login Succeeded", "IdentityToken": token})))
}
