//! `create`: makes the container up to its first process, which waits for start.

use super::{hold, open_log};
use crate::bundle::{self, Plan};
use crate::cli::{Create, Globals};
use crate::container;
use crate::devices;
use crate::error::{Context, Error, Result};
use crate::executor::{Kind, ProcessExecutor};
use crate::privileges::Own;
use crate::record::{Folder, Record};
use crate::report;
use crate::sys;
use chrono::{SecondsFormat, Utc};
use hako_os::process::start_time;
use nix::sys::stat::{Mode, umask};
use std::ffi::CString;

/// Creates, and with `--start` starts, or waits until it is told to.
pub fn run(globals: &Globals, flags: Create) -> Result<()> {
    let held = flags.hold.map(hold::Channel::take).transpose()?;
    report::start(open_log(globals)?, globals.debug);
    let bundle = flags.bundle.canonicalize().context(|| format!("bundle {}", flags.bundle.display()))?;
    let folder = Folder::new(&globals.root, &flags.id)?;
    inherit_cleanly(&flags.id)?;
    let own = Own::read().map_err(|err| Error::because("read capabilities", err))?;
    folder.make()?;
    tracing::debug!("reading the bundle");
    let made = bundle::plan(&bundle, &flags.id, &own).and_then(|plan| {
        let record = Record {
            bundle,
            cgroup: plan.cgroup_path.clone(),
            created: Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true),
            annotations: plan.annotations.clone(),
            pid: None,
            start_time: None,
        };
        folder.save(&record)?;
        make(&folder, plan, record, &flags)
    });
    let pid = made.inspect_err(|_| _ = folder.remove())?;
    if flags.start {
        folder.start()?;
    }
    match held {
        Some(channel) => channel.serve(&folder, pid),
        None => Ok(()),
    }
}

/// What the container's processes inherit from this one, and should not.
pub fn inherit_cleanly(id: &str) -> Result<()> {
    umask(Mode::from_bits_truncate(0o022));
    nix::unistd::setgroups(&[]).context(|| "setgroups")?;
    if let Ok(name) = CString::new(format!("_ses.{id}")) {
        // A kernel without keyrings has none to share either.
        _ = sys::join_session_keyring(&name);
    }
    Ok(())
}

fn make(folder: &Folder, mut plan: Plan, mut record: Record, flags: &Create) -> Result<i32> {
    if let Some(filter) = &plan.filter {
        folder.save_filter(filter)?;
    }
    plan.layout.no_pivot = flags.no_pivot;
    tracing::debug!("making the cgroup");
    let group = plan.cgroup.make(&plan.resources, &plan.rest)?;
    let start = folder.listen()?;
    tracing::debug!("making the container");
    let executor = ProcessExecutor::new(plan.process, plan.filter, Kind::First);
    let terminal = flags.console_socket.as_deref();
    let made = container::first(&plan.layout, &plan.namespaces, &group, &executor, terminal, start);
    let made = made.and_then(|mut made| {
        // Both at once: the process makes its mounts meanwhile.
        let confined = match group.dir("").filter(|_| group.is_unified()) {
            Some(dir) => devices::confine(dir, plan.rest.get("devices")),
            None => Ok(()),
        };
        made.ready()?;
        confined?;
        let pid = made.pid();
        (record.pid, record.start_time) = (Some(pid), start_time(pid));
        folder.save(&record)?;
        if let Some(path) = &flags.pid_file {
            std::fs::write(path, pid.to_string()).context(|| format!("write {}", path.display()))?;
        }
        tracing::debug!("made");
        Ok(pid)
    });
    made.inspect_err(|_| {
        _ = plan.cgroup.kill_all();
        _ = plan.cgroup.remove();
    })
}
