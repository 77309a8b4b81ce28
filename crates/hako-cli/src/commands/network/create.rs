//! `hako network create`.

use crate::api::Client;
use crate::error::{Error, Result};
use crate::flags::pairs;
use crate::term::print_line;
use clap::Args;
use serde_json::{Map, Value, json};

/// Flags of `network create`.
#[derive(Debug, Default, Args)]
pub(super) struct Create {
    /// Driver to manage the network
    #[arg(short = 'd', long, default_value = "bridge")]
    driver: String,
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Enable or disable IPv4 address assignment
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Enable or disable IPv6 address assignment
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<String>,
    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "CIDR")]
    ip_range: Vec<String>,
    /// IPv4 or IPv6 gateway for the subnet
    #[arg(long, value_name = "IP")]
    gateway: Vec<String>,
    /// Auxiliary IPv4 or IPv6 addresses used by the host
    #[arg(long, value_name = "NAME=IP")]
    aux_address: Vec<String>,
    /// IP address management driver
    #[arg(long, value_name = "DRIVER", default_value = "default")]
    ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long, value_name = "KEY=VALUE")]
    ipam_opt: Vec<String>,
    /// Set driver specific options
    #[arg(short = 'o', long = "opt", value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Set metadata on a network
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// The network's name
    #[arg(value_name = "NETWORK")]
    name: String,
}

impl Create {
    pub(super) async fn run(self, client: &Client) -> Result<()> {
        let answer = client.post_json("/networks/create", self.body()?).await?;
        if let Some(warning) = answer["Warning"].as_str().filter(|warning| !warning.is_empty()) {
            eprintln!("WARNING: {warning}");
        }
        print_line(answer["Id"].as_str().unwrap_or_default())
    }

    fn body(&self) -> Result<Value> {
        let mut body = json!({
            "Name": self.name, "Driver": self.driver, "Internal": self.internal, "Attachable": self.attachable,
            "Options": pairs(&self.opt), "Labels": pairs(&self.label),
            "IPAM": {"Driver": self.ipam_driver, "Options": pairs(&self.ipam_opt), "Config": self.subnets()?},
        });
        for (key, flag) in [("EnableIPv4", self.ipv4), ("EnableIPv6", self.ipv6)] {
            if let Some(on) = flag {
                body[key] = on.into();
            }
        }
        Ok(body)
    }

    /// Ranges, gateways and addresses go to the subnet that they are in.
    fn subnets(&self) -> Result<Vec<Value>> {
        let mut nets = Vec::new();
        for text in &self.subnet {
            let net = Net::parse(text).ok_or_else(|| Error::msg(format!("invalid CIDR address: {text}")))?;
            nets.push((net, json!({"Subnet": text})));
        }
        let missing = || Error::msg("every ip-range or gateway must have a corresponding subnet");
        for (key, texts) in [("IPRange", &self.ip_range), ("Gateway", &self.gateway)] {
            for text in texts {
                let (_, config) = nets.iter_mut().find(|(net, _)| net.has(text)).ok_or_else(missing)?;
                if !config[key].is_null() {
                    return Err(Error::msg(format!("cannot configure multiple values of {key} on a subnet")));
                }
                config[key] = text.as_str().into();
            }
        }
        for text in &self.aux_address {
            let (name, ip) = text.split_once('=').ok_or_else(|| Error::msg(format!("invalid aux-address {text:?}")))?;
            let found = nets.iter_mut().find(|(net, _)| net.has(ip));
            let none = || Error::msg(format!("no matching subnet for aux-address {ip}"));
            let (_, config) = found.ok_or_else(none)?;
            if config["AuxiliaryAddresses"].is_null() {
                config["AuxiliaryAddresses"] = Map::new().into();
            }
            config["AuxiliaryAddresses"][name] = ip.into();
        }
        Ok(nets.into_iter().map(|(_, config)| config).collect())
    }
}

/// A subnet, as far as it takes to know what is in it.
struct Net {
    address: std::net::IpAddr,
    prefix: u32,
}

impl Net {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (std::net::IpAddr, u32) = (address.parse().ok()?, prefix.parse().ok()?);
        (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some(Self { address, prefix })
    }

    /// Whether an address, or the first of a range, is in it.
    fn has(&self, text: &str) -> bool {
        let address: Option<std::net::IpAddr> = text.split('/').next().and_then(|address| address.parse().ok());
        match (self.address, address) {
            (std::net::IpAddr::V4(net), Some(std::net::IpAddr::V4(address))) => {
                let same = net.to_bits() ^ address.to_bits();
                same.leading_zeros() >= self.prefix
            }
            (std::net::IpAddr::V6(net), Some(std::net::IpAddr::V6(address))) => {
                let same = net.to_bits() ^ address.to_bits();
                same.leading_zeros() >= self.prefix
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_subnet_goes_to_it() {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let create = Create {
            subnet: list(&["10.0.0.0/16", "fd00::/64"]),
            gateway: list(&["fd00::1", "10.0.0.1"]),
            ip_range: list(&["10.0.5.0/24"]),
            aux_address: list(&["printer=10.0.0.9"]),
            ..Create::default()
        };
        let subnets = create.subnets().unwrap_or_else(|err| panic!("{err}"));
        assert_eq!(
            subnets,
            [
                json!({"Subnet": "10.0.0.0/16", "IPRange": "10.0.5.0/24", "Gateway": "10.0.0.1",
                    "AuxiliaryAddresses": {"printer": "10.0.0.9"}}),
                json!({"Subnet": "fd00::/64", "Gateway": "fd00::1"}),
            ]
        );
        let alone = Create { gateway: list(&["10.1.0.1"]), ..Create::default() };
        assert!(alone.subnets().is_err());
    }
}
