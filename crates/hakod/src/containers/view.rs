//! What a container shows to the rest of the engine.

use super::record::Record;
use crate::shim::Live;
use std::collections::VecDeque;

/// How many ends are remembered for those who waited for one of them.
const REMEMBERED: usize = 8;

/// What a container shows.
pub struct View {
    /// Its record.
    pub record: Record,
    /// The connection to its shim, while it runs.
    pub live: Option<Live>,
    /// The runs that have ended since the engine knows it.
    pub ends: Ends,
    /// The record is gone from the store.
    pub removed: bool,
}

/// Runs that have ended: how many, and how the latest did.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    count: u64,
    latest: VecDeque<End>,
}

/// How a run ended, as `wait` answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The exit code.
    pub code: i32,
    /// Why, if not by itself.
    pub error: Option<String>,
}

impl Ends {
    /// How many runs have ended.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first end after `count` of them; the earliest that is remembered, if
    /// that is too long ago.
    #[must_use]
    pub fn after(&self, count: u64) -> Option<&End> {
        let missed = self.count.checked_sub(count).filter(|missed| *missed > 0)?;
        let missed = usize::try_from(missed).unwrap_or(usize::MAX).min(self.latest.len());
        self.latest.get(self.latest.len() - missed)
    }

    /// One more.
    pub(super) fn push(&mut self, end: End) {
        if self.latest.len() == REMEMBERED {
            self.latest.pop_front();
        }
        self.count += 1;
        self.latest.push_back(end);
    }
}

impl View {
    /// How the container stands, as `wait` answers it.
    #[must_use]
    pub fn end(&self) -> End {
        let shown = self.record.state.shown();
        End { code: self.record.state.exit_code(), error: (!shown.error.is_empty()).then_some(shown.error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_that_was_waited_for() {
        let mut ends = Ends::default();
        assert_eq!(ends.after(0), None);
        for code in 1..=20 {
            ends.push(End { code, error: None });
        }
        let code = |count| ends.after(count).map(|end| end.code);
        assert_eq!((code(20), code(19), code(15)), (None, Some(20), Some(16)));
        assert_eq!(code(0), Some(13), "the earliest that is remembered");
    }
}
