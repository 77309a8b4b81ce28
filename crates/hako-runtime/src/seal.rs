//! Protects this program's file from containers.
//!
//! A container can make the runtime execute itself inside (`#!/proc/self/exe`)
//! and then open `/proc/<pid>/exe`, which is a file of the host, and write to
//! it (CVE-2019-5736). So what goes into containers runs from a mount of the
//! file that is read-only and that no mount namespace has.

use crate::error::{Error, Result};
use nix::sys::statvfs::{FsFlags, statvfs};
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

/// Goes on from a read-only mount, if this process does not already run from one.
pub fn ensure() -> Result<()> {
    let sealed = || statvfs("/proc/self/exe").is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY));
    if sealed() {
        // Executed by a descriptor, it would bear that one's number.
        _ = nix::sys::prctl::set_name(c"hako-runtime");
        return Ok(());
    }
    let bad = |_| Error::message("an argument or variable contains a null byte");
    let args = std::env::args_os().map(|arg| CString::new(arg.into_vec()));
    let env = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        CString::new(name.into_vec())
    });
    let args = args.collect::<std::result::Result<Vec<_>, _>>().map_err(bad)?;
    let env = env.collect::<std::result::Result<Vec<_>, _>>().map_err(bad)?;
    let errno = crate::sys::exec_from_sealed_mount(&args, &env);
    Err(Error::because("run from a read-only mount", crate::error::errno_text(errno)))
}
