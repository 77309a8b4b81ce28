//! Handles of files: what names an inode, also after its last name and its
//! number have gone to another, without keeping it open.
#![allow(unsafe_code)]
// UNSAFETY: the two calls take a structure that ends in bytes of a variable number.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// The most bytes of a handle, as the kernel has it.
const MOST: usize = 128;

/// `struct file_handle` with room for the most.
#[repr(C)]
struct Raw {
    len: u32,
    kind: i32,
    bytes: [u8; MOST],
}

/// An inode of one filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Handle {
    kind: i32,
    bytes: Box<[u8]>,
}

/// The handle of what `fd` is open for (`O_PATH` suffices), and the number of
/// the mount that it was reached by.
///
/// # Errors
/// The kernel's; `EOPNOTSUPP` where the filesystem has no handles.
pub fn of(fd: BorrowedFd<'_>) -> io::Result<(Handle, i32)> {
    let mut raw = Raw { len: MOST as u32, kind: 0, bytes: [0; MOST] };
    let mut mount = 0;
    // SAFETY: `raw` has room for the bytes that `len` promises, `mount` for one
    // int, and the name is a C string; the kernel writes nothing else.
    let done = unsafe {
        libc::name_to_handle_at(
            fd.as_raw_fd(),
            c"".as_ptr(),
            (&raw mut raw).cast::<libc::file_handle>(),
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    let len = usize::try_from(raw.len).unwrap_or(MOST).min(MOST);
    Ok((Handle { kind: raw.kind, bytes: raw.bytes[..len].into() }, mount))
}

/// Opens the inode through the mount that `mount` is open on (not with `O_PATH`).
///
/// # Errors
/// The kernel's; `ESTALE` for an inode that is gone.
pub fn open(mount: BorrowedFd<'_>, handle: &Handle, flags: i32) -> io::Result<OwnedFd> {
    let len = handle.bytes.len().min(MOST);
    let mut raw = Raw { len: len as u32, kind: handle.kind, bytes: [0; MOST] };
    raw.bytes[..len].copy_from_slice(&handle.bytes[..len]);
    // SAFETY: the kernel reads `len` bytes behind the two integers, and there are that many.
    let fd: RawFd = unsafe {
        libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut raw).cast::<libc::file_handle>(), flags | libc::O_CLOEXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, io::Read, os::fd::AsFd};

    #[test]
    fn an_inode_is_found_again() {
        // /dev/shm is a tmpfs, which has handles.
        let path = format!("/dev/shm/hako-handle-{}", std::process::id());
        std::fs::write(&path, "text").unwrap();
        let file = File::open(&path).unwrap();
        let (handle, _) = of(file.as_fd()).unwrap();
        drop(file);
        let mount = File::open("/dev/shm").unwrap();
        // Without the capability there is nothing more to see.
        if let Ok(fd) = open(mount.as_fd(), &handle, libc::O_RDONLY) {
            let mut text = String::new();
            File::from(fd).read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
