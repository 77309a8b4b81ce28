//! `update`: new limits for a living container.

use crate::error::{Context, Error, Result};
use crate::record::Existing;
use libcgroups::common::{CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager};
use oci_spec::runtime::LinuxResources;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Applies OCI `linux.resources` from a file, or from stdin (`-`).
pub fn run(existing: &Existing, file: &Path) -> Result<()> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context(|| "read stdin")?;
    } else {
        text = std::fs::read_to_string(file).context(|| format!("read {}", file.display()))?;
    }
    let mut value = serde_json::from_str(&text).context(|| "parse resources")?;
    let cgroup = existing.cgroup()?;
    let no_swap = cgroup.adapt_memory(&mut value);
    let resources: LinuxResources = serde_json::from_value(value.into()).context(|| "parse resources")?;
    let config = CgroupConfig {
        cgroup_path: PathBuf::from(&existing.record.cgroup),
        systemd_cgroup: false,
        container_name: existing.folder.id.clone(),
    };
    let options =
        ControllerOpt { resources: &resources, disable_oom_killer: false, oom_score_adj: None, freezer_state: None };
    let manager = create_cgroup_manager(config).map_err(|err| Error::because("update", err))?;
    manager.apply(&options).map_err(|err| Error::because("update", err))?;
    if no_swap { cgroup.forbid_swap() } else { Ok(()) }
}
