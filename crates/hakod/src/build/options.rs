//! What a client asks of a build: the query and the headers of `POST /build`.

use crate::http::{Peer, Query, Request};
use base64::{Engine as _, engine::general_purpose};
use hako_api::{
    decode,
    types::{HostConfig, LogConfig},
    unsupported,
};
use hako_model::{Error, Isolation, Reference, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The header with the values of `RUN --mount=type=secret`: base64 of a JSON
/// object of ids and base64 contents. Docker's classic API has no way for them.
pub const SECRETS: &str = "x-hako-build-secrets";
/// All secrets together, as they stand in the header: what the server takes, with room for the others.
const MAX_SECRETS: usize = 48 << 10;

/// A build, its request read.
#[derive(Default)]
pub struct Options {
    /// The Dockerfile's path in the context.
    pub dockerfile: String,
    /// Only the image's id is answered.
    pub quiet: bool,
    /// The cache is not looked into.
    pub no_cache: bool,
    /// Containers go when their step has succeeded,
    pub remove: bool,
    /// and also when it has failed.
    pub force_remove: bool,
    /// Bases are pulled even if they are there.
    pub pull: bool,
    /// Names for the image.
    pub tags: Vec<Reference>,
    /// `--build-arg`; without a value it only may not be needed by anything.
    pub args: BTreeMap<String, Option<String>>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// The stage to build; empty for the last one.
    pub target: String,
    /// The platform of bases; empty for the host's.
    pub platform: String,
    /// Limits, network and wall of every `RUN`.
    pub host: HostConfig,
    /// `X-Registry-Config`: an object for each registry.
    pub registries: BTreeMap<String, Value>,
    /// Contents of secrets.
    pub secrets: Secrets,
    /// By which the build can be cancelled.
    pub id: String,
    /// Who asks.
    pub peer: Peer,
}

/// Secrets by id. They are never shown and never stored.
#[derive(Clone, Default)]
pub struct Secrets(Arc<BTreeMap<String, Vec<u8>>>);

impl Secrets {
    /// The content of one.
    pub fn get(&self, id: &str) -> Option<&[u8]> {
        self.0.get(id).map(Vec::as_slice)
    }

    fn read(header: &str) -> Result<Self> {
        // What is wrong is not quoted: it may be the secret.
        let bad = |_| Error::invalid(format!("the header {SECRETS} is no base64 of a JSON object of base64 texts"));
        if header.len() > MAX_SECRETS {
            return Err(Error::invalid(format!(
                "the secrets of a build have {} bytes, encoded: more than {MAX_SECRETS}",
                header.len()
            )));
        }
        let json = base64_any(header).map_err(bad)?;
        let map: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|_| bad(()))?;
        let decoded = map.into_iter().map(|(id, text)| Ok((id, base64_any(&text).map_err(bad)?)));
        Ok(Self(Arc::new(decoded.collect::<Result<_>>()?)))
    }
}

/// base64 in either alphabet, padded or not.
fn base64_any(text: &str) -> std::result::Result<Vec<u8>, ()> {
    let text = text.trim().trim_end_matches('=');
    let plain = general_purpose::STANDARD_NO_PAD.decode(text);
    plain.or_else(|_| general_purpose::URL_SAFE_NO_PAD.decode(text)).map_err(|_| ())
}

impl Options {
    /// Reads a request.
    ///
    /// # Errors
    /// In Docker's words; the table's answers for what is not supported.
    pub fn read(req: &Request) -> Result<Self> {
        let query = &req.query;
        refuse(query)?;
        let header = |name: &str| req.headers.get(name).and_then(|value| value.to_str().ok());
        let dockerfile = Some(query.get("dockerfile")).filter(|name| !name.is_empty()).unwrap_or("Dockerfile");
        let force_remove = query.flag("forcerm");
        Ok(Self {
            dockerfile: dockerfile.to_owned(),
            quiet: query.flag("q"),
            no_cache: query.flag("nocache"),
            remove: force_remove || query.get("rm").is_empty() || query.flag("rm"),
            force_remove,
            pull: query.flag("pull"),
            tags: tags(&query.all("t"))?,
            args: object(query.get("buildargs"), "error reading build args")?,
            labels: object(query.get("labels"), "error reading labels")?,
            target: query.get("target").to_owned(),
            platform: query.get("platform").to_owned(),
            host: host(query)?,
            registries: header("x-registry-config").map(registries).unwrap_or_default(),
            secrets: header(SECRETS).map_or_else(|| Ok(Secrets::default()), Secrets::read)?,
            id: query.get("buildid").to_owned(),
            peer: req.peer.clone(),
        })
    }
}

/// What this engine or Docker's classic builder does not do.
fn refuse(query: &Query) -> Result<()> {
    match query.get("version") {
        "" | "1" => {}
        "2" => return Err(unsupported::BUILDKIT.error()),
        other => return Err(Error::invalid(format!("invalid version \"{other}\""))),
    }
    if query.has("securityopt") {
        return Err(Error::invalid("security options are not supported on linux"));
    }
    if query.flag("squash") {
        return Err(Error::invalid("squash is only supported with experimental mode"));
    }
    if query.get("remote") == "client-session" {
        return Err(unsupported::BUILDKIT.error());
    }
    if !query.get("remote").is_empty() {
        return Err(unsupported::BUILD_REMOTE.error());
    }
    // Accepted and without effect: the cache is the engine's own.
    object::<Vec<String>>(query.get("cachefrom"), "error reading cache-from")?;
    if object::<Vec<Value>>(query.get("outputs"), "invalid outputs specified")?.is_empty() {
        return Ok(());
    }
    Err(unsupported::BUILD_OUTPUTS.error())
}

