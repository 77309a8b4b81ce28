//! What a container gets when nobody says otherwise, read from `policy/` into
//! the program: capabilities, masked and read-only paths, mounts, device rules
//! and the seccomp profile. Pure data; `resolve_seccomp` turns a profile in
//! Docker's format into the `linux.seccomp` of one container.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

const CONTAINER: &str = include_str!("../../../policy/container.toml");
const SECCOMP: &str = include_str!("../../../policy/seccomp.json");

/// The AppArmor profile of containers that name none.
pub const APPARMOR_PROFILE: &str = "hako-default";

#[derive(Deserialize, Default)]
struct Policy {
    capabilities: Vec<String>,
    masked_paths: Vec<String>,
    readonly_paths: Vec<String>,
    path: String,
    mounts: Vec<DefaultMount>,
    devices: Vec<DeviceRule>,
}

/// One mount of every container; serialises as an OCI mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultMount {
    /// Where, inside.
    pub destination: String,
    /// The filesystem's type.
    #[serde(rename = "type")]
    pub typ: String,
    /// The source as `mount` shows it.
    pub source: String,
    /// Options.
    pub options: Vec<String>,
}

/// One rule of the device cgroup; serialises as OCI `linux.resources.devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Allowed or refused.
    pub allow: bool,
    /// `c`, `b`; all types if absent.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// Any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// Any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// Of `r`, `w`, `m`.
    pub access: String,
}

// The file is part of the program and a test reads it, so a fault in it cannot
// come up at run time; the empty policy is what the type asks for.
static POLICY: LazyLock<Policy> = LazyLock::new(|| toml::from_str(CONTAINER).unwrap_or_default());

/// Capabilities before `--cap-add` and `--cap-drop`, as `CAP_…`.
pub fn default_capabilities() -> Vec<String> {
    POLICY.capabilities.clone()
}

/// `linux.maskedPaths` of an unprivileged container.
pub fn masked_paths() -> Vec<String> {
    POLICY.masked_paths.clone()
}

/// `linux.readonlyPaths` of an unprivileged container.
pub fn readonly_paths() -> Vec<String> {
    POLICY.readonly_paths.clone()
}

/// `PATH` where the image sets none.
pub fn default_path() -> &'static str {
    &POLICY.path
}

/// Mounts of every container, in order.
pub fn default_mounts() -> Vec<DefaultMount> {
    POLICY.mounts.clone()
}

/// Device cgroup rules of an unprivileged container, in order.
pub fn device_rules() -> Vec<DeviceRule> {
    POLICY.devices.clone()
}

/// The text of [`APPARMOR_PROFILE`], for AppArmor's compiler.
pub fn apparmor_profile() -> &'static str {
    include_str!("../../../policy/apparmor.profile")
}

/// The default profile as OCI `linux.seccomp`, for a container with these
/// capabilities (`CAP_…`) on a kernel of this version and this architecture, by
/// Go's name.
pub fn seccomp_profile(caps: &[String], kernel: (u32, u32), arch: &str) -> Value {
    resolve_seccomp(SECCOMP, caps, kernel, arch).unwrap_or_else(|_| json!({"defaultAction": "SCMP_ACT_ERRNO"}))
}

/// Go's name of this program's architecture, as Docker's profiles use it.
pub fn native_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Docker's profile format.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Value>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Turns a profile in Docker's format (which OCI's is a part of) into OCI
/// `linux.seccomp`: picks the architecture, keeps the rules whose `includes`
/// hold and whose `excludes` do not. `arch` is Go's name (`amd64`).
pub fn resolve_seccomp(profile: &str, caps: &[String], kernel: (u32, u32), arch: &str) -> Result<Value> {
    let profile: Profile = serde_json::from_str(profile)
        .map_err(|err| Error::invalid(format!("decoding seccomp profile failed: {err}")))?;
    let mut out = Map::new();
    out.insert("defaultAction".into(), json!(profile.default_action));
    if let Some(errno) = profile.default_errno_ret {
        out.insert("defaultErrnoRet".into(), json!(errno));
    }
    if let Some(architectures) = architectures(&profile, arch)? {
        out.insert("architectures".into(), json!(architectures));
    }
    if let Some(flags) = profile.flags.filter(|flags| !flags.is_empty()) {
        out.insert("flags".into(), json!(flags));
    }
    if let Some(path) = profile.listener_path.filter(|path| !path.is_empty()) {
        out.insert("listenerPath".into(), json!(path));
    }
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        if applies(&rule, caps, kernel, arch)? {
            syscalls.push(oci_rule(rule)?);
        }
    }
    out.insert("syscalls".into(), Value::Array(syscalls));
    Ok(Value::Object(out))
}

