//! `GET /exec/{id}/json`.

use super::State;
use crate::{
    Engine,
    containers::attach::detach_keys,
    http::{Request, Response, json},
};
use base64::Engine as _;
use hako_api::types::{ExecInspect, exec::ExecProcess};
use hako_model::Result;
use std::sync::Arc;

/// Everything about one exec.
pub fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let exec = engine.execs.find(&req.param)?;
    let config = &exec.config;
    let words = config.cmd.as_deref().unwrap_or_default();
    let (running, exit_code, pid) = match exec.state() {
        State::Created => (false, None, 0),
        State::Starting => (true, None, 0),
        State::Running { pid } => (true, None, pid),
        State::Ended { code } => (false, Some(code), 0),
    };
    // As bytes, and nothing where the defaults apply.
    let keys = if config.detach_keys.is_empty() { Vec::new() } else { detach_keys(&config.detach_keys)? };
    let keys = base64::engine::general_purpose::STANDARD.encode(keys);
    Ok(json(&ExecInspect {
        id: exec.id.clone(),
        running,
        exit_code,
        process_config: ExecProcess {
            tty: config.tty,
            entrypoint: words.first().cloned().unwrap_or_default(),
            arguments: words.iter().skip(1).cloned().collect(),
            privileged: config.privileged,
            user: config.user.clone(),
        },
        open_stdin: config.attach_stdin,
        open_stderr: config.attach_stderr,
        open_stdout: config.attach_stdout,
        can_remove: false,
        container_id: exec.container.clone(),
        detach_keys: keys,
        pid,
    }))
}
