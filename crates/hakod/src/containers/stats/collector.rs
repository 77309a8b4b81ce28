//! One reader for each container that somebody watches, however many they are.
//!
//! ```text
//!   first watcher ──► task: read, send to all, wait a second ──► (nobody left, or removed) ends
//! ```

use super::reading;
use crate::{Engine, containers::Container};
use hako_api::types::Stats;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::MissedTickBehavior,
};

const PERIOD: Duration = Duration::from_secs(1);

/// A container's readings as they come.
pub type Readings = broadcast::Receiver<Arc<Stats>>;

/// Those that run, by container.
#[derive(Default, Clone)]
pub struct Collectors(Arc<Mutex<HashMap<String, broadcast::Sender<Arc<Stats>>>>>);

impl Collectors {
    /// Watches a container; its collector starts if this is the first watcher.
    pub fn watch(&self, engine: &Arc<Engine>, container: &Arc<Container>) -> Readings {
        let mut map = self.map();
        if let Some(sender) = map.get(container.id.as_str()) {
            return sender.subscribe();
        }
        let (sender, readings) = broadcast::channel(2);
        map.insert(container.id.to_string(), sender.clone());
        tokio::spawn(self.clone().collect(engine.clone(), container.clone(), sender));
        readings
    }

    async fn collect(self, engine: Arc<Engine>, container: Arc<Container>, sender: broadcast::Sender<Arc<Stats>>) {
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = container.watch();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                // An error means that the owner is gone, and with it the container.
                _ = watch.wait_for(|view| view.removed) => break,
            }
            if self.is_left(&container, &sender) {
                return;
            }
            match reading::take(&engine, &container).await {
                // The last watcher may have gone meanwhile.
                Ok(reading) => drop(sender.send(Arc::new(reading))),
                Err(err) => tracing::debug!("figures of container {}: {err}", container.id),
            }
        }
        self.map().remove(container.id.as_str());
    }

    /// Whether nobody watches any more. Decided under the lock under which
    /// watchers come, so that none of them waits for a collector that has ended.
    fn is_left(&self, container: &Container, sender: &broadcast::Sender<Arc<Stats>>) -> bool {
        let mut map = self.map();
        let left = sender.receiver_count() == 0;
        if left {
            map.remove(container.id.as_str());
        }
        left
    }

    fn map(&self) -> MutexGuard<'_, HashMap<String, broadcast::Sender<Arc<Stats>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next reading; a watcher that is slow misses some. `None` at the end.
pub async fn next(readings: &mut Readings) -> Option<Arc<Stats>> {
    loop {
        match readings.recv().await {
            Ok(reading) => return Some(reading),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}
