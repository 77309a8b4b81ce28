//! Finding the executable, by the rules and in the words of Go's `LookPath`,
//! which Docker's clients read. Runs inside the container as its user.

use crate::error::errno_text;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::{AccessFlags, faccessat};
use std::path::{Path, PathBuf};

/// The path to execute for `name` under this `PATH`, or the text that says why
/// there is none.
pub fn executable(name: &str, path: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        return match check(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(reason) => Err(format!("exec: \"{name}\": {reason}")),
        };
    }
    let not_found = || format!("exec: \"{name}\": executable file not found in $PATH");
    if name.is_empty() {
        return Err(not_found());
    }
    let candidates = path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Path::new(dir).join(name));
    candidates.into_iter().find(|candidate| check(candidate).is_ok()).ok_or_else(not_found)
}

fn check(path: &Path) -> Result<(), String> {
    match nix::sys::stat::stat(path) {
        Err(errno) => Err(format!("stat {}: {}", path.display(), errno_text(errno))),
        Ok(stat) if stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR => Err("is a directory".to_owned()),
        Ok(stat) => match faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS) {
            Ok(()) => no_magic(path),
            Err(Errno::ENOSYS | Errno::EPERM) if stat.st_mode & 0o111 != 0 => Ok(()),
            Err(_) => Err("permission denied".to_owned()),
        },
    }
}

/// `/proc/self/fd` and the like lead to files of the host while this process
/// still has them open.
fn no_magic(path: &Path) -> Result<(), String> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(AT_FDCWD, path, how).map(drop).map_err(errno_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_dockers() {
        assert_eq!(executable("nope", "/bin").unwrap_err(), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(executable("", "/bin").unwrap_err(), "exec: \"\": executable file not found in $PATH");
        assert_eq!(executable("/no/pe", "").unwrap_err(), "exec: \"/no/pe\": stat /no/pe: no such file or directory");
        assert_eq!(executable("/tmp", "").unwrap_err(), "exec: \"/tmp\": is a directory");
        assert_eq!(executable("/etc/passwd", "").unwrap_err(), "exec: \"/etc/passwd\": permission denied");
        assert!(executable("/proc/self/exe", "").unwrap_err().starts_with("exec: \"/proc/self/exe\": too many"));
        assert_eq!(executable("sh", ":bin:/nowhere:/bin").unwrap(), Path::new("/bin/sh"));
    }
}
