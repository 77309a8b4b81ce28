//! One container: its sandbox, its streams, its log and how it ended.
//!
//! ```text
//!            task.sock                      stdio.sock
//!                │                              │
//!   service, extra (ttrpc)               stdio::attach
//!                │  Request + reply             │ Streams
//!                ▼                              ▼
//!        container (one task owns it) ──► stdio::{Streams, pump} ──► <id>-json.log
//!                │
//!                ▼
//!        Box<dyn Sandbox>: process or microvm
//! ```
//!
//! A shim outlives hakod and ends on `Task.Shutdown` only. There is one for each
//! container, so its memory is budgeted: one thread, no blocking pool (file
//! work is small and done in place), buffers only while there is data.

mod container;
mod extra;
mod service;
mod setup;
mod state;
mod stdio;
pub mod wait;
mod wall;

use hako_model::{Error, Result, SandboxConfig};
use hako_sandbox::microvm::Waiting;
use hako_task::ttrpc::r#async::Server;
use setup::Sockets;
use std::{path::Path, sync::Arc, time::Duration};

/// How long open connections may take to end.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// Serves the container of `dir` until `Task.Shutdown`. Call it on the main
/// thread, before there is any other.
///
/// # Errors
/// What keeps it from serving at all; later failures are answered to callers.
pub fn run(dir: &Path) -> Result<()> {
    let dir = std::path::absolute(dir)?;
    let sockets = setup::prepare(&dir)?;
    let config = read_config(&dir)?;
    // Namespaces of other containers end when their engine says so.
    hako_os::netns::keep_only(config.id.as_str())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(dir, config, sockets, None));
    // Nobody is left to hear of streams that are still open.
    runtime.shutdown_background();
    served
}

fn read_config(dir: &Path) -> Result<SandboxConfig> {
    let config = dir.join("sandbox.json");
    let named = |err: String| Error::invalid(format!("{}: {err}", config.display()));
    let text = std::fs::read(&config).map_err(|err| named(err.to_string()))?;
    serde_json::from_slice(&text).map_err(|err| named(err.to_string()))
}

async fn serve(
    dir: std::path::PathBuf,
    config: SandboxConfig,
    sockets: Sockets,
    waiting: Option<Waiting>,
) -> Result<()> {
    let id = config.id.to_string();
    let (handle, ended) = container::spawn(dir, config, waiting)?;
    tokio::spawn(stdio::attach::serve(tokio::net::UnixListener::from_std(sockets.stdio)?, handle.clone()));
    let task = Arc::new(service::TaskService::new(id.clone(), handle.clone()));
    let extra = Arc::new(extra::ExtraService::new(id, handle));
    let listener = tokio::net::UnixListener::from_std(sockets.task)?;
    let mut server = Server::new()
        .add_listener(listener.into())
        .register_service(hako_task::task_service::create_task(task))
        .register_service(hako_task::extra::create_extra(extra));
    server.start().await.map_err(hako_task::error::from_ttrpc)?;
    ended.await.map_err(|_| Error::internal("the container's task has ended"))?;
    // The answer to Shutdown is on its way: let it leave.
    tokio::time::sleep(Duration::from_millis(5)).await;
    // A client that keeps its connection open loses it with this process.
    let _ = tokio::time::timeout(CLOSE_LIMIT, server.shutdown()).await;
    Ok(())
}
