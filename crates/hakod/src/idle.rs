//! An engine of which nobody has asked anything for a while gives memory back:
//! what is freed and what of its code is mapped. Code comes back from the page
//! cache as it is used.

use crate::Engine;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time::timeout};

/// The while.
const QUIET: Duration = Duration::from_secs(10);

/// Somebody has asked something.
#[derive(Default)]
pub struct Activity(Notify);

impl Activity {
    /// Notes a request.
    pub fn note(&self) {
        self.0.notify_one();
    }
}

/// Gives memory back whenever it has become quiet, for ever.
pub async fn watch(engine: Arc<Engine>) {
    let asked = || engine.activity.0.notified();
    loop {
        asked().await;
        while timeout(QUIET, asked()).await.is_ok() {}
        hako_os::process::trim_memory();
    }
}
