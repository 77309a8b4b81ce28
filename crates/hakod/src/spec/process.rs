//! `process` of the OCI spec, for the first process and for execs.

use super::mounts::INIT;
use crate::{
    Engine,
    containers::{capabilities, record::Record, settings::security},
    networks,
};
use hako_api::types::{ExecConfig, HostConfig};
use hako_model::{Isolation, Result, policy};
use serde_json::{Value, json};

/// The first process.
///
/// # Errors
/// A capability that does not exist.
pub fn first(engine: &Engine, record: &Record) -> Result<Value> {
    let config = &record.config;
    let mut args = vec![record.path.clone()];
    args.extend(record.args.iter().cloned());
    if has_init(&record.host) {
        args.splice(0..0, [INIT.to_owned(), "--".to_owned()]);
    }
    let mut process = json!({
        "terminal": config.tty,
        "user": user(&config.user, &record.host),
        "args": args,
        "env": environment(record, config.tty, &networks::link_environment(engine, record)?, &[]),
        "cwd": if config.working_dir.is_empty() { "/" } else { &config.working_dir },
    });
    let caps = capabilities(&record.host, &engine.host, record.isolation)?;
    common(&mut process, record, &caps);
    if config.tty && record.host.console_size != [0, 0] {
        let [height, width] = record.host.console_size;
        process["consoleSize"] = json!({"height": height, "width": width});
    }
    if record.host.oom_score_adj != 0 {
        process["oomScoreAdj"] = json!(record.host.oom_score_adj);
    }
    Ok(process)
}

/// A further process.
///
/// # Errors
/// As [`first`].
pub fn exec_process(engine: &Engine, record: &Record, exec: &ExecConfig) -> Result<Value> {
    let config = &record.config;
    let cwd = [&exec.working_dir, &config.working_dir].into_iter().find(|dir| !dir.is_empty());
    // Who has been linked to may have ended since.
    let links = networks::link_environment(engine, record).unwrap_or_default();
    let who = if exec.user.is_empty() { &config.user } else { &exec.user };
    let mut process = json!({
        "terminal": exec.tty,
        "user": user(who, &record.host),
        "args": exec.cmd.as_deref().unwrap_or_default(),
        "env": environment(record, exec.tty, &links, exec.env.as_deref().unwrap_or_default()),
        "cwd": cwd.map_or("/", String::as_str),
    });
    let privileged = HostConfig { privileged: true, ..HostConfig::default() };
    let host = if exec.privileged { &privileged } else { &record.host };
    let caps = capabilities(host, &engine.host, record.isolation)?;
    common(&mut process, record, &caps);
    if let Some(profile) = super::apparmor::of_exec(engine, record, &security::parse(&record.host)?) {
        process["apparmorProfile"] = json!(profile);
    }
    Ok(process)
}

fn common(process: &mut Value, record: &Record, caps: &[String]) {
    process["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps});
    // Options that make no sense are refused at create.
    if security::parse(&record.host).is_ok_and(|security| security.no_new_privileges) {
        process["noNewPrivileges"] = json!(true);
    }
    let limits = rlimits(record);
    if !limits.is_empty() {
        process["rlimits"] = json!(limits);
    }
}

/// The runtime resolves `username` in the container's own files.
fn user(who: &str, host: &HostConfig) -> Value {
    let groups: Vec<u32> = host.group_add.iter().flatten().filter_map(|group| group.parse().ok()).collect();
    let mut user = json!({"uid": 0, "gid": 0});
    if !groups.is_empty() {
        user["additionalGids"] = json!(groups);
    }
    if !who.is_empty() {
        user["username"] = json!(who);
    }
    user
}

/// The groups of `--group-add` that are names, which the runtime looks up.
pub fn group_names(host: &HostConfig) -> impl Iterator<Item = &str> {
    host.group_add.iter().flatten().map(String::as_str).filter(|group| group.parse::<u32>().is_err())
}

/// Whether `--init` means anything: with another's processes there is an init.
pub fn has_init(host: &HostConfig) -> bool {
    host.init == Some(true) && host.pid_mode.is_empty()
}

/// Docker's order: what the engine says, then the image's and the user's, of
/// which the last of a name wins.
fn environment(record: &Record, tty: bool, links: &[String], more: &[String]) -> Vec<String> {
    let mut env = vec![format!("PATH={}", policy::default_path()), format!("HOSTNAME={}", record.config.hostname)];
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(links.iter().cloned());
    if record.config.labels.get("hako.introspect").is_some_and(|value| value == "true") {
        env.push(format!("HAKO_ISOLATION={}", record.isolation));
        env.push(format!("HAKO_CREATED_AT={}", record.created));
    }
    for entry in record.config.env.iter().flatten().chain(more) {
        let name = entry.split('=').next().unwrap_or_default();
        let same = |old: &String| old.split('=').next() == Some(name);
        match (entry.contains('='), env.iter().position(same)) {
            (true, Some(at)) => entry.clone_into(&mut env[at]),
            (true, None) => env.push(entry.clone()),
            // A bare name unsets, as in moby.
            (false, Some(at)) => {
                env.remove(at);
            }
            (false, None) => {}
        }
    }
    env
}

/// A limit above the host's hard one cannot be set without `CAP_SYS_RESOURCE`,
/// so it is lowered; in a guest root has that capability.
fn rlimits(record: &Record) -> Vec<Value> {
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let limit = |limit: &hako_api::types::Ulimit| {
        let (mut soft, mut hard) = (number(limit.soft), number(limit.hard));
        if record.isolation == Isolation::Process
            && let Some(most) = host_hard_limit(&limit.name)
            && hard > most
        {
            tracing::warn!(
                "ulimit {} of container {} is lowered to the host's hard limit {most}",
                limit.name,
                record.id
            );
            (soft, hard) = (soft.min(most), most);
        }
        json!({"type": format!("RLIMIT_{}", limit.name.to_uppercase()), "soft": soft, "hard": hard})
    };
    record.host.ulimits.iter().flatten().map(limit).collect()
}

/// This process's hard limit, where it may not be exceeded.
fn host_hard_limit(name: &str) -> Option<u64> {
    static MAY_RAISE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let may_raise =
        MAY_RAISE.get_or_init(|| crate::host::HostInfo::read().bounding.iter().any(|c| c == "CAP_SYS_RESOURCE"));
    if *may_raise {
        return None;
    }
    let row = match name {
        "core" => "Max core file size",
        "cpu" => "Max cpu time",
        "data" => "Max data size",
        "fsize" => "Max file size",
        "locks" => "Max file locks",
        "memlock" => "Max locked memory",
        "msgqueue" => "Max msgqueue size",
        "nice" => "Max nice priority",
        "nofile" => "Max open files",
        "nproc" => "Max processes",
        "rss" => "Max resident set",
        "rtprio" => "Max realtime priority",
        "rttime" => "Max realtime timeout",
        "sigpending" => "Max pending signals",
        "stack" => "Max stack size",
        _ => return None,
    };
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix(row))?;
    // `unlimited` is no number, and so no limit.
    line.split_whitespace().nth(1)?.parse().ok()
}
