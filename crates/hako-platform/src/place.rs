//! The answer: which wall, which manifest, or why not and what to do.
//!
//! ```text
//! policy ─► wall ─► does it work here? ─► manifests behind it ─► the best of them ─► size
//!             ▲                                 │ only the image's own wish refuses,
//!             └────────── hyperv ◄──────────────┘ and the wall was left to the engine
//! ```

use crate::{
    Accelerator, GuestKernel, Host, HostOs, Image, ImageVersion, Manifest, Platform, Request,
    image::Form,
    reason::Reason,
    refusal::Refusal,
    rules::{self, Case, Ground},
    sizing::{self, Sizing},
    trace::{Applied, Note, Trace},
    vm::{self, Limits},
};
use hako_model::Isolation;
use std::cmp::Reverse;

/// Where a container of the image would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Behind which wall.
    pub wall: Isolation,
    /// Which of the image's manifests.
    pub manifest: usize,
    /// What its virtual machine boots, where that is not the image's own.
    pub kernel: Option<GuestKernel>,
    /// How large the virtual machine is, as far as the host's size is known.
    pub sizing: Option<Sizing>,
    /// What the user should know.
    pub notes: Vec<Note>,
    /// Every rule that was applied.
    pub trace: Vec<Applied>,
}

/// Places `image` on `host` as `request` asks. Never answers a wall thinner than
/// the policy's, the image's, or the one asked for.
///
/// # Errors
/// [`Refusal`], with at least one remedy that works.
pub fn place(image: &Image, host: &Host, request: &Request) -> Result<Placement, Box<Refusal>> {
    attempt(image, host, request).map_err(|refused| Box::new(Refusal::new(image, host, request, refused)))
}

/// A refusal without its remedies.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub reason: Reason,
    pub trace: Vec<Applied>,
}

/// One try.
pub(crate) fn attempt(image: &Image, host: &Host, request: &Request) -> Result<Placement, Refused> {
    let mut trace = Trace::default();
    let result = walls(image, host, request, &mut trace);
    result.map_err(|reason| Refused { reason, trace: std::mem::take(&mut trace.applied) }).map(|placed| Placement {
        notes: std::mem::take(&mut trace.notes),
        trace: std::mem::take(&mut trace.applied),
        ..placed
    })
}

fn walls(image: &Image, host: &Host, request: &Request, trace: &mut Trace) -> Result<Placement, Reason> {
    let wall = first_wall(image, host, request, trace)?;
    let mut first = Trace::default();
    let placed = behind(wall, image, host, request, &mut first);
    match placed {
        Err(reason) if request.isolation.is_none() && reason.is_wish() => {
            trace.applied.append(&mut first.applied);
            trace.noted("image.wish", "", format!("hyperv is chosen: {reason}"));
            behind(Isolation::Hyperv, image, host, request, trace)
        }
        other => {
            trace.join(first);
            other
        }
    }
}

/// The wall that is asked for, or the default, made as thick as the policy says.
fn first_wall(image: &Image, host: &Host, request: &Request, trace: &mut Trace) -> Result<Isolation, Reason> {
    let rule = request.policy.applying(image, &request.caller);
    let least = rule.map_or(Isolation::Process, |rule| rule.least);
    let wall = match (request.isolation, request.engine_default) {
        (Some(asked), _) => {
            if let Some(rule) = rule.filter(|_| thinner(asked, least)) {
                let reason = Reason::Policy { rule: rule.name.clone(), asked, least };
                trace.refused(reason.rule(), "", reason.to_string());
                return Err(reason);
            }
            trace.chose("isolation", format!("{asked} is asked for"));
            asked
        }
        (None, Some(configured)) => {
            trace.chose("isolation", format!("{configured} is this engine's default"));
            configured
        }
        (None, None) => {
            let usual = host.default_wall();
            trace.chose("isolation", format!("{usual} is the default of such hosts"));
            usual
        }
    };
    match rule {
        Some(rule) if thinner(wall, least) => {
            trace.noted("policy", "", format!("policy rule {:?} asks for the {least} wall", rule.name));
            Ok(least)
        }
        Some(rule) => {
            trace.passed("policy", "", format!("policy rule {:?} asks for the {least} wall", rule.name));
            Ok(wall)
        }
        None => Ok(wall),
    }
}

/// Whether `wall` is the thinner of the two.
fn thinner(wall: Isolation, least: Isolation) -> bool {
    (wall, least) == (Isolation::Process, Isolation::Hyperv)
}

/// Behind one wall.
fn behind(
    wall: Isolation,
    image: &Image,
    host: &Host,
    request: &Request,
    trace: &mut Trace,
) -> Result<Placement, Reason> {
    rules::works(host, wall, trace)?;
    let (manifest, ground) = match &image.form {
        Form::Manifest(manifest) => (0, single(manifest, wall, host, request, trace)?),
        Form::Index(manifests) => choose(manifests, wall, host, request, trace)?,
    };
    // After the image's own wish for a machine, which is what they are for.
    rules::machine(request, host, wall, trace)?;
    let kernel = match &ground {
        Ground::Guest(guest) => Some(guest.clone()),
        Ground::Host | Ground::UtilityVm => None,
    };
    let sizing = size(&ground, host, request)
        .inspect_err(|reason| trace.refused(reason.rule(), reason.source(), reason.to_string()))?;
    Ok(Placement { wall, manifest, kernel, sizing, notes: Vec::new(), trace: Vec::new() })
}

