//! `GET /containers/{id}/json`.

use super::{health::Health, logs::options, record::Record, vm};
use crate::{
    Engine,
    http::{Request, Response, json},
    networks, spec,
};
use hako_api::types::{ContainerInspect, ContainerState, HostConfig, container::GraphDriver};
use hako_model::{Isolation, Result};
use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Everything about one container.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let view = container.view();
    let record = &view.record;
    let (size_rw, size_root_fs) = if req.query.flag("size") { sizes(engine, record).await } else { (None, None) };
    let files = spec::files::present_place(engine, record.id.as_str(), record.isolation);
    // As in dockerd the first start makes these.
    let started = record.state.run().is_some() || record.state.ended().is_some();
    let file = |name: &str| if started { files.join(name).display().to_string() } else { String::new() };
    // `local`'s file is nobody's business.
    let logged = record.host.log_config.r#type == "json-file";
    let log_path = options::path(engine, record);
    let execs = engine.execs.of(record.id.as_str());
    Ok(json(&ContainerInspect {
        id: record.id.to_string(),
        created: record.created.clone(),
        path: record.path.clone(),
        args: record.args.clone(),
        state: ContainerState { health: record.health.as_ref().map(Health::shown), ..record.state.shown() },
        image: record.image_id.clone(),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: log_path.filter(|_| logged && started).map(|path| path.display().to_string()).unwrap_or_default(),
        name: format!("/{}", record.name),
        restart_count: record.restarts.count,
        driver: driver(record.isolation).to_owned(),
        platform: "linux".to_owned(),
        app_armor_profile: spec::apparmor::shown(engine, record),
        exec_ids: (!execs.is_empty()).then_some(execs),
        host_config: HostConfig { links: networks::shown_links(engine, record), ..record.host.clone() },
        graph_driver: GraphDriver {
            data: Some(graph_data(engine, record).await),
            name: driver(record.isolation).to_owned(),
        },
        size_rw,
        size_root_fs,
        mounts: record.mounts.iter().map(|mount| mount.point.clone()).collect(),
        config: record.config.clone(),
        network_settings: networks::settings(engine, record, req.version),
        vm: vm::shown(engine, record).await,
        ..ContainerInspect::default()
    }))
}

fn driver(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Process => "overlay2",
        Isolation::Hyperv => "erofs",
    }
}

async fn graph_data(engine: &Engine, record: &Record) -> BTreeMap<String, String> {
    let dir = engine.container_dir(record.id.as_str());
    let text = |path: PathBuf| path.display().to_string();
    match record.isolation {
        Isolation::Process => {
            let image = engine.images.resolve(&record.image_id).await;
            let layers = image.map(|image| image.layers).unwrap_or_default();
            let lower: Vec<String> = layers.into_iter().rev().map(text).collect();
            BTreeMap::from([
                ("ID".to_owned(), record.id.to_string()),
                ("LowerDir".to_owned(), lower.join(":")),
                ("MergedDir".to_owned(), text(engine.shim_dir(record.id.as_str()).join("bundle/rootfs"))),
                ("UpperDir".to_owned(), text(dir.join("upper"))),
                ("WorkDir".to_owned(), text(dir.join("work"))),
            ])
        }
        Isolation::Hyperv => BTreeMap::from([("Scratch".to_owned(), text(dir.join(spec::SCRATCH)))]),
    }
}

/// What the container has written, and that with its image.
pub async fn sizes(engine: &Engine, record: &Record) -> (Option<i64>, Option<i64>) {
    let dir = engine.container_dir(record.id.as_str());
    let image = record.image_id.clone();
    let image: Option<u64> = match image.parse() {
        Ok(id) => {
            let store = engine.store.clone();
            let row = tokio::task::spawn_blocking(move || store.image(&id)).await;
            row.ok().and_then(std::result::Result::ok).flatten().map(|row| row.size)
        }
        Err(_) => None,
    };
    let isolation = record.isolation;
    let written = tokio::task::spawn_blocking(move || match isolation {
        Isolation::Process => tree_size(&dir.join("upper")),
        Isolation::Hyperv => std::fs::metadata(dir.join(spec::SCRATCH)).map_or(0, |meta| meta.blocks() * 512),
    });
    let written = written.await.unwrap_or(0);
    (i64::try_from(written).ok(), i64::try_from(written + image.unwrap_or(0)).ok())
}

/// Bytes of regular files; links are not followed, so nothing outside is counted.
fn tree_size(dir: &Path) -> u64 {
    let mut total = 0;
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => left.push(entry.path()),
                Ok(meta) if meta.is_file() => total += meta.len(),
                Ok(_) | Err(_) => {}
            }
        }
    }
    total
}
