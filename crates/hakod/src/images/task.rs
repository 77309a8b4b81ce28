//! A task that ends when its handle is dropped: what nobody waits for any more is not done.

use hako_model::{Error, Result};
use tokio::task::JoinHandle;

/// The handle.
pub(super) struct Task<T>(JoinHandle<Result<T>>);

impl<T: Send + 'static> Task<T> {
    /// Begins it.
    pub fn spawn(work: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Its end.
    pub async fn join(mut self) -> Result<T> {
        match (&mut self.0).await {
            Ok(result) => result,
            Err(err) => Err(Error::internal(format!("transfer broke off: {err}"))),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
