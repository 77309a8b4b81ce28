//! `GET /info`.

use crate::{
    Engine,
    accelerator::Status,
    containers::logs::options,
    guests::Guest,
    http::{Request, Response, json},
    sysinfo::SysInfo,
    volumes,
};
use hako_api::{
    ApiVersion,
    types::{
        Info,
        system::{Commit, InfoGuest, InfoPlugins},
    },
};
use hako_model::{Error, Result};
use serde_json::{Map, Value, json as value};
use std::{collections::BTreeMap, sync::Arc};

/// Everything at once, as Docker answers it.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let info = read(engine).await;
    let mut answer = serde_json::to_value(&info).map_err(|err| Error::internal(format!("info: {err}")))?;
    if let Some(fields) = answer.as_object_mut() {
        older_fields(fields, req.version);
    }
    Ok(json(&answer))
}

/// What Docker has left out since, for clients of the time before.
fn older_fields(info: &mut Map<String, Value>, version: ApiVersion) {
    let before = |minor| version < ApiVersion::new(1, minor);
    if before(49) {
        for part in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            let id = info[part]["ID"].clone();
            info[part]["Expected"] = id;
        }
        for list in ["AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames"] {
            info["RegistryConfig"][list] = Value::Null;
        }
    }
    if before(50) {
        info.insert("BridgeNfIptables".to_owned(), false.into());
        info.insert("BridgeNfIp6tables".to_owned(), false.into());
    }
}

async fn read(engine: &Arc<Engine>) -> Info {
    let host = &engine.host;
    let (running, paused, stopped) = engine.containers.count();
    let images = engine.image_count().await;
    let verdict = engine.accelerator.status_within(std::time::Duration::from_secs(1)).await;
    let sys = &host.sys;
    let ipv4_forwarding = is_on("/proc/sys/net/ipv4/ip_forward");
    let mut warnings = sys.warnings(host.cgroup_version == 2);
    if !ipv4_forwarding {
        warnings.push("WARNING: IPv4 forwarding is disabled".to_owned());
    }
    warnings.extend(verdict.warnings());
    let guests = guests(engine);
    let commit = || Commit { id: env!("CARGO_PKG_VERSION").to_owned() };
    Info {
        id: engine.id.clone(),
        containers: running + paused + stopped,
        containers_running: running,
        containers_paused: paused,
        containers_stopped: stopped,
        images,
        driver: "overlay2".to_owned(),
        driver_status: driver_status(&verdict, &guests),
        plugins: InfoPlugins {
            volume: vec![volumes::DRIVER.to_owned()],
            network: vec!["null".to_owned()],
            authorization: None,
            log: options::DRIVERS.iter().map(|name| (*name).to_owned()).collect(),
        },
        memory_limit: sys.memory_limit,
        swap_limit: sys.swap_limit,
        cpu_cfs_period: sys.cpu_cfs,
        cpu_cfs_quota: sys.cpu_cfs,
        cpu_shares: sys.cpu_shares,
        cpu_set: sys.cpuset,
        pids_limit: sys.pids_limit,
        ipv4_forwarding,
        debug: engine.config.debug,
        n_fd: std::fs::read_dir("/proc/self/fd").map_or(-1, |dir| i64::try_from(dir.count()).unwrap_or(-1)),
        oom_kill_disable: sys.oom_kill_disable,
        n_goroutines: i64::try_from(tokio::runtime::Handle::current().metrics().num_alive_tasks()).unwrap_or(0),
        system_time: hako_api::time::now(),
        logging_driver: engine.config.log.r#type.clone(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: host.cgroup_version.to_string(),
        n_events_listener: i64::try_from(engine.events.listeners()).unwrap_or(0),
        kernel_version: host.kernel.clone(),
        operating_system: host.os_name.clone(),
        os_version: host.os_version.clone(),
        os_type: "linux".to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: registry_config(engine),
        ncpu: host.cpus,
        mem_total: host.memory,
        generic_resources: None,
        docker_root_dir: engine.config.data_root.display().to_string(),
        name: host.hostname.clone(),
        labels: Vec::new(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtimes: BTreeMap::from([(
            "hako-runtime".to_owned(),
            value!({"path": engine.programs.runtime.display().to_string()}),
        )]),
        default_runtime: "hako-runtime".to_owned(),
        swarm: value!({
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false,
            "Error": "", "RemoteManagers": null
        }),
        live_restore_enabled: true,
        isolation: engine.config.isolation.to_string(),
        init_binary: "hako-init".to_owned(),
        containerd_commit: commit(),
        runc_commit: commit(),
        init_commit: commit(),
        http_proxy: proxy("HTTP_PROXY"),
        https_proxy: proxy("HTTPS_PROXY"),
        no_proxy: proxy("NO_PROXY"),
        security_options: security_options(sys),
        cdi_spec_dirs: Vec::new(),
        warnings: (!warnings.is_empty()).then_some(warnings),
        guests,
        virtual_machines: engine.templates.info(),
        ..Info::default()
    }
}

/// What Docker's clients show below the storage driver: there is no better place
/// for what they do not know.
fn driver_status(accelerator: &Status, guests: &[InfoGuest]) -> Vec<[String; 2]> {
    let mut status = vec![
        ["Process wall".to_owned(), "overlayfs over unpacked layers".to_owned()],
        ["Hyperv wall".to_owned(), "EROFS image and an ext4 disk".to_owned()],
        ["VM accelerator".to_owned(), accelerator.summary()],
    ];
    let kernel = |guest: &InfoGuest| {
        [format!("Guest kernel {}", guest.name), format!("{} ({})", guest.release, guest.architecture)]
    };
    status.extend(guests.iter().map(kernel));
    status
}

/// The guest kernels that boot here.
fn guests(engine: &Engine) -> Vec<InfoGuest> {
    let guest = |guest: Guest| InfoGuest {
        name: guest.name,
        architecture: guest.board.architecture().to_owned(),
        release: guest.release,
    };
    engine.guests.bootable().into_iter().map(guest).collect()
}

fn is_on(path: &str) -> bool {
    std::fs::read(path).is_ok_and(|text| text.starts_with(b"1"))
}

/// What confines containers on this host, in dockerd's order.
fn security_options(sys: &SysInfo) -> Vec<String> {
    let options = [
        (sys.apparmor, "name=apparmor"),
        (true, "name=seccomp,profile=builtin"),
        (sys.cgroup_namespaces, "name=cgroupns"),
    ];
    options.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned()).collect()
}

