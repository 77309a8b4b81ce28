//! What a build tells its client: lines of Docker's JSON stream.
//!
//! Stages run beside one another, and a client of the classic API prints what
//! comes. So the first stage that has not ended speaks, and what later ones say
//! is held until their turn: the text is the same as if they ran in a row. A
//! stage never waits for its turn: it may have what the one before it needs.

use bytes::Bytes;
use hako_model::{Error, Result};
use hako_store::Store;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    fs::File,
    io::{Seek, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::{mpsc, watch},
};

/// So much is held in memory, of a stage before its turn or of a quiet build; a
/// stage's goes to a file then.
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
    /// Has room for what is too much to be held in memory.
    store: Store,
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
    waiting: Waiting,
    ended: bool,
}

/// What a stage has said before its turn.
#[derive(Default)]
struct Waiting {
    /// What was first; without a name.
    file: Option<File>,
    /// What came then.
    lines: Vec<Bytes>,
    bytes: usize,
}

impl Waiting {
    fn add(&mut self, line: Bytes, store: &Store) -> Result<()> {
        self.bytes += line.len();
        self.lines.push(line);
        if self.bytes > HELD {
            self.spill(store)
                .map_err(|err| Error::new(err.kind, format!("hold what a stage of a build says: {}", err.message)))?;
        }
        Ok(())
    }

    fn spill(&mut self, store: &Store) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(store.temp_dir()?.path())?),
        };
        file.write_all(&self.lines.concat())?;
        self.lines.clear();
        self.bytes = 0;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.file.is_none() && self.lines.is_empty()
    }

    fn read(self) -> Result<Reader> {
        let file = match self.file {
            Some(mut file) => {
                file.rewind()?;
                Some(BufReader::with_capacity(1 << 20, tokio::fs::File::from_std(file)))
            }
            None => None,
        };
        Ok(Reader { file, lines: self.lines.into_iter() })
    }
}

/// What was held, line by line.
struct Reader {
    file: Option<BufReader<tokio::fs::File>>,
    lines: std::vec::IntoIter<Bytes>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(file) = &mut self.file {
            let mut line = Vec::new();
            if file.read_until(b'\n', &mut line).await? > 0 {
                return Ok(Some(line.into()));
            }
            self.file = None;
        }
        Ok(self.lines.next())
    }
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
    pub fn new(client: mpsc::Sender<Bytes>, stages: usize, quiet: bool, store: Store) -> Self {
        let stages = (0..stages).map(|_| Stage::default()).collect();
        let lines = Mutex::new(Held { stages, silent: VecDeque::new(), silent_bytes: 0 });
        Self(Arc::new(Shared {
            lines,
            turn: watch::Sender::new(0),
            passing: tokio::sync::Mutex::default(),
            client,
            quiet,
            store,
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

    async fn say(&self, waiting: Waiting) -> Result<()> {
        let mut lines = waiting.read()?;
        while let Some(line) = lines.next().await? {
            self.0.client.send(line).await.map_err(|_| gone())?;
        }
        Ok(())
    }

    /// Ends a build that has failed, after all that it has said.
    pub async fn fail(&self, err: &Error, code: Option<i32>) {
        let said = {
            let mut held = self.held();
            let silent = Waiting { lines: std::mem::take(&mut held.silent).into(), ..Waiting::default() };
            // Also what stages had to say whose turn has not come: one of them has failed.
            let waiting = held.stages.iter_mut().map(|stage| std::mem::take(&mut stage.waiting));
            std::iter::once(silent).chain(waiting).collect::<Vec<_>>()
        };
        for waiting in said {
            // The client may have gone.
            if let Err(err) = self.say(waiting).await {
                tracing::debug!("what a build had said before it failed: {err}");
            }
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
        if *self.output.0.turn.borrow() >= self.place || !self.hold(&line)? {
            return self.output.send(line).await;
        }
        Ok(())
    }

    /// Keeps a line for later; false where its turn has come.
    fn hold(&self, line: &Bytes) -> Result<bool> {
        let mut held = self.output.held();
        if *self.output.0.turn.borrow() >= self.place {
            return Ok(false);
        }
        let Some(stage) = held.stages.get_mut(self.place) else { return Ok(false) };
        stage.waiting.add(line.clone(), &self.output.0.store)?;
        Ok(true)
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
            let waiting = {
                let mut held = self.output.held();
                let turn = *shared.turn.borrow();
                if held.stages.get(turn).is_none_or(|stage| !stage.ended) {
                    return Ok(());
                }
                let waiting = held.stages.get_mut(turn + 1).map(|next| std::mem::take(&mut next.waiting));
                match waiting.filter(|waiting| !waiting.is_empty()) {
                    Some(waiting) => waiting,
                    None => {
                        shared.turn.send_replace(turn + 1);
                        continue;
                    }
                }
            };
            let mut lines = waiting.read()?;
            while let Some(line) = lines.next().await? {
                self.output.send(line).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        (root, store)
    }

    #[tokio::test]
    async fn stages_speak_in_a_row() {
        let (sender, mut receiver) = mpsc::channel(64);
        let (_root, store) = store();
        let output = Output::new(sender, 3, false, store);
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

    /// A stage says more than memory is kept for, and goes on: the one before
    /// it may wait for what it has.
    #[tokio::test]
    async fn nobody_waits_for_a_turn() {
        let (_root, store) = store();
        for fails in [false, true] {
            let (sender, mut receiver) = mpsc::channel(1 << 10);
            let output = Output::new(sender, 2, false, store.clone());
            let (first, second) = (output.stage(0), output.stage(1));
            let long = "x".repeat(1 << 20);
            let late = (0..10).map(|n| format!("{n}{long}")).chain(["end".to_owned()]);
            for text in late.clone() {
                second.text(&text).await.unwrap();
            }
            first.text("first").await.unwrap();
            if fails {
                output.fail(&Error::internal("why"), None).await;
            } else {
                first.end().await.unwrap();
                second.text("why").await.unwrap();
            }
            drop((output, first, second));
            let mut said = Vec::new();
            while let Some(line) = receiver.recv().await {
                let value: Value = serde_json::from_slice(&line).unwrap();
                said.push(value["stream"].as_str().or(value["error"].as_str()).unwrap().to_owned());
            }
            let expected: Vec<String> =
                ["first".to_owned()].into_iter().chain(late).chain(["why".to_owned()]).collect();
            assert!(said == expected, "{fails}: {} lines", said.len());
            assert_eq!(std::fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn a_quiet_build_speaks_when_it_fails() {
        let (sender, mut receiver) = mpsc::channel(64);
        let (_root, store) = store();
        let output = Output::new(sender, 1, true, store);
        output.stage(0).text("a").await.unwrap();
        assert!(receiver.try_recv().is_err());
        output.fail(&Error::internal("why"), Some(3)).await;
        assert!(receiver.recv().await.unwrap().starts_with(b"{\"stream\":\"a\"}"));
        let error: Value = serde_json::from_slice(&receiver.recv().await.unwrap()).unwrap();
        assert_eq!(error, json!({"errorDetail": {"code": 3, "message": "why"}, "error": "why"}));
    }
}
