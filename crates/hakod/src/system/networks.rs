//! What clients ask about networks before there are any: Docker's three
//! default networks.

use crate::http::{Request, Response, json};
use hako_api::Filters;
use hako_model::{Error, Result};
use serde_json::{Value, json as value};

/// Name, driver, scope and identifier of the networks that always exist.
const DEFAULTS: [(&str, &str, &str); 3] = [
    ("bridge", "bridge", "62726964676500000000000000000000000000000000000000000000000000ab"),
    ("host", "host", "686f73740000000000000000000000000000000000000000000000000000cd00"),
    ("none", "null", "6e6f6e65000000000000000000000000000000000000000000000000000000ef"),
];

fn network((name, driver, id): (&str, &str, &str)) -> Value {
    value!({
        "Name": name, "Id": id, "Created": hako_api::time::ZERO, "Scope": "local", "Driver": driver,
        "EnableIPv4": false, "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": null},
        "Internal": false, "Attachable": false, "Ingress": false,
        "ConfigFrom": {"Network": ""}, "ConfigOnly": false,
        "Containers": {}, "Options": {}, "Labels": {}
    })
}

/// The identifier of a default network.
pub fn id_of(name: &str) -> &'static str {
    DEFAULTS.iter().find(|row| row.0 == name).map_or("", |row| row.2)
}

/// `GET /networks`.
pub fn list(req: &Request) -> Result<Response> {
    let filters = Filters::parse(req.query.get("filters"))?;
    filters.only(&["driver", "type", "name", "id", "label", "scope", "dangling"])?;
    let fits = |row: &(&str, &str, &str)| {
        filters.any("name", |name| row.0.contains(name))
            && filters.any("driver", |driver| row.1 == driver)
            && filters.any("id", |id| row.2.starts_with(id))
            && filters.any("scope", |scope| scope == "local")
            && filters.any("type", |kind| kind == "builtin")
            && filters.labels(|_| None)
    };
    Ok(json(&DEFAULTS.into_iter().filter(fits).map(network).collect::<Vec<_>>()))
}

/// `GET /networks/{id}`.
pub fn inspect(req: &Request) -> Result<Response> {
    let id = req.param.as_str();
    match DEFAULTS.into_iter().find(|row| row.0 == id || row.2 == id) {
        Some(row) => Ok(json(&network(row))),
        None => Err(Error::not_found(format!("network {id} not found"))),
    }
}
