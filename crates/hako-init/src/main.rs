//! `hako-init -- program arguments…`: PID 1 of a container with `--init`.
//!
//! Starts the program in a process group of its own (in the foreground of the
//! terminal, if there is one), passes every signal on to it, collects whatever
//! dies, and ends with the program's exit code, or 128 + its signal. Kept to
//! the standard library: it is copied into every such container.
#![allow(unsafe_code)]
// UNSAFETY: signal sets, waiting for any child and the terminal's foreground
// group have no safe face in the standard library.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode, exit},
};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).skip_while(|arg| arg == "--");
    let Some(program) = args.next() else {
        eprintln!("hako-init: usage: hako-init -- program [argument…]");
        return ExitCode::from(1);
    };
    let signals = block_all();
    match start(&program, args) {
        Ok(child) => serve(child, &signals),
        Err(err) => {
            eprintln!("hako-init: {}: {err}", program.to_string_lossy());
            ExitCode::from(if err.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

/// Blocks every signal, so that they wait to be taken by `serve`.
fn block_all() -> libc::sigset_t {
    // SAFETY: an all-zero set is valid and filled at once; the calls write only
    // to it. This process has one thread.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        for fault in
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTTIN, libc::SIGTTOU]
        {
            libc::sigdelset(&raw mut set, fault);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        // Handing the terminal over must not stop this process.
        libc::signal(libc::SIGTTIN, libc::SIG_IGN);
        libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        set
    }
}

fn start(program: &OsString, args: impl Iterator<Item = OsString>) -> io::Result<libc::pid_t> {
    let mut command = Command::new(program);
    command.args(args);
    // SAFETY: between fork and exec only async-signal-safe calls are made.
    unsafe {
        command.pre_exec(|| {
            libc::setpgid(0, 0);
            // Without a terminal this fails, and nothing is lost.
            libc::tcsetpgrp(0, libc::getpgrp());
            libc::signal(libc::SIGTTIN, libc::SIG_DFL);
            libc::signal(libc::SIGTTOU, libc::SIG_DFL);
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(libc::pid_t::try_from(child.id()).unwrap_or(-1))
}

/// Passes signals on until the program has ended.
fn serve(child: libc::pid_t, signals: &libc::sigset_t) -> ! {
    loop {
        let mut signal = 0;
        // SAFETY: both pointers are to live values of the right type.
        if unsafe { libc::sigwait(signals, &raw mut signal) } != 0 {
            continue;
        }
        if signal == libc::SIGCHLD {
            reap(child);
        } else {
            // SAFETY: kill takes two integers; the child is not collected yet, so the number is its own.
            unsafe { libc::kill(child, signal) };
        }
    }
}

/// Collects everything that has ended; ends with the program.
fn reap(child: libc::pid_t) {
    loop {
        let mut status = 0;
        // SAFETY: the status is a live integer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return;
        }
        if pid == child {
            if libc::WIFEXITED(status) {
                exit(libc::WEXITSTATUS(status));
            }
            exit(128 + libc::WTERMSIG(status));
        }
    }
}
