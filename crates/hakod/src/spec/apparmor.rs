//! AppArmor, behind the process wall, where the host's kernel has it.

use crate::{
    Engine,
    containers::{
        record::Record,
        settings::security::{self, Security},
    },
};
use hako_model::{Isolation, Result, policy};
use std::{fs, process::Stdio, sync::Once};
use tokio::{io::AsyncWriteExt, process::Command};

const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// The profile of a container's processes; `None` where there is no AppArmor,
/// or its own default cannot be loaded.
///
/// # Errors
/// None yet: a profile that does not exist is found out by the kernel.
pub async fn profile(engine: &Engine, record: &Record, security: &Security<'_>) -> Result<Option<String>> {
    if record.isolation != Isolation::Process || !engine.host.sys.apparmor {
        return Ok(None);
    }
    let name = named(record, security);
    if name == policy::APPARMOR_PROFILE && !is_loaded() && !load().await {
        return Ok(None);
    }
    Ok(Some(name.to_owned()))
}

/// The same for a further process, after the container has started.
pub fn of_exec(engine: &Engine, record: &Record, security: &Security<'_>) -> Option<String> {
    if record.isolation != Isolation::Process || !engine.host.sys.apparmor {
        return None;
    }
    let name = named(record, security);
    (name != policy::APPARMOR_PROFILE || is_loaded()).then(|| name.to_owned())
}

/// What inspect shows: as in dockerd, the profile that the last start has used,
/// and before the first one what was asked for by name.
pub fn shown(engine: &Engine, record: &Record) -> String {
    if record.isolation != Isolation::Process || !engine.host.sys.apparmor {
        return String::new();
    }
    // It was checked when the container was created.
    let security = security::parse(&record.host).unwrap_or_default();
    if record.state.run().is_none() && record.state.ended().is_none() {
        return security.apparmor.unwrap_or_default().to_owned();
    }
    of_exec(engine, record, &security).unwrap_or_default()
}

/// A privileged container is not confined, whatever was asked for: moby's
/// `saveAppArmorConfig`.
fn named<'a>(record: &Record, security: &Security<'a>) -> &'a str {
    match security.apparmor {
        _ if record.host.privileged => "unconfined",
        Some(name) if !name.is_empty() => name,
        Some(_) | None => policy::APPARMOR_PROFILE,
    }
}

fn is_loaded() -> bool {
    let list = fs::read_to_string(LOADED).unwrap_or_default();
    list.lines().any(|line| line.split(" (").next() == Some(policy::APPARMOR_PROFILE))
}

/// Loads the default. Without AppArmor's own compiler there is none: containers
/// have what else confines them, and the log says so once.
async fn load() -> bool {
    static SAID: Once = Once::new();
    match compile().await {
        Ok(()) => true,
        Err(why) => {
            SAID.call_once(|| tracing::warn!("AppArmor profile {} is not loaded: {why}", policy::APPARMOR_PROFILE));
            false
        }
    }
}

async fn compile() -> std::result::Result<(), String> {
    let mut child = Command::new("apparmor_parser")
        .args(["--skip-cache", "--replace"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|err| format!("apparmor_parser: {err}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A parser that ends early says why itself.
        let _ = stdin.write_all(policy::apparmor_profile().as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(|err| err.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
