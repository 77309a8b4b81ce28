//! `/etc/hosts` and `/etc/resolv.conf` of containers, as Docker writes them.

use super::{links, plumbing::netns_path};
use crate::{Engine, containers::record::Record, shim::Live, spec};
use hako_api::types::HostConfig;
use hako_model::{Error, Isolation, MOST_HOSTS, NetworkChange, Result};
use hako_os::inplace;
use std::{fmt::Write, fs, net::IpAddr, path::Path};

/// Docker's, where the host's are of no use to a container.
const PUBLIC: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// What both files are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The container's addresses.
    pub addresses: Vec<IpAddr>,
    /// Others, with their names.
    pub others: Vec<(IpAddr, String)>,
    /// The engine's name servers, on networks that have names.
    pub servers: Vec<IpAddr>,
    /// What `host-gateway` stands for.
    pub host_gateway: Option<IpAddr>,
    /// Whether it has the host's own interfaces, and with them its name servers.
    pub is_host: bool,
}

/// `/etc/hosts`.
#[must_use]
pub fn hosts(record: &Record, facts: &Facts) -> String {
    let mut text = if facts.is_host { fs::read_to_string("/etc/hosts").unwrap_or_default() } else { own_hosts() };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in record.host.extra_hosts.iter().flatten() {
        // `name:address` or `name=address`; an address may have colons, a name has none.
        if let Some((name, address)) = entry.split_once(['=', ':']) {
            let address = address.trim_matches(|c| c == '[' || c == ']');
            let gateway = facts.host_gateway.map(|ip| ip.to_string());
            let gateway = gateway.as_deref().unwrap_or("127.0.0.1");
            let address = if address == "host-gateway" { gateway } else { address };
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    for (address, names) in &facts.others {
        let _ = writeln!(text, "{address}\t{names}");
    }
    let (host, domain) = (&record.config.hostname, &record.config.domainname);
    let names = if domain.is_empty() { host.clone() } else { format!("{host}.{domain} {host}") };
    for address in &facts.addresses {
        let _ = writeln!(text, "{address}\t{names}");
    }
    if facts.addresses.is_empty() && !facts.is_host {
        // As long as the loopback is its only interface.
        let _ = writeln!(text, "127.0.1.1\t{names}");
    }
    text
}

/// Docker's, with which every one begins that is not the host's own.
fn own_hosts() -> String {
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
     ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        .to_owned()
}

/// The name servers of a `resolv.conf`.
#[must_use]
pub fn servers(text: &str) -> Vec<IpAddr> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let address = |line: Vec<&str>| match line.as_slice() {
        ["nameserver", ip, ..] => ip.split('%').next()?.parse().ok(),
        _ => None,
    };
    words.filter_map(address).collect()
}

/// The host's file: behind a stub resolver, that of the resolver.
fn hosts_own() -> String {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let stub: IpAddr = IpAddr::from([127, 0, 0, 53]);
    if servers(&text) == [stub] {
        return fs::read_to_string("/run/systemd/resolve/resolv.conf").unwrap_or(text);
    }
    text
}

/// `/etc/resolv.conf`: what was asked for, and the host's where nothing was.
#[must_use]
pub fn resolv_conf(engine: &Engine, record: &Record, facts: &Facts) -> String {
    let defaults = &engine.config.network;
    let asked = |list: &Option<Vec<String>>, default: &[String]| match list {
        Some(list) if !list.is_empty() => list.clone(),
        Some(_) | None => default.to_vec(),
    };
    let default_dns: Vec<String> = defaults.dns.iter().map(IpAddr::to_string).collect();
    let host = HostConfig {
        dns: Some(asked(&record.host.dns, &default_dns)),
        dns_search: Some(asked(&record.host.dns_search, &defaults.dns_search)),
        dns_options: Some(asked(&record.host.dns_options, &defaults.dns_options)),
        ..HostConfig::default()
    };
    render(&host, facts, &hosts_own())
}

fn render(asked: &HostConfig, facts: &Facts, host: &str) -> String {
    let lines = |key: &str| {
        let found = host.lines().filter(|line| line.split_whitespace().next() == Some(key));
        found.map(|line| format!("{line}\n")).collect::<String>()
    };
    let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let mut text = String::new();
    for server in name_servers(asked, facts, host) {
        let _ = writeln!(text, "nameserver {server}");
    }
    match words(&asked.dns_search).as_slice() {
        [] => text.push_str(&lines("search")),
        // A single dot is Docker's word for none.
        [dot] if dot == "." => {}
        domains => {
            let _ = writeln!(text, "search {}", domains.join(" "));
        }
    }
    match words(&asked.dns_options).as_slice() {
        // The names of containers have no dots.
        [] if !facts.servers.is_empty() => text.push_str("options ndots:0\n"),
        [] => text.push_str(&lines("options")),
        options => {
            let _ = writeln!(text, "options {}", options.join(" "));
        }
    }
    text
}

fn name_servers(asked: &HostConfig, facts: &Facts, host: &str) -> Vec<String> {
    if !facts.servers.is_empty() {
        // What was asked for is asked by the engine.
        return facts.servers.iter().map(IpAddr::to_string).collect();
    }
    let own = asked.dns.clone().unwrap_or_default();
    if !own.is_empty() {
        return own;
    }
    let hosts = servers(host);
    if facts.is_host || facts.addresses.is_empty() {
        return hosts.iter().map(IpAddr::to_string).collect();
    }
    // Another loopback answers there than the host's.
    let reached: Vec<String> = hosts.iter().filter(|ip| !ip.is_loopback()).map(IpAddr::to_string).collect();
    if reached.is_empty() { PUBLIC.map(str::to_owned).into() } else { reached }
}

/// What the files of a container are made of that has a sandbox.
pub(super) fn facts(engine: &Engine, record: &Record) -> Result<Facts> {
    let sandbox = engine.networks.sandbox(record.id.as_str()).unwrap_or_default();
    let mut facts = Facts { others: links::hosts(engine, record)?, ..Facts::default() };
    for endpoint in &sandbox.endpoints {
        facts.addresses.extend(endpoint.addresses());
        let network = engine.networks.exactly(&endpoint.network);
        let Some(bridge) = network.as_ref().and_then(|network| network.bridge()) else { continue };
        facts.servers.extend(bridge.name_servers());
        let gateway = bridge.gateway4().map(IpAddr::V4).or_else(|| bridge.gateway6().map(IpAddr::V6));
        if facts.host_gateway.is_none() || bridge.is_default {
            facts.host_gateway = gateway;
        }
    }
    // A resolver asks three of them at most; those of the first network know all names.
    facts.servers.truncate(3);
    if let Some(bridge) = engine.networks.exactly("bridge")
        && let Some(gateway) = bridge.bridge().and_then(super::record::Bridge::gateway4)
    {
        facts.host_gateway = Some(IpAddr::V4(gateway));
    }
    Ok(facts)
}

/// Whether `host-gateway` is asked for.
#[must_use]
pub fn asks_for_gateway(record: &Record) -> bool {
    record.host.extra_hosts.iter().flatten().any(|entry| entry.ends_with("host-gateway"))
}

/// After a change of a running container's networks: both files, in place,
/// since the container has them mounted; behind the hyperv wall those of the
/// guest. `before` is what its hosts file was made of; what the container has
/// written into it itself stays.
pub(super) async fn refresh(engine: &Engine, record: &Record, live: Option<&Live>, before: Option<&Facts>) {
    let id = record.id.as_str();
    // Who comes later knows more.
    let _one = engine.store.lock(&format!("files {id}")).await;
    let done = match facts(engine, record) {
        Ok(facts) => {
            let place = spec::files::present_place(engine, id, record.isolation);
            let new = [hosts(record, &facts), resolv_conf(engine, record, &facts)];
            match record.isolation {
                Isolation::Process => {
                    let old = before.map(|before| hosts(record, before)).unwrap_or_default();
                    rewrite(&place, &new, |current| hako_model::merge_hosts(current, &old, &new[0]))
                }
                Isolation::Hyperv => refresh_guest(&place, live, &new).await,
            }
        }
        Err(err) => Err(err),
    };
    if let Err(err) = done {
        tracing::warn!("files of container {id}: {err}");
    }
}

/// The host's copies are what the guest was told last.
async fn refresh_guest(bundle: &Path, live: Option<&Live>, new: &[String; 2]) -> Result<()> {
    let [before, servers] = ["hosts", "resolv.conf"].map(|name| fs::read_to_string(bundle.join(name)));
    let (before, servers) = (before.unwrap_or_default(), servers.unwrap_or_default());
    let [hosts, resolv_conf] = new.clone();
    if (&before, &servers) == (&hosts, &resolv_conf) {
        return Ok(());
    }
    let live = live.ok_or_else(|| Error::conflict("the virtual machine does not run"))?;
    live.network(NetworkChange::Files { hosts, before, resolv_conf }).await?;
    rewrite(bundle, new, |_| new[0].clone())
}

/// The same files with another content.
fn rewrite(bundle: &Path, new: &[String; 2], hosts: impl FnOnce(&str) -> String) -> Result<()> {
    let failed = |path: &Path, err: std::io::Error| Error::internal(format!("{}: {err}", path.display()));
    let path = bundle.join("hosts");
    inplace::rewrite(&path, MOST_HOSTS, hosts).map_err(|err| failed(&path, err))?;
    let path = bundle.join("resolv.conf");
    inplace::rewrite(&path, MOST_HOSTS, |_| new[1].clone()).map_err(|err| failed(&path, err))
}

/// Where the namespace of a running container is, for what is read of it.
pub(super) fn namespace(engine: &Engine, container: &str) -> std::path::PathBuf {
    netns_path(engine, container)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn lines(asked: &HostConfig, facts: &Facts, host: &str) -> Vec<String> {
        render(asked, facts, host).lines().map(str::to_owned).collect()
    }

    const HOST: &str = "# made\nnameserver 127.0.0.1\nnameserver 10.0.0.53\nsearch a b\noptions ndots:2\n";

    #[test]
    fn on_the_default_bridge() {
        let facts = Facts { addresses: vec![ip("172.17.0.2")], ..Facts::default() };
        let asked = HostConfig::default();
        assert_eq!(lines(&asked, &facts, HOST), ["nameserver 10.0.0.53", "search a b", "options ndots:2"]);
        let nothing = lines(&asked, &facts, "nameserver 127.0.0.1\n");
        assert_eq!(nothing, ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]);
        let own = HostConfig { dns: Some(vec!["1.2.3.4".into()]), dns_search: Some(vec![".".into()]), ..asked };
        assert_eq!(lines(&own, &facts, HOST), ["nameserver 1.2.3.4", "options ndots:2"]);
    }

    #[test]
    fn on_a_network_with_names() {
        let facts = Facts { addresses: vec![ip("172.18.0.2")], servers: vec![ip("172.18.0.1")], ..Facts::default() };
        let own = HostConfig { dns: Some(vec!["1.2.3.4".into()]), ..HostConfig::default() };
        assert_eq!(lines(&own, &facts, HOST), ["nameserver 172.18.0.1", "search a b", "options ndots:0"]);
    }

    #[test]
    fn on_the_host() {
        let facts = Facts { is_host: true, ..Facts::default() };
        assert_eq!(lines(&HostConfig::default(), &facts, HOST)[0], "nameserver 127.0.0.1");
        assert_eq!(servers("nameserver fe80::1%eth0\nnameserver x\n"), [ip("fe80::1")]);
    }
}
