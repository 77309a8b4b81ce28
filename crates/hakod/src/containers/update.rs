//! `POST /containers/{id}/update`.

use super::{
    actor::{Actor, Request as Ask},
    policy,
    settings::resources::verify,
    vm,
};
use crate::{
    Engine,
    http::{Request, Response, json},
    spec::resources,
};
use hako_api::{
    decode,
    types::{ContainerConfig, HostConfig},
    unsupported,
};
use hako_model::{Error, ErrorKind, Result, resources::Resources};
use serde_json::json as value;
use std::sync::Arc;

/// Changes limits, of the running container as well.
pub async fn serve(engine: &Arc<Engine>, mut req: Request) -> Result<Response> {
    let body = req.read().await?;
    let asked: HostConfig = decode::decode_body(&body)?;
    let container = engine.containers.find(&req.param)?;
    let isolation = container.view().record.isolation;
    let sys = engine.host.sys.of(isolation);
    let mut asked = changeable(asked);
    unsupported::check_create(&ContainerConfig::default(), &asked, isolation, sys.facts())?;
    policy::validate(&asked.restart_policy, false)?;
    let warnings = verify(&mut asked, &sys, engine.host.cpus, true)?;
    container.ask(|reply| Ask::Update { asked: Box::new(asked), reply }).await?;
    let warnings = (!warnings.is_empty()).then_some(warnings);
    Ok(json(&value!({ "Warnings": warnings })))
}

/// The fields that an update may change; of the others moby takes no notice.
fn changeable(asked: HostConfig) -> HostConfig {
    HostConfig {
        // Both 0 and below mean no limit.
        pids_limit: asked.pids_limit.map(|limit| limit.max(0)),
        cpu_shares: asked.cpu_shares,
        memory: asked.memory,
        nano_cpus: asked.nano_cpus,
        blkio_weight: asked.blkio_weight,
        cpu_period: asked.cpu_period,
        cpu_quota: asked.cpu_quota,
        cpu_realtime_period: asked.cpu_realtime_period,
        cpu_realtime_runtime: asked.cpu_realtime_runtime,
        cpuset_cpus: asked.cpuset_cpus,
        cpuset_mems: asked.cpuset_mems,
        memory_reservation: asked.memory_reservation,
        memory_swap: asked.memory_swap,
        restart_policy: asked.restart_policy,
        ..HostConfig::default()
    }
}

/// In the owner. The record says that limits are due until they are applied, so
/// that an engine that dies in between applies them when it is back.
pub(super) async fn run(actor: &mut Actor, asked: &HostConfig) -> Result<()> {
    let id = actor.record.id.to_string();
    let failed = |err: Error| err.context(format!("Cannot update container {id}"));
    let before = actor.record.clone();
    let merged = merge(&before.host, asked).map_err(failed)?;
    vm::check_update(&actor.engine, &before, &merged).map_err(failed)?;
    let limits = completed(asked, &merged).map_err(failed)?;
    let live = actor.live.clone().filter(|_| before.state.is_running() && !limits.is_empty());
    actor.record.host = merged;
    actor.record.limits_due = live.is_some();
    if let Err(err) = actor.save().await {
        actor.record = before;
        return Err(err);
    }
    if let Some(live) = live {
        let applied = live.update(&limits).await;
        match applied {
            Ok(()) => actor.record.limits_due = false,
            Err(_) => actor.record = before,
        }
        actor.save().await?;
        applied.map_err(failed)?;
    }
    actor.emit("update", &[]);
    Ok(())
}

/// After the engine's return: the limits that were due when it died.
pub(super) async fn overdue(actor: &mut Actor) {
    let Some(live) = actor.live.clone().filter(|_| actor.record.limits_due) else { return };
    let applied = match resources::asked(&actor.record.host) {
        Ok(limits) => live.update(&limits).await,
        Err(err) => Err(err),
    };
    if let Err(err) = applied {
        tracing::error!("limits of container {}: {err}", actor.record.id);
    }
    actor.record.limits_due = false;
    if let Err(err) = actor.save().await {
        tracing::error!("{err}");
    }
}

