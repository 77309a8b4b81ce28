//! The ratio of two medians, and what it may be but for chance.

use crate::bench::measure::median;

/// Samples are drawn again so many times.
const DRAWS: usize = 4000;
/// Of the ratios so many are outside of the interval, half of them on each side.
const OUTSIDE: f64 = 0.05;

/// B against A.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    medians: [f64; 2],
    ratio: f64,
    low: f64,
    high: f64,
    more_is_better: bool,
}

impl Comparison {
    /// Compares; nothing without samples of both.
    pub fn of(a: &[f64], b: &[f64], more_is_better: bool) -> Option<Self> {
        let medians = [middle(a.to_vec())?, middle(b.to_vec())?];
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut ratios: Vec<f64> = (0..DRAWS).filter_map(|_| drawn(a, b, &mut random)).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |share: f64| ratios.get(((ratios.len() as f64 * share) as usize).min(ratios.len().saturating_sub(1)));
        let (low, high) = (*at(OUTSIDE / 2.0)?, *at(1.0 - OUTSIDE / 2.0)?);
        Some(Self { medians, ratio: medians[1] / medians[0], low, high, more_is_better })
    }

    /// Whether the whole interval is worse by more than so many percent.
    pub fn regressed(&self, tolerance: f64) -> bool {
        let times = 1.0 + tolerance / 100.0;
        if self.more_is_better { self.high < 1.0 / times } else { self.low > times }
    }

    /// Whether it is all better by more than that.
    fn improved(&self, tolerance: f64) -> bool {
        let times = 1.0 + tolerance / 100.0;
        if self.more_is_better { self.low > times } else { self.high < 1.0 / times }
    }

    /// A line of the table.
    pub fn cells(&self, name: &str, tolerance: f64) -> Vec<String> {
        let word = match (self.regressed(tolerance), self.improved(tolerance)) {
            (true, _) => "WORSE",
            (_, true) => "better",
            _ => "",
        };
        let [a, b] = self.medians.map(|median| format!("{median:.2}"));
        let interval = format!("{:.3} to {:.3}", self.low, self.high);
        vec![name.to_owned(), a, b, format!("{:.3}", self.ratio), interval, word.to_owned()]
    }
}

/// The ratio of one draw. Rounds are drawn, not samples, where both have the
/// same: what slows one round slows both.
fn drawn(a: &[f64], b: &[f64], random: &mut Random) -> Option<f64> {
    let mut picks = |number: usize| (0..number).map(|_| random.below(number)).collect::<Vec<usize>>();
    let of_a = picks(a.len());
    let of_b = if a.len() == b.len() { of_a.clone() } else { picks(b.len()) };
    let take = |from: &[f64], which: &[usize]| middle(which.iter().map(|at| from[*at]).collect());
    Some(take(b, &of_b)? / take(a, &of_a)?)
}

fn middle(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    median(&samples)
}

/// xorshift64: the same samples have the same interval.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Random};

    /// Samples around `middle`, up to `noise` of it off.
    fn samples(seed: u64, number: usize, middle: f64, noise: f64) -> Vec<f64> {
        let mut random = Random(seed);
        (0..number).map(|_| middle * (1.0 + noise * (random.below(2001) as f64 / 1000.0 - 1.0))).collect()
    }

    #[test]
    fn the_same_is_no_regression() {
        for seed in 1..50 {
            let (a, b) = (samples(seed, 20, 40.0, 0.15), samples(seed + 1000, 20, 40.0, 0.15));
            let comparison = Comparison::of(&a, &b, false).unwrap();
            assert!(!comparison.regressed(10.0), "{comparison:?}");
            assert!(comparison.low <= comparison.ratio && comparison.ratio <= comparison.high, "{comparison:?}");
        }
    }

    #[test]
    fn a_slower_one_is_told() {
        for seed in 1..50 {
            let (a, b) = (samples(seed, 20, 40.0, 0.15), samples(seed + 1000, 20, 60.0, 0.15));
            let comparison = Comparison::of(&a, &b, false).unwrap();
            assert!(comparison.regressed(10.0), "{comparison:?}");
            // Within the tolerance it may be.
            assert!(!comparison.regressed(80.0), "{comparison:?}");
            // The other way round it is better, and of a rate it is good.
            assert!(!Comparison::of(&b, &a, false).unwrap().regressed(10.0));
            assert!(Comparison::of(&b, &a, true).unwrap().regressed(10.0));
            assert!(!Comparison::of(&a, &b, true).unwrap().regressed(10.0));
        }
    }

    #[test]
    fn what_slows_a_round_slows_both() {
        // Half of the rounds are twice as slow; B is always 5 % slower.
        let a: Vec<f64> = (0..20).map(|round| if round % 2 == 0 { 40.0 } else { 80.0 }).collect();
        let b: Vec<f64> = a.iter().map(|a| a * 1.05).collect();
        let comparison = Comparison::of(&a, &b, false).unwrap();
        assert!((comparison.low - 1.05).abs() < 1e-9 && (comparison.high - 1.05).abs() < 1e-9, "{comparison:?}");
    }

    #[test]
    fn no_samples_no_comparison() {
        assert!(Comparison::of(&[], &[1.0], false).is_none());
        assert!(Comparison::of(&[1.0], &[], false).is_none());
    }
}
