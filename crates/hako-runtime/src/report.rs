//! How the reason of a failure comes out of the container's first process.
//!
//! libcontainer forks twice, and what its children know reaches the caller as a
//! general text ("failed to prepare rootfs"). The particulars are only in its
//! log. So a pipe is open from before the first fork: the executor writes
//! complete messages into it, and the log's recorder writes every `ERROR`.
//! After a failure the parent reads both and takes the best.

use crate::error::{Error, Result, errno_text};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The pipe's writing end, the same in all processes.
static PIPE: OnceLock<File> = OnceLock::new();

const MESSAGE: char = 'M';
const LOGGED: char = 'L';

/// The reading end, with the parent.
pub struct Reports(File);

/// Opens the pipe and starts recording, to `log` too.
pub fn start(log: Option<File>, debug: bool) -> Result<Reports> {
    let (read, write) =
        nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|err| Error::because("pipe", err))?;
    _ = PIPE.set(File::from(write));
    let level = match (&log, debug) {
        (_, true) => Level::DEBUG,
        (Some(_), false) => Level::WARN,
        (None, false) => Level::ERROR,
    };
    _ = tracing::subscriber::set_global_default(Recorder { level, log: log.map(Arc::new) });
    Ok(Reports(File::from(read)))
}

/// Says why this process cannot go on, for the user.
pub fn message(text: &str) {
    send(MESSAGE, text);
}

fn send(kind: char, text: &str) {
    if let Some(mut pipe) = PIPE.get() {
        // Each record in one write: smaller than PIPE_BUF, so never torn.
        let mut record: String = format!("{kind}{text}").chars().filter(|c| *c != '\0').collect();
        let mut end = record.len().min(2000);
        while !record.is_char_boundary(end) {
            end -= 1;
        }
        record.truncate(end);
        record.push('\0');
        _ = pipe.write_all(record.as_bytes());
    }
}

impl Reports {
    /// The best explanation of a failure: what the executor said, else the
    /// first error that was logged, else `fallback`.
    pub fn explain(&mut self, fallback: impl std::fmt::Display) -> Error {
        let mut bytes = Vec::new();
        // The pipe never blocks: what is there is all there is.
        _ = self.0.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let all = |kind: char| text.split('\0').filter_map(move |record| record.strip_prefix(kind));
        let logged: Vec<&str> = all(LOGGED).collect();
        let said = all(MESSAGE).next().map(str::to_owned);
        let best = said.or_else(|| mount_failure(&logged)).or_else(|| logged.first().map(ToString::to_string));
        Error::message(best.unwrap_or_else(|| fallback.to_string()).replace('\n', " "))
    }
}

/// libcontainer names the mount in one line of its log and the reason in
/// another, both as debug output; together they are Docker's text.
fn mount_failure(logged: &[&str]) -> Option<String> {
    let mount = logged.iter().find_map(|line| line.strip_prefix("failed to mount Mount {"))?;
    let field = |name: &str| mount.split_once(name)?.1.split('"').next();
    let (source, target) = (field("source: Some(\"").unwrap_or("none"), field("destination: \"")?);
    let reason = logged.iter().find_map(|line| errno_of(line)).map_or_else(|| "failed".to_owned(), errno_text);
    Some(format!("error mounting \"{source}\" to rootfs at \"{target}\": mount: {reason}"))
}

/// The error number in the debug output of a Rust error.
fn errno_of(line: &str) -> Option<Errno> {
    if let Some((_, tail)) = line.split_once("Os { code: ") {
        return tail.split(',').next()?.parse().ok().map(Errno::from_raw);
    }
    let name = line.split_once("Nix(")?.1.split(')').next()?;
    (1..134).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name)
}

/// A subscriber without spans: errors to the pipe, the rest to the log file.
struct Recorder {
    level: Level,
    log: Option<Arc<File>>,
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
        let text = line.text();
        if *event.metadata().level() == Level::ERROR {
            send(LOGGED, &text);
        }
        if let Some(log) = &self.log {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let level = event.metadata().level();
            let line = format!("{}.{:06} {level} {text}\n", now.as_secs(), now.subsec_micros());
            _ = log.as_ref().write_all(line.as_bytes());
        }
    }
}

#[derive(Default)]
struct Line {
    message: String,
    cause: String,
    fields: String,
}

impl Line {
    fn text(self) -> String {
        let cause = if self.cause.is_empty() { String::new() } else { format!(": {}", self.cause) };
        format!("{}{}{cause}", self.message, self.fields)
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "err" | "error" | "e" => write!(self.cause, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_that_fails_is_named_with_its_reason() {
        let lines = [
            "failed to mount Mount { destination: \"/x\", typ: Some(\"tmpfs\"), source: Some(\"none\"), options: None }: syscall",
            "failed to prepare rootfs: Mount(Syscall(Nix(EINVAL)))",
        ];
        let text = "error mounting \"none\" to rootfs at \"/x\": mount: invalid argument";
        assert_eq!(mount_failure(&lines).as_deref(), Some(text));
        assert_eq!(errno_of("source: Os { code: 20, kind: NotADirectory }"), Some(Errno::ENOTDIR));
        assert_eq!(mount_failure(&["else"]), None);
    }
}
