//! `POST /containers/create`.

use super::{
    Container, actor,
    logs::options,
    merge, mounts, names, platform,
    policy::Restarts,
    record::{Mounted, Record, State, StepMount},
    settings,
};
use crate::{
    Engine,
    http::{Peer, Request, Response, json_status},
    images::ResolvedImage,
    networks,
    placement::{self, Ask, Choice, Source},
    volumes::Held,
};
use hako_api::{
    ApiVersion, decode, time,
    types::{ContainerConfig, CreateAnswer, EndpointSettings, HostConfig},
};
use hako_model::{ContainerId, Error, Isolation, Result, validate_name};
use hyper::StatusCode;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Creates a container.
pub async fn serve(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    let name = req.query.get("name").trim_start_matches('/').to_owned();
    let wanted = req.query.get("platform").to_owned();
    let (version, peer) = (req.version, req.peer.clone());
    let body = req.bytes().await?;
    let engine = engine.clone();
    // A create that has begun is finished, also if the client goes.
    let work = tokio::spawn(async move { create(&engine, &name, &wanted, &body, version, &peer).await });
    let answer = work.await.map_err(|err| Error::internal(err.to_string()))??;
    Ok(json_status(StatusCode::CREATED, &answer))
}

async fn create(
    engine: &Arc<Engine>,
    name: &str,
    platform: &str,
    body: &[u8],
    version: ApiVersion,
    peer: &Peer,
) -> Result<CreateAnswer> {
    let (config, host, endpoints) = parse(body)?;
    if version < SEVERAL_NETWORKS && endpoints.len() > 1 {
        let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
        let names = names.join(", ");
        return Err(Error::invalid(format!("Container cannot be connected to network endpoints: {names}")));
    }
    if !name.is_empty() {
        validate_name(name).map_err(|err| Error::invalid(err.to_string()))?;
    }
    let id = ContainerId::random();
    make(engine, Wanted { id, name, platform, config, host, endpoints, peer, step: None }).await
}

/// A container to be made.
pub(super) struct Wanted<'a> {
    pub id: ContainerId,
    /// Empty for one of the engine's choice.
    pub name: &'a str,
    /// Empty for the image's.
    pub platform: &'a str,
    pub config: ContainerConfig,
    pub host: HostConfig,
    /// What it asks for of networks.
    pub endpoints: BTreeMap<String, EndpointSettings>,
    /// Who asks.
    pub peer: &'a Peer,
    /// Of a build's step.
    pub step: Option<Step>,
}

/// What a build's step has besides.
pub(super) struct Step {
    /// What it mounts.
    pub mounts: Vec<StepMount>,
    /// What its image is made of.
    pub sources: Vec<Source>,
}

/// Makes a container; it is durable when this returns.
pub(super) async fn make(engine: &Arc<Engine>, wanted: Wanted<'_>) -> Result<CreateAnswer> {
    let mut held = Held::new(engine, wanted.id.as_str());
    let made = make_with(engine, wanted, &mut held).await;
    if made.is_err() {
        held.undo().await;
    }
    made
}

async fn make_with(engine: &Arc<Engine>, wanted: Wanted<'_>, held: &mut Held) -> Result<CreateAnswer> {
    let Choice { image, wall, kernel, machine, warnings: mut notes } = place(engine, &wanted).await?;
    let Wanted { id, name, mut config, mut host, endpoints, step, .. } = wanted;
    options::merge(&mut host.log_config, &engine.config.log)?;
    let mut warnings = settings::validate(engine, &config, &mut host, wall)?;
    warnings.append(&mut notes);
    let (wanted, from) = (settings::mounts::wanted(&host)?, settings::mounts::volumes_from(&host)?);
    let on = networks::asked(engine, endpoints, &config, &host)?;
    let links = networks::resolve_links(engine, &host)?;
    merge::merge(&mut config, &image.config)?;
    // What a step of a build writes below a volume is the image's.
    let anonymous = if step.is_none() { settings::mounts::anonymous(&config)? } else { Vec::new() };
    settings::fill(&mut host, wall, &engine.host);
    name_host(engine, &mut config, &host, &id);
    let (path, args) = merge::command(&config);
    let name = reserve(engine, name, &id)?;
    let request = mounts::Request { host: &host, wanted, from, anonymous };
    let mounts = match resolve(engine, request, held, &id, &image).await {
        Ok(mounts) => mounts,
        Err(err) => {
            engine.containers.release(&name);
            return Err(err);
        }
    };
    let record = Record {
        name: name.clone(),
        created: time::now(),
        image_id: image.id.to_string(),
        path,
        args,
        config,
        host,
        isolation: wall,
        kernel,
        vm: machine,
        mounts,
        networks: on,
        links,
        state: State::Created { failure: None },
        restarts: Restarts::default(),
        health: None,
        limits_due: false,
        remove_volumes: false,
        is_step: step.is_some(),
        step: step.map(|step| step.mounts).unwrap_or_default(),
        id,
    };
    if let Err(err) = commit(engine, record, image).await {
        engine.containers.release(&name);
        return Err(err);
    }
    if let Err(err) = held.claim().await {
        // The next start of the engine does.
        tracing::warn!("volumes of a new container: {err}");
    }
    let container = engine.containers.find(&name)?;
    Ok(CreateAnswer { id: container.id.to_string(), warnings })
}

