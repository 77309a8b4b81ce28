//! The `config` object of an image's config, in Docker's superset of OCI's.
//! Unknown fields are ignored and `null` is the same as absent, as in Go.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// JSON's `null`.
pub(super) fn null() -> Value {
    Value::Null
}

pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(de: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(de)?.unwrap_or_default())
}

/// How a container of the image runs by default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user[:group]`.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// `80/tcp` and the like.
    #[serde(deserialize_with = "or_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `NAME=value`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The program; `None` where unset, which differs from empty.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or the program where there is no entrypoint.
    pub cmd: Option<Vec<String>>,
    /// Folders that get a volume each.
    #[serde(deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, Value>,
    /// The working directory.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal of `stop`.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    /// Seconds until `stop` kills.
    pub stop_timeout: Option<i64>,
    /// The health check.
    pub healthcheck: Option<Healthcheck>,
    /// The shell of `RUN` and the shell form.
    pub shell: Option<Vec<String>>,
    /// Triggers for builds on top.
    #[serde(deserialize_with = "or_default")]
    pub on_build: Vec<String>,
    /// Windows only: `Cmd` is one command line already.
    #[serde(deserialize_with = "or_default")]
    pub args_escaped: bool,
}

/// A health check; times are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", "…"]`.
    #[serde(deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(deserialize_with = "or_default")]
    pub interval: i64,
    /// Of one check.
    #[serde(deserialize_with = "or_default")]
    pub timeout: i64,
    /// Grace after the start.
    #[serde(deserialize_with = "or_default")]
    pub start_period: i64,
    /// Between two checks during the start period.
    #[serde(deserialize_with = "or_default")]
    pub start_interval: i64,
    /// Failures in a row until unhealthy.
    #[serde(deserialize_with = "or_default")]
    pub retries: i64,
}
