//! The host's time stamp counter, which the emulated machine sees as its own.
#![allow(unsafe_code)]
// UNSAFETY: reading the counter is an intrinsic that the compiler calls unsafe.

use std::thread;
use std::time::{Duration, Instant};

/// The counter's frequency in kHz, from the steadiest of five short sleeps. A
/// kernel that is told it need not calibrate, which fails under load.
pub fn khz() -> u64 {
    let mut samples: Vec<u64> = (0..5).map(|_| sample()).collect();
    samples.sort_unstable();
    samples[samples.len() / 2]
}

fn sample() -> u64 {
    let (begin, before) = (Instant::now(), counter());
    thread::sleep(Duration::from_millis(20));
    let (after, micros) = (counter(), begin.elapsed().as_micros().max(1) as u64);
    after.wrapping_sub(before) * 1000 / micros
}

fn counter() -> u64 {
    // SAFETY: `rdtsc` reads a register, touches no memory, and is in every
    // x86_64 processor; the crate is built for no other (`guest` says so).
    unsafe { core::arch::x86_64::_rdtsc() }
}
