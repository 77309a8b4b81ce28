//! `spec`: a `config.json` to begin with, with the policy's defaults.

use crate::error::{Context, Error, Result};
use hako_model::policy;
use serde_json::{Value, json};
use std::path::Path;

/// Writes `config.json` into a bundle that has none.
pub fn run(bundle: &Path) -> Result<()> {
    let path = bundle.join("config.json");
    if path.exists() {
        return Err(Error::message(format!("file {} exists", path.display())));
    }
    let text = serde_json::to_string_pretty(&default_spec()).context(|| "encode config.json")?;
    std::fs::write(&path, text).context(|| format!("write {}", path.display()))
}

fn default_spec() -> Value {
    let caps = policy::default_capabilities();
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let namespaces = ["mount", "network", "uts", "pid", "ipc"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [format!("PATH={}", policy::default_path())],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "root": {"path": "rootfs"},
        "hostname": "hako",
        "mounts": policy::default_mounts(),
        "linux": {
            "resources": {"devices": policy::device_rules()},
            "namespaces": namespaces,
            "seccomp": policy::seccomp_profile(&caps, kernel_version(&release.unwrap_or_default()), policy::native_arch()),
            "maskedPaths": policy::masked_paths(),
            "readonlyPaths": policy::readonly_paths(),
        },
    })
}

/// Major and minor of `6.18.1-x`; an unreadable one counts as new.
fn kernel_version(release: &str) -> (u32, u32) {
    let mut parts = release.split(['.', '-']).map(|part| part.parse().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor),
        _ => (u32::MAX, 0),
    }
}
