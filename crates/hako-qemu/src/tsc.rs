//! The TSC's frequency, measured against the clock.
#![allow(unsafe_code)]
// UNSAFETY: `rdtsc` is an intrinsic, and those are unsafe to call.

use std::sync::OnceLock;
#[cfg(target_arch = "x86_64")]
use std::{
    thread,
    time::{Duration, Instant},
};

#[cfg(target_arch = "x86_64")]
const SPAN: Duration = Duration::from_millis(100);

/// The frequency of this machine's time stamp counter in kHz. The first call
/// takes a tenth of a second. 0 where there is no such counter.
#[must_use]
pub fn tsc_khz() -> u64 {
    static KHZ: OnceLock<u64> = OnceLock::new();
    *KHZ.get_or_init(measure)
}

#[cfg(target_arch = "x86_64")]
fn measure() -> u64 {
    let (start, from) = sample();
    thread::sleep(SPAN);
    let (end, to) = sample();
    let micros = end.duration_since(start).as_nanos() as f64 / 1e6;
    (to.wrapping_sub(from) as f64 / micros).round() as u64
}

#[cfg(not(target_arch = "x86_64"))]
fn measure() -> u64 {
    0
}

/// The clock and the counter at one moment: of several tries the one that was
/// interrupted the least.
#[cfg(target_arch = "x86_64")]
fn sample() -> (Instant, u64) {
    let mut best: Option<(Duration, Instant, u64)> = None;
    for _ in 0..64 {
        let before = Instant::now();
        // SAFETY: every x86-64 CPU has the counter; reading it changes nothing.
        let counter = unsafe { core::arch::x86_64::_rdtsc() };
        let width = before.elapsed();
        if best.is_none_or(|(narrowest, ..)| width < narrowest) {
            best = Some((width, before + width / 2, counter));
        }
    }
    best.map_or_else(|| (Instant::now(), 0), |(_, at, counter)| (at, counter))
}

#[cfg(test)]
mod tests {
    #[test]
    fn frequency_is_plausible() {
        let khz = super::tsc_khz();
        assert!((100_000..20_000_000).contains(&khz), "{khz}");
    }
}
