//! `GET /info`.

use crate::{
    Engine,
    http::{Response, json},
};
use hako_api::types::{
    Info,
    system::{Commit, InfoPlugins},
};
use hako_model::Result;
use serde_json::json as value;
use std::{collections::BTreeMap, sync::Arc};

/// Everything at once, as Docker answers it.
pub async fn serve(engine: &Arc<Engine>) -> Result<Response> {
    let host = &engine.host;
    let (running, paused, stopped) = engine.containers.count();
    let images = engine.image_count().await;
    let verdict = engine.accelerator.status_within(std::time::Duration::from_secs(1)).await;
    let v1 = host.cgroup_version == 1;
    let commit = || Commit { id: env!("CARGO_PKG_VERSION").to_owned() };
    Ok(json(&Info {
        id: engine.id.clone(),
        containers: running + paused + stopped,
        containers_running: running,
        containers_paused: paused,
        containers_stopped: stopped,
        images,
        driver: "overlay2".to_owned(),
        driver_status: vec![
            ["Process wall".to_owned(), "overlayfs over unpacked layers".to_owned()],
            ["Hyperv wall".to_owned(), "EROFS image and an ext4 disk".to_owned()],
            ["VM accelerator".to_owned(), verdict.summary()],
        ],
        plugins: InfoPlugins {
            volume: Vec::new(),
            network: vec!["null".to_owned()],
            authorization: None,
            log: vec!["json-file".to_owned(), "none".to_owned()],
        },
        memory_limit: true,
        swap_limit: true,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: true,
        cpu_set: true,
        pids_limit: true,
        ipv4_forwarding: true,
        debug: engine.config.debug,
        n_fd: std::fs::read_dir("/proc/self/fd").map_or(-1, |dir| i64::try_from(dir.count()).unwrap_or(-1)),
        oom_kill_disable: v1,
        n_goroutines: i64::try_from(tokio::runtime::Handle::current().metrics().num_alive_tasks()).unwrap_or(0),
        system_time: hako_api::time::now(),
        logging_driver: "json-file".to_owned(),
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
        security_options: vec!["name=seccomp,profile=builtin".to_owned()],
        warnings: Some(verdict.warnings()),
        ..Info::default()
    }))
}

fn registry_config(engine: &Engine) -> serde_json::Value {
    let insecure =
        |host: &String| (host.clone(), value!({"Name": host, "Mirrors": [], "Secure": false, "Official": false}));
    let mut index: serde_json::Map<String, serde_json::Value> =
        engine.config.insecure_registries.iter().map(insecure).collect();
    index.insert("docker.io".into(), value!({"Name": "docker.io", "Mirrors": [], "Secure": true, "Official": true}));
    value!({
        "AllowNondistributableArtifactsCIDRs": null,
        "AllowNondistributableArtifactsHostnames": null,
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
        "IndexConfigs": index,
        "Mirrors": null
    })
}