/// moby's rules: what is asked for replaces, what is not stays.
fn merge(old: &HostConfig, asked: &HostConfig) -> Result<HostConfig> {
    let conflict = |text: &str| Err(Error::new(ErrorKind::Conflict, text));
    if asked.nano_cpus > 0 && old.cpu_period > 0 {
        return conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set");
    }
    if asked.nano_cpus > 0 && old.cpu_quota > 0 {
        return conflict("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set");
    }
    if asked.cpu_period > 0 && old.nano_cpus > 0 {
        return conflict("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set");
    }
    if asked.cpu_quota > 0 && old.nano_cpus > 0 {
        return conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set");
    }
    if asked.memory != 0 && asked.memory > old.memory_swap && asked.memory_swap == 0 {
        return conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        );
    }
    let mut merged = old.clone();
    let number = |field: &mut i64, value: i64| {
        if value != 0 {
            *field = value;
        }
    };
    number(&mut merged.cpu_shares, asked.cpu_shares);
    number(&mut merged.nano_cpus, asked.nano_cpus);
    number(&mut merged.cpu_period, asked.cpu_period);
    number(&mut merged.cpu_quota, asked.cpu_quota);
    number(&mut merged.memory, asked.memory);
    number(&mut merged.memory_swap, asked.memory_swap);
    number(&mut merged.memory_reservation, asked.memory_reservation);
    if asked.blkio_weight != 0 {
        merged.blkio_weight = asked.blkio_weight;
    }
    for (field, list) in [(&mut merged.cpuset_cpus, &asked.cpuset_cpus), (&mut merged.cpuset_mems, &asked.cpuset_mems)]
    {
        if !list.is_empty() {
            field.clone_from(list);
        }
    }
    merged.pids_limit = asked.pids_limit.or(merged.pids_limit);
    if !asked.restart_policy.name.is_empty() {
        if old.auto_remove && !policy::is_none(&asked.restart_policy) {
            return conflict("Restart policy cannot be updated because AutoRemove is enabled for the container");
        }
        merged.restart_policy = asked.restart_policy.clone();
    }
    Ok(merged)
}

/// The limits to be set: of what belongs together, both halves.
fn completed(asked: &HostConfig, merged: &HostConfig) -> Result<Resources> {
    let (mut limits, all) = (resources::asked(asked)?, resources::asked(merged)?);
    if limits.memory.limit.is_some() || limits.memory.swap.is_some() {
        limits.memory.limit = all.memory.limit;
        limits.memory.swap = all.memory.swap;
    }
    if limits.cpu.quota.is_some() || limits.cpu.period.is_some() {
        limits.cpu.quota = all.cpu.quota;
        limits.cpu.period = all.cpu.period;
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_stays() {
        let old = HostConfig { memory: 64 << 20, memory_swap: 128 << 20, cpu_shares: 5, ..HostConfig::default() };
        let asked = HostConfig { memory: 100 << 20, cpuset_cpus: "0".into(), ..HostConfig::default() };
        let merged = merge(&old, &asked).unwrap();
        assert_eq!((merged.memory, merged.memory_swap, merged.cpu_shares), (100 << 20, 128 << 20, 5));
        let limits = completed(&asked, &merged).unwrap();
        assert_eq!((limits.memory.limit, limits.memory.swap), (Some(100 << 20), Some(128 << 20)));
        assert_eq!((limits.cpu.shares, limits.cpu.cpus.as_deref()), (None, Some("0")));
        let more = HostConfig { memory: 200 << 20, ..HostConfig::default() };
        let err = merge(&old, &more).unwrap_err();
        assert!(err.kind == ErrorKind::Conflict && err.message.starts_with("Memory limit should be smaller"), "{err}");
        let period = HostConfig { cpu_period: 50_000, ..HostConfig::default() };
        let nano = HostConfig { nano_cpus: 1, ..HostConfig::default() };
        assert!(merge(&period, &nano).unwrap_err().message.contains("CPU Period has already been set"));
    }
}
