//! The host as hako-platform takes it.

use super::guests;
use crate::{Engine, accelerator::Status, host::HostInfo};
use hako_model::policy;
use hako_platform::{GuestKernel, Host, HostOs, LinuxHost, WallState, binfmt};
use hako_qemu::Accelerator;
use std::{fs, path::Path};

const BINFMT_MISC: &str = "/proc/sys/fs/binfmt_misc";
/// What QEMU's emulated processor has at least.
const EMULATED: &str = "v2";

/// What is known of this host now: an interpreter may be registered, and an
/// accelerator be found, at any time.
pub fn facts(engine: &Engine) -> Host {
    let status = engine.accelerator.status();
    let emulated = matches!(&status, Status::Known(probe) if probe.accelerator == Accelerator::Tcg);
    let guests = guests::guests(engine).into_iter().map(|guest| processor(guest, emulated)).collect();
    let hyperv = match status {
        Status::Failed(why) => WallState::Lacks(vec![why]),
        Status::Unknown | Status::Probing | Status::Known(_) => match lacking(engine) {
            Some(why) => WallState::Lacks(vec![why]),
            None if matches!(status, Status::Known(_)) => WallState::Works,
            None => WallState::Unprobed,
        },
    };
    Host { hyperv, emulated, guests, ..of_machine(&engine.host, interpreters(Path::new(BINFMT_MISC))) }
}

/// What does not depend on the virtual machines.
fn of_machine(info: &HostInfo, interpreters: Vec<String>) -> Host {
    let linux = LinuxHost { kernel: info.kernel.parse().ok(), interpreters };
    Host {
        variant: info.variant.clone(),
        // The engine runs.
        process: WallState::Works,
        cpus: u32::try_from(info.cpus).unwrap_or(0),
        memory: u64::try_from(info.memory).unwrap_or(0),
        ..Host::new(policy::native_arch(), HostOs::Linux(linux))
    }
}

/// An emulated processor is not the host's.
fn processor(guest: GuestKernel, emulated: bool) -> GuestKernel {
    if emulated && guest.architecture == "amd64" && guest.variant.is_empty() {
        return GuestKernel { variant: EMULATED.to_owned(), ..guest };
    }
    guest
}

/// A file without which no machine boots.
fn lacking(engine: &Engine) -> Option<String> {
    // One of another architecture serves images of that one.
    if !engine.guests.bootable().is_empty() {
        return None;
    }
    engine.guests.usual(policy::native_arch()).err().map(|err| err.message)
}

/// The architectures that `binfmt_misc` runs; none where it is not mounted.
fn interpreters(folder: &Path) -> Vec<String> {
    if fs::read_to_string(folder.join("status")).is_ok_and(|text| text.trim() == "disabled") {
        return Vec::new();
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    binfmt::architectures(entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine() {
        let info = HostInfo {
            kernel: "6.12.4-amd64".to_owned(),
            variant: "v3".to_owned(),
            cpus: 2,
            memory: 1 << 30,
            ..HostInfo::default()
        };
        let host = of_machine(&info, vec!["arm64".to_owned()]);
        assert_eq!((host.cpus, host.memory, host.variant.as_str()), (2, 1 << 30, "v3"));
        let HostOs::Linux(linux) = &host.os else { panic!("a Linux host") };
        assert_eq!(linux.kernel.unwrap().to_string(), "6.12.4");
        assert_eq!(linux.interpreters, ["arm64"]);
    }

    #[test]
    fn an_emulated_processor_is_qemus() {
        let guest = |emulated| processor(GuestKernel::new("default", &Host::linux("amd64").platform()), emulated);
        assert_eq!((guest(true).variant.as_str(), guest(false).variant.as_str()), ("v2", ""));
    }

    #[test]
    fn interpreters_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let entry = "enabled\ninterpreter /q\nflags: F\noffset 0\nmagic 7f454c460201010000000000000000000200b700\n";
        fs::write(folder.path().join("qemu-aarch64"), entry).unwrap();
        fs::write(folder.path().join("register"), "").unwrap();
        assert_eq!(interpreters(folder.path()), ["arm64"]);
        fs::write(folder.path().join("status"), "disabled\n").unwrap();
        assert!(interpreters(folder.path()).is_empty());
        assert!(interpreters(Path::new("/no/such/folder")).is_empty());
    }
}
