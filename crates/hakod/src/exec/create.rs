//! `POST /containers/{id}/exec`.

use crate::{
    Engine,
    containers::{
        attach::detach_keys,
        life::{self, Verb, Who},
    },
    http::{Request, Response, json_status},
};
use hako_api::{
    decode,
    types::{ExecConfig, IdAnswer},
};
use hako_model::{Error, Result};
use hyper::StatusCode;
use std::sync::Arc;

/// A command as events have it: moby puts a blank behind the program's name, and
/// then come the arguments, if there are any.
pub(super) fn told(words: &[String]) -> String {
    let (program, arguments) = words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    format!("{program} {}", arguments.join(" "))
}

/// Registers a process; nothing runs yet.
pub async fn serve(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let config: ExecConfig = decode::decode(decode::parse(&req.bytes().await?)?)?;
    let Some(words) = config.cmd.as_ref().filter(|words| !words.is_empty()) else {
        return Err(Error::invalid("No exec command specified"));
    };
    detach_keys(&config.detach_keys)
        .map_err(|_| Error::invalid(format!("Invalid escape keys ({}) provided", config.detach_keys)))?;
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!("Cwd must be an absolute path, got {:?}", config.working_dir)));
    }
    let view = container.view();
    let who = Who { id: container.id.as_str(), name: &view.record.name };
    life::admit(&view.record.state, Verb::Exec, who)?;
    let action = format!("exec_create: {}", told(words));
    let exec = engine.execs.add(container.id.as_str(), config);
    crate::containers::emit(engine, &view.record, &action, &[("execID", exec.id.clone())]);
    Ok(json_status(StatusCode::CREATED, &IdAnswer { id: exec.id.clone() }))
}
