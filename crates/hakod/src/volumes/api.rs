//! `/volumes`: create, list, inspect, remove.

use super::{Asked, Found, all, blocking, delete, find, make, references};
use crate::{
    Engine,
    containers::Pattern,
    http::{Request, Response, json, json_status, no_content},
};
use hako_api::{
    Filters, decode,
    endpoint::NOT_A_MANAGER,
    types::{VolumeCreate, VolumeList},
};
use hako_model::{Error, ErrorKind, Result};
use hyper::StatusCode;
use std::sync::Arc;

/// `POST /volumes/create`.
pub async fn create(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    let body = req.bytes().await?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid("got EOF while reading request body"));
    }
    let asked: VolumeCreate = decode::decode(decode::parse(&body)?)?;
    if !asked.cluster_volume_spec.is_null() {
        return Err(Error::new(ErrorKind::Unavailable, NOT_A_MANAGER));
    }
    let VolumeCreate { driver, driver_opts: options, labels, name, .. } = asked;
    let engine = engine.clone();
    // A create that has begun is finished, also if the client goes.
    let work = tokio::spawn(async move {
        let made = make(&engine, Asked { name, driver, options, labels }, None).await?;
        Ok::<_, Error>(made.shown(&engine.store))
    });
    let volume = work.await.map_err(|err| Error::internal(err.to_string()))??;
    Ok(json_status(StatusCode::CREATED, &volume))
}

/// `GET /volumes/{name}`.
pub async fn inspect(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    Ok(json(&find(engine, &req.param).await?.shown(&engine.store)))
}

/// `GET /volumes`.
pub async fn list(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let filters = Filters::parse(req.query.get("filters"))?;
    filters.only(&["dangling", "driver", "label", "name"])?;
    let selection = Selection::new(&filters)?;
    let mut volumes = all(engine).await?;
    volumes.retain(|volume| selection.fits(engine, &filters, volume));
    let volumes = volumes.iter().map(|volume| volume.shown(&engine.store)).collect();
    Ok(json(&VolumeList { volumes, warnings: None }))
}

/// `DELETE /volumes/{name}`.
pub async fn remove(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let (name, force) = (req.param.clone(), req.query.flag("force"));
    let engine = engine.clone();
    let work = tokio::spawn(async move { delete(&engine, &name, "").await });
    match work.await.map_err(|err| Error::internal(err.to_string()))? {
        // What is gone already is as `force` wants it.
        Err(err) if err.kind == ErrorKind::NotFound && force => Ok(no_content()),
        other => other.map(|()| no_content()),
    }
}

/// Filters that need a look at their values first.
struct Selection {
    dangling: Option<bool>,
    names: Vec<Pattern>,
}

impl Selection {
    fn new(filters: &Filters) -> Result<Self> {
        let dangling = match filters.get("dangling") {
            [] => None,
            [value] if matches!(value.as_str(), "1" | "true") => Some(true),
            [value] if matches!(value.as_str(), "0" | "false") => Some(false),
            values => return Err(Error::invalid(format!("invalid filter 'dangling=[{}]'", values.join(" ")))),
        };
        Ok(Self { dangling, names: filters.get("name").iter().map(|text| Pattern::new(text)).collect() })
    }

    fn fits(&self, engine: &Engine, filters: &Filters, volume: &Found) -> bool {
        filters.any("driver", |driver| driver == super::DRIVER)
            && (self.names.is_empty() || self.names.iter().any(|name| name.fits(&volume.name)))
            && filters.labels(|key| volume.label(key))
            && self.dangling.is_none_or(|dangling| references(engine, &volume.name).is_empty() == dangling)
    }
}

/// Bytes of the files of a volume; -1 where they cannot be counted.
pub(super) async fn size(engine: &Engine, name: &str) -> i64 {
    let name = name.to_owned();
    let counted = blocking(&engine.store, move |store| {
        let root = hako_layers::files::Root::open(&store.volume_data(&name))?;
        hako_layers::files::usage(&root)
    });
    counted.await.ok().and_then(|size| i64::try_from(size).ok()).unwrap_or(-1)
}
