//! Sizes as go-units reads them: `10m`, `1.5GB`, `512k`.

use hako_model::{Error, Result};

const SUFFIXES: &[u8] = b"kmgtp";

/// `FromHumanSize`: `k` is 1000.
///
/// # Errors
/// `invalid size: '…'`.
pub fn decimal_size(text: &str) -> Result<i64> {
    size(text, 1000.0)
}

/// `RAMInBytes`: `k` is 1024.
///
/// # Errors
/// `invalid size: '…'`.
pub fn binary_size(text: &str) -> Result<i64> {
    size(text, 1024.0)
}

fn size(text: &str, base: f64) -> Result<i64> {
    let invalid = || Error::invalid(format!("invalid size: '{text}'"));
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |last| last + 1);
    let (number, unit) = text.split_at(end);
    let number: f64 = number.trim().parse().map_err(|_| invalid())?;
    if number < 0.0 || !number.is_finite() {
        return Err(invalid());
    }
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = if unit.len() == 2 { unit.strip_suffix('i').unwrap_or(unit) } else { unit };
    let power = match unit.as_bytes() {
        [] => 0,
        [letter] => SUFFIXES.iter().position(|suffix| suffix == letter).ok_or_else(invalid)? + 1,
        _ => return Err(invalid()),
    };
    let bytes = (0..power).fold(number, |bytes, _| bytes * base);
    #[allow(clippy::cast_possible_truncation)] // Saturates, which is what a silly size deserves.
    Ok(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(decimal_size("10m").unwrap(), 10_000_000);
        assert_eq!(decimal_size("1.5 KB").unwrap(), 1500);
        assert_eq!(decimal_size("7").unwrap(), 7);
        assert_eq!(binary_size("1MiB").unwrap(), 1 << 20);
        assert_eq!(binary_size("64k").unwrap(), 65536);
        for bad in ["", "m", "-1", "1x", "1kk", "ten"] {
            assert_eq!(decimal_size(bad).unwrap_err().message, format!("invalid size: '{bad}'"));
        }
    }
}
