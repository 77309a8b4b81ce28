//! `create`: makes the container up to its first process, which waits for start.

use super::{hold, open_log};
use crate::bundle::{self, Draft};
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
    let mut held = flags.hold.map(hold::Channel::take).transpose()?;
    report::start(open_log(globals)?, globals.debug);
    let bundle = flags.bundle.canonicalize().context(|| format!("bundle {}", flags.bundle.display()))?;
    let folder = Folder::new(&globals.root, &flags.id)?;
    inherit_cleanly(&flags.id)?;
    let own = Own::read().map_err(|err| Error::because("read capabilities", err))?;
    folder.make()?;
    tracing::debug!("reading the bundle");
    let made = bundle::read(&bundle, &flags.id).and_then(|draft| {
        let record = Record {
            bundle,
            cgroup: draft.cgroup_path.clone(),
            created: Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true),
            annotations: draft.annotations.clone(),
            pid: None,
            start_time: None,
        };
        folder.save(&record)?;
        make(&folder, draft, &own, record, &flags, held.as_mut())
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

fn make(
    folder: &Folder,
    mut draft: Draft,
    own: &Own,
    mut record: Record,
    flags: &Create,
    held: Option<&mut hold::Channel>,
) -> Result<i32> {
    if let Some(filter) = &draft.filter {
        folder.save_filter(filter)?;
    }
    // What is wrong with the bundle is found before there is a cgroup, if it can be.
    let early = if flags.await_rootfs { None } else { Some(draft.on_root(own)?) };
    tracing::debug!("making the cgroup");
    let group = draft.cgroup.make(&draft.resources, &draft.rest)?;
    let first = || {
        let start = folder.listen()?;
        if let Some(channel) = held.filter(|_| flags.await_rootfs) {
            channel.wait_for_rootfs()?;
        }
        let (mut layout, process) = early.map_or_else(|| draft.on_root(own), Ok)?;
        layout.no_pivot = flags.no_pivot;
        tracing::debug!("making the container");
        let executor = ProcessExecutor::new(process, draft.filter.take(), Kind::First);
        let terminal = flags.console_socket.as_deref();
        container::first(&layout, &draft.namespaces, &group, &executor, terminal, start)
    };
    let made = first();
    let made = made.and_then(|mut made| {
        // Both at once: the process makes its mounts meanwhile.
        let confined = match group.dir("").filter(|_| group.is_unified()) {
            Some(dir) => devices::confine(dir, draft.rest.get("devices")),
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
        _ = draft.cgroup.kill_all();
        _ = draft.cgroup.remove();
    })
}
