//! `kill`: a signal to the first process, or to all.

use crate::error::{Context, Error, Result};
use crate::record::{Existing, Status};
use crate::sys;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::str::FromStr;

/// Sends a signal, named or numbered.
pub fn run(existing: &Existing, signal: &str, all: bool) -> Result<()> {
    let number = number(signal)?;
    if all {
        for pid in existing.cgroup()?.pids() {
            send(pid, number)?;
        }
        return Ok(());
    }
    let pid = existing.live_pid().ok_or_else(|| Error::message("container not running"))?;
    send(pid, number)?;
    if number == nix::libc::SIGKILL && existing.status() == Status::Paused {
        // A frozen process of version 1 does not even die.
        existing.cgroup()?.kill_all()?;
    }
    Ok(())
}

fn send(pid: i32, signal: i32) -> Result<()> {
    match sys::kill(pid, signal) {
        Err(Errno::ESRCH) => Ok(()),
        sent => sent.context(|| format!("signal process {pid}")),
    }
}

/// `9`, `KILL`, `SIGKILL`, `RTMIN+3`.
fn number(signal: &str) -> Result<i32> {
    let bad = || Error::message(format!("invalid signal: {signal}"));
    if let Ok(number) = signal.parse::<i32>() {
        return if (0..=64).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let name = signal.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let real_time = |base: i32, rest: &str, sign: i32| {
        let offset = if rest.is_empty() { 0 } else { rest.get(1..)?.parse::<i32>().ok()? };
        Some(base + sign * offset).filter(|n| (34..=64).contains(n))
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return real_time(34, rest, 1).ok_or_else(bad);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return real_time(64, rest, -1).ok_or_else(bad);
    }
    let name = if name == "CLD" { "CHLD" } else { name };
    Signal::from_str(&format!("SIG{name}")).map(|signal| signal as i32).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn signals_by_name_and_number() {
        assert_eq!(number("9").unwrap(), 9);
        assert_eq!(number("term").unwrap(), 15);
        assert_eq!(number("SIGKILL").unwrap(), 9);
        assert_eq!(number("SIGRTMIN+3").unwrap(), 37);
        assert_eq!(number("RTMAX-1").unwrap(), 63);
        for bad in ["65", "-1", "SIGNOPE", "RTMIN+99", ""] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
