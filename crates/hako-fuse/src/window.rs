//! The memory through which large data passes: a file that the guest has as a
//! disk. QEMU's serial ports carry 4 KiB at a time, its disks any number at once.
//!
//! The guest can write to any slot at any moment, so what is in one is read once,
//! and is nothing but data.

use hako_model::{WINDOW_SLOT, WINDOW_SLOTS};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// The window, if there is one.
#[derive(Debug)]
pub(crate) struct Window(pub Option<OwnedFd>);

impl Window {
    /// Puts `data` into a slot.
    ///
    /// # Errors
    /// There is no such slot, or it is too small; the kernel's.
    pub fn put(&self, slot: u16, mut data: &[u8]) -> Result<(), Errno> {
        let (fd, mut at) = self.place(slot, data.len())?;
        while !data.is_empty() {
            match rustix::io::pwrite(fd, data, at) {
                Ok(0) => return Err(Errno::IO),
                Ok(n) => (data, at) = (&data[n..], at + n as u64),
                Err(Errno::INTR) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Fills `data` from a slot.
    ///
    /// # Errors
    /// As [`Window::put`].
    pub fn take(&self, slot: u16, mut data: &mut [u8]) -> Result<(), Errno> {
        let (fd, mut at) = self.place(slot, data.len())?;
        while !data.is_empty() {
            match rustix::io::pread(fd, &mut *data, at) {
                Ok(0) => return Err(Errno::IO),
                Ok(n) => (data, at) = (&mut data[n..], at + n as u64),
                Err(Errno::INTR) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    fn place(&self, slot: u16, len: usize) -> Result<(&OwnedFd, u64), Errno> {
        let index = slot.checked_sub(1).filter(|index| *index < WINDOW_SLOTS).ok_or(Errno::INVAL)?;
        if len > WINDOW_SLOT as usize {
            return Err(Errno::INVAL);
        }
        let fd = self.0.as_ref().ok_or(Errno::INVAL)?;
        Ok((fd, u64::from(index) * u64::from(WINDOW_SLOT)))
    }
}

const _: () = assert!(WINDOW_SLOT as usize == crate::wire::MAX_IO);