fn object<T: DeserializeOwned + Default>(text: &str, what: &str) -> Result<T> {
    if text.is_empty() {
        return Ok(T::default());
    }
    let value: Option<T> = serde_json::from_str(text).map_err(|err| Error::invalid(format!("{what}: {err}")))?;
    Ok(value.unwrap_or_default())
}

/// As Docker's `sanitizeRepoAndTags`: each once.
fn tags(texts: &[&str]) -> Result<Vec<Reference>> {
    let mut tags: Vec<Reference> = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let reference = Reference::parse(text)?;
        if reference.digest.is_some() {
            return Err(Error::invalid("build tag cannot contain a digest"));
        }
        let reference = reference.with_default_tag();
        if !tags.contains(&reference) {
            tags.push(reference);
        }
    }
    Ok(tags)
}

fn number(query: &Query, key: &str) -> Result<i64> {
    match query.get(key) {
        "" => Ok(0),
        text => text.parse().map_err(|_| Error::invalid(format!("invalid value for {key}: {text:?} is no number"))),
    }
}

fn host(query: &Query) -> Result<HostConfig> {
    Isolation::from_request(query.get("isolation")).map_err(|err| Error::invalid(err.to_string()))?;
    let ulimits: Vec<Value> = object(query.get("ulimits"), "error reading ulimit settings")?;
    let ulimits: Vec<_> = ulimits.into_iter().map(decode::from_value).collect::<Result<_>>()?;
    let extra_hosts: Vec<String> = query.all("extrahosts").iter().map(|host| (*host).to_owned()).collect();
    Ok(HostConfig {
        memory: number(query, "memory")?,
        memory_swap: number(query, "memswap")?,
        cpu_shares: number(query, "cpushares")?,
        cpu_period: number(query, "cpuperiod")?,
        cpu_quota: number(query, "cpuquota")?,
        cpuset_cpus: query.get("cpusetcpus").to_owned(),
        cpuset_mems: query.get("cpusetmems").to_owned(),
        cgroup_parent: query.get("cgroupparent").to_owned(),
        shm_size: number(query, "shmsize")?,
        network_mode: query.get("networkmode").to_owned(),
        isolation: query.get("isolation").to_owned(),
        ulimits: (!ulimits.is_empty()).then_some(ulimits),
        extra_hosts: (!extra_hosts.is_empty()).then_some(extra_hosts),
        // Its output is the build's.
        log_config: LogConfig { r#type: "none".to_owned(), ..LogConfig::default() },
        ..HostConfig::default()
    })
}

/// As in Docker, a header that cannot be read is as none.
fn registries(header: &str) -> BTreeMap<String, Value> {
    base64_any(header).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

impl Options {
    /// The `X-Registry-Auth` header for pulling `reference`.
    pub fn auth(&self, reference: &Reference) -> Option<String> {
        let registry = reference.repository.registry();
        let hub = "https://index.docker.io/v1/";
        let bare = |key: &str| {
            let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
            key.split('/').next().unwrap_or(key).to_owned()
        };
        let is_hub = registry == "docker.io";
        let fits = |key: &str| key == registry || bare(key) == registry || (is_hub && key == hub);
        let (_, config) = self.registries.iter().find(|(key, _)| fits(key))?;
        Some(general_purpose::URL_SAFE.encode(config.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_and_never_quoted() {
        let header = general_purpose::STANDARD.encode(r#"{"a":"aGVsbG8="}"#);
        let secrets = Secrets::read(&header).unwrap();
        assert_eq!(secrets.get("a"), Some(&b"hello"[..]));
        assert_eq!(secrets.get("b"), None);
        let bad = general_purpose::STANDARD.encode(r#"{"a":"my secret"}"#);
        let Err(err) = Secrets::read(&bad) else { panic!("malformed secrets were taken") };
        assert!(!err.message.contains("secret\"}") && !err.message.contains("my secret"));
    }

    #[test]
    fn names_are_taken_once() {
        let names = tags(&["a", "a:latest", "b:1", ""]).unwrap();
        assert_eq!(names.iter().map(Reference::familiar).collect::<Vec<_>>(), ["a:latest", "b:1"]);
        assert!(tags(&["A"]).is_err());
    }

    #[test]
    fn credentials_are_found_by_registry() {
        let json = r#"{"localhost:5000":{"username":"u"},"https://index.docker.io/v1/":{"username":"h"}}"#;
        let options = Options { registries: registries(&general_purpose::URL_SAFE.encode(json)), ..Options::default() };
        let of = |name: &str| {
            let text = options.auth(&Reference::parse(name).unwrap())?;
            String::from_utf8(general_purpose::URL_SAFE.decode(text).unwrap()).ok()
        };
        assert_eq!(of("localhost:5000/x").as_deref(), Some(r#"{"username":"u"}"#));
        assert_eq!(of("busybox").as_deref(), Some(r#"{"username":"h"}"#));
        assert_eq!(of("other.example/x"), None);
    }
}
