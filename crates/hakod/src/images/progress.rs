//! Lines of Docker's JSON stream, and the channel on which they go out.

use hako_model::{Error, Result};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Where a verb that takes long tells what it does. Who listens may go away;
/// the verb then ends at its next line.
#[derive(Debug, Clone)]
pub(super) struct Lines(Option<mpsc::Sender<Value>>);

/// Between two lines about the same thing.
const INTERVAL: Duration = Duration::from_millis(100);

impl Lines {
    /// A channel of lines.
    pub fn channel() -> (Self, mpsc::Receiver<Value>) {
        let (sender, receiver) = mpsc::channel(64);
        (Self(Some(sender)), receiver)
    }

    /// Nobody listens, and that is fine.
    pub fn none() -> Self {
        Self(None)
    }

    /// Sends a line.
    pub async fn send(&self, line: Value) -> Result<()> {
        match &self.0 {
            Some(sender) => sender.send(line).await.map_err(|_| gone()),
            None => Ok(()),
        }
    }

    /// Sends a line from a blocking thread.
    pub fn send_blocking(&self, line: Value) -> Result<()> {
        match &self.0 {
            Some(sender) => sender.blocking_send(line).map_err(|_| gone()),
            None => Ok(()),
        }
    }

    /// A line that may be lost: of progress there will be more.
    pub fn offer(&self, line: Value) {
        if let Some(sender) = &self.0 {
            let _ = sender.try_send(line);
        }
    }

    /// Ends when nobody else has lines to send: work on a blocking thread goes
    /// on after its caller was dropped, and holds a clone for as long.
    pub async fn alone(&self) {
        if let Some(sender) = &self.0 {
            while sender.strong_count() > 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Whether somebody still listens, for work between two lines.
    pub fn check_listener(&self) -> Result<()> {
        match &self.0 {
            Some(sender) if sender.is_closed() => Err(gone()),
            _ => Ok(()),
        }
    }

    /// Ends when nobody listens any more.
    pub async fn closed(&self) {
        match &self.0 {
            Some(sender) => sender.closed().await,
            None => std::future::pending().await,
        }
    }

    /// `{"status":…,"id":…}`.
    pub async fn status(&self, status: &str, id: &str) -> Result<()> {
        self.send(json!({ "status": status, "progressDetail": {}, "id": id })).await
    }
}

fn gone() -> Error {
    Error::internal("the client has gone")
}

/// Says how far something is, now and then.
pub(super) struct Meter {
    lines: Lines,
    status: &'static str,
    id: String,
    total: u64,
    last: Option<Instant>,
}

impl Meter {
    pub fn new(lines: &Lines, status: &'static str, id: &str, total: u64) -> Self {
        Self { lines: lines.clone(), status, id: id.to_owned(), total, last: None }
    }

    /// `current` of the total is done.
    pub fn at(&mut self, current: u64) {
        let due = self.last.is_none_or(|last| last.elapsed() >= INTERVAL) || current >= self.total;
        if due {
            self.last = Some(Instant::now());
            self.lines.offer(json!({
                "status": self.status,
                "progressDetail": { "current": current, "total": self.total },
                "progress": bar(current, self.total),
                "id": self.id,
            }));
        }
    }
}

/// `[====>     ]  1.2MB/3.4MB`, as Docker draws it for clients that do not.
fn bar(current: u64, total: u64) -> String {
    let done = usize::try_from(current.saturating_mul(50) / total.max(1)).unwrap_or(50).min(50);
    let head = if done < 50 { ">" } else { "" };
    let left = 50usize.saturating_sub(done + head.len());
    format!("[{}{head}{}] {:>8}/{}", "=".repeat(done), " ".repeat(left), size(current), size(total))
}

fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 1000.0 || unit == "TB" {
            let digits = if value >= 100.0 {
                0
            } else if value >= 10.0 {
                1
            } else {
                2
            };
            let text = format!("{value:.digits$}");
            let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            return format!("{text}{unit}");
        }
        value /= 1000.0;
    }
    format!("{bytes}B")
}

/// The last line of a stream that failed.
pub(super) fn error_line(err: &Error) -> Value {
    json!({ "errorDetail": { "message": err.message }, "error": err.message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        assert_eq!(size(0), "0B");
        assert_eq!(size(1_234_000), "1.23MB");
        assert_eq!(size(200_000_000), "200MB");
        assert!(bar(5, 10).starts_with("[=========================>                        ]"));
        assert!(bar(10, 10).starts_with(&format!("[{}]", "=".repeat(50))));
        assert!(bar(20, 0).contains("B"));
    }
}
