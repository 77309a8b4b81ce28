//! Large data of host folders passes through a disk that is the host's memory:
//! a port carries 4 KiB at a time, a disk a whole request. The request says in
//! which slot its data is (a WRITE's), or belongs (a READ's); it is this side
//! that gives the slots.

use super::{BUFFER, HEAD, WRITE_HEAD};
use crate::mounts::disk_now;
use hako_model::{SHARES_WINDOW, WINDOW_SLOT, WINDOW_SLOTS};
use nix::errno::Errno;
use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    sync::{Mutex, PoisonError},
};

/// Below this the port is as fast.
const LEAST: usize = 32 << 10;
/// Numbers of the FUSE protocol (`linux/fuse.h`).
const READ: u32 = 15;
const WRITE: u32 = 16;
/// Where a request and a reply have what.
const OPCODE: usize = 4;
const UNIQUE: usize = 8;
const ERROR: usize = 4;
const SLOT: usize = 38;
const READ_SIZE: usize = 56;
/// The reply to a read through the window says how much there is.
const COUNT: usize = 4;
/// Direct reads and writes of a disk are of whole pages.
const PAGE: usize = 4096;

/// The disk, where the machine has one.
#[derive(Debug)]
pub(super) struct Window(Option<Open>);

#[derive(Debug)]
struct Open {
    disk: File,
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    free: Vec<u16>,
    /// By the request's number.
    used: HashMap<u64, Used>,
}

/// What a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Used {
    slot: u16,
    is_read: bool,
}

impl Window {
    /// Finds and opens it. All disks are there before the first program is.
    pub fn open() -> io::Result<Self> {
        let Some(path) = disk_now(SHARES_WINDOW)? else { return Ok(Self(None)) };
        let disk = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path)?;
        let slots = Slots { free: (0..WINDOW_SLOTS).rev().collect(), used: HashMap::new() };
        Ok(Self(Some(Open { disk, slots: Mutex::new(slots) })))
    }

    /// Prepares the request of `n` bytes in `buffer`; answers how many of them
    /// are for the port.
    pub fn send(&self, buffer: &mut Paged, n: usize) -> usize {
        let Some(open) = &self.0 else { return n };
        let request = &buffer.whole()[..n];
        let is_read = match number(request, OPCODE) {
            Some(READ) => true,
            Some(WRITE) => false,
            _ => return n,
        };
        let size = if is_read { number(request, READ_SIZE).unwrap_or(0) as usize } else { n - WRITE_HEAD.min(n) };
        if !(LEAST..=WINDOW_SLOT as usize).contains(&size) {
            return n;
        }
        let unique = unique(request);
        let Some(slot) = open.take(unique, is_read) else { return n };
        if !is_read {
            let pages = size.next_multiple_of(PAGE);
            if let Err(err) = open.disk.write_all_at(&buffer.paged()[..pages], place(slot)) {
                tracing::warn!("host folders: the window: {err}");
                open.release(unique);
                return n;
            }
        }
        let sent = if is_read { n } else { WRITE_HEAD };
        let whole = buffer.whole();
        whole[..OPCODE].copy_from_slice(&u32::try_from(sent).unwrap_or(u32::MAX).to_ne_bytes());
        whole[SLOT..SLOT + 2].copy_from_slice(&(slot + 1).to_ne_bytes());
        sent
    }

    /// The reply as the kernel wants it.
    pub fn receive<'a>(&self, reply: &'a [u8], large: &'a mut Paged) -> &'a [u8] {
        let Some(open) = &self.0 else { return reply };
        let unique = unique(reply);
        let Some(used) = open.used(unique) else { return reply };
        if !used.is_read || number(reply, ERROR) != Some(0) {
            open.release(unique);
            return reply;
        }
        let count = number(reply, HEAD).map_or(usize::MAX, |count| count as usize);
        let read = if reply.len() == HEAD + COUNT && count <= WINDOW_SLOT as usize {
            open.disk.read_exact_at(&mut large.paged()[..count.next_multiple_of(PAGE)], place(used.slot))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("a reply with {count} bytes in the window")))
        };
        open.release(unique);
        let (length, error) = match read {
            Ok(()) => (HEAD + count, 0),
            Err(err) => {
                tracing::warn!("host folders: the window: {err}");
                (HEAD, -(Errno::EIO as i32))
            }
        };
        let whole = large.whole();
        whole[..HEAD].copy_from_slice(&reply[..HEAD]);
        whole[..ERROR].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        whole[ERROR..UNIQUE].copy_from_slice(&error.to_ne_bytes());
        &whole[..length]
    }
}

impl Open {
    fn slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, unique: u64, is_read: bool) -> Option<u16> {
        let mut slots = self.slots();
        let slot = slots.free.pop()?;
        slots.used.insert(unique, Used { slot, is_read });
        Some(slot)
    }

    fn used(&self, unique: u64) -> Option<Used> {
        self.slots().used.get(&unique).copied()
    }

    fn release(&self, unique: u64) {
        let mut slots = self.slots();
        if let Some(used) = slots.used.remove(&unique) {
            slots.free.push(used.slot);
        }
    }
}

