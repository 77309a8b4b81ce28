//! `GET /system/df`: what images, containers, volumes and the build cache take
//! on the disk.

use crate::{
    Engine,
    build::{self, Usage},
    containers::list,
    http::{Request, Response, json},
    images::DiskUsage,
    volumes,
};
use hako_api::{
    ApiVersion,
    types::{ContainerSummary, Volume},
};
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
    let found = Found {
        images: match wanted.images {
            true => Some(engine.images.disk_usage(minor).await?),
            false => None,
        },
        containers: match wanted.containers {
            true => Some(list::with_sizes(engine).await),
            false => None,
        },
        volumes: match wanted.volumes {
            true => Some(volumes::usage(engine).await?),
            false => None,
        },
        cache: match wanted.build_cache {
            true => Some(build::usage(engine).await?),
            false => None,
        },
    };
    let mut answer = Map::new();
    // Without a word on it, a client may read either shape.
    if verbose.is_none() {
        found.old_shape(&mut answer, req.version);
    }
    if req.version >= ApiVersion::new(1, 52) {
        found.new_shape(&mut answer, verbose == Some(true));
    }
    // Hako's own. Templates in a folder are no less there.
    answer.insert("VirtualMachines".to_owned(), value!(engine.templates.info()));
    Ok(json(&answer))
}

/// What was asked for.
#[derive(Default)]
struct Found {
    images: Option<DiskUsage>,
    containers: Option<Vec<ContainerSummary>>,
    volumes: Option<Vec<Volume>>,
    cache: Option<Usage>,
}

impl Found {
    /// Lists. Before 1.52 what was not asked for is `null`, since then it is absent.
    fn old_shape(&self, answer: &mut Map<String, Value>, version: ApiVersion) {
        let both = version >= ApiVersion::new(1, 52);
        let mut put = |key: &str, list: Option<Value>| match list {
            Some(list) => drop(answer.insert(key.to_owned(), list)),
            None if both => {}
            None => drop(answer.insert(key.to_owned(), Value::Null)),
        };
        let layers = self.images.as_ref().map_or(0, |images| images.layers_size);
        put("LayersSize", (!both || layers > 0).then(|| layers.into()));
        put("Images", self.images.as_ref().map(|images| images.items.clone().into()));
        put("Containers", self.containers.as_ref().map(|containers| value!(containers)));
        put("Volumes", self.volumes.as_ref().map(|volumes| value!(volumes)));
        put("BuildCache", self.cache.as_ref().map(|cache| cache.items.clone().into()));
        if version < ApiVersion::new(1, 42) {
            put("BuilderSize", Some(self.cache.as_ref().map_or(0, |cache| cache.size).into()));
        }
    }

    /// Counts and sums, and with `verbose` the lists as well.
    fn new_shape(&self, answer: &mut Map<String, Value>, verbose: bool) {
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
        if let Some(images) = &self.images {
            let sums = [images.active, count(images.items.len()), images.reclaimable, images.layers_size];
            put("ImageUsage", sums, images.items.clone().into());
        }
        if let Some(containers) = &self.containers {
            put("ContainerUsage", sums(containers), value!(containers));
        }
        if let Some(volumes) = &self.volumes {
            put("VolumeUsage", of_volumes(volumes), value!(volumes));
        }
        if let Some(cache) = &self.cache {
            let sums = [cache.active, count(cache.items.len()), cache.reclaimable, cache.size];
            put("BuildCacheUsage", sums, cache.items.clone().into());
        }
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Active are those that a container has; the others' space can be had.
fn of_volumes(volumes: &[Volume]) -> [i64; 4] {
    let is_active = |v: &&Volume| v.usage_data.is_some_and(|usage| usage.ref_count > 0);
    let size = |v: &Volume| v.usage_data.map_or(0, |usage| usage.size.max(0));
    let active = volumes.iter().filter(is_active).count();
    let reclaimable = volumes.iter().filter(|v| !is_active(v)).map(size).sum();
    [count(active), count(volumes.len()), reclaimable, volumes.iter().map(size).sum()]
}

/// Active are those that run, are paused or are started again; the others' space can be had.
fn sums(containers: &[ContainerSummary]) -> [i64; 4] {
    let is_active = |c: &&ContainerSummary| matches!(c.state.as_str(), "running" | "paused" | "restarting");
    let size = |c: &ContainerSummary| c.size_rw.unwrap_or(0);
    let active = containers.iter().filter(is_active).count();
    let reclaimable = containers.iter().filter(|c| !is_active(c)).map(size).sum();
    [count(active), count(containers.len()), reclaimable, containers.iter().map(size).sum()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_by_version() {
        let running = ContainerSummary { state: "running".into(), size_rw: Some(5), ..ContainerSummary::default() };
        let ended = ContainerSummary { state: "exited".into(), size_rw: Some(7), ..ContainerSummary::default() };
        let volume = |ref_count, size| {
            let usage_data = Some(hako_api::types::VolumeUsage { ref_count, size });
            Volume { usage_data, ..Volume::default() }
        };
        let found = Found {
            images: None,
            containers: Some(vec![running, ended]),
            volumes: Some(vec![volume(2, 3), volume(0, 4), volume(0, -1)]),
            cache: Some(Usage::default()),
        };
        let old = |minor| {
            let mut answer = Map::new();
            found.old_shape(&mut answer, ApiVersion::new(1, minor));
            Value::from(answer)
        };
        assert_eq!(old(41)["BuilderSize"], 0);
        assert_eq!(old(44)["Images"], Value::Null);
        assert_eq!(old(44)["Volumes"][0]["UsageData"], value!({"RefCount": 2, "Size": 3}));
        assert!(old(44).get("BuilderSize").is_none());
        assert!(old(52).get("Images").is_none() && old(52).get("LayersSize").is_none());
        let mut answer = Map::new();
        found.new_shape(&mut answer, false);
        let usage = value!({"ActiveCount": 1, "TotalCount": 2, "Reclaimable": 7, "TotalSize": 12});
        assert_eq!(answer["ContainerUsage"], usage);
        let usage = value!({"ActiveCount": 1, "TotalCount": 3, "Reclaimable": 4, "TotalSize": 7});
        assert_eq!(answer["VolumeUsage"], usage);
        assert!(!answer.contains_key("ImageUsage"));
        let none = Found { volumes: Some(Vec::new()), ..Found::default() };
        let mut answer = Map::new();
        none.new_shape(&mut answer, true);
        assert_eq!(answer["VolumeUsage"], value!({}));
    }
}
