//! From the `process` of a bundle, or of an exec, to what libcontainer gets and
//! what the executor does itself.

use crate::error::{Error, Result};
use crate::executor::Process;
use crate::privileges::Own;
use crate::rootfs::Rootfs;
use crate::user;
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// What stands in a specification beyond OCI: further groups by name.
pub const GROUP_ADD: &str = "hako.group-add";

/// Takes the parts of `process` that libcontainer does badly out of it, leaves
/// the rest in a form that it does well, and returns the parts.
pub fn adapt(process: &mut Map<String, Value>, root: &Rootfs, own: &Own, group_add: &str) -> Result<Process> {
    let args = strings(process.get("args"));
    if args.is_empty() {
        return Err(Error::message("process.args must not be empty"));
    }
    let cwd = PathBuf::from(process.get("cwd").and_then(Value::as_str).filter(|cwd| !cwd.is_empty()).unwrap_or("/"));
    if !cwd.is_absolute() {
        return Err(Error::message(format!("Cwd must be an absolute path: {}", cwd.display())));
    }
    let (uid, home) = adapt_user(process, root, group_add)?;
    let mut env: Vec<String> = strings(process.get("env")).into_iter().filter(|entry| entry.contains('=')).collect();
    if !env.iter().any(|entry| entry.len() > 5 && entry.starts_with("HOME=")) {
        env.retain(|entry| !entry.starts_with("HOME="));
        env.push(format!("HOME={home}"));
    }
    let no_new_privileges = process.get("noNewPrivileges") == Some(&Value::Bool(true));
    let caps = own.grant(process.get("capabilities"));
    let console_size = process.get("consoleSize").and_then(|size| {
        let side = |name| size.get(name).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
        Some((side("height")?, side("width")?)).filter(|(rows, cols)| *rows > 0 && *cols > 0)
    });

    process.insert("capabilities".into(), own.with_working(&caps));
    // The executor enters it: libcontainer does not make what is missing.
    process.insert("cwd".into(), json!("/"));
    process.insert("env".into(), json!(env));
    if !no_new_privileges {
        // Written out as false it is taken as set.
        process.remove("noNewPrivileges");
    }
    if process.get("apparmorProfile").and_then(Value::as_str).is_none_or(str::is_empty) {
        process.remove("apparmorProfile");
    }
    if let Some(adjust) = process.remove("oomScoreAdj").as_ref().and_then(Value::as_i64) {
        adjust_oom_score(adjust);
    }
    if let Some(limits) = process.get_mut("rlimits").and_then(Value::as_array_mut)
        && !own.has(caps::Capability::CAP_SYS_RESOURCE)
    {
        limits.iter_mut().for_each(clamp_limit);
    }
    Ok(Process { args, env, cwd, uid, caps, no_new_privileges, console_size })
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Resolves `user.username` and the groups; returns the user id and its home.
fn adapt_user(process: &mut Map<String, Value>, root: &Rootfs, group_add: &str) -> Result<(u32, String)> {
    let (passwd, group) = (root.text("/etc/passwd")?, root.text("/etc/group")?);
    let entry = process.entry("user").or_insert_with(|| json!({}));
    let number = |name: &str| entry.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let (mut uid, mut gid) = (number("uid"), number("gid"));
    let name = entry.get("username").and_then(Value::as_str).unwrap_or("").to_owned();
    let given = entry.get("additionalGids").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut groups: Vec<u32> = Vec::new();
    let mut home = user::home_of(uid, &passwd);
    if !name.is_empty() || (uid == 0 && gid == 0) {
        let resolved = user::resolve(&name, &passwd, &group).map_err(Error::message)?;
        (uid, gid, home) = (resolved.uid, resolved.gid, resolved.home);
        groups.push(gid);
        groups.extend(resolved.groups);
    }
    groups.extend(given.iter().filter_map(Value::as_u64).filter_map(|n| u32::try_from(n).ok()));
    for name in group_add.split(',').filter(|name| !name.is_empty()) {
        groups.push(user::find_group(name, &group).map_err(Error::message)?);
    }
    let mut seen = std::collections::HashSet::new();
    groups.retain(|gid| seen.insert(*gid));
    let mut adapted = json!({"uid": uid, "gid": gid, "additionalGids": groups});
    if let Some(umask) = entry.get("umask") {
        adapted["umask"] = umask.clone();
    }
    *entry = adapted;
    Ok((uid, home))
}

/// Lowers a limit to what this process may set.
fn clamp_limit(limit: &mut Value) {
    let name = limit.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
    let Some((_, hard_max)) = resource(&name).and_then(|resource| getrlimit(resource).ok()) else { return };
    for side in ["hard", "soft"] {
        if limit.get(side).and_then(Value::as_u64).is_some_and(|value| value > hard_max) {
            tracing::warn!(%name, side, hard_max, "resource limit is above the host's and is lowered to it");
            limit[side] = json!(hard_max);
        }
    }
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
