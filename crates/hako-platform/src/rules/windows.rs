//! Windows images on Windows hosts.

use super::{Case, Ground, Verdict};
use crate::{
    Family, ImageVersion, Install, OsVersion, Product, WindowsHost,
    reason::{Reason, named},
    tables,
    tables::Tables,
    trace::Trace,
};
use hako_model::Isolation;

/// Judges `case` behind `wall`.
pub(super) fn judge(case: &Case<'_>, host: &WindowsHost, wall: Isolation, trace: &mut Trace) -> Verdict {
    let (image, own) = (&case.manifest.platform, case.host.platform());
    if own.accepts(image).is_none() {
        return Err(Reason::Architecture { wall, image: Box::new(image.clone()), host: Box::new(own) });
    }
    if let Some(name) = &case.request.vm.kernel {
        // The image brings its own.
        return Err(Reason::NoKernel { name: name.clone(), installed: Vec::new() });
    }
    host_itself(case, host, wall, trace)?;
    let tables = tables();
    let version = match &case.manifest.version {
        ImageVersion::Known(version) => *version,
        ImageVersion::Unsaid => {
            trace.noted("windows.version", "", "the image has no os.version: whether it fits, the start will show");
            return Ok(ground(wall));
        }
        ImageVersion::Unreadable(text) if wall == Isolation::Hyperv && case.request.allow_newer => {
            trace.noted("windows.version", "", format!("the image's os.version {text:?} is no version; allowed"));
            return Ok(ground(wall));
        }
        ImageVersion::Unreadable(text) => return Err(Reason::UnreadableVersion { text: text.clone() }),
    };
    for (whose, version) in [("host", host.version), ("image", version)] {
        if tables.release(version.build).is_none() {
            trace.noted(
                "windows.unknown",
                "",
                format!("build {} of the {whose} is not in the tables: the general rule is applied", version.build),
            );
        }
    }
    match wall {
        Isolation::Process => process(host, version, tables, trace)?,
        Isolation::Hyperv => hyperv(case, host, version, tables, trace)?,
    }
    if let Some(row) = tables.disagreement(host.version.build, version.build) {
        trace.noted("windows.disagreement", &row.source, row.note.clone());
    }
    least_memory(case, version, wall, tables, trace);
    Ok(ground(wall))
}

fn ground(wall: Isolation) -> Ground {
    match wall {
        Isolation::Process => Ground::Host,
        Isolation::Hyperv => Ground::UtilityVm,
    }
}

/// What the host's product, edition and installation say.
fn host_itself(case: &Case<'_>, host: &WindowsHost, wall: Isolation, trace: &mut Trace) -> Result<(), Reason> {
    let tables = tables();
    if host.install == Install::Nano {
        if host.version.build > tables.nano.last_host {
            return Err(Reason::NanoHost { host: host.version });
        }
        match (wall, case.manifest.family) {
            (Isolation::Hyperv, _) | (Isolation::Process, Family::NanoServer) => {
                trace.passed("windows.nano", &tables.nano.source, "a Nano Server host runs this behind this wall");
            }
            (Isolation::Process, Family::Unknown) => {
                let text = "a Nano Server host runs only Nano Server's images behind the process wall, and nothing says \
                            whether this is one";
                trace.noted("windows.nano", &tables.nano.source, text);
            }
            (Isolation::Process, image) => return Err(Reason::NanoFamily { image }),
        }
    }
    if host.product == Product::Client && wall == Isolation::Process {
        if host.version.build < tables.client.process_from {
            return Err(Reason::Client { host: host.version });
        }
        let text = "the process wall of Windows 10 and 11 is for development and tests only";
        trace.noted("windows.client", &tables.client.source, text);
    }
    if wall == Isolation::Hyperv {
        let edition = if host.product == Product::Client { "client" } else { &host.edition };
        if let Some(licence) = tables.licences.iter().find(|row| row.edition.eq_ignore_ascii_case(edition)) {
            trace.noted("windows.licence", &licence.source, licence.note.clone());
        }
    }
    Ok(())
}

