//! Where a registry answers and by which kind of connection.

use crate::{Credentials, Error, Result, Session};
use hako_model::{Repository, reference::DEFAULT_REGISTRY};
use reqwest::Url;
use std::{net::IpAddr, sync::OnceLock, time::Duration};

/// Settings.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Hosts (with or without a port) and CIDR networks that are spoken to
    /// with any certificate, or by plain HTTP. Loopback always is.
    pub insecure_registries: Vec<String>,
}

/// The client. One for the whole engine; connections are kept for a while.
#[derive(Debug, Default)]
pub struct Client {
    config: Config,
    // Made on first use: a host without certificates can still use loopback registries.
    secure: OnceLock<reqwest::Client>,
    insecure: OnceLock<reqwest::Client>,
    loopback: OnceLock<reqwest::Client>,
}

/// How far a host is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    Secure,
    Insecure,
    Loopback,
}

impl Client {
    /// A client with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// Begins work on one repository; credentials and tokens last as long as the session.
    ///
    /// # Errors
    /// Where the host has no usable TLS set-up.
    pub fn session(&self, repository: &Repository, credentials: Option<Credentials>) -> Result<Session> {
        let (http, bases) = self.reach(repository.registry())?;
        Ok(Session::new(http, repository.clone(), credentials, bases))
    }

    /// The connections to a registry and the addresses to try.
    pub(crate) fn reach(&self, registry: &str) -> Result<(reqwest::Client, Vec<Url>)> {
        let trust = trust(registry, &self.config.insecure_registries);
        let slot = match trust {
            Trust::Secure => &self.secure,
            Trust::Insecure => &self.insecure,
            Trust::Loopback => &self.loopback,
        };
        let http = match slot.get() {
            Some(http) => http.clone(),
            None => {
                let made = build(trust)?;
                slot.get_or_init(|| made).clone()
            }
        };
        Ok((http, bases(registry, trust)?))
    }
}

fn build(trust: Trust) -> Result<reqwest::Client> {
    // An error says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("hako/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(30))
        .read_timeout(Duration::from_secs(60))
        .pool_idle_timeout(Duration::from_secs(15));
    if trust != Trust::Secure {
        builder = builder.tls_danger_accept_invalid_certs(true).tls_danger_accept_invalid_hostnames(true);
    }
    if trust == Trust::Loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|err| {
        let mut cause: &dyn std::error::Error = &err;
        while let Some(next) = cause.source() {
            cause = next;
        }
        Error::Registry(format!("prepare TLS: {cause}"))
    })
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

fn host_of(registry: &str) -> &str {
    match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => registry.split(':').next().unwrap_or(registry),
    }
}

fn trust(registry: &str, insecure: &[String]) -> Trust {
    let host = host_of(registry);
    let ip: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
        return Trust::Loopback;
    }
    let listed =
        |rule: &String| rule == registry || rule == host || ip.is_some_and(|ip| in_network(ip, rule).unwrap_or(false));
    if insecure.iter().any(listed) { Trust::Insecure } else { Trust::Secure }
}

fn in_network(ip: IpAddr, rule: &str) -> Option<bool> {
    let (net, bits) = rule.split_once('/')?;
    let (net, bits): (IpAddr, u32) = (net.parse().ok()?, bits.parse().ok()?);
    Some(match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            ip.to_bits() & mask == net.to_bits() & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(net)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            ip.to_bits() & mask == net.to_bits() & mask
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_by_name_port_and_network() {
        let rules = ["reg:5000".to_owned(), "plain".to_owned(), "10.0.0.0/8".to_owned()];
        for (registry, expected) in [
            ("localhost:5000", Trust::Loopback),
            ("127.9.9.9", Trust::Loopback),
            ("[::1]:5000", Trust::Loopback),
            ("reg:5000", Trust::Insecure),
            ("reg:5001", Trust::Secure),
            ("plain:1", Trust::Insecure),
            ("10.1.2.3:80", Trust::Insecure),
            ("11.1.2.3:80", Trust::Secure),
            ("docker.io", Trust::Secure),
        ] {
            assert_eq!(trust(registry, &rules), expected, "{registry}");
        }
    }
}
