//! The model in nft's words.

use super::{FilteredNetwork, Model, PublishedPort};
use ipnet::IpNet;
use std::fmt::Write;

const TABLE: &str = include_str!("table.nft");

/// Whether elements come or go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    Add,
    Delete,
}

/// The whole table, in place of what is there.
pub(super) fn whole(table: &str, model: &Model) -> String {
    let mut text = TABLE.replace("TABLE", table);
    if model.drop_others {
        let _ = writeln!(text, "add rule inet {table} others drop");
    }
    for each in &model.networks {
        text.push_str(&network(table, Verb::Add, each));
    }
    text.push_str(&ports(table, Verb::Add, &model.ports));
    text
}

/// The elements of one network.
pub(super) fn network(table: &str, verb: Verb, network: &FilteredNetwork) -> String {
    let bridge = format!("\"{}\"", network.bridge);
    let mut text = element(table, verb, "bridges", &bridge);
    if network.internal {
        text.push_str(&element(table, verb, "internal", &bridge));
    }
    if network.icc {
        text.push_str(&element(table, verb, "together", &format!("{bridge} . {bridge}")));
    }
    for subnet in &network.subnets {
        let (all, hidden) = match subnet {
            IpNet::V4(_) => ("containers4", "masquerade4"),
            IpNet::V6(_) => ("containers6", "masquerade6"),
        };
        let subnet = subnet.trunc().to_string();
        text.push_str(&element(table, verb, all, &subnet));
        if network.masquerade && !network.internal {
            text.push_str(&element(table, verb, hidden, &subnet));
        }
    }
    text
}

/// The elements of ports.
pub(super) fn ports(table: &str, verb: Verb, ports: &[PublishedPort]) -> String {
    let mut text = String::new();
    for port in ports {
        let family = if port.host.is_ipv4() { 4 } else { 6 };
        let key = format!("{} . {}", port.protocol, port.host.port());
        let (map, key) = if port.host.ip().is_unspecified() {
            (format!("any{family}"), key)
        } else {
            (format!("host{family}"), format!("{} . {key}", port.host.ip()))
        };
        let target = format!("{} . {}", port.container.ip(), port.container.port());
        text.push_str(&element(table, verb, &map, &format!("{key} : {target}")));
    }
    text
}

fn element(table: &str, verb: Verb, set: &str, element: &str) -> String {
    let verb = match verb {
        Verb::Add => "add",
        Verb::Delete => "delete",
    };
    format!("{verb} element inet {table} {set} {{ {element} }}\n")
}
