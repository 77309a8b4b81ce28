//! `X-Registry-Auth` from the credentials that `docker login` has stored.
//! Credential helpers are not asked.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Docker Hub's name in `config.json`.
const HUB: &str = "https://index.docker.io/v1/";

/// The header's value for the registry of `reference`, if credentials are stored for it.
pub(crate) fn registry_auth(reference: &str) -> Option<String> {
    header(&stored()?, registry_of(reference))
}

/// What `docker login` has stored.
fn stored() -> Option<Value> {
    // Only by HOME: a static program must not ask the system's user database.
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = var("DOCKER_CONFIG").or_else(|| Some(var("HOME")?.join(".docker")))?;
    serde_json::from_slice(&std::fs::read(dir.join("config.json")).ok()?).ok()
}

/// `X-Registry-Config`: the credentials of all registries, of which a build takes
/// those that its Dockerfile's images need.
pub(crate) fn registry_config() -> Option<String> {
    let config = stored()?;
    let names = config.get("auths")?.as_object()?.keys();
    let all: serde_json::Map<String, Value> =
        names.filter_map(|name| Some((name.clone(), credentials(&config, name)?))).collect();
    (!all.is_empty()).then(|| URL_SAFE.encode(Value::Object(all).to_string()))
}

/// The registry that a reference names, as `config.json` calls it.
fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => HUB,
    }
}

fn header(config: &Value, registry: &str) -> Option<String> {
    Some(URL_SAFE.encode(credentials(config, registry)?.to_string()))
}

fn credentials(config: &Value, registry: &str) -> Option<Value> {
    let auths = config.get("auths")?;
    let entry = auths
        .get(registry)
        .or_else(|| auths.get(format!("https://{registry}")))
        .or_else(|| auths.get(format!("https://{registry}/v1/")))?;
    if let Some(token) = entry.get("identitytoken").and_then(Value::as_str).filter(|t| !t.is_empty()) {
        return Some(json!({"identitytoken": token, "serveraddress": registry}));
    }
    let decoded = STANDARD.decode(entry.get("auth")?.as_str()?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, secret) = text.split_once(':')?;
    Some(json!({"username": user, "password": secret.trim_end_matches('\0'), "serveraddress": registry}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_names() {
        assert_eq!(registry_of("busybox"), HUB);
        assert_eq!(registry_of("user/app:1"), HUB);
        assert_eq!(registry_of("localhost/app"), "localhost");
        assert_eq!(registry_of("r.example:5000/app"), "r.example:5000");
    }

    #[test]
    fn stored_credentials_become_the_header() {
        let config = json!({"auths": {"r.example": {"auth": STANDARD.encode("me:pw:x")}}});
        let value = header(&config, "r.example").and_then(|h| URL_SAFE.decode(h).ok()).unwrap_or_default();
        let value: Value = serde_json::from_slice(&value).unwrap_or_default();
        assert_eq!(value["username"], "me");
        assert_eq!(value["password"], "pw:x");
        assert_eq!(header(&config, "other"), None);
    }
}