/// The wall, and the image of those that the name leads to. The wall is first:
/// what else is asked for is judged behind it.
async fn place(engine: &Arc<Engine>, wanted: &Wanted<'_>) -> Result<Choice> {
    let isolation = Isolation::from_request(&wanted.host.isolation).map_err(|err| Error::invalid(err.to_string()))?;
    let platform = platform::parse(wanted.platform)?;
    let candidates = match engine.images.candidates(&wanted.config.image).await {
        Ok(candidates) => candidates,
        Err(err) => {
            // A client that is told "not found" pulls: what is wrong besides is said first.
            let usual = isolation.unwrap_or(engine.config.isolation);
            settings::validate(engine, &wanted.config, &mut wanted.host.clone(), usual)?;
            return Err(err);
        }
    };
    let ask = Ask {
        name: &wanted.config.image,
        platform: platform.as_ref(),
        config: &wanted.config,
        host: &wanted.host,
        peer: wanted.peer,
        sources: wanted.step.as_ref().map(|step| &step.sources[..]),
    };
    placement::choose(engine, candidates, &ask)
}

/// Who shares a network's interfaces has also its host's name.
fn name_host(engine: &Engine, config: &mut ContainerConfig, host: &HostConfig, id: &ContainerId) {
    if !config.hostname.is_empty() {
        return;
    }
    let other = settings::namespaces::joined(&host.network_mode).and_then(|other| engine.containers.find(other).ok());
    match other {
        Some(other) => {
            let view = other.view();
            config.hostname.clone_from(&view.record.config.hostname);
            config.domainname.clone_from(&view.record.config.domainname);
        }
        None if host.network_mode == "host" => config.hostname.clone_from(&engine.host.hostname),
        None => id.short().clone_into(&mut config.hostname),
    }
}

/// From which version on a container is created on several networks.
const SEVERAL_NETWORKS: ApiVersion = ApiVersion::new(1, 44);

/// The body's parts.
fn parse(body: &[u8]) -> Result<(ContainerConfig, HostConfig, BTreeMap<String, EndpointSettings>)> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid("config cannot be empty in order to create a container"));
    }
    let Value::Object(mut whole) = decode::parse(body)? else {
        return Err(Error::invalid("config cannot be empty in order to create a container"));
    };
    let key = whole.keys().find(|key| key.eq_ignore_ascii_case("HostConfig")).cloned();
    let host = key.and_then(|key| whole.remove(&key)).filter(|host| !host.is_null());
    let host = match host {
        Some(host) => decode::decode(host)?,
        None => HostConfig::default(),
    };
    let key = whole.keys().find(|key| key.eq_ignore_ascii_case("NetworkingConfig")).cloned();
    let networking = key.and_then(|key| whole.remove(&key)).unwrap_or_default();
    let mut endpoints = BTreeMap::new();
    for (name, endpoint) in networking.get("EndpointsConfig").and_then(Value::as_object).into_iter().flatten() {
        let endpoint = if endpoint.is_null() { EndpointSettings::default() } else { decode::decode(endpoint.clone())? };
        endpoints.insert(name.clone(), endpoint);
    }
    if whole.is_empty() {
        return Err(Error::invalid("config cannot be empty in order to create a container"));
    }
    Ok((decode::decode(Value::Object(whole))?, host, endpoints))
}

/// The mounts, with their volumes made and filled.
async fn resolve(
    engine: &Engine,
    request: mounts::Request<'_>,
    held: &mut Held,
    id: &ContainerId,
    image: &ResolvedImage,
) -> Result<Vec<Mounted>> {
    let resolved = mounts::resolve(engine, request, held).await?;
    resolved.fill(engine, id.as_str(), image).await?;
    Ok(resolved.mounts)
}

fn reserve(engine: &Engine, name: &str, id: &ContainerId) -> Result<String> {
    if !name.is_empty() {
        engine.containers.reserve(name, id.as_str())?;
        return Ok(name.to_owned());
    }
    for attempt in 0..100 {
        let name = names::random(attempt);
        if engine.containers.reserve(&name, id.as_str()).is_ok() {
            return Ok(name);
        }
    }
    // Every plain name is taken.
    let name = format!("container_{}", id.short());
    engine.containers.reserve(&name, id.as_str())?;
    Ok(name)
}

async fn commit(engine: &Arc<Engine>, record: Record, image: ResolvedImage) -> Result<()> {
    let dir = engine.container_dir(record.id.as_str());
    tokio::fs::create_dir(&dir).await.map_err(|err| Error::internal(format!("{}: {err}", dir.display())))?;
    if let Err(err) = actor::save(engine, &record).await {
        // The folder is empty; an error here is found as an orphan later.
        let _ = tokio::fs::remove_dir(&dir).await;
        return Err(err);
    }
    let isolation = record.isolation;
    let (container, owner) = Container::prepare(engine.clone(), record);
    engine.containers.insert(container.clone());
    tokio::spawn(owner.run());
    actor::emit(engine, &container.view().record, "create", &[]);
    if isolation == Isolation::Hyperv {
        // So that the start need not wait for it; its errors are the start's to report.
        let engine = engine.clone();
        tokio::spawn(async move {
            let _ = tokio::join!(engine.images.rootfs_erofs(&image), engine.accelerator.get());
        });
    }
    Ok(())
}
