//! From the `process` of a bundle, or of an exec, to what is done.

use crate::error::{Error, Result};
use crate::executor::Process;
use crate::privileges::Own;
use crate::rootfs::Rootfs;
use crate::user::{self, User};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// What stands in a specification beyond OCI: further groups by name.
pub const GROUP_ADD: &str = "hako.group-add";

/// Of OCI's, what is not done.
const REFUSED: [&str; 4] = ["ioPriority", "scheduler", "execCPUAffinity", "selinuxLabel"];

/// Reads `process`, whose users and groups are those of `root`.
pub fn adapt(process: &Map<String, Value>, root: &Rootfs, own: &Own, group_add: &str) -> Result<Process> {
    refuse(process, "process", &REFUSED)?;
    let args = strings(process.get("args"));
    if args.is_empty() {
        return Err(Error::message("process.args must not be empty"));
    }
    let cwd = PathBuf::from(process.get("cwd").and_then(Value::as_str).filter(|cwd| !cwd.is_empty()).unwrap_or("/"));
    if !cwd.is_absolute() {
        return Err(Error::message(format!("Cwd must be an absolute path: {}", cwd.display())));
    }
    let user = user_of(process, root, group_add)?;
    let mut env: Vec<String> = strings(process.get("env")).into_iter().filter(|entry| entry.contains('=')).collect();
    if !env.iter().any(|entry| entry.len() > 5 && entry.starts_with("HOME=")) {
        env.retain(|entry| !entry.starts_with("HOME="));
        env.push(format!("HOME={}", user.home));
    }
    let no_new_privileges = process.get("noNewPrivileges") == Some(&Value::Bool(true));
    let caps = own.grant(process.get("capabilities"));
    let console_size = process.get("consoleSize").and_then(|size| {
        let side = |name| size.get(name).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
        Some((side("height")?, side("width")?)).filter(|(rows, cols)| *rows > 0 && *cols > 0)
    });

    let apparmor = process.get("apparmorProfile").and_then(Value::as_str).filter(|name| !name.is_empty());
    if let Some(adjust) = process.get("oomScoreAdj").and_then(Value::as_i64) {
        adjust_oom_score(adjust);
    }
    let limits = process.get("rlimits").and_then(Value::as_array).into_iter().flatten();
    let rlimits = limits.map(|limit| rlimit(limit, own)).collect::<Result<_>>()?;
    let umask = process.get("user").and_then(|user| user.get("umask")).and_then(Value::as_u64);
    Ok(Process {
        args,
        env,
        cwd,
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        umask: umask.and_then(|mask| u32::try_from(mask).ok()),
        working: own.with_working(&caps),
        caps,
        no_new_privileges,
        console_size,
        rlimits,
        apparmor: apparmor.map(str::to_owned),
    })
}

/// Refuses those of `names` that `object`, which is called `what`, has.
pub fn refuse(object: &Map<String, Value>, what: &str, names: &[&str]) -> Result<()> {
    let said = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    };
    match names.iter().find(|name| object.get(**name).is_some_and(said)) {
        Some(name) => Err(Error::message(format!("not supported: {what}.{name}"))),
        None => Ok(()),
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Resolves `user.username` and the groups.
fn user_of(process: &Map<String, Value>, root: &Rootfs, group_add: &str) -> Result<User> {
    let (passwd, group) = (root.text("/etc/passwd")?, root.text("/etc/group")?);
    let entry = process.get("user").unwrap_or(&Value::Null);
    let number = |name: &str| entry.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let (mut uid, mut gid) = (number("uid"), number("gid"));
    let name = entry.get("username").and_then(Value::as_str).unwrap_or("");
    let given = entry.get("additionalGids").and_then(Value::as_array).into_iter().flatten();
    let mut groups: Vec<u32> = Vec::new();
    let mut home = user::home_of(uid, &passwd);
    if !name.is_empty() || (uid == 0 && gid == 0) {
        let resolved = user::resolve(name, &passwd, &group).map_err(Error::message)?;
        (uid, gid, home) = (resolved.uid, resolved.gid, resolved.home);
        groups.push(gid);
        groups.extend(resolved.groups);
    }
    groups.extend(given.filter_map(Value::as_u64).filter_map(|n| u32::try_from(n).ok()));
    for name in group_add.split(',').filter(|name| !name.is_empty()) {
        groups.push(user::find_group(name, &group).map_err(Error::message)?);
    }
    let mut seen = std::collections::HashSet::new();
    groups.retain(|gid| seen.insert(*gid));
    // The largest of all means "as it was" to the kernel.
    if let Some(id) = [uid, gid].iter().chain(&groups).find(|id| **id > user::MAX_ID) {
        return Err(Error::message(format!("uids and gids must be in range 0-{}: {id}", user::MAX_ID)));
    }
    Ok(User { uid, gid, groups, home })
}

/// One of OCI's `rlimits`, lowered to what this process may set.
fn rlimit(limit: &Value, own: &Own) -> Result<(Resource, u64, u64)> {
    let name = limit.get("type").and_then(Value::as_str).unwrap_or("");
    let resource =
        resource(name).ok_or_else(|| Error::message(format!("not supported: the resource limit {name:?}")))?;
    let side = |side: &str| limit.get(side).and_then(Value::as_u64).unwrap_or(0);
    let (mut soft, mut hard) = (side("soft"), side("hard"));
    if !own.has(caps::Capability::CAP_SYS_RESOURCE)
        && let Ok((_, most)) = getrlimit(resource)
        && hard > most
    {
        tracing::warn!(%name, most, "resource limit is above the host's and is lowered to it");
        (soft, hard) = (soft.min(most), most);
    }
    Ok((resource, soft, hard))
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_AS" => Resource::RLIMIT_AS,
        "RLIMIT_CORE" => Resource::RLIMIT_CORE,
        "RLIMIT_CPU" => Resource::RLIMIT_CPU,
        "RLIMIT_DATA" => Resource::RLIMIT_DATA,
        "RLIMIT_FSIZE" => Resource::RLIMIT_FSIZE,
        "RLIMIT_LOCKS" => Resource::RLIMIT_LOCKS,
        "RLIMIT_MEMLOCK" => Resource::RLIMIT_MEMLOCK,
        "RLIMIT_MSGQUEUE" => Resource::RLIMIT_MSGQUEUE,
        "RLIMIT_NICE" => Resource::RLIMIT_NICE,
        "RLIMIT_NOFILE" => Resource::RLIMIT_NOFILE,
        "RLIMIT_NPROC" => Resource::RLIMIT_NPROC,
        "RLIMIT_RSS" => Resource::RLIMIT_RSS,
        "RLIMIT_RTPRIO" => Resource::RLIMIT_RTPRIO,
        "RLIMIT_RTTIME" => Resource::RLIMIT_RTTIME,
        "RLIMIT_SIGPENDING" => Resource::RLIMIT_SIGPENDING,
        "RLIMIT_STACK" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

/// Sets the score of this process, which its children inherit. Lowering it may
/// be refused; a container is not worth failing for that.
fn adjust_oom_score(adjust: i64) {
    if let Err(err) = std::fs::write("/proc/self/oom_score_adj", adjust.to_string()) {
        tracing::warn!(%err, adjust, "oom_score_adj is refused and stays as it is");
    }
}
