//! What waits to be written where a slow log must not slow the container: so
//! many bytes, and what comes beyond them is lost.

use super::Writer;
use hako_task::stdio::StdStream;
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};
use tokio::{runtime::Handle, sync::Notify};

struct Record {
    stream: StdStream,
    line: Vec<u8>,
    time: String,
}

#[derive(Default)]
struct State {
    records: VecDeque<Record>,
    /// Bytes of lines that wait.
    size: u64,
    /// Lines that found no room.
    lost: u64,
    /// The thread is at work on what it has taken.
    busy: bool,
    failure: Option<io::Error>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Notify,
}

/// The waiting records; a thread writes them for as long as this lives.
pub(super) struct Ring {
    room: u64,
    shared: Arc<Shared>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// Starts the thread that writes with `writer`. Must be called on the tokio runtime.
    pub(super) fn start(room: u64, writer: Writer) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (theirs, runtime) = (shared.clone(), Handle::current());
        std::thread::Builder::new()
            .name("log".to_owned())
            .stack_size(128 << 10)
            .spawn(move || write_all(&theirs, writer, &runtime))?;
        Ok(Self { room, shared })
    }

    /// Adds a line, or loses it.
    pub(super) fn push(&self, stream: StdStream, line: Vec<u8>, time: &str) {
        let mut state = self.shared.state();
        let size = state.size.saturating_add(line.len() as u64);
        // A line that is larger than all the room is taken when there is nothing else.
        if size > self.room && state.size > 0 {
            state.lost += 1;
            if state.lost.is_power_of_two() {
                tracing::warn!("{} lines of output did not fit the log's buffer", state.lost);
            }
            return;
        }
        state.size = size;
        state.records.push_back(Record { stream, line, time: time.to_owned() });
        self.shared.filled.notify_one();
    }

    /// Waits until everything is in the file.
    pub(super) async fn drained(&self) {
        loop {
            let emptied = self.shared.emptied.notified();
            {
                let state = self.shared.state();
                if state.records.is_empty() && !state.busy {
                    return;
                }
            }
            emptied.await;
        }
    }

    /// What has gone wrong since this was asked before.
    pub(super) fn failure(&self) -> io::Result<()> {
        self.shared.state().failure.take().map_or(Ok(()), Err)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.filled.notify_one();
    }
}

fn write_all(shared: &Shared, mut writer: Writer, runtime: &Handle) {
    loop {
        let mut state = shared.state();
        while state.records.is_empty() && !state.closed {
            state = shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let records = std::mem::take(&mut state.records);
        if records.is_empty() {
            return;
        }
        state.busy = true;
        drop(state);
        let written = write_some(shared, records, &mut writer, runtime);
        let mut state = shared.state();
        state.busy = false;
        if let Err(err) = written {
            state.failure = Some(err);
        }
        drop(state);
        // `drained` has one waiter for each stream.
        shared.emptied.notify_waiters();
    }
}

/// Their room is free as soon as they are written, and not before.
fn write_some(shared: &Shared, records: VecDeque<Record>, writer: &mut Writer, runtime: &Handle) -> io::Result<()> {
    let mut result = Ok(());
    let mut size = 0;
    for Record { stream, line, time } in records {
        size += line.len() as u64;
        let added = runtime.block_on(writer.add(stream, &line, &time));
        result = result.and(added);
    }
    result = result.and(writer.flush());
    let mut state = shared.state();
    state.size = state.size.saturating_sub(size);
    result
}