fn place(slot: u16) -> u64 {
    u64::from(slot) * u64::from(WINDOW_SLOT)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn unique(message: &[u8]) -> u64 {
    message.get(UNIQUE..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// A buffer in which a page begins behind a head.
#[derive(Debug)]
pub(super) struct Paged {
    memory: Vec<u8>,
    start: usize,
    head: usize,
}

impl Paged {
    pub fn new(head: usize) -> Self {
        let memory = vec![0; BUFFER + 2 * PAGE];
        let address = memory.as_ptr().addr();
        let start = (address + head).next_multiple_of(PAGE) - head - address;
        Self { memory, start, head }
    }

    /// With the head.
    pub fn whole(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + BUFFER]
    }

    /// From the page on; one page longer than what fits behind the head.
    pub fn paged(&mut self) -> &mut [u8] {
        &mut self.memory[self.start + self.head..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(dir: &std::path::Path) -> Window {
        let disk = File::options().create_new(true).read(true).write(true).open(dir.join("window")).unwrap();
        disk.set_len(u64::from(WINDOW_SLOTS) * u64::from(WINDOW_SLOT)).unwrap();
        let slots = Slots { free: (0..WINDOW_SLOTS).rev().collect(), used: HashMap::new() };
        Window(Some(Open { disk, slots: Mutex::new(slots) }))
    }

    fn request(buffer: &mut Paged, opcode: u32, unique: u64, size: usize) -> usize {
        let n = if opcode == WRITE { WRITE_HEAD + size } else { WRITE_HEAD };
        let whole = buffer.whole();
        whole[..WRITE_HEAD].fill(0);
        whole[..4].copy_from_slice(&(n as u32).to_ne_bytes());
        whole[OPCODE..OPCODE + 4].copy_from_slice(&opcode.to_ne_bytes());
        whole[UNIQUE..UNIQUE + 8].copy_from_slice(&unique.to_ne_bytes());
        whole[READ_SIZE..READ_SIZE + 4].copy_from_slice(&(size as u32).to_ne_bytes());
        n
    }

    fn slot(buffer: &mut Paged) -> u16 {
        u16::from_ne_bytes(*buffer.whole()[SLOT..].first_chunk().unwrap())
    }

    #[test]
    fn pages_begin_behind_the_head() {
        for head in [HEAD, WRITE_HEAD] {
            let mut buffer = Paged::new(head);
            assert_eq!(buffer.paged().as_ptr().addr() % PAGE, 0);
            assert!(buffer.paged().len() >= WINDOW_SLOT as usize);
            assert_eq!(buffer.whole().len(), BUFFER);
        }
    }

    #[test]
    fn a_large_write_goes_through_and_gives_its_slot_back() {
        let dir = tempfile::tempdir().unwrap();
        let window = window(dir.path());
        let (mut buffer, mut large) = (Paged::new(WRITE_HEAD), Paged::new(HEAD));
        let size = LEAST + 1;
        let n = request(&mut buffer, WRITE, 2, size);
        buffer.paged()[..size].fill(7);
        assert_eq!((window.send(&mut buffer, n), slot(&mut buffer)), (WRITE_HEAD, 1));
        assert_eq!(number(buffer.whole(), 0), Some(WRITE_HEAD as u32));
        let mut seen = vec![0; size];
        window.0.as_ref().unwrap().disk.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(seen, vec![7; size]);
        let mut reply = [0; HEAD + 8];
        reply[UNIQUE] = 2;
        assert_eq!(window.receive(&reply, &mut large), reply);
        assert!(window.0.as_ref().unwrap().slots().used.is_empty());
    }

    #[test]
    fn a_large_read_comes_through() {
        let dir = tempfile::tempdir().unwrap();
        let window = window(dir.path());
        let (mut buffer, mut large) = (Paged::new(WRITE_HEAD), Paged::new(HEAD));
        for unique in 0..u64::from(WINDOW_SLOTS) {
            let n = request(&mut buffer, READ, unique, WINDOW_SLOT as usize);
            assert_eq!(window.send(&mut buffer, n), n);
            assert_eq!(u64::from(slot(&mut buffer)), unique + 1);
        }
        // There are no more: as without a window.
        let n = request(&mut buffer, READ, 99, WINDOW_SLOT as usize);
        assert_eq!((window.send(&mut buffer, n), slot(&mut buffer)), (n, 0));
        window.0.as_ref().unwrap().disk.write_all_at(&[5; 5000], 3 * u64::from(WINDOW_SLOT)).unwrap();
        let mut reply = [0; HEAD + COUNT];
        reply[UNIQUE] = 3;
        reply[HEAD..].copy_from_slice(&5000_u32.to_ne_bytes());
        let whole = window.receive(&reply, &mut large);
        assert_eq!((whole.len(), number(whole, 0), unique(whole)), (HEAD + 5000, Some(HEAD as u32 + 5000), 3));
        assert_eq!(whole[HEAD..], [5; 5000]);
        // A host that says too much, and one that says an error.
        reply[UNIQUE] = 4;
        reply[HEAD..].copy_from_slice(&u32::MAX.to_ne_bytes());
        let whole = window.receive(&reply, &mut large);
        assert_eq!((whole.len(), number(whole, ERROR)), (HEAD, Some((-(Errno::EIO as i32)).cast_unsigned())));
        let mut error = [0; HEAD];
        (error[ERROR], error[UNIQUE]) = (1, 5);
        assert_eq!(window.receive(&error, &mut large), error);
        assert_eq!(window.0.as_ref().unwrap().slots().used.len(), usize::from(WINDOW_SLOTS) - 3);
    }

    #[test]
    fn small_data_and_other_requests_pass_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let window = window(dir.path());
        let mut buffer = Paged::new(WRITE_HEAD);
        for (opcode, size) in [(WRITE, LEAST - 1), (READ, LEAST - 1), (READ, WINDOW_SLOT as usize + 1), (1, LEAST)] {
            let n = request(&mut buffer, opcode, 2, size);
            assert_eq!((window.send(&mut buffer, n), slot(&mut buffer)), (n, 0));
        }
        assert_eq!(Window(None).send(&mut buffer, 5), 5);
    }
}
