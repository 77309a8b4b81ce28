//! The log that `--log` names: warnings, and with `--debug` all.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Starts recording, if there is where to.
pub fn start(log: Option<File>, debug: bool) {
    let Some(log) = log else { return };
    let level = if debug { Level::DEBUG } else { Level::WARN };
    _ = tracing::subscriber::set_global_default(Recorder { level, log });
}

/// A subscriber without spans.
struct Recorder {
    level: Level,
    log: File,
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level
    }
    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.level.into())
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (level, text) = (event.metadata().level(), format!("{}{}", line.message, line.fields));
        let line = format!("{}.{:06} {level} {text}\n", now.as_secs(), now.subsec_micros());
        _ = (&self.log).write_all(line.as_bytes());
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
