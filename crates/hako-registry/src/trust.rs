//! How far a registry's host is trusted, by Docker's rules.

use std::net::IpAddr;

/// How far a host is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// By a certificate that verifies.
    Secure,
    /// By any certificate, or by plain HTTP.
    Insecure,
    /// The same, and never through a proxy.
    Loopback,
}

impl Trust {
    /// Of a registry (`host[:port]`), with the rules of `insecure-registries`.
    pub(crate) fn of(registry: &str, insecure: &[String]) -> Self {
        let host = host_of(registry);
        let ip: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
            return Self::Loopback;
        }
        let listed = |rule: &String| {
            rule == registry || rule == host || ip.is_some_and(|ip| in_network(ip, rule).unwrap_or(false))
        };
        if insecure.iter().any(listed) { Self::Insecure } else { Self::Secure }
    }
}

fn host_of(registry: &str) -> &str {
    match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => registry.split(':').next().unwrap_or(registry),
    }
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
            assert_eq!(Trust::of(registry, &rules), expected, "{registry}");
        }
    }
}
