//! Containers with the server of [`super::inside`], on an engine's bridge.

use super::cli::Way;
use super::{image, inside};
use crate::deb;
use anyhow::{Context, Result, bail};
use std::net::Ipv4Addr;

/// For 256 MiB of pages and a few threads.
const LIMITS: [&str; 4] = ["--memory=512m", "--memory-swap=512m", "--pids-limit=64", "--network=bridge"];

/// Starts one with more flags, and returns its address once it answers.
pub fn start(way: Way<'_>, flags: &[&str]) -> Result<Ipv4Addr> {
    let engine = way.engine;
    if let Some(reason) = &engine.no_networks {
        bail!("no network: {reason}");
    }
    let mut line = way.command(&["run", "--detach"])?;
    line.args(LIMITS).args(flags).args(way.wall.map(|wall| format!("--isolation={wall}")));
    let id = deb::output(line.args([image::TRAFFIC, "/bin/bench", "inside"]))?;
    let format = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
    let address = deb::output(&mut engine.docker(&["inspect", "--format", format, id.trim()]))?;
    let address = address.trim().parse().with_context(|| format!("the address {:?}", address.trim()))?;
    engine.network.within(|| inside::wait(address))?;
    Ok(address)
}
