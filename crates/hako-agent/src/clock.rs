//! What a machine that has just woken does not know: the time, true
//! randomness, its name.
#![allow(unsafe_code)]
// UNSAFETY: the ioctls of /dev/random.

use hako_model::{Error, Result};
use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_settime},
    unistd::sethostname,
};
use std::{fs::OpenOptions, os::fd::AsRawFd};

/// The kernel takes at most this much at once.
const POOL: usize = 512;

/// `struct rand_pool_info` of `<linux/random.h>`, with room for the most.
#[repr(C)]
struct PoolInfo {
    entropy_bits: libc::c_int,
    size: libc::c_int,
    bytes: [u8; POOL],
}

nix::ioctl_write_ptr_bad!(add_entropy, nix::request_code_write!(b'R', 0x03, 2 * size_of::<libc::c_int>()), PoolInfo);
nix::ioctl_none!(reseed, b'R', 0x07);

/// Sets the clock, in nanoseconds since 1970.
pub fn set(unix_time_ns: i64) -> Result<()> {
    let time = TimeSpec::new(unix_time_ns.div_euclid(1_000_000_000), unix_time_ns.rem_euclid(1_000_000_000));
    clock_settime(ClockId::CLOCK_REALTIME, time).map_err(|err| Error::internal(format!("set the clock: {err}")))
}

/// Adds `seed` to the kernel's random pool, credited, and reseeds from it.
pub fn seed(seed: &[u8]) -> Result<()> {
    let size = seed.len().min(POOL);
    let mut info = PoolInfo { entropy_bits: 0, size: 0, bytes: [0; POOL] };
    for (to, from) in info.bytes.iter_mut().zip(seed) {
        *to = *from;
    }
    info.size = libc::c_int::try_from(size).unwrap_or(0);
    info.entropy_bits = info.size * 8;
    let device = "/dev/random";
    let failed = |step: &str, err: &dyn std::fmt::Display| Error::internal(format!("{step} {device}: {err}"));
    let file = OpenOptions::new().write(true).open(device).map_err(|err| failed("open", &err))?;
    // SAFETY: the kernel reads `size` bytes behind the two integers, and `bytes` has that many.
    unsafe { add_entropy(file.as_raw_fd(), &raw const info) }.map_err(|err| failed("seed", &err))?;
    // SAFETY: takes no argument.
    unsafe { reseed(file.as_raw_fd()) }.map_err(|err| failed("reseed", &err))?;
    Ok(())
}

/// Names the guest.
pub fn set_hostname(name: &str) -> Result<()> {
    sethostname(name).map_err(|err| Error::internal(format!("set the host name {name:?}: {err}")))
}
