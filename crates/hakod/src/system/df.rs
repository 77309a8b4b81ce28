//! `GET /system/df`: what images, containers and the build cache take on the
//! disk. There are no volumes yet, so their list is empty.

use crate::{
    Engine,
    build::{self, Usage},
    containers::list,
    http::{Request, Response, json},
    images::DiskUsage,
};
use hako_api::{ApiVersion, types::ContainerSummary};
use hako_model::{Error, Result};
use serde_json::{Map, Value, json as value};
use std::sync::Arc;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    containers: bool,
    images: bool,
    volumes: bool,
    build_cache: bool,
}

impl Wanted {
    fn read(req: &Request) -> Result<Self> {
        let all = Self { containers: true, images: true, volumes: true, build_cache: true };
        if req.version < ApiVersion::new(1, 42) || !req.query.has("type") {
            return Ok(all);
        }
        let mut wanted = Self { containers: false, images: false, volumes: false, build_cache: false };
        for kind in req.query.all("type") {
            match kind {
                "container" => wanted.containers = true,
                "image" => wanted.images = true,
                "volume" => wanted.volumes = true,
                "build-cache" => wanted.build_cache = true,
                other => return Err(Error::invalid(format!("unknown object type: {other}"))),
            }
        }
        Ok(wanted)
    }
}

/// Adds everything up.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let wanted = Wanted::read(req)?;
    let verbose = match req.query.get("verbose") {
        "" => None,
        _ if req.version < ApiVersion::new(1, 52) => None,
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        other => return Err(Error::invalid(format!("invalid value for verbose: {other}"))),
    };
    let minor = u32::from(req.version.minor);
    let images = match wanted.images {
        true => Some(engine.images.disk_usage(minor).await?),
        false => None,
    };
    let containers = match wanted.containers {
        true => Some(list::with_sizes(engine).await),
        false => None,
    };
    let cache = match wanted.build_cache {
        true => Some(build::usage(engine).await?),
        false => None,
    };
    let mut answer = Map::new();
    // Without a word on it, a client may read either shape.
    if verbose.is_none() {
        old_shape(&mut answer, req.version, wanted, images.as_ref(), containers.as_deref(), cache.as_ref());
    }
    if req.version >= ApiVersion::new(1, 52) {
        let verbose = verbose == Some(true);
        new_shape(&mut answer, wanted, images.as_ref(), containers.as_deref(), cache.as_ref(), verbose);
    }
    Ok(json(&answer))
}

/// Lists. Before 1.52 what was not asked for is `null`, since then it is absent.
fn old_shape(
    answer: &mut Map<String, Value>,
    version: ApiVersion,
    wanted: Wanted,
    images: Option<&DiskUsage>,
    containers: Option<&[ContainerSummary]>,
    cache: Option<&Usage>,
) {
    let both = version >= ApiVersion::new(1, 52);
    let mut put = |key: &str, list: Option<Value>| match list {
        Some(list) => drop(answer.insert(key.to_owned(), list)),
        None if both => {}
        None => drop(answer.insert(key.to_owned(), Value::Null)),
    };
    let layers = images.map_or(0, |images| images.layers_size);
    put("LayersSize", (!both || layers > 0).then(|| layers.into()));
    put("Images", images.map(|images| images.items.clone().into()));
    put("Containers", containers.map(|containers| value!(containers)));
    put("Volumes", wanted.volumes.then(|| value!([])));
    put("BuildCache", cache.map(|cache| cache.items.clone().into()));
    if version < ApiVersion::new(1, 42) {
        put("BuilderSize", Some(cache.map_or(0, |cache| cache.size).into()));
    }
}

/// Counts and sums, and with `verbose` the lists as well.
fn new_shape(
    answer: &mut Map<String, Value>,
    wanted: Wanted,
    images: Option<&DiskUsage>,
    containers: Option<&[ContainerSummary]>,
    cache: Option<&Usage>,
    verbose: bool,
) {
    let mut put = |key: &str, [active, total, reclaimable, size]: [i64; 4], items: Value| {
        let mut usage = Map::new();
        for (name, figure) in
            [("ActiveCount", active), ("TotalCount", total), ("Reclaimable", reclaimable), ("TotalSize", size)]
        {
            // Go leaves zeros out here.
            if figure != 0 {
                usage.insert(name.to_owned(), figure.into());
            }
        }
        if verbose && items.as_array().is_some_and(|items| !items.is_empty()) {
            usage.insert("Items".to_owned(), items);
        }
        answer.insert(key.to_owned(), usage.into());
    };
    if let Some(images) = images {
        let total = i64::try_from(images.items.len()).unwrap_or(i64::MAX);
        let sums = [images.active, total, images.reclaimable, images.layers_size];
        put("ImageUsage", sums, images.items.clone().into());
    }
    if let Some(containers) = containers {
        put("ContainerUsage", sums(containers), value!(containers));
    }
    if wanted.volumes {
        put("VolumeUsage", [0; 4], value!([]));
    }
    if let Some(cache) = cache {
        let total = i64::try_from(cache.items.len()).unwrap_or(i64::MAX);
        put("BuildCacheUsage", [cache.active, total, cache.reclaimable, cache.size], cache.items.clone().into());
    }
}

/// Active are those that run, are paused or are started again; the others' space can be had.
fn sums(containers: &[ContainerSummary]) -> [i64; 4] {
    let is_active = |c: &&ContainerSummary| matches!(c.state.as_str(), "running" | "paused" | "restarting");
    let size = |c: &ContainerSummary| c.size_rw.unwrap_or(0);
    let active = containers.iter().filter(is_active).count();
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let reclaimable = containers.iter().filter(|c| !is_active(c)).map(size).sum();
    [count(active), count(containers.len()), reclaimable, containers.iter().map(size).sum()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_by_version() {
        let all = Wanted { containers: true, images: false, volumes: true, build_cache: true };
        let running = ContainerSummary { state: "running".into(), size_rw: Some(5), ..ContainerSummary::default() };
        let ended = ContainerSummary { state: "exited".into(), size_rw: Some(7), ..ContainerSummary::default() };
        let containers = [running, ended];
        let old = |minor| {
            let mut answer = Map::new();
            old_shape(&mut answer, ApiVersion::new(1, minor), all, None, Some(&containers), Some(&Usage::default()));
            Value::from(answer)
        };
        assert_eq!(old(41)["BuilderSize"], 0);
        assert_eq!(old(44)["Images"], Value::Null);
        assert_eq!(old(44)["Volumes"], value!([]));
        assert!(old(44).get("BuilderSize").is_none());
        assert!(old(52).get("Images").is_none() && old(52).get("LayersSize").is_none());
        let mut answer = Map::new();
        new_shape(&mut answer, all, None, Some(&containers), None, false);
        let usage = value!({"ActiveCount": 1, "TotalCount": 2, "Reclaimable": 7, "TotalSize": 12});
        assert_eq!(answer["ContainerUsage"], usage);
        assert_eq!(answer["VolumeUsage"], value!({}));
        assert!(!answer.contains_key("ImageUsage"));
    }
}
