//! Progress of pulls and loads: bars on a terminal, Docker's plain lines elsewhere.

use crate::api::Messages;
use crate::error::{Error, Result};
use crate::term::{Target, print, print_line};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::collections::HashMap;
use std::io::IsTerminal;

/// Where progress is shown.
pub(crate) struct Progress {
    target: Target,
    bars: Option<Bars>,
}

struct Bars {
    target: Target,
    all: MultiProgress,
    by_id: HashMap<String, ProgressBar>,
}

impl Progress {
    /// Progress on `target`: bars if it is a terminal.
    pub(crate) fn new(target: Target) -> Self {
        let terminal = match target {
            Target::Stdout => std::io::stdout().is_terminal(),
            Target::Stderr => std::io::stderr().is_terminal(),
        };
        Self { target, bars: terminal.then(|| Bars { target, all: drawn_on(target), by_id: HashMap::new() }) }
    }

    /// A bar for bytes that are sent, `None` where there is no terminal.
    pub(crate) fn upload(&self, total: u64, name: &str) -> Option<ProgressBar> {
        let bar = ProgressBar::new(total).with_style(byte_style()).with_prefix(name.to_owned()).with_message("Sending");
        Some(self.bars.as_ref()?.all.add(bar))
    }

    /// Shows every message until the stream's end; an error in it is the answer.
    pub(crate) async fn follow(&mut self, mut messages: Messages, quiet: bool) -> Result<()> {
        while let Some(message) = messages.next().await? {
            if let Some(error) = failure(&message) {
                return Err(error);
            }
            if !quiet {
                self.show(&message)?;
            }
        }
        Ok(())
    }

    /// Text as it comes, with its own line ends.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        if let Some(bars) = &mut self.bars {
            bars.finish();
        }
        match self.target {
            Target::Stdout => print(text),
            Target::Stderr => {
                eprint!("{text}");
                Ok(())
            }
        }
    }

    /// Shows one message.
    pub(crate) fn show(&mut self, message: &Value) -> Result<()> {
        let text = |key: &str| message.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(stream) = text("stream") {
            return self.line(stream.trim_end_matches('\n'));
        }
        let Some(status) = text("status") else { return Ok(()) };
        let number = |key: &str| message.pointer(&format!("/progressDetail/{key}")).and_then(Value::as_u64);
        let (current, total) = (number("current"), number("total"));
        match (text("id"), &mut self.bars) {
            // A headline, whose id is the tag.
            (Some(id), _) if status.starts_with("Pulling from") => self.line(&format!("{id}: {status}")),
            (Some(id), Some(bars)) => {
                bars.show(id, status, current.unwrap_or(0), total);
                Ok(())
            }
            // Where nothing can be drawn over, only the steps are told.
            (Some(_), None) if current.is_some() => Ok(()),
            (Some(id), None) => self.line(&format!("{id}: {status}")),
            (None, _) => self.line(status),
        }
    }

    fn line(&mut self, text: &str) -> Result<()> {
        let target = self.target;
        match &mut self.bars {
            Some(bars) => {
                bars.finish();
                bars.all.suspend(|| write_line(target, text))
            }
            None => write_line(target, text),
        }
    }
}

fn write_line(target: Target, text: &str) -> Result<()> {
    match target {
        Target::Stdout => print_line(text),
        Target::Stderr => {
            eprintln!("{text}");
            Ok(())
        }
    }
}

impl Bars {
    /// Leaves the last state of each bar on the screen, and goes on below.
    fn finish(&mut self) {
        if self.by_id.is_empty() {
            return;
        }
        self.by_id.drain().for_each(|(_, bar)| bar.abandon());
        self.all = drawn_on(self.target);
        let _ = write_line(self.target, "");
    }

    fn show(&mut self, id: &str, status: &str, current: u64, total: Option<u64>) {
        let bar = self.by_id.entry(id.to_owned()).or_insert_with(|| {
            self.all.add(ProgressBar::no_length().with_style(plain_style()).with_prefix(id.to_owned()))
        });
        match total {
            Some(total) => {
                bar.set_style(byte_style());
                bar.set_length(total);
                bar.set_position(current);
                bar.set_message(status.to_owned());
            }
            None => {
                bar.set_style(plain_style());
                bar.set_message(status.to_owned());
                bar.tick();
            }
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}

fn drawn_on(target: Target) -> MultiProgress {
    MultiProgress::with_draw_target(match target {
        Target::Stdout => ProgressDrawTarget::stdout(),
        Target::Stderr => ProgressDrawTarget::stderr(),
    })
}

fn byte_style() -> ProgressStyle {
    style("{prefix}: {msg:<12} [{bar:40.cyan/blue}] {decimal_bytes}/{decimal_total_bytes}").progress_chars("=> ")
}

fn plain_style() -> ProgressStyle {
    style("{prefix}: {msg}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The error that a stream's message carries.
fn failure(message: &Value) -> Option<Error> {
    let text = message.pointer("/errorDetail/message").or_else(|| message.get("error"))?.as_str()?;
    Some(Error::msg(text))
}
