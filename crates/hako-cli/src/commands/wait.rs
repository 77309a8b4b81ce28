//! `hako wait`.

use super::many::for_each;
use crate::api::{Client, escape};
use crate::error::{Error, Result};
use clap::Args;
use serde_json::Value;

/// Wait until containers stop, then print their exit codes
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Wait {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        for_each(&self.containers, |name| async move {
            let answer = client.post(&format!("/containers/{}/wait", escape(name))).await?;
            if let Some(message) = answer.pointer("/Error/Message").and_then(Value::as_str).filter(|m| !m.is_empty()) {
                return Err(Error::msg(message));
            }
            let code = answer.get("StatusCode").and_then(Value::as_i64);
            code.map(|code| code.to_string()).ok_or_else(|| Error::msg("no exit code in the engine's answer"))
        })
        .await
    }
}
