//! `POST /containers/{id}/rename`.

use super::actor::{Actor, Request as Ask};
use crate::{
    Engine,
    http::{Request, Response, no_content},
};
use hako_model::{Error, Result, validate_name};
use std::sync::Arc;

/// Gives a container another name.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let name = req.query.get("name").to_owned();
    if name.is_empty() {
        return Err(Error::invalid("Neither old nor new names may be empty"));
    }
    let name = name.strip_prefix('/').unwrap_or(&name).to_owned();
    let container = engine.containers.find(&req.param)?;
    container.ask(|reply| Ask::Rename { name, reply }).await?;
    Ok(no_content())
}

/// In the owner.
pub(super) async fn run(actor: &mut Actor, name: String) -> Result<()> {
    if actor.record.name == name {
        return Err(Error::invalid("Renaming a container with the same name as its current name"));
    }
    let allocating = |err: Error| err.context("Error when allocating new name");
    // dockerd has put its slash before the name by then.
    let with_slash = |err: &dyn std::fmt::Display| err.to_string().replace(&format!("({name})"), &format!("(/{name})"));
    validate_name(&name).map_err(|err| allocating(Error::invalid(with_slash(&err))))?;
    actor.engine.containers.reserve(&name, actor.record.id.as_str()).map_err(allocating)?;
    let old = std::mem::replace(&mut actor.record.name, name.clone());
    if let Err(err) = actor.save().await {
        actor.engine.containers.release(&name);
        actor.record.name = old;
        return Err(err);
    }
    actor.engine.containers.release(&old);
    actor.emit("rename", &[("oldName", format!("/{old}"))]);
    Ok(())
}
