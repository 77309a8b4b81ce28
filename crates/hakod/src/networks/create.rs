//! `POST /networks/create`.

use super::{
    defaults::{mtu, pools, put, taken},
    emit,
    plumbing::Plumbing,
    raise,
    record::{Bridge, Driver, Network, is_predefined},
    stored, told,
};
use crate::{
    Engine,
    http::{Request, Response, json_status},
};
use hako_api::{
    decode, time,
    types::network::{Ipam, IpamConfig, NetworkCreate, NetworkCreated},
    unsupported,
};
use hako_model::{ContainerId, Error, ErrorKind, Result};
use hako_net::{
    IpNet, bridge,
    ipam::{self, Subnet},
};
use hyper::StatusCode;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// Creates a network.
pub async fn serve(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    let body = req.bytes().await?;
    let asked: NetworkCreate = decode::decode(decode::parse(&body)?)?;
    let engine = engine.clone();
    // A create that has begun is finished, also if the client goes.
    let work = tokio::spawn(async move { create(&engine, asked).await });
    let id = work.await.map_err(|err| Error::internal(err.to_string()))??;
    Ok(json_status(StatusCode::CREATED, &NetworkCreated { id, warning: String::new() }))
}

fn forbidden(message: String) -> Error {
    Error::new(ErrorKind::Forbidden, message)
}

async fn create(engine: &Engine, asked: NetworkCreate) -> Result<String> {
    check(&asked)?;
    let _turn = engine.networks.turn.lock().await;
    let plumbing = engine.networks.plumbing()?;
    if engine.networks.all().iter().any(|network| network.name == asked.name) {
        return Err(Error::conflict(format!("network with name {} already exists", asked.name)));
    }
    let id = ContainerId::random().to_string();
    let bridge = made(engine, plumbing, &asked, &id).await?;
    let ipam = asked.ipam.unwrap_or_default();
    let network = Network {
        id: id.clone(),
        name: asked.name,
        created: time::now(),
        driver: Driver::Bridge(bridge),
        options: asked.options,
        labels: asked.labels,
        attachable: asked.attachable,
        ipam_options: ipam.options,
    };
    put(engine, network.clone()).await?;
    if let Err(err) = raise::raise(engine, &network).await {
        let row = id.clone();
        stored(engine, move |store| store.delete_network(&row)).await?;
        engine.networks.state().networks.remove(&id);
        return Err(err);
    }
    emit(engine, &network, "create", None);
    Ok(id)
}

/// What needs no look at anything else.
fn check(asked: &NetworkCreate) -> Result<()> {
    if asked.name.trim().is_empty() {
        return Err(Error::invalid("invalid network name: network name is empty"));
    }
    if asked.name.starts_with("container:") || asked.name.contains(['/', '\0', '\n']) {
        return Err(Error::invalid(format!("invalid network name: {}", asked.name)));
    }
    if is_predefined(&asked.name) {
        return Err(forbidden(format!("operation is not permitted on predefined {} network", asked.name)));
    }
    match asked.driver.as_str() {
        // The last three are refused by the table.
        "" | "bridge" | "default" | "macvlan" | "ipvlan" | "overlay" => {}
        one @ ("host" | "null") => {
            return Err(forbidden(format!("only one instance of \"{one}\" network is allowed")));
        }
        other => {
            return Err(Error::not_found(format!(
                "could not find plugin {other} in v1 plugin registry: plugin not found"
            )));
        }
    }
    unsupported::check_network(asked)?;
    match asked.ipam.as_ref().map_or("", |ipam| ipam.driver.as_str()) {
        "" | "default" => Ok(()),
        other => {
            Err(Error::not_found(format!("could not find plugin {other} in v1 plugin registry: plugin not found")))
        }
    }
}

async fn made(engine: &Engine, plumbing: &Plumbing, asked: &NetworkCreate, id: &str) -> Result<Bridge> {
    let option = |name: &str| asked.options.get(&format!("com.docker.network.{name}")).map(String::as_str);
    let flag = |name: &str| match option(name) {
        None | Some("") => Ok(true),
        Some(text) => boolean(text).ok_or_else(|| Error::invalid(format!("failed to parse {name} value: {text:?}"))),
    };
    let name = match option("bridge.name") {
        None | Some("") => format!("br-{}", &id[..12]),
        Some(name) => named(engine, plumbing, name).await?,
    };
    let mtu = match option("driver.mtu") {
        None | Some("") => mtu(engine, plumbing).await?,
        Some(text) => match text.parse() {
            Ok(0) => mtu(engine, plumbing).await?,
            Ok(mtu) => mtu,
            Err(_) => return Err(Error::invalid(format!("failed to parse driver.mtu value: {text:?}"))),
        },
    };
    let host_ip = match option("bridge.host_binding_ipv4") {
        None | Some("") => None,
        Some(text) => Some(
            text.parse().map_err(|_| Error::invalid(format!("failed to parse host_binding_ipv4 value: {text:?}")))?,
        ),
    };
    Ok(Bridge {
        name,
        subnets: subnets(engine, plumbing, asked).await?,
        internal: asked.internal,
        icc: flag("bridge.enable_icc")?,
        masquerade: flag("bridge.enable_ip_masquerade")?,
        mtu,
        host_ip,
        is_default: false,
        has_own_subnets: asked
            .ipam
            .iter()
            .flat_map(|ipam| ipam.config.iter().flatten())
            .any(|one| !one.subnet.is_empty()),
    })
}