/// The proxy of pulls, without a password that may be in it.
fn proxy(name: &str) -> String {
    let text = std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase())).unwrap_or_default();
    match text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        None => text,
    }
}

fn registry_config(engine: &Engine) -> serde_json::Value {
    let insecure =
        |host: &String| (host.clone(), value!({"Name": host, "Mirrors": [], "Secure": false, "Official": false}));
    let mut index: serde_json::Map<String, serde_json::Value> =
        engine.config.insecure_registries.iter().map(insecure).collect();
    // Docker ends them with a slash.
    let mirrors: Vec<String> =
        engine.config.mirrors.get("docker.io").into_iter().flatten().map(|mirror| format!("{mirror}/")).collect();
    index.insert(
        "docker.io".into(),
        value!({"Name": "docker.io", "Mirrors": mirrors, "Secure": true, "Official": true}),
    );
    value!({
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
        "IndexConfigs": index,
        "Mirrors": mirrors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_clients_get_older_fields() {
        let commit = value!({"ID": "1"});
        let at = |minor| {
            let info = value!({
                "ContainerdCommit": commit, "RuncCommit": commit, "InitCommit": commit, "RegistryConfig": {}
            });
            let Value::Object(mut info) = info else { panic!("an object") };
            older_fields(&mut info, ApiVersion::new(1, minor));
            Value::from(info)
        };
        assert_eq!(at(48)["RuncCommit"], value!({"ID": "1", "Expected": "1"}));
        assert_eq!(at(49)["RuncCommit"], commit);
        assert_eq!(at(49)["BridgeNfIptables"], false);
        assert!(at(50).get("BridgeNfIptables").is_none());
        assert!(at(41)["RegistryConfig"].as_object().unwrap().len() == 2);
    }
}
