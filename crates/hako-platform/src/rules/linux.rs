//! Linux images: on a Linux host's own kernel, or on a guest kernel of any host.

use super::{Case, Ground, Verdict};
use crate::{Accelerator, GuestKernel, Host, LinuxHost, reason::Reason, trace::Trace};
use hako_model::Isolation;

/// Behind the process wall.
pub(super) fn process(case: &Case<'_>, host: &LinuxHost, trace: &mut Trace) -> Verdict {
    let (image, own) = (&case.manifest.platform, case.host.platform());
    if own.accepts(image).is_some() {
        trace.passed("architecture", "", format!("{own} runs {image}"));
    } else if image.architecture != own.architecture && host.interpreters.contains(&image.architecture) {
        trace.noted("architecture", "", format!("{image} is emulated by the registered interpreter, and slow"));
    } else {
        return Err(Reason::Architecture {
            wall: Isolation::Process,
            image: Box::new(image.clone()),
            host: Box::new(own),
        });
    }
    let Some(least) = case.manifest.wish.kernel else {
        return Ok(Ground::Host);
    };
    match host.kernel {
        Some(kernel) if kernel >= least => {
            trace.passed("image.kernel", "", format!("the image asks for kernel {least}, this host's is {kernel}"));
            Ok(Ground::Host)
        }
        has => Err(Reason::ImageKernel { wall: Isolation::Process, least, has }),
    }
}

/// Behind the hyperv wall.
pub(super) fn hyperv(case: &Case<'_>, trace: &mut Trace) -> Verdict {
    let (image, host) = (&case.manifest.platform, case.host);
    let of_system: Vec<&GuestKernel> = host.guests.iter().filter(|guest| guest.os == image.os).collect();
    if of_system.is_empty() && image.os != host.os_name() {
        return Err(super::other_system(case));
    }
    let able: Vec<&GuestKernel> =
        of_system.into_iter().filter(|guest| guest.platform(host).accepts(image).is_some()).collect();
    if able.is_empty() {
        return Err(Reason::Architecture {
            wall: Isolation::Hyperv,
            image: Box::new(image.clone()),
            host: Box::new(host.platform()),
        });
    }
    let named: Vec<&GuestKernel> = match &case.request.vm.kernel {
        Some(name) => able.iter().copied().filter(|guest| guest.name == *name).collect(),
        None => preferred(&able, case.request.vm_default.kernel.as_deref()),
    };
    if named.is_empty() {
        let name = case.request.vm.kernel.clone().unwrap_or_default();
        return Err(Reason::NoKernel { name, installed: able.iter().map(|guest| guest.name.clone()).collect() });
    }
    let guest = new_enough(case, &named)?;
    // No host's processor is another's.
    if let Some(asked @ Accelerator::Kvm) = case.request.vm.accelerator
        && guest.architecture != host.architecture
    {
        return Err(Reason::Accelerator { asked });
    }
    tell(guest, host, trace);
    Ok(Ground::Guest(guest.clone()))
}

/// The one that is configured goes first, if it is among them.
fn preferred<'a>(able: &[&'a GuestKernel], name: Option<&str>) -> Vec<&'a GuestKernel> {
    let (mut first, others): (Vec<_>, Vec<_>) =
        able.iter().copied().partition(|guest| Some(guest.name.as_str()) == name);
    first.extend(others);
    first
}

/// The first of them that the image's wish allows.
fn new_enough<'a>(case: &Case<'_>, guests: &[&'a GuestKernel]) -> Result<&'a GuestKernel, Reason> {
    let Some(least) = case.manifest.wish.kernel else {
        // The caller has looked that there is one.
        return guests.first().copied().ok_or_else(|| super::other_system(case));
    };
    let found = guests.iter().copied().find(|guest| guest.kernel.is_some_and(|kernel| kernel >= least));
    found.ok_or_else(|| Reason::ImageKernel {
        wall: Isolation::Hyperv,
        least,
        has: guests.iter().filter_map(|guest| guest.kernel).max(),
    })
}

fn tell(guest: &GuestKernel, host: &Host, trace: &mut Trace) {
    let release = guest.kernel.map_or_else(String::new, |kernel| format!(" ({kernel})"));
    let text = format!("guest kernel {:?}{release} for {}", guest.name, guest.platform(host));
    if guest.architecture == host.architecture {
        trace.passed("kernel", "", text);
    } else {
        trace.noted("kernel", "", format!("{text}: another architecture than the host's is emulated, and slow"));
    }
}