/// Go's words for yes and no.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A name for the interface that is nobody's.
async fn named(engine: &Engine, plumbing: &Plumbing, name: &str) -> Result<String> {
    let fits = name.len() <= 15 && name.bytes().all(|b| b.is_ascii_graphic() && !b"/:%".contains(&b));
    if !fits || matches!(name, "." | "..") {
        return Err(Error::invalid(format!("invalid name of a bridge: {name:?}")));
    }
    let all = engine.networks.all();
    if let Some(other) = all.iter().find(|network| network.bridge().is_some_and(|bridge| bridge.name == name)) {
        return Err(forbidden(format!(
            "conflicts with network {} ({}): networks have same bridge name",
            other.id, name
        )));
    }
    // The network would take it along when it goes.
    if bridge::list(&plumbing.host, name).await.map_err(told)?.iter().any(|found| found == name) {
        return Err(Error::conflict(format!("the bridge {name} is there already, and not this engine's")));
    }
    Ok(name.to_owned())
}

/// The subnets, of each family one.
async fn subnets(engine: &Engine, plumbing: &Plumbing, asked: &NetworkCreate) -> Result<Vec<Subnet>> {
    let (v4, v6) = (asked.enable_ipv4.unwrap_or(true), asked.enable_ipv6.unwrap_or(false));
    if !v4 && !v6 {
        return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
    }
    let mut found = Vec::new();
    for config in asked.ipam.as_ref().and_then(|ipam: &Ipam| ipam.config.as_ref()).into_iter().flatten() {
        let Some(subnet) = configured(config)? else { continue };
        // As in Docker, what is not enabled is passed over.
        let enabled = if subnet.subnet.addr().is_ipv4() { v4 } else { v6 };
        if enabled {
            found.push(subnet);
        }
    }
    let taken = taken(engine, plumbing, None).await?;
    for subnet in &found {
        ipam::check_overlap(subnet.subnet, &taken).map_err(told)?;
    }
    let of = |found: &[Subnet], six: bool| found.iter().filter(|subnet| subnet.subnet.addr().is_ipv6() == six).count();
    if of(&found, false) > 1 || of(&found, true) > 1 {
        return Err(forbidden("bridge driver doesn't support multiple subnets".to_owned()));
    }
    let automatic = |subnet: IpNet| Subnet::new(subnet, None, None, BTreeMap::new()).map_err(told);
    if v4 && of(&found, false) == 0 {
        let free = ipam::pick_subnet(&pools(engine), false, &taken).map_err(told)?;
        found.insert(0, automatic(free)?);
    }
    if v6 && of(&found, true) == 0 {
        let mut pools = pools(engine);
        pools.push(ipam::ula_pool(engine.id.as_bytes()));
        let free = ipam::pick_subnet(&pools, true, &taken).map_err(told)?;
        found.push(automatic(free)?);
    }
    Ok(found)
}

/// One entry of `IPAM.Config`; nothing for one without anything.
fn configured(config: &IpamConfig) -> Result<Option<Subnet>> {
    let net = |text: &str| -> Result<IpNet> {
        text.parse().map_err(|_| Error::invalid(format!("invalid CIDR address: {text}")))
    };
    let ip = |text: &str| -> Result<IpAddr> {
        text.parse().map_err(|_| Error::invalid(format!("invalid IP address: {text}")))
    };
    if config.subnet.is_empty() {
        if config.gateway.is_empty() && config.ip_range.is_empty() && config.auxiliary_addresses.is_empty() {
            return Ok(None);
        }
        return Err(Error::invalid("every ip-range or gateway must have a corresponding subnet"));
    }
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let subnet = net(&config.subnet)?;
    let range = given(&config.ip_range).map(|text| net(&text)).transpose()?;
    let gateway = given(&config.gateway).map(|text| ip(text.split('/').next().unwrap_or_default())).transpose()?;
    let others = config.auxiliary_addresses.iter().map(|(name, text)| Ok((name.clone(), ip(text)?)));
    Subnet::new(subnet, range, gateway, others.collect::<Result<_>>()?).map(Some).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_drivers() {
        let asked = |name: &str, driver: &str| {
            check(&NetworkCreate { name: name.into(), driver: driver.into(), ..NetworkCreate::default() })
        };
        assert!(asked("a", "").is_ok() && asked("a", "bridge").is_ok());
        let text = |name, driver| asked(name, driver).unwrap_err();
        assert_eq!(text("host", "").message, "operation is not permitted on predefined host network");
        assert_eq!(text("a", "host").kind, ErrorKind::Forbidden);
        assert_eq!(text("a", "odd").kind, ErrorKind::NotFound);
        assert_eq!(text("a", "macvlan").kind, ErrorKind::Unsupported);
        assert_eq!(text(" ", "").kind, ErrorKind::InvalidParameter);
    }

    #[test]
    fn entries() {
        assert!(configured(&IpamConfig::default()).unwrap().is_none());
        let wrong = configured(&IpamConfig { subnet: "10.0.0.0".into(), ..IpamConfig::default() }).unwrap_err();
        assert_eq!(wrong.message, "invalid CIDR address: 10.0.0.0");
        let wrong = configured(&IpamConfig { gateway: "10.0.0.1".into(), ..IpamConfig::default() }).unwrap_err();
        assert!(wrong.message.contains("must have a corresponding subnet"));
        assert_eq!((boolean("true"), boolean("0"), boolean("yes")), (Some(true), Some(false), None));
    }
}
