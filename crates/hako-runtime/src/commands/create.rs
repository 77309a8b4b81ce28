//! `create`: makes the container up to its first process, which waits for start.

use super::{hold, open_log, start};
use crate::bundle::{self, Plan};
use crate::cli::{Create, Globals};
use crate::devices;
use crate::error::{Context, Error, Result};
use crate::executor::{Kind, ProcessExecutor};
use crate::loopback;
use crate::privileges::Own;
use crate::record::{Folder, Record};
use crate::report::{self, Reports};
use crate::sys;
use hako_os::process::start_time;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::stat::{Mode, umask};
use std::ffi::CString;

/// Creates, and with `--start` starts, or waits until it is told to.
pub fn run(globals: &Globals, flags: Create) -> Result<()> {
    let held = flags.hold.map(hold::Channel::take).transpose()?;
    let reports = report::start(open_log(globals)?, globals.debug)?;
    let bundle = flags.bundle.canonicalize().context(|| format!("bundle {}", flags.bundle.display()))?;
    let folder = Folder::new(&globals.root, &flags.id)?;
    inherit_cleanly(&flags.id)?;
    let own = Own::read().map_err(|err| Error::because("read capabilities", err))?;
    folder.make()?;
    tracing::debug!("reading the bundle");
    let planned = bundle::plan(&bundle, &flags.id, &own);
    let made = planned.and_then(|plan| {
        let cgroup_path = plan.spec["linux"]["cgroupsPath"].as_str().unwrap_or_default().to_owned();
        let record = Record { bundle, cgroup: cgroup_path, pid: None, start_time: None };
        folder.save(&record)?;
        make(&folder, plan, record, &flags, reports)
    });
    let mut container = made.inspect_err(|_| _ = folder.remove())?;
    if flags.start {
        start::start(&mut container)?;
    }
    if let Some(channel) = held {
        channel.serve(&mut container)?;
    }
    Ok(())
}

/// What the container's processes inherit from this one, and should not.
pub fn inherit_cleanly(id: &str) -> Result<()> {
    umask(Mode::from_bits_truncate(0o022));
    nix::unistd::setgroups(&[]).context(|| "setgroups")?;
    // libcontainer would hand these descriptors to the container.
    sys::remove_env("LISTEN_FDS");
    if let Ok(name) = CString::new(format!("_ses.{id}")) {
        // A kernel without keyrings has none to share either.
        _ = sys::join_session_keyring(&name);
    }
    Ok(())
}

fn make(folder: &Folder, plan: Plan, mut record: Record, flags: &Create, reports: Reports) -> Result<Container> {
    if let Some(filter) = &plan.filter {
        folder.save_filter(filter)?;
    }
    let config = folder.bundle().join("config.json");
    let bytes = serde_json::to_vec(&plan.spec).context(|| "encode config.json")?;
    std::fs::write(&config, bytes).context(|| format!("write {}", config.display()))?;
    tracing::debug!("making the cgroup");
    plan.cgroup.make(&plan.resources)?;
    tracing::debug!("handing over to libcontainer");
    let cgroup = plan.cgroup;
    let own_network = loopback::wanted(&plan.spec);
    let executor = ProcessExecutor::new(plan.process, plan.filter, Kind::First);
    // The namespaces to join stay open until libcontainer has entered them.
    let joined = plan.joined;
    let made = build(folder, executor, flags, reports).and_then(|container| {
        drop(joined);
        if cgroup.unified() {
            devices::confine(&cgroup.directory("").unwrap_or_default(), &plan.devices)?;
        }
        record.pid = container.pid().map(|pid| pid.as_raw());
        record.start_time = record.pid.and_then(start_time);
        folder.save(&record)?;
        if let Some(pid) = record.pid.filter(|_| own_network) {
            loopback::up(pid)?;
        }
        Ok(container)
    });
    made.inspect_err(|_| {
        _ = cgroup.kill_all();
        _ = cgroup.remove();
    })
}

fn build(folder: &Folder, executor: ProcessExecutor, flags: &Create, mut reports: Reports) -> Result<Container> {
    let builder = ContainerBuilder::new(flags.id.clone(), SyscallType::Linux)
        .with_executor(executor)
        .with_root_path(&folder.path)
        .and_then(|builder| builder.with_pid_file(flags.pid_file.as_ref()))
        .map_err(|err| reports.explain(err))?;
    let socket = flags.console_socket.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    builder
        .with_console_socket(socket)
        .as_init(folder.bundle())
        .with_systemd(false)
        .with_detach(true)
        .with_no_pivot(flags.no_pivot || bundle::root_is_initramfs())
        .build()
        .map_err(|err| reports.explain(err))
}