/// The image shares the host's kernel.
fn process(host: &WindowsHost, image: OsVersion, tables: &'static Tables, trace: &mut Trace) -> Result<(), Reason> {
    let own = host.version;
    let source = tables.process.source.as_str();
    let said = tables.disagreement(own.build, image.build).and_then(|row| row.process);
    let floor = tables.process_floor(own.build);
    let fits = own.same_line(image) && said.unwrap_or((floor..=own.build).contains(&image.build));
    if !fits {
        return Err(Reason::Version { wall: Isolation::Process, image, host: own });
    }
    let range = if floor == own.build { format!("build {floor}") } else { format!("builds {floor} to {}", own.build) };
    trace.passed("windows.process.build", source, format!("host {} runs images of {range}", named(own)));
    baseline(own, image, tables)?;
    revision(own, image, tables, trace);
    Ok(())
}

/// Both have the update, or both lack it.
fn baseline(host: OsVersion, image: OsVersion, tables: &Tables) -> Result<(), Reason> {
    if host.build != image.build {
        return Ok(());
    }
    let row = tables.baselines.iter().find(|row| row.build == host.build);
    let (Some(row), Some(own), Some(theirs)) = (row, host.revision, image.revision) else {
        return Ok(());
    };
    match (own >= row.host, theirs >= row.image) {
        (true, false) => Err(Reason::Baseline { image, host, image_is_older: true }),
        (false, true) => Err(Reason::Baseline { image, host, image_is_older: false }),
        (true, true) | (false, false) => Ok(()),
    }
}

/// Revisions do not decide, and are worth a warning.
fn revision(host: OsVersion, image: OsVersion, tables: &'static Tables, trace: &mut Trace) {
    let rule = "windows.process.revision";
    if host.build != image.build {
        return;
    }
    let (Some(own), Some(theirs)) = (host.revision, image.revision) else {
        trace.passed(rule, "", "a revision is not known, so that they cannot be compared");
        return;
    };
    if host.build <= tables.revision.must_match_until && own != theirs {
        let text = format!(
            "image {image} on host {host}: up to build {} only equal revisions are supported, and others may not start; \
             update the older of the two, or use the hyperv wall",
            tables.revision.must_match_until
        );
        trace.noted(rule, &tables.revision.source, text);
    } else if theirs > own {
        let text = format!(
            "image {image} is newer than host {host}, which was seen to fail with 0xc0370106: update the host to \
             {image}, or use the hyperv wall"
        );
        trace.noted(rule, "microsoft/Windows-Containers#591, actions/runner-images#11582", text);
    } else {
        trace.passed(rule, "", format!("revision {theirs} of the image is not newer than the host's {own}"));
    }
}

/// The image brings its own kernel.
fn hyperv(
    case: &Case<'_>,
    host: &WindowsHost,
    image: OsVersion,
    tables: &'static Tables,
    trace: &mut Trace,
) -> Result<(), Reason> {
    let own = host.version;
    let source = tables.hyperv.source.as_str();
    let said = tables.disagreement(own.build, image.build).and_then(|row| row.hyperv);
    let refused = Err(Reason::Version { wall: Isolation::Hyperv, image, host: own });
    if !own.same_line(image) {
        return refused;
    }
    if said.unwrap_or(image.build <= own.build) {
        trace.passed("windows.hyperv.build", source, format!("image {} is not newer than its host", named(image)));
        return Ok(());
    }
    if said.is_none() && case.request.allow_newer && own.build >= tables.hyperv.newer_from {
        let text = format!(
            "image {} is newer than host {}: not supported, and allowed because it was asked for",
            named(image),
            named(own)
        );
        trace.noted("windows.hyperv.build", source, text);
        return Ok(());
    }
    refused
}

fn least_memory(case: &Case<'_>, image: OsVersion, wall: Isolation, tables: &'static Tables, trace: &mut Trace) {
    let family = case.manifest.family.as_str();
    let row = tables.least_memory.iter().find(|row| row.build == image.build && row.family == family);
    let Some(row) = row.filter(|_| case.request.memory > 0) else {
        return;
    };
    let least = match wall {
        Isolation::Process => row.process,
        Isolation::Hyperv => row.hyperv,
    };
    if case.request.memory < least << 20 {
        let text =
            format!("a container of {family} needs {least} MB behind the {wall} wall to start and run a command");
        trace.noted("windows.memory", &row.source, text);
    }
}
