//! `await FD`: a runtime that is there before there is work for it. It does what
//! can be done without knowing the container, says so, and then becomes the
//! command that comes over the socket `FD`:
//!
//! ```text
//!   w                              from here: it waits
//!   length, words, three files     from the caller: the command line, each word
//!                                  ended by a null byte, and its stdio
//! ```
//!
//! In a virtual machine that is saved and copied, what is done before costs the
//! copies nothing. A command that is told to use `--hold FD` goes on with the
//! same socket; for others it ends there. Without a command it ends with its
//! caller.

use crate::cli::{self, Command};
use crate::devices;
use crate::error::{Context, Error, Result};
use crate::privileges::Own;
use crate::sys;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Longer than any command line of the agent's.
const MAX_LENGTH: usize = 64 << 10;

/// Waits on the inherited descriptor, which must be taken before anything is opened.
pub fn run(number: i32) -> Result<ExitCode> {
    let fd = hako_os::fd::take_inherited(number);
    let mut socket = UnixStream::from(fd.ok_or_else(|| Error::message(format!("descriptor {number} is not open")))?);
    prepare();
    // Who is gone has nothing to be done.
    if socket.write_all(b"w").is_err() {
        return Ok(ExitCode::SUCCESS);
    }
    let Some((words, stdio)) = receive(&mut socket)? else { return Ok(ExitCode::SUCCESS) };
    for (number, fd) in (0..).zip(&stdio) {
        sys::dup_to(fd.as_fd(), number).context(|| "stdio")?;
    }
    drop(stdio);
    let (globals, command) = cli::parse(words.into_iter())?;
    match &command {
        Command::Await { .. } => return Err(Error::message("await: it waits already")),
        // It is that command's from here on, which takes it by its number.
        Command::Create(flags) if flags.hold == Some(number) => _ = socket.into_raw_fd(),
        _ => drop(socket),
    }
    super::run(&globals, command)
}

/// None of it is needed; what fails now is done, and fails, in its time.
fn prepare() {
    _ = Own::read();
    _ = devices::load_usual();
    _ = sys::populate_memory();
}

/// The command line and its stdio; `None` if the caller has gone.
fn receive(socket: &mut UnixStream) -> Result<Option<(Vec<OsString>, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let (got, stdio) = loop {
        match hako_os::fd::receive_all(socket, &mut length) {
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) if err.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
            received => break received.context(|| "await")?,
        }
    };
    if got == 0 {
        return Ok(None);
    }
    socket.read_exact(&mut length[got..]).context(|| "await")?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_LENGTH || stdio.len() != 3 {
        return Err(Error::message("await: malformed message"));
    }
    let mut text = vec![0; length];
    socket.read_exact(&mut text).context(|| "await")?;
    let Some(text) = text.strip_suffix(&[0]) else { return Err(Error::message("await: malformed message")) };
    let words = text.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    Ok(Some((words.collect(), stdio)))
}
