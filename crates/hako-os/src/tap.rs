//! Tap devices: an interface whose other end is a descriptor. The calls act in
//! the network namespace of the calling thread.
#![allow(unsafe_code)]
// UNSAFETY: tap devices are made and opened by ioctls that have no safe face.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsRawFd, OwnedFd},
    os::unix::fs::OpenOptionsExt,
};

const DEVICE: &str = "/dev/net/tun";

mod ioctl {
    //! What the macros make is not for others.
    #![allow(missing_docs)]
    nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF as libc::c_ulong, libc::ifreq);
    nix::ioctl_write_int_bad!(set_persistent, libc::TUNSETPERSIST as libc::c_ulong);
    nix::ioctl_write_int_bad!(set_offload, libc::TUNSETOFFLOAD as libc::c_ulong);
    nix::ioctl_write_ptr_bad!(set_header_size, libc::TUNSETVNETHDRSZ as libc::c_ulong, libc::c_int);
}

/// How long the header is with [`open_with_offload`]: `struct virtio_net_hdr_mrg_rxbuf`.
pub const HEADER: usize = 12;

/// Makes the tap device `name`, which stays when nobody has it open.
///
/// # Errors
/// The kernel's: the name is taken by another kind of interface, no `/dev/net/tun`.
pub fn create(name: &str) -> io::Result<()> {
    let file = attach(name)?;
    // SAFETY: an open tap descriptor and an integer.
    unsafe { ioctl::set_persistent(file.as_raw_fd(), 1) }?;
    Ok(())
}

/// Opens the tap device `name`, making it if it is not there (then it goes with
/// the descriptor). Frames have a `virtio_net_hdr` before them; reads and
/// writes do not block.
///
/// # Errors
/// As [`create`]; `ResourceBusy` if somebody has it open.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    Ok(attach(name)?.into())
}

/// As [`open`], for one who takes frames of up to 64 KiB with checksums that
/// are still to be made, and passes them on with their header of [`HEADER`] bytes.
///
/// # Errors
/// As [`open`].
pub fn open_with_offload(name: &str) -> io::Result<OwnedFd> {
    let file = attach(name)?;
    let size = libc::c_int::try_from(HEADER).unwrap_or(libc::c_int::MAX);
    let offload = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let offload = libc::c_int::try_from(offload).unwrap_or_default();
    // SAFETY: an open tap descriptor; the pointer is to an int that lives through the call.
    unsafe { ioctl::set_header_size(file.as_raw_fd(), &raw const size) }?;
    // SAFETY: an open tap descriptor and an integer.
    unsafe { ioctl::set_offload(file.as_raw_fd(), offload) }?;
    Ok(file.into())
}

fn attach(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE)?;
    // SAFETY: all zeroes are a valid ifreq: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte less than there is room for: the kernel wants a zero at the end.
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("an interface cannot be named {name:?}")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or_default();
    // SAFETY: an open descriptor of the tun device, and an ifreq that lives through the call.
    unsafe { ioctl::set_interface(file.as_raw_fd(), &raw const request) }?;
    Ok(file)
}
