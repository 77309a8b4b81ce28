//! A "no" with its remedies, each of which was tried.

use crate::{
    Host, Image, Request,
    place::{Refused, attempt},
    reason::Reason,
    remedy::{Remedy, Situation, candidates},
    trace::Applied,
};
use hako_model::ErrorKind;
use std::fmt;

/// Why an image may not run, and what would work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What would work, the shortest first. Never empty.
    pub remedies: Vec<Remedy>,
    /// Every rule that was applied.
    pub trace: Vec<Applied>,
}

/// Steps that a remedy may have: who asks for four things that cannot be has four.
const MOST_STEPS: usize = 5;
/// Remedies that are named.
const MOST_REMEDIES: usize = 4;
/// Situations that are tried: an index from outside may have thousands of entries.
const MOST_TRIES: usize = 400;

impl Refusal {
    pub(crate) fn new(image: &Image, host: &Host, request: &Request, refused: Refused) -> Self {
        let situation = Situation { image: image.clone(), host: host.clone(), request: request.clone() };
        let mut remedies = search(&situation, &refused.reason, false);
        if remedies.is_empty() {
            remedies = search(&situation, &refused.reason, true);
        }
        Self { reason: refused.reason, remedies, trace: refused.trace }
    }

    /// What the protocols make of it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.reason.kind()
    }
}

/// Tries steps, then steps after those, until some work; and one step further,
/// for what takes one more and spares another host.
fn search(situation: &Situation, reason: &Reason, any_image: bool) -> Vec<Remedy> {
    let mut found: Vec<Remedy> = Vec::new();
    let mut open = vec![(Remedy(Vec::new()), situation.clone(), reason.clone())];
    let (mut tries, mut last_round) = (0, MOST_STEPS);
    for round in 1..=MOST_STEPS {
        if round > last_round {
            break;
        }
        let mut next = Vec::new();
        for (path, situation, reason) in open {
            for step in candidates(&reason, &situation, any_image) {
                let alone = found.iter().any(|remedy| remedy.0.iter().all(|one| path.0.contains(one) || *one == step));
                if tries == MOST_TRIES || path.0.contains(&step) || alone {
                    continue;
                }
                tries += 1;
                let mut after = situation.clone();
                step.follow(&mut after);
                let mut longer = path.clone();
                longer.0.push(step);
                match attempt(&after.image, &after.host, &after.request) {
                    Ok(_) => found.push(longer),
                    Err(refused) => next.push((longer, after, refused.reason)),
                }
            }
        }
        if !found.is_empty() {
            last_round = last_round.min(round + 1);
        }
        open = next;
    }
    found.truncate(MOST_REMEDIES);
    found
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        for (at, remedy) in self.remedies.iter().enumerate() {
            let before = if at == 0 { "; to run it, " } else { ", or " };
            write!(f, "{before}{remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for hako_model::Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.kind(), refusal.to_string())
    }
}
