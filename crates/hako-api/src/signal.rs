//! Signal names and numbers, as `docker kill` and `StopSignal` take them.

use hako_model::{Error, Result};

const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

/// Reads `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3` or `RTMAX-2`.
///
/// # Errors
/// `invalid signal: …`.
pub fn parse(text: &str) -> Result<i32> {
    let bad = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(plus) = name.strip_prefix("RTMIN+") {
        return plus.parse::<i32>().ok().map(|n| 34 + n).filter(|n| (34..=64).contains(n)).ok_or_else(bad);
    }
    if let Some(minus) = name.strip_prefix("RTMAX-") {
        return minus.parse::<i32>().ok().map(|n| 64 - n).filter(|n| (34..=64).contains(n)).ok_or_else(bad);
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    #[test]
    fn forms() {
        for (text, number) in [("9", 9), ("KILL", 9), ("sigusr1", 10), ("RTMIN+3", 37), ("SIGRTMAX-2", 62)] {
            assert_eq!(super::parse(text).unwrap(), number);
        }
        assert_eq!(super::parse("BOGUS").unwrap_err().message, "invalid signal: BOGUS");
        assert!(super::parse("0").is_err());
    }
}
