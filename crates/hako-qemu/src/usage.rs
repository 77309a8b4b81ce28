//! What QEMU's process uses.

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::{fs::File, io::Read, os::fd::OwnedFd};

/// What a VM's process has used of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in its own code, the guest's included, in nanoseconds.
    pub user_ns: u64,
    /// CPU time of the kernel for it, in nanoseconds.
    pub system_ns: u64,
    /// Resident memory in bytes.
    pub resident: u64,
    /// Resident memory that no file backs, in bytes.
    pub anonymous: u64,
}

/// The folder in `/proc` of one process. The kernel ties it to the process and
/// not to the number: once that has ended nothing can be read, whoever gets the number.
#[derive(Debug)]
pub(crate) struct ProcDir(OwnedFd);

impl ProcDir {
    /// The folder of a child that has not been collected yet, so that the number is its own.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
        open(format!("/proc/{pid}").as_str(), flags, Mode::empty()).ok().map(Self)
    }

    fn read(&self, name: &str) -> Option<String> {
        let mut text = String::new();
        let fd = openat(&self.0, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        File::from(fd).read_to_string(&mut text).ok()?;
        Some(text)
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        let ([user_ns, system_ns], [resident, anonymous]) =
            hako_os::proc::usage(&self.read("stat")?, &self.read("status")?)?;
        Some(Usage { user_ns, system_ns, resident, anonymous })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_has_no_figures() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let dir = ProcDir::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(dir.usage().unwrap().resident > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(dir.usage(), None);
    }
}
