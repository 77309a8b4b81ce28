//! What a build tells its client: lines of Docker's JSON stream.
//!
//! Stages run beside one another, and a client of the classic API prints what
//! comes. So the first stage that has not ended speaks, and what later ones say
//! is held until their turn: the text is the same as if they ran in a row.

use bytes::Bytes;
use hako_model::{Error, Result};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, watch};

/// A stage that has said this much before its turn waits for it.
const HELD: usize = 4 << 20;

/// All of a build's output. Cheap to clone.
#[derive(Clone)]
pub struct Output(Arc<Shared>);

struct Shared {
    lines: Mutex<Held>,
    /// The stage whose turn it is.
    turn: watch::Sender<usize>,
    /// Held by the stage that passes the turn on.
    passing: tokio::sync::Mutex<()>,
    client: mpsc::Sender<Bytes>,
    /// Nothing goes out but what ends the build.
    quiet: bool,
}

struct Held {
    /// For each stage that is built, in order.
    stages: Vec<Stage>,
    /// The end of what a quiet build would have said.
    silent: VecDeque<Bytes>,
    silent_bytes: usize,
}

#[derive(Default)]
struct Stage {
    lines: Vec<Bytes>,
    bytes: usize,
    ended: bool,
}

/// One stage's voice.
#[derive(Clone)]
pub struct StageOutput {
    output: Output,
    /// Its place among the stages that are built.
    place: usize,
}

fn line(value: &Value) -> Bytes {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.extend_from_slice(b"\r\n");
    text.into()
}

fn gone() -> Error {
    Error::internal("the client has gone")
}

impl Output {
    /// The output of a build of so many stages.
    pub fn new(client: mpsc::Sender<Bytes>, stages: usize, quiet: bool) -> Self {
        let stages = (0..stages).map(|_| Stage::default()).collect();
        let lines = Mutex::new(Held { stages, silent: VecDeque::new(), silent_bytes: 0 });
        Self(Arc::new(Shared {
            lines,
            turn: watch::Sender::new(0),
            passing: tokio::sync::Mutex::default(),
            client,
            quiet,
        }))
    }

    /// The voice of the stage in this place.
    pub fn stage(&self, place: usize) -> StageOutput {
        StageOutput { output: self.clone(), place }
    }

    /// Ends when the client has gone.
    pub async fn closed(&self) {
        self.0.client.closed().await;
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, line: Bytes) -> Result<()> {
        if self.0.quiet {
            let mut held = self.held();
            held.silent_bytes += line.len();
            held.silent.push_back(line);
            while held.silent_bytes > HELD {
                let Some(first) = held.silent.pop_front() else { break };
                held.silent_bytes -= first.len();
            }
            return Ok(());
        }
        self.0.client.send(line).await.map_err(|_| gone())
    }

    /// Says something that is no stage's.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn text(&self, text: &str) -> Result<()> {
        self.send(line(&json!({ "stream": text }))).await
    }

    /// Ends a quiet build: the image's id is all that it says.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn only(&self, text: &str) -> Result<()> {
        self.0.client.send(line(&json!({ "stream": text }))).await.map_err(|_| gone())
    }

    /// Ends a build that has failed, after all that it has said.
    pub async fn fail(&self, err: &Error, code: Option<i32>) {
        let said = {
            let mut held = self.held();
            // Also what stages had to say whose turn has not come: one of them has failed.
            let waiting: Vec<Bytes> =
                held.stages.iter_mut().flat_map(|stage| std::mem::take(&mut stage.lines)).collect();
            let mut said: Vec<Bytes> = std::mem::take(&mut held.silent).into();
            said.extend(waiting);
            said
        };
        for line in said {
            // The client may have gone.
            let _ = self.0.client.send(line).await;
        }
        let mut detail = json!({ "message": err.message });
        if let Some(code) = code {
            detail["code"] = code.into();
        }
        let _ = self.0.client.send(line(&json!({ "errorDetail": detail, "error": err.message }))).await;
    }
}

impl StageOutput {
    /// Says `text`.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn text(&self, text: &str) -> Result<()> {
        self.value(&json!({ "stream": text })).await
    }

    /// Says a line of the stream.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn value(&self, value: &Value) -> Result<()> {
        let line = line(value);
        let mut turn = self.output.0.turn.subscribe();
        loop {
            if *turn.borrow() >= self.place {
                return self.output.send(line).await;
            }
            if self.hold(&line) {
                return Ok(());
            }
            let place = self.place;
            // The sender lives as long as this does.
            let _ = turn.wait_for(|turn| *turn >= place).await;
        }
    }

    /// Keeps a line for later; false where its turn has come or too much is held.
    fn hold(&self, line: &Bytes) -> bool {
        let mut held = self.output.held();
        if *self.output.0.turn.borrow() >= self.place {
            return false;
        }
        let Some(stage) = held.stages.get_mut(self.place) else { return false };
        if stage.bytes > HELD {
            return false;
        }
        stage.bytes += line.len();
        stage.lines.push(line.clone());
        true
    }

    /// The stage has ended; whose turn it is then says what it has held.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn end(&self) -> Result<()> {
        let shared = &self.output.0;
        if let Some(stage) = self.output.held().stages.get_mut(self.place) {
            stage.ended = true;
        }
        // One after the other: what was held goes out in order.
        let _alone = shared.passing.lock().await;
        loop {
            let lines = {
                let mut held = self.output.held();
                let turn = *shared.turn.borrow();
                if held.stages.get(turn).is_none_or(|stage| !stage.ended) {
                    return Ok(());
                }
                let lines = match held.stages.get_mut(turn + 1) {
                    Some(next) => {
                        next.bytes = 0;
                        std::mem::take(&mut next.lines)
                    }
                    None => Vec::new(),
                };
                if lines.is_empty() {
                    shared.turn.send_replace(turn + 1);
                    continue;
                }
                lines
            };
            for line in lines {
                self.output.send(line).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stages_speak_in_a_row() {
        let (sender, mut receiver) = mpsc::channel(64);
        let output = Output::new(sender, 3, false);
        let stages: Vec<StageOutput> = (0..3).map(|place| output.stage(place)).collect();
        stages[2].text("e").await.unwrap();
        stages[0].text("a").await.unwrap();
        stages[1].text("c").await.unwrap();
        stages[1].end().await.unwrap();
        stages[0].text("b").await.unwrap();
        stages[0].end().await.unwrap();
        stages[2].text("f").await.unwrap();
        stages[2].end().await.unwrap();
        output.text("g").await.unwrap();
        drop((output, stages));
        let mut said = String::new();
        while let Some(line) = receiver.recv().await {
            let value: Value = serde_json::from_slice(&line).unwrap();
            said.push_str(value["stream"].as_str().unwrap());
        }
        assert_eq!(said, "abcefg");
    }

    #[tokio::test]
    async fn a_quiet_build_speaks_when_it_fails() {
        let (sender, mut receiver) = mpsc::channel(64);
        let output = Output::new(sender, 1, true);
        output.stage(0).text("a").await.unwrap();
        assert!(receiver.try_recv().is_err());
        output.fail(&Error::internal("why"), Some(3)).await;
        assert!(receiver.recv().await.unwrap().starts_with(b"{\"stream\":\"a\"}"));
        let error: Value = serde_json::from_slice(&receiver.recv().await.unwrap()).unwrap();
        assert_eq!(error, json!({"errorDetail": {"code": 3, "message": "why"}, "error": "why"}));
    }
}