fn architectures(profile: &Profile, arch: &str) -> Result<Option<Vec<String>>> {
    let plain = profile.architectures.as_ref().filter(|list| !list.is_empty());
    let map = profile.arch_map.as_ref().filter(|list| !list.is_empty());
    match (plain, map) {
        (Some(_), Some(_)) => Err(Error::invalid(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
        )),
        (Some(plain), None) => Ok(Some(plain.clone())),
        (None, Some(map)) => Ok(map.iter().find(|entry| entry.architecture == scmp_arch(arch)).map(|entry| {
            let mut all = vec![entry.architecture.clone()];
            all.extend(entry.sub_architectures.clone().unwrap_or_default());
            all
        })),
        (None, None) => Ok(None),
    }
}

fn scmp_arch(arch: &str) -> String {
    match arch {
        "amd64" => "SCMP_ARCH_X86_64".into(),
        "arm64" => "SCMP_ARCH_AARCH64".into(),
        "386" => "SCMP_ARCH_X86".into(),
        other => format!("SCMP_ARCH_{}", other.to_uppercase()),
    }
}

fn applies(rule: &Rule, caps: &[String], kernel: (u32, u32), arch: &str) -> Result<bool> {
    let has = |cap: &String| caps.contains(cap);
    if let Some(excludes) = &rule.excludes {
        let arches = excludes.arches.as_deref().unwrap_or_default();
        let excluded_caps = excludes.caps.as_deref().unwrap_or_default();
        if arches.iter().any(|a| a == arch) || excluded_caps.iter().any(has) {
            return Ok(false);
        }
        if let Some(min) = &excludes.min_kernel
            && kernel >= kernel_version(min)?
        {
            return Ok(false);
        }
    }
    if let Some(includes) = &rule.includes {
        let arches = includes.arches.as_deref().unwrap_or_default();
        let included_caps = includes.caps.as_deref().unwrap_or_default();
        if !arches.is_empty() && !arches.iter().any(|a| a == arch) {
            return Ok(false);
        }
        if !included_caps.iter().all(has) {
            return Ok(false);
        }
        if let Some(min) = &includes.min_kernel
            && kernel < kernel_version(min)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn kernel_version(text: &str) -> Result<(u32, u32)> {
    let bad = || Error::invalid(format!("invalid kernel version in seccomp profile: {text}"));
    let (major, minor) = text.split_once('.').ok_or_else(bad)?;
    Ok((major.parse().map_err(|_| bad())?, minor.parse().map_err(|_| bad())?))
}

fn oci_rule(rule: Rule) -> Result<Value> {
    let mut names = rule.names.unwrap_or_default();
    match rule.name {
        Some(name) if !name.is_empty() && names.is_empty() => names.push(name),
        Some(name) if !name.is_empty() => {
            return Err(Error::invalid(
                "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'",
            ));
        }
        _ => {}
    }
    let mut out = Map::new();
    out.insert("names".into(), json!(names));
    out.insert("action".into(), json!(rule.action));
    if let Some(errno) = rule.errno_ret {
        out.insert("errnoRet".into(), json!(errno));
    }
    if let Some(args) = rule.args.filter(|args| !args.is_empty()) {
        out.insert("args".into(), Value::Array(args));
    }
    Ok(Value::Object(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(profile: &Value, name: &str) -> bool {
        profile["syscalls"].as_array().unwrap().iter().any(|rule| {
            rule["action"] == "SCMP_ACT_ALLOW"
                && rule.get("args").is_none()
                && rule["names"].as_array().unwrap().iter().any(|n| n == name)
        })
    }

    #[test]
    fn the_files_parse() {
        let policy: Policy = toml::from_str(CONTAINER).unwrap();
        assert_eq!(policy.capabilities.len(), 14);
        assert_eq!(policy.mounts.len(), 7);
        assert!(!policy.devices[0].allow);
        assert!(resolve_seccomp(SECCOMP, &[], (6, 1), "amd64").is_ok());
    }

    #[test]
    fn capabilities_open_their_calls() {
        let plain = seccomp_profile(&default_capabilities(), (6, 12), native_arch());
        assert!(allows(&plain, "chroot") && allows(&plain, "ptrace") && allows(&plain, "openat"));
        assert!(!allows(&plain, "mount") && !allows(&plain, "clone") && !allows(&plain, "io_uring_setup"));
        let admin = seccomp_profile(&["CAP_SYS_ADMIN".into()], (4, 4), native_arch());
        assert!(allows(&admin, "mount") && allows(&admin, "clone3"));
        assert!(!allows(&admin, "ptrace") && !allows(&admin, "chroot"));
    }

    #[test]
    fn architectures_follow_the_map() {
        let amd = resolve_seccomp(SECCOMP, &[], (6, 1), "amd64").unwrap();
        assert_eq!(amd["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]));
        assert!(allows(&amd, "arch_prctl"));
        let arm = resolve_seccomp(SECCOMP, &[], (6, 1), "arm64").unwrap();
        assert!(!allows(&arm, "arch_prctl") && allows(&arm, "set_tls"));
    }

    #[test]
    fn a_bad_profile_is_refused() {
        assert!(resolve_seccomp("{", &[], (6, 1), "amd64").is_err());
        let both = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"x"}]}"#;
        assert!(resolve_seccomp(both, &[], (6, 1), "amd64").is_err());
    }
}
