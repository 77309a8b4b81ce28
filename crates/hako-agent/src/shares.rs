//! Host folders: a FUSE mount, and two threads that carry its requests to the
//! host and the replies back.
//!
//! ```text
//! kernel ─ /dev/fuse ─► requests ─► virtio port ─► host
//!                  ◄─── replies ◄── virtio port ◄─
//!                     large data ◄─► window (a disk)
//! ```
//!
//! Requests and replies begin with their length, so the port needs no frames.
//! They pass as they are, but for those with large data, see [`window`].
//! The threads block and hold no lock, so what the agent itself does in the
//! mount never waits for the agent.

mod window;

use crate::port;
use hako_model::{Error, Result};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount as sys_mount},
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::Path,
    sync::Arc,
    thread,
};
use window::{Paged, Window};

/// The kind of mount in the list of the root filesystem; its source is the port.
pub const KIND: &str = "fuse";
/// The most that one request carries, and what comes with it.
const BUFFER: usize = (1 << 20) + (64 << 10);
/// How far a file that is read through is read ahead.
const READ_AHEAD_KIB: u32 = 1024;
const STACK: usize = 128 << 10;
/// A reply begins with its length.
const LENGTH: usize = 4;
/// And is no shorter than this.
const HEAD: usize = 16;
/// What comes before the data of a write.
const WRITE_HEAD: usize = 80;

/// Mounts the host's folders on `target`.
pub fn mount(port: &str, target: &Path) -> Result<()> {
    let named = |step: &str, err: &dyn std::fmt::Display| Error::internal(format!("host folders: {step}: {err}"));
    let port = Arc::new(port::open_blocking(port).map_err(|err| named("port", &format!("{err:#}")))?);
    let device =
        OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(|err| named("open /dev/fuse", &err))?;
    let device = Arc::new(device);
    let options =
        format!("fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", device.as_raw_fd());
    sys_mount(Some("hako"), target, Some("fuse"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|err| named("mount", &err))?;
    let window = Arc::new(Window::open().map_err(|err| named("window", &err))?);
    let (from, to, through) = (device.clone(), port.clone(), window.clone());
    start("requests", move || requests(&from, &to, &through)).map_err(|err| named("thread", &err))?;
    start("replies", move || replies(&port, &device, &window)).map_err(|err| named("thread", &err))?;
    // The kernel hears what it may do from the first reply; this waits for it.
    if let Err(err) = read_ahead(target) {
        tracing::warn!("reading ahead in {}: {err}", target.display());
    }
    Ok(())
}

fn start(name: &str, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let named = name.to_owned();
    let work = move || {
        if let Err(err) = stay_on_one_cpu() {
            tracing::warn!("host folders: {named} run on any CPU: {err}");
        }
        if let Err(err) = work() {
            // The host ends the machine where its side has ended.
            tracing::warn!("host folders: {named}: {err}");
        }
    };
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work).map(drop)
}

/// Both threads where the port's interrupts are served: a request then wakes no
/// CPU but this one, and the one of who waits for it.
fn stay_on_one_cpu() -> nix::Result<()> {
    let mut first = CpuSet::new();
    first.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &first)
}

fn requests(mut device: &File, mut port: &File, window: &Window) -> io::Result<()> {
    // The data of a write begins a page, as a disk wants it.
    let mut buffer = Paged::new(WRITE_HEAD);
    loop {
        match device.read(buffer.whole()) {
            Ok(n) => {
                let n = window.send(&mut buffer, n);
                port.write_all(&buffer.whole()[..n])?;
            }
            // A request that was taken back while it was read.
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::Interrupted) => {}
            Err(err) if err.raw_os_error() == Some(Errno::EAGAIN as i32) => {}
            // Unmounted.
            Err(err) if err.raw_os_error() == Some(Errno::ENODEV as i32) => return Ok(()),
            Err(err) => return Err(err),
        }
    }
}

fn replies(mut port: &File, mut device: &File, window: &Window) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut large = Paged::new(HEAD);
    let mut filled = 0;
    loop {
        let mut start = 0;
        while let Some(length) = buffer[start..filled].first_chunk::<LENGTH>() {
            let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
            if !(HEAD..=BUFFER).contains(&length) {
                return Err(io::Error::new(ErrorKind::InvalidData, format!("a reply of {length} bytes")));
            }
            let Some(reply) = buffer[start..filled].get(..length) else { break };
            let reply = window.receive(reply, &mut large);
            match device.write(reply) {
                // Nobody waits for it any more, or it is about an inode that is gone.
                Ok(_) => {}
                Err(err) if err.kind() == ErrorKind::NotFound => {}
                Err(err) if err.raw_os_error() == Some(Errno::ENODEV as i32) => return Ok(()),
                Err(err) => tracing::warn!("host folders: a reply was not taken: {err}"),
            }
            start += length;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
        match port.read(&mut buffer[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

/// Large reads, as the round trip to the host is what costs.
fn read_ahead(target: &Path) -> io::Result<()> {
    let device = fs::metadata(target)?.dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD_KIB.to_string())
}
