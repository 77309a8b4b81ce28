//! A "no" with its remedies, each of which was tried.

use crate::{
    Form, Host, Image, Manifest, Request,
    place::{Refused, attempt},
    reason::Reason,
    remedy::{Remedy, Situation, Step, candidates, last_resorts},
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

/// Steps that are tried one after another.
const MOST_STEPS: usize = 3;
/// Remedies that are named.
const MOST_REMEDIES: usize = 4;
/// Situations that are tried.
const MOST_TRIES: usize = 200;
/// Entries of an index that are tried: one from outside may have thousands.
const MOST_ENTRIES: usize = 48;

impl Refusal {
    pub(crate) fn new(image: &Image, host: &Host, request: &Request, refused: Refused) -> Self {
        let image = narrowed(image, host, request);
        let situation = Situation { image, host: host.clone(), request: request.clone() };
        let mut remedies = search(&situation, &refused.reason);
        if remedies.is_empty() {
            remedies.extend(last_resorts(&situation).into_iter().find_map(|steps| pruned(&situation, steps)));
        }
        Self { reason: refused.reason, remedies, trace: refused.trace }
    }

    /// What the protocols make of it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.reason.kind()
    }
}

/// An image with the entries that the request is about before any others. What
/// runs with these runs with all.
fn narrowed(image: &Image, host: &Host, request: &Request) -> Image {
    let Form::Index(manifests) = &image.form else { return image.clone() };
    if manifests.len() <= MOST_ENTRIES {
        return image.clone();
    }
    let wanted = request.platform.clone().unwrap_or_else(|| host.platform());
    let (mut kept, others): (Vec<&Manifest>, Vec<&Manifest>) =
        manifests.iter().filter(|one| one.is_named()).partition(|one| wanted.accepts(&one.platform).is_some());
    kept.truncate(MOST_ENTRIES / 2);
    kept.extend(others.into_iter().take(MOST_ENTRIES / 2));
    let form = Form::Index(kept.into_iter().cloned().collect());
    Image { names: image.names.clone(), digests: image.digests.clone(), form }
}

/// Tries steps, then steps after those, until some work; and one step further,
/// for what takes one more and spares another host.
fn search(situation: &Situation, reason: &Reason) -> Vec<Remedy> {
    let mut found: Vec<Remedy> = Vec::new();
    let mut open = vec![(Remedy(Vec::new()), situation.clone(), reason.clone())];
    let (mut tries, mut last_round) = (0, MOST_STEPS);
    for round in 1..=MOST_STEPS {
        if round > last_round {
            break;
        }
        let mut next = Vec::new();
        for (path, situation, reason) in open {
            for step in candidates(&reason, &situation) {
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

/// All of `steps` that it takes, if they are enough.
fn pruned(situation: &Situation, steps: Vec<Step>) -> Option<Remedy> {
    let works = |steps: &[Step]| {
        let after = Remedy(steps.to_vec()).follow(situation.clone());
        attempt(&after.image, &after.host, &after.request).is_ok()
    };
    if !works(&steps) {
        return None;
    }
    let mut kept = steps;
    for at in (0..kept.len()).rev() {
        let mut fewer = kept.clone();
        fewer.remove(at);
        if works(&fewer) {
            kept = fewer;
        }
    }
    Some(Remedy(kept))
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
