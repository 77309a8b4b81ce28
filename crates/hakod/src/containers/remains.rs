//! What is left of a container that is removed: its sandbox and its folder.
//!
//! ```text
//! its record goes ─► its removal is answered ─► its sandbox ends ─► its folder goes
//! ```
//!
//! With the record its name is free, and nobody sees it any more. What belongs to
//! no record is removed by the next start of the engine (`recover.rs`), so that
//! nothing stays for good, wherever this is cut off.

use super::{end, record::Record};
use crate::{Engine, shim::Live};
use hako_model::{Error, Result};
use hako_os::mount::table;
use std::{fs, io, path::Path, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};

/// How long all of them may take to go with the engine.
const END_LIMIT: Duration = Duration::from_secs(15);

/// How many containers' remains are being removed.
#[derive(Default)]
pub struct Remains(watch::Sender<usize>);

/// Removes what is left of `record`'s container, beside its owner. `sandbox` is
/// there if that has not been ended; it holds the connection to its shim.
pub(super) fn remove(engine: &Arc<Engine>, record: Record, sandbox: Option<Live>) {
    let engine = engine.clone();
    engine.remains.0.send_modify(|count| *count += 1);
    tokio::spawn(async move {
        let work = remove_all(engine.clone(), record, sandbox);
        if let Err(err) = tokio::spawn(work).await {
            tracing::error!("remains of a container: {err}");
        }
        engine.remains.0.send_modify(|count| *count -= 1);
    });
}

async fn remove_all(engine: Arc<Engine>, record: Record, sandbox: Option<Live>) {
    let id = record.id.as_str();
    if let Some(live) = sandbox {
        end::end_sandbox(&engine, &record, Some(live), None).await;
        // Its layers were in use until now.
        release_image(&engine, &record).await;
    }
    let dir = engine.container_dir(id);
    let removed = tokio::task::spawn_blocking(move || match fs::remove_dir_all(&dir) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("remove {}: {err}; the engine tries again when it starts", dir.display());
        }
        Ok(()) | Err(_) => {}
    });
    if let Err(err) = removed.await {
        tracing::error!("remove the folder of container {id}: {err}");
    }
}

/// An image that was removed while the container needed it goes with it.
pub(super) async fn release_image(engine: &Engine, record: &Record) {
    if let Ok(image) = record.image_id.parse()
        && let Err(err) = engine.images.container_removed(&image).await
    {
        tracing::warn!("image of container {}: {err}", record.id);
    }
}

/// Whether a container's folder can be removed: nothing may be mounted in it, or
/// that would be removed with it.
///
/// # Errors
/// What is mounted there.
pub(super) fn removable(dir: &Path) -> Result<()> {
    let Ok(dir) = dir.canonicalize() else { return Ok(()) };
    match table::mounts_in(&dir)?.first() {
        None => Ok(()),
        Some(point) => Err(Error::internal(format!("remove {}: device or resource busy", point.display()))),
    }
}

/// Waits until all of them have gone: the engine ends.
pub async fn gone(engine: &Engine) {
    let mut count = engine.remains.0.subscribe();
    let left = timeout(END_LIMIT, count.wait_for(|count| *count == 0)).await.is_err();
    if left {
        tracing::warn!("remains of containers are left; the next start removes them");
    }
}