/// An image of one manifest.
fn single(
    manifest: &Manifest,
    wall: Isolation,
    host: &Host,
    request: &Request,
    trace: &mut Trace,
) -> Result<Ground, Reason> {
    if let Some(wanted) = request.platform.as_ref().filter(|wanted| rules::serves(wanted, manifest).is_none()) {
        let reason = Reason::Platform { wanted: Box::new(wanted.clone()), actual: Box::new(manifest.platform.clone()) };
        trace.refused(reason.rule(), "", reason.to_string());
        return Err(reason);
    }
    let ground = rules::judge(&Case { manifest, host, request }, wall, trace)?;
    let own = host.platform();
    if request.platform.is_none() && own.accepts(&manifest.platform).is_none() {
        let text = format!(
            "The requested image's platform ({}) does not match the detected host platform ({own}) and no specific \
             platform was requested",
            manifest.platform
        );
        trace.noted("platform", "", text);
    }
    Ok(ground)
}

/// The best manifest of an index. Exact builds first, then by number.
fn choose(
    manifests: &[Manifest],
    wall: Isolation,
    host: &Host,
    request: &Request,
    trace: &mut Trace,
) -> Result<(usize, Ground), Reason> {
    // Nothing says what it is for: its config will, and it is judged again.
    if let [only] = manifests
        && only.is_unnamed()
    {
        trace.noted("index", "", "the index has one image that names no platform");
        return Ok((0, if wall == Isolation::Process { Ground::Host } else { Ground::UtilityVm }));
    }
    let wanted = request.platform.clone().unwrap_or_else(|| host.platform());
    let (mut fit, mut but) = (Vec::new(), Vec::new());
    for (index, manifest) in manifests.iter().enumerate() {
        let Some(rate) = rules::serves(&wanted, manifest) else { continue };
        // Notes of one that is not taken are nobody's.
        let mut own = Trace::default();
        own.about(Some(manifest.shown()));
        match rules::judge(&Case { manifest, host, request }, wall, &mut own) {
            Ok(ground) => fit.push((index, rate, ground, own)),
            Err(reason) if but.len() < MOST_SHOWN => {
                trace.applied.append(&mut own.applied);
                but.push(reason);
            }
            // An index from outside may have thousands: enough is said.
            Err(_) => {}
        }
    }
    let order = |(index, rate, ..): &(usize, u32, Ground, Trace)| {
        (*rate, preference(&manifests[*index], wall, host), Reverse(*index))
    };
    if let Some((index, _, ground, own)) = fit.into_iter().max_by_key(order) {
        trace.join(own);
        trace.chose("index", format!("{} for {}", manifests[index].shown(), host.docker_form(&wanted)));
        return Ok((index, ground));
    }
    Err(none(manifests, &wanted, host, but, trace))
}

/// Why none of an index serves. What is not about versions says more itself.
fn none(manifests: &[Manifest], wanted: &Platform, host: &Host, but: Vec<Reason>, trace: &mut Trace) -> Reason {
    let of_version = |reason: &Reason| matches!(reason, Reason::Version { .. } | Reason::UnreadableVersion { .. });
    if let Some(reason) = but.iter().find(|reason| !of_version(reason)) {
        return reason.clone();
    }
    let offered = manifests.iter().filter(|manifest| !manifest.is_attestation());
    let mut shown: Vec<String> = offered.map(Manifest::shown).take(MOST_SHOWN + 1).collect();
    if shown.len() > MOST_SHOWN {
        shown.truncate(MOST_SHOWN);
        shown.push("more".to_owned());
    }
    let reason = Reason::NoManifest { wanted: host.docker_form(wanted), offered: shown, but };
    trace.refused(reason.rule(), "", reason.to_string());
    reason
}

/// How many entries of an index an error tells of.
const MOST_SHOWN: usize = 40;

/// Of manifests for one platform the highest is taken: the host's own build,
/// then the newest build, then the newest revision that is no newer than the
/// host's. What has no version comes last.
fn preference(manifest: &Manifest, wall: Isolation, host: &Host) -> (bool, u32, bool, u32) {
    let (HostOs::Windows(own), ImageVersion::Known(version)) = (&host.os, &manifest.version) else {
        return (false, 0, false, 0);
    };
    let newer = own.version.build == version.build && version.revision > own.version.revision;
    let safe = wall == Isolation::Hyperv || own.version.revision.is_none() || !newer;
    (own.version.build == version.build, version.build, safe, version.revision.unwrap_or(0))
}

/// How large the virtual machine is.
fn size(ground: &Ground, host: &Host, request: &Request) -> Result<Option<Sizing>, Reason> {
    let limits = Limits { memory: request.memory, nano_cpus: request.nano_cpus };
    let limit = Some(limits.memory).filter(|limit| *limit > 0);
    let cpus = Some(limits.nano_cpus).filter(|nano| *nano > 0);
    let accelerator = request.vm.accelerator.or(request.vm_default.accelerator);
    let emulated = host.emulated || accelerator == Some(Accelerator::Tcg);
    let has_mib = host.memory >> 20;
    let size = match ground {
        Ground::Host => return Ok(None),
        Ground::UtilityVm => sizing::utility_vm(limit, cpus, host.cpus),
        Ground::Guest(_) if host.memory == 0 || host.cpus == 0 => {
            // Only what is asked for is known, and whether that makes sense.
            let unknown = sizing::Sizing { memory_mib: 0, cpus: 0, most_cpus: 0, workload_limit: 0 };
            return vm::sized(&request.vm, &request.vm_default, limits, unknown, has_mib).map(|_| None);
        }
        Ground::Guest(_) => {
            sizing::sizing(sizing::Host { memory: host.memory, cpus: host.cpus, emulated }, limit, cpus)
        }
    };
    vm::sized(&request.vm, &request.vm_default, limits, size, has_mib).map(Some)
}
