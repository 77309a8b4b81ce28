//! `GET /version`.

use crate::{
    Engine,
    http::{Response, json},
};
use hako_api::{
    types::{
        Version,
        system::{Component, NamedPlatform},
    },
    version,
};
use std::collections::BTreeMap;

/// The version of the engine and of its parts.
pub fn serve(engine: &Engine) -> Response {
    let number = env!("CARGO_PKG_VERSION").to_owned();
    let arch = hako_model::policy::native_arch();
    let details = [
        ("ApiVersion", version::MAX.to_string()),
        ("Arch", arch.to_owned()),
        ("BuildTime", String::new()),
        ("Experimental", "false".to_owned()),
        ("GitCommit", String::new()),
        ("GoVersion", String::new()),
        ("KernelVersion", engine.host.kernel.clone()),
        ("MinAPIVersion", version::MIN.to_string()),
        ("Os", "linux".to_owned()),
    ];
    let component = |name: &str, details: BTreeMap<String, String>| Component {
        name: name.to_owned(),
        version: number.clone(),
        details,
    };
    json(&Version {
        platform: NamedPlatform { name: "Hako".to_owned() },
        components: vec![
            component("Engine", details.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            component("hako-shim", BTreeMap::new()),
            component("hako-runtime", BTreeMap::new()),
        ],
        version: number.clone(),
        api_version: version::MAX.to_string(),
        min_api_version: version::MIN.to_string(),
        git_commit: String::new(),
        go_version: String::new(),
        os: "linux".to_owned(),
        arch: arch.to_owned(),
        kernel_version: engine.host.kernel.clone(),
        build_time: String::new(),
    })
}
