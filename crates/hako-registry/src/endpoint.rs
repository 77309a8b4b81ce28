//! Where a registry answers and by which kind of connection.

use crate::{Credentials, Error, Mirror, Result, Session, certs::Certs, source::Source, trust::Trust};
use hako_model::{Repository, reference::DEFAULT_REGISTRY};
use reqwest::Url;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Settings.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Hosts (with or without a port) and CIDR networks that are spoken to
    /// with any certificate, or by plain HTTP. Loopback always is.
    pub insecure_registries: Vec<String>,
    /// What is asked first for what a registry (`docker.io`, `host[:port]`) has.
    pub mirrors: HashMap<String, Vec<Mirror>>,
    /// Folders like Docker's `/etc/docker/certs.d`.
    pub certs_dirs: Vec<PathBuf>,
}

/// The client. One for the whole engine; connections are kept for a while.
#[derive(Debug, Default)]
pub struct Client {
    config: Config,
    /// One for each way to connect, made on first use: a host without
    /// certificates can still use loopback registries.
    connectors: Mutex<HashMap<Way, reqwest::Client>>,
}

/// How long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Patience {
    /// Something comes every minute.
    Answers,
    /// What is sent may take hours until the first byte comes back.
    Uploads,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Way {
    trust: Trust,
    patience: Patience,
    certs: [u8; 32],
}

impl Client {
    /// A client with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// Begins reading of one repository; credentials and tokens last as long
    /// as the session. Mirrors are asked first, without credentials.
    ///
    /// # Errors
    /// Where the host has no usable TLS set-up.
    pub fn session(&self, repository: &Repository, credentials: Option<Credentials>) -> Result<Session> {
        let registry = repository.registry();
        let mut sources = Vec::new();
        for mirror in self.config.mirrors.get(registry).into_iter().flatten() {
            let (http, trust) = self.connector(mirror.host(), Patience::Answers)?;
            tracing::trace!(?trust, mirror = %mirror.base(), "mirror");
            sources.push(Source::new(http, vec![mirror.base().clone()], None));
        }
        let (http, bases) = self.reach(registry, Patience::Answers)?;
        sources.push(Source::new(http, bases, credentials));
        Ok(Session::new(repository.clone(), sources, "pull"))
    }

    /// Begins writing of one repository. Mirrors are not asked.
    ///
    /// # Errors
    /// As [`Client::session`].
    pub fn push_session(&self, repository: &Repository, credentials: Option<Credentials>) -> Result<Session> {
        let (http, bases) = self.reach(repository.registry(), Patience::Uploads)?;
        Ok(Session::new(repository.clone(), vec![Source::new(http, bases, credentials)], "pull,push"))
    }

    /// The connections to a registry and the addresses to try.
    pub(crate) fn reach(&self, registry: &str, patience: Patience) -> Result<(reqwest::Client, Vec<Url>)> {
        let (http, trust) = self.connector(registry, patience)?;
        Ok((http, bases(registry, trust)?))
    }

    fn connector(&self, registry: &str, patience: Patience) -> Result<(reqwest::Client, Trust)> {
        let trust = Trust::of(registry, &self.config.insecure_registries);
        let certs = Certs::read(&self.config.certs_dirs, registry)?;
        let way = Way { trust, patience, certs: certs.fingerprint() };
        let mut known = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(http) = known.get(&way) {
            return Ok((http.clone(), trust));
        }
        let http = build(&way, &certs)?;
        known.insert(way, http.clone());
        Ok((http, trust))
    }
}

fn build(way: &Way, certs: &Certs) -> Result<reqwest::Client> {
    // An error says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("hako/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(30))
        .tcp_keepalive(Duration::from_secs(15))
        .pool_idle_timeout(Duration::from_secs(15));
    builder = match way.patience {
        Patience::Answers => builder.read_timeout(Duration::from_secs(60)),
        // A peer that has gone is noticed by the kernel alone.
        Patience::Uploads => builder.tcp_user_timeout(Duration::from_secs(60)),
    };
    builder = match way.trust {
        Trust::Secure => builder.tls_certs_merge(certs.cas()?),
        Trust::Insecure | Trust::Loopback => {
            builder.tls_danger_accept_invalid_certs(true).tls_danger_accept_invalid_hostnames(true)
        }
    };
    if way.trust == Trust::Loopback {
        builder = builder.no_proxy();
    }
    if let Some(identity) = certs.identity()? {
        builder = builder.identity(identity);
    }
    builder.build().map_err(|err| Error::Registry(format!("prepare TLS: {}", crate::error::innermost(&err))))
}

/// Base addresses in the order of trying: of an insecure registry TLS first, as Docker does.
fn bases(registry: &str, trust: Trust) -> Result<Vec<Url>> {
    let host = if registry == DEFAULT_REGISTRY { "registry-1.docker.io" } else { registry };
    let schemes: &[&str] = if trust == Trust::Secure { &["https"] } else { &["https", "http"] };
    schemes
        .iter()
        .map(|scheme| {
            Url::parse(&format!("{scheme}://{host}/v2/")).map_err(|_| Error::Request("invalid reference format".into()))
        })
        .collect()
}
