//! What a client is told, and what is in the event log, where something may not run.

use super::choice::Ask;
use crate::{
    Engine,
    images::{Candidate, Wanted},
};
use hako_model::Error;
use hako_platform::{Reason, Refusal, Request};
use std::collections::BTreeMap;

/// The answer for a refusal; what the policy forbids is an event as well.
pub fn told(engine: &Engine, ask: &Ask<'_>, request: &Request, refusal: &Refusal) -> Error {
    let text = refusal.to_string();
    match &refusal.reason {
        Reason::Policy { rule, asked, least } => {
            let mut attributes = BTreeMap::from([
                ("image".to_owned(), ask.name.to_owned()),
                ("isolation".to_owned(), asked.to_string()),
                ("minimum".to_owned(), least.to_string()),
            ]);
            attributes.extend(request.caller.users.last().cloned().map(|user| ("user".to_owned(), user)));
            attributes.extend(request.caller.socket.clone().map(|socket| ("socket".to_owned(), socket)));
            engine.events.emit("policy", "deny", rule, attributes);
            tracing::info!("refused by policy rule {rule:?}: image {} behind the {asked} wall", ask.name);
            Error::new(refusal.kind(), text)
        }
        // Docker's words name what was asked for.
        Reason::Platform { .. } => {
            let rest = text.strip_prefix("image was found").map(str::to_owned);
            Error::new(refusal.kind(), rest.map_or(text, |rest| format!("{}{rest}", found(ask.name))))
        }
        _ => Error::new(refusal.kind(), text),
    }
}

/// That the image is of another version than was asked for.
pub fn mismatch(name: &str, wanted: &Wanted, candidate: &Candidate) -> Error {
    let actual = candidate.manifest().shown();
    Error::not_found(format!(
        "{} but does not match the specified platform: wanted {wanted}, actual: {actual}",
        found(name)
    ))
}

fn found(name: &str) -> String {
    format!("image with reference {name} was found")
}
