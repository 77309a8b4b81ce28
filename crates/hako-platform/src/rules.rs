//! Whether one manifest may run behind one wall of a host. Each rule says what it
//! found; the first that refuses ends it.

pub(crate) mod linux;
mod windows;

use crate::{
    Accelerator, GuestKernel, Host, HostOs, Manifest, Platform, Request, WallState, reason::Reason, trace::Trace, vm,
};
use hako_model::Isolation;

/// What a manifest was judged by.
pub(crate) struct Case<'a> {
    pub manifest: &'a Manifest,
    pub host: &'a Host,
    pub request: &'a Request,
}

/// Why not, or what it would run on.
pub(crate) type Verdict = Result<Ground, Reason>;

/// What a container would run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ground {
    /// The host's kernel, by itself or by an interpreter.
    Host,
    /// A virtual machine that boots this one.
    Guest(GuestKernel),
    /// A virtual machine whose system comes with the image.
    UtilityVm,
}

/// Judges `case` behind `wall`.
pub(crate) fn judge(case: &Case<'_>, wall: Isolation, trace: &mut Trace) -> Verdict {
    let verdict = wish(case, wall, trace).and_then(|()| match (&case.host.os, case.manifest.platform.os.as_str()) {
        (HostOs::Windows(host), "windows") => windows::judge(case, host, wall, trace),
        (HostOs::Linux(host), "linux") if wall == Isolation::Process => linux::process(case, host, trace),
        // The virtual machine brings the kernel, so that the host's does not matter.
        _ if wall == Isolation::Hyperv => linux::hyperv(case, trace),
        _ => Err(other_system(case)),
    });
    if let Err(reason) = &verdict {
        trace.refused(reason.rule(), reason.source(), reason.to_string());
    }
    verdict
}

fn other_system(case: &Case<'_>) -> Reason {
    Reason::OperatingSystem { image: case.manifest.platform.os.clone(), host: case.host.os_name().to_owned() }
}

/// The thinnest wall that the image asks for.
fn wish(case: &Case<'_>, wall: Isolation, trace: &mut Trace) -> Result<(), Reason> {
    for text in &case.manifest.wish.unread {
        trace.noted("image.label", "", text);
    }
    match case.manifest.wish.wall {
        Some(Isolation::Hyperv) if wall == Isolation::Process => {
            Err(Reason::ImageWall { asked: wall, least: Isolation::Hyperv })
        }
        Some(least) => {
            trace.passed("image.wall", "", format!("the image asks for the {least} wall at least"));
            Ok(())
        }
        None => Ok(()),
    }
}

/// Whether the wall works at all.
pub(crate) fn works(host: &Host, wall: Isolation, trace: &mut Trace) -> Result<(), Reason> {
    match host.wall(wall) {
        WallState::Works => trace.passed("wall", "", format!("the {wall} wall works on this host")),
        WallState::Unprobed => {
            trace.passed("wall", "", format!("nobody has probed the {wall} wall of this host; it is taken to work"));
        }
        WallState::Lacks(lacks) => {
            let reason = Reason::WallLacks { wall, lacks: lacks.clone() };
            trace.refused(reason.rule(), "", reason.to_string());
            return Err(reason);
        }
    }
    Ok(())
}

/// Whether what is asked for of a virtual machine makes sense behind `wall`.
pub(crate) fn machine(request: &Request, host: &Host, wall: Isolation, trace: &mut Trace) -> Result<(), Reason> {
    let accelerator = match request.vm.accelerator {
        // Where nobody has probed, the start will show.
        Some(asked @ Accelerator::Kvm) if host.emulated => Err(Reason::Accelerator { asked }),
        Some(_) | None => Ok(()),
    };
    let checked = vm::check(&request.vm, wall).and(accelerator);
    checked.inspect_err(|reason| trace.refused(reason.rule(), "", reason.to_string()))
}

/// How well a manifest serves who looks for `wanted`: `None` not at all.
pub(crate) fn serves(wanted: &Platform, manifest: &Manifest) -> Option<u32> {
    wanted.accepts(&manifest.platform)
}
