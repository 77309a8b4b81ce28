//! What happened: a ring of the latest events and a channel of new ones.

use hako_api::types::{Actor, Event};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};
use tokio::sync::broadcast;

/// How many events `since` can look back on. dockerd keeps 256.
const RING: usize = 1024;

/// The hub; every part of the engine emits here.
pub struct Events {
    ring: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self { ring: Mutex::default(), sender: broadcast::channel(256).0 }
    }
}

impl Events {
    /// Emits an event of `kind` (`container`, `image`) about `id`.
    pub fn emit(&self, kind: &str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let now = chrono::Utc::now();
        let from =
            if kind == "container" { attributes.get("image").cloned().unwrap_or_default() } else { String::new() };
        let event = Event {
            status: action.to_owned(),
            id: id.to_owned(),
            from,
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: Actor { id: id.to_owned(), attributes },
            scope: "local".to_owned(),
            time: now.timestamp(),
            time_nano: now.timestamp_nanos_opt().unwrap_or_default(),
        };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == RING {
            ring.pop_front();
        }
        ring.push_back(event.clone());
        // Nobody may be listening. Sent under the lock, so that `subscribe` misses none.
        let _ = self.sender.send(event);
    }

    /// The events kept so far, and those to come, without a gap.
    pub fn subscribe(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        (ring.iter().cloned().collect(), self.sender.subscribe())
    }

    /// How many clients listen.
    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }
}
