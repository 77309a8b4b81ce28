//! Whether one thing is there: by files alone, which are other ones in tests.

use crate::commands::compat::interpreters;
use std::fs;
use std::path::PathBuf;

/// What a probe found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is there; this is it.
    There(String),
    /// It is not, and this is what was looked for.
    Missing(String),
    /// This program does not know how to look.
    Unknown,
}

/// Where things are looked for.
#[derive(Debug)]
pub(super) struct Places {
    /// `/`.
    root: PathBuf,
    /// The folders of `$PATH`.
    path: Vec<PathBuf>,
    /// Folders that may have the guest's files.
    programs: Vec<PathBuf>,
}

/// Where the guest lies beside the programs.
const GUEST: [&str; 2] = ["guest/vmlinux", "guest/initramfs.cpio"];

impl Places {
    pub(super) fn of_this_host() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
        Self {
            root: "/".into(),
            path: std::env::split_paths(&path).collect(),
            programs: beside.into_iter().chain([PathBuf::from("/usr/lib/hako")]).collect(),
        }
    }

    pub(super) fn probe(&self, id: &str) -> Found {
        match id {
            "namespaces" => self.namespaces(),
            "cgroups" => self.cgroups(),
            "overlayfs" => self.overlayfs(),
            "seccomp" => self.seccomp(),
            "qemu" => self.qemu(),
            "guest" => self.guest(),
            "kvm" => self.kvm(),
            _ => Found::Unknown,
        }
    }

    pub(super) fn interpreters(&self) -> Vec<String> {
        interpreters(&self.root.join("proc/sys/fs/binfmt_misc"))
    }

    fn namespaces(&self) -> Found {
        let all = ["mnt", "pid", "net", "ipc", "uts"];
        let missing: Vec<&str> = all
            .into_iter()
            .filter(|name| fs::symlink_metadata(self.root.join("proc/self/ns").join(name)).is_err())
            .collect();
        if missing.is_empty() {
            return Found::There(all.join(", "));
        }
        Found::Missing(format!("this kernel has no namespaces of {}", missing.join(", ")))
    }

    fn cgroups(&self) -> Found {
        let root = self.root.join("sys/fs/cgroup");
        if root.join("cgroup.controllers").is_file() {
            return Found::There("version 2".into());
        }
        if root.join("memory").is_dir() && root.join("pids").is_dir() {
            return Found::There("version 1".into());
        }
        Found::Missing(format!("{} has neither version", root.display()))
    }

    fn overlayfs(&self) -> Found {
        let list = fs::read_to_string(self.root.join("proc/filesystems")).unwrap_or_default();
        if list.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
            return Found::There("in /proc/filesystems".into());
        }
        Found::Missing("/proc/filesystems does not list it".into())
    }

    fn seccomp(&self) -> Found {
        let actions = fs::read_to_string(self.root.join("proc/sys/kernel/seccomp/actions_avail")).unwrap_or_default();
        if actions.split_whitespace().any(|action| action == "errno") {
            return Found::There("filters".into());
        }
        Found::Missing("the kernel knows no seccomp filters".into())
    }

    fn qemu(&self) -> Found {
        let program = format!("qemu-system-{}", std::env::consts::ARCH);
        match self.path.iter().map(|dir| dir.join(&program)).find(|path| path.is_file()) {
            Some(path) => Found::There(path.display().to_string()),
            None => Found::Missing(format!("{program} is in no folder of PATH")),
        }
    }

    fn guest(&self) -> Found {
        let whole = |dir: &&PathBuf| GUEST.iter().all(|name| dir.join(name).is_file());
        match self.programs.iter().find(whole) {
            Some(dir) => Found::There(dir.join("guest").display().to_string()),
            None => {
                let dirs: Vec<String> =
                    self.programs.iter().map(|dir| dir.join("guest").display().to_string()).collect();
                Found::Missing(format!("no kernel and initramfs in {}", dirs.join(" or ")))
            }
        }
    }

    /// Whether guests boot by it, only a guest shows: the engine tries one.
    fn kvm(&self) -> Found {
        let path = self.root.join("dev/kvm");
        match fs::OpenOptions::new().read(true).write(true).open(&path) {
            Ok(_) => Found::There("/dev/kvm opens; whether guests boot by it, the engine tries".into()),
            Err(err) => Found::Missing(format!("{}: {}", path.display(), crate::error::reason(&err))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_host_has_nothing_and_a_full_one_all() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let places = Places { root: root.into(), path: vec![root.join("bin")], programs: vec![root.join("lib")] };
        let all = ["namespaces", "cgroups", "overlayfs", "seccomp", "qemu", "guest", "kvm"];
        for id in all {
            assert!(matches!(places.probe(id), Found::Missing(_)), "{id}");
        }
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for name in ["mnt", "pid", "net", "ipc", "uts"] {
            write(&format!("proc/self/ns/{name}"), "");
        }
        write("sys/fs/cgroup/cgroup.controllers", "memory pids");
        write("proc/filesystems", "nodev\tsysfs\nnodev\toverlay\n");
        write("proc/sys/kernel/seccomp/actions_avail", "kill_process errno allow\n");
        write(&format!("bin/qemu-system-{}", std::env::consts::ARCH), "");
        write("lib/guest/vmlinux", "");
        assert!(matches!(places.probe("guest"), Found::Missing(_)));
        write("lib/guest/initramfs.cpio", "");
        write("dev/kvm", "");
        for id in all {
            assert!(matches!(places.probe(id), Found::There(_)), "{id}");
        }
        assert_eq!(places.probe("another"), Found::Unknown);
    }

    /// What the table names for Linux is looked for.
    #[test]
    fn every_need_has_a_probe() {
        let places = Places::of_this_host();
        for need in hako_platform::tables().needs.iter().filter(|need| need.os == "linux") {
            assert_ne!(places.probe(&need.id), Found::Unknown, "{}", need.id);
        }
    }
}
