//! How Hako's virtual machines begin: by a boot, from a template, or waiting
//! in a pool. An engine is set up for one of them; what it has ready it tells
//! in `info`.

use super::cli::{Client, Way};
use super::engine::Engine;
use super::{http, interrupt};
use crate::deb;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// For a template, which is a boot and a probe, under emulation.
const MADE: Duration = Duration::from_secs(180);
/// For a pool to be full again.
const FILLED: Duration = Duration::from_secs(60);
/// What an engine without the field is said to be.
const NONE: &str = "this engine has no templates";

/// How the engine's virtual machines begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machines {
    /// Each by a boot.
    Cold,
    /// From a template, when asked for.
    Template,
    /// From a template, before they are asked for: so many wait.
    Pool(usize),
}

impl Machines {
    /// The word in the rows.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Template => "template",
            Self::Pool(_) => "pool",
        }
    }

    /// hakod's configuration for it.
    pub fn config(self) -> String {
        let (templates, pool) = match self {
            Self::Cold => (false, 0),
            Self::Template => (true, 0),
            Self::Pool(waiting) => (true, waiting),
        };
        format!("[vm]\ntemplates = {templates}\npool = {pool}\n")
    }
}

/// What `info` tells of virtual machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Counts {
    /// Templates that are ready.
    pub templates: usize,
    /// Templates that will be.
    #[serde(default)]
    pub templates_being_made: usize,
    /// Clones that wait.
    pub pool_waiting: usize,
    /// Machines that began from a template.
    pub template_clones: usize,
    /// Machines that were booted.
    pub cold_boots: usize,
}

/// What the engine tells; nothing where it knows no templates.
pub fn counts(engine: &Engine) -> Result<Option<Counts>> {
    let info = http::json(&http::request(&engine.socket, "GET", "/info", None)?)?;
    match info.get("VirtualMachines") {
        None | Some(Value::Null) => Ok(None),
        Some(found) => serde_json::from_value(found.clone()).map(Some).context("reading VirtualMachines of info"),
    }
}

/// Has a machine of the class that the network makes begin, which is when its
/// template is made, and waits for what the engine's setup is for; else why it
/// is not there.
pub fn ready(engine: &Engine, network: &str) -> Result<(), String> {
    let wanted = match engine.machines {
        Machines::Cold => return Ok(()),
        Machines::Template => 0,
        Machines::Pool(waiting) => waiting,
    };
    if matches!(counts(engine), Ok(None)) {
        return Err(NONE.into());
    }
    let way = Way { engine, wall: Some("hyperv"), client: Client::Docker };
    let made = || -> Result<()> {
        deb::output(&mut way.container_on(network, &["run", "--rm"], &["true"])?)?;
        until(engine, MADE, |counts| {
            counts.templates > 0 && counts.templates_being_made == 0 && counts.pool_waiting >= wanted
        })
    };
    made().map_err(|e| format!("{e:#}"))
}

/// Waits until the pool is as full as it gets, so that its filling disturbs
/// nobody's measure. Returns at once where there is no pool.
pub fn settle(engine: &Engine) -> Result<()> {
    let Machines::Pool(waiting) = engine.machines else { return Ok(()) };
    until(engine, FILLED, |counts| counts.pool_waiting >= waiting)
}

fn until(engine: &Engine, patience: Duration, holds: impl Fn(&Counts) -> bool) -> Result<()> {
    let begin = Instant::now();
    loop {
        interrupt::check()?;
        let counts = counts(engine)?.context(NONE)?;
        if holds(&counts) {
            return Ok(());
        }
        if begin.elapsed() > patience {
            bail!("not ready within {} s: {counts:?}", patience.as_secs());
        }
        sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, Machines};

    #[test]
    fn configurations() {
        assert_eq!(Machines::Cold.config(), "[vm]\ntemplates = false\npool = 0\n");
        assert_eq!(Machines::Template.config(), "[vm]\ntemplates = true\npool = 0\n");
        assert_eq!(Machines::Pool(2).config(), "[vm]\ntemplates = true\npool = 2\n");
    }

    #[test]
    fn what_info_tells() {
        let told = r#"{"Templates": 1, "PoolWaiting": 2, "TemplateClones": 3, "ColdBoots": 4, "More": true}"#;
        let counts =
            Counts { templates: 1, templates_being_made: 0, pool_waiting: 2, template_clones: 3, cold_boots: 4 };
        assert_eq!(serde_json::from_str::<Counts>(told).unwrap(), counts);
    }
}
