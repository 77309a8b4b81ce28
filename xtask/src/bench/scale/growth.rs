//! How a figure grows with a count: not at all, like it, or faster.

/// More than the count itself, by so much that noise does not explain it.
const MOST_EXPONENT: f64 = 1.35;
/// What a figure may gain over the whole range and still count as flat.
const FLAT: f64 = 0.2;

/// A figure against a count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Growth {
    /// No more than noise.
    Flat,
    /// As the count, or slower: the exponent, if enough points tell it.
    Linear(Option<f64>),
    /// Faster than the count.
    Faster(f64),
}

impl Growth {
    /// Judges points in the order of their counts, the first of which is the
    /// least. `floor` is what a figure may differ by for no reason.
    pub fn of(points: &[(f64, f64)], floor: f64) -> Self {
        let Some(&(least, base)) = points.first() else { return Self::Flat };
        let span = points.last().map_or(0.0, |last| last.0 - least);
        if sure_slope(points) * span <= floor.max(FLAT * base) {
            return Self::Flat;
        }
        // What is above the base is c * count^exponent: a line in logarithms.
        let above = points.iter().map(|(x, y)| (x - least, y - base));
        let logs: Vec<(f64, f64)> = above.filter(|(_, y)| *y > floor).map(|(x, y)| (x.ln(), y.ln())).collect();
        match logs.len() {
            0 | 1 => Self::Linear(None),
            _ => match slope(&logs) {
                exponent if exponent > MOST_EXPONENT => Self::Faster(exponent),
                exponent => Self::Linear(Some(exponent)),
            },
        }
    }

    /// In words.
    pub fn words(self) -> String {
        match self {
            Self::Flat => "flat".into(),
            Self::Linear(None) => "no faster than the count".into(),
            Self::Linear(Some(exponent)) => format!("no faster than the count (exponent {exponent:.2})"),
            Self::Faster(exponent) => format!("FASTER than the count (exponent {exponent:.2})"),
        }
    }
}

/// The least slope if any one of the points is left out: growth is still there
/// then, and one figure that is off is not.
fn sure_slope(points: &[(f64, f64)]) -> f64 {
    let without = |at: usize| {
        let rest = points.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, point)| *point);
        slope(&rest.collect::<Vec<_>>())
    };
    match points.len() {
        0..=2 => slope(points),
        number => (0..number).map(without).fold(f64::INFINITY, f64::min),
    }
}

/// The middle slope of all pairs, which single outliers do not turn (Theil and Sen's).
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let pairs = points.iter().enumerate().flat_map(|(at, a)| points.iter().skip(at + 1).map(move |b| (a, b)));
    let mut slopes: Vec<f64> = pairs.filter(|(a, b)| a.0 != b.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect();
    slopes.sort_by(f64::total_cmp);
    crate::bench::measure::median(&slopes).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::{Growth, slope};

    const COUNTS: [f64; 5] = [0.0, 100.0, 250.0, 500.0, 1000.0];

    /// A figure at each count, each a bit off.
    fn points(of: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let noise = [1.02, 0.97, 1.04, 0.98, 1.01];
        COUNTS.iter().zip(noise).map(|(x, noise)| (*x, of(*x) * noise)).collect()
    }

    #[test]
    fn flat_in_noise() {
        assert_eq!(Growth::of(&points(|_| 40.0), 2.0), Growth::Flat);
        // One outlier turns nothing, wherever it is.
        for at in 0..5 {
            for off in [20.0, 80.0] {
                let mut outlier = points(|_| 40.0);
                outlier[at].1 = off;
                assert_eq!(Growth::of(&outlier, 2.0), Growth::Flat, "{outlier:?}");
            }
        }
        assert_eq!(Growth::of(&[], 1.0), Growth::Flat);
    }

    #[test]
    fn like_the_count() {
        for of in [|x: f64| 2.0 + x * 0.05, |x: f64| 40.0 + x * 0.05, |x: f64| 1.0 + 3.0 * x.sqrt()] {
            let growth = Growth::of(&points(of), 1.0);
            assert!(matches!(growth, Growth::Linear(Some(_))), "{growth:?}");
        }
    }

    #[test]
    fn faster_than_the_count() {
        for of in [|x: f64| 2.0 + x * x * 1e-4, |x: f64| 40.0 + x * x * 5e-4, |x: f64| 1.0 + x.powf(1.6) * 1e-2] {
            let growth = Growth::of(&points(of), 1.0);
            assert!(matches!(growth, Growth::Faster(_)), "{growth:?}");
        }
    }

    #[test]
    fn slopes() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0);
        assert_eq!(slope(&[(1.0, 4.0)]), 0.0);
    }
}
