//! A client on a terminal, as a person has it.

#![allow(unsafe_code)]
// UNSAFETY: a child gets a controlling terminal between fork and exec, for which
// the standard library has no safe call.

use crate::{Client, wait_until};
use nix::{
    libc,
    pty::{Winsize, openpty},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(60);

/// A client that runs on a terminal of its own.
pub struct Terminal {
    child: Child,
    master: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `client` on a terminal of `rows` × `columns`.
    #[must_use]
    pub fn start(client: Client, rows: u16, columns: u16) -> Self {
        let pty = openpty(Some(&size(rows, columns)), None).expect("a terminal");
        let slave = File::from(pty.slave);
        let mut command = client.into_command();
        command
            .stdin(Stdio::from(slave.try_clone().expect("a second handle")))
            .stdout(Stdio::from(slave.try_clone().expect("a second handle")))
            .stderr(Stdio::from(slave))
            .env("TERM", "xterm");
        let controlling = || {
            nix::unistd::setsid().map_err(io::Error::from)?;
            // SAFETY: file descriptor 0 is the terminal by now; the ioctl takes no pointer.
            if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: the closure makes two system calls and allocates nothing.
        unsafe { command.pre_exec(controlling) };
        let child = command.spawn().expect("the client starts");
        // The command holds the slave's handles: without it the screen ends with the client.
        drop(command);
        let master = File::from(pty.master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone().expect("a second handle"), Arc::clone(&screen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                sink.lock().expect("not poisoned").extend_from_slice(&buffer[..count]);
            }
        });
        Self { child, master, screen }
    }

    /// Types `text`.
    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        self.master.write_all(text.as_ref()).expect("the terminal takes input");
    }

    /// Everything that the screen has shown.
    #[must_use]
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("not poisoned")).into_owned()
    }

    /// Waits until the screen has shown `text`.
    pub fn expect(&self, text: &str) {
        let begin = Instant::now();
        while !self.screen().contains(text) {
            assert!(begin.elapsed() < DEADLINE, "{text:?} never came; the screen:\n{}", self.screen());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Gives the terminal another size, as a window manager does.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = size(rows, columns);
        // SAFETY: the pointer is to a Winsize that lives until the call returns.
        let done = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        assert_eq!(done, 0, "a terminal can be resized");
    }

    /// Waits for the client's end; its exit code.
    pub fn end(mut self) -> i32 {
        let mut status = None;
        wait_until(DEADLINE, "the client on a terminal to end", || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        let status = status.expect("waited for");
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
