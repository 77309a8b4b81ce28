//! The streams of one process: who reads along, and who feeds it.

use super::client::Client;
use hako_sandbox::Input;
use hako_task::stdio::{AttachReply, AttachRequest, StdStream, write_line};
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::unix::OwnedWriteHalf,
    sync::{Mutex as AsyncMutex, watch},
};

/// How long output may stand still after the process has ended (descendants
/// that hold the pipe, a client that does not read).
const STILL_LIMIT: Duration = Duration::from_secs(2);
/// How long all of it may take, for a descendant that goes on writing.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// What the end of a client's input means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StdinEnd {
    /// The process's stdin ends, too.
    Close,
    /// Another client may go on.
    Keep,
}

/// One process's streams.
pub(crate) struct Streams {
    tty: bool,
    stdin_end: StdinEnd,
    stdin: AsyncMutex<Option<Input>>,
    /// `None` once the streams are at their end.
    clients: Mutex<Option<Vec<Arc<Client>>>>,
    /// How many outputs have not ended.
    open: watch::Sender<usize>,
    finished: watch::Sender<bool>,
    moved: AtomicU64,
}

impl Streams {
    pub(super) fn new(tty: bool, stdin_end: StdinEnd, stdin: Option<Input>, outputs: usize) -> Self {
        Self {
            tty,
            // A terminal's end is a character of its own.
            stdin_end: if tty { StdinEnd::Keep } else { stdin_end },
            stdin: AsyncMutex::new(stdin),
            clients: Mutex::new(Some(Vec::new())),
            open: watch::Sender::new(outputs),
            finished: watch::Sender::new(false),
            moved: AtomicU64::new(0),
        }
    }

    /// Whether the process has a tty.
    pub(crate) fn tty(&self) -> bool {
        self.tty
    }

    fn clients(&self) -> MutexGuard<'_, Option<Vec<Arc<Client>>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a client and answers it; from then on it misses no byte. If the
    /// streams are at their end the answer is all that it gets.
    pub(super) async fn attach(&self, req: &AttachRequest, sink: OwnedWriteHalf) -> io::Result<()> {
        self.drop_gone();
        let (client, mut guard) = Client::new(req, self.tty, sink).await;
        if let Some(clients) = self.clients().as_mut() {
            clients.push(Arc::new(client));
        }
        write_line(&mut *guard, &AttachReply { error: None }).await
    }

    /// Sends the data behind the head's room to every client that wants it.
    pub(super) async fn broadcast(&self, stream: StdStream, frame: &mut [u8]) {
        self.moved.fetch_add(1, Ordering::Relaxed);
        let wanting: Vec<Arc<Client>> = match &*self.clients() {
            Some(clients) => clients.iter().filter(|client| client.wants(stream)).cloned().collect(),
            None => return,
        };
        for client in wanting {
            if client.send(stream, frame).await.is_err() {
                self.forget(&client);
            }
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn forget(&self, gone: &Arc<Client>) {
        if let Some(clients) = self.clients().as_mut() {
            clients.retain(|client| !Arc::ptr_eq(client, gone));
        }
    }

    /// Forgets clients that have closed their connection.
    pub(super) fn drop_gone(&self) {
        if let Some(clients) = self.clients().as_mut() {
            clients.retain(|client| !client.is_gone());
        }
    }

    /// One output has ended.
    pub(super) fn output_ended(&self) {
        self.open.send_modify(|open| *open -= 1);
    }

    /// Waits until all output is in the log and with the clients, or stands still.
    pub(crate) async fn drained(&self) {
        let mut open = self.open.subscribe();
        let deadline = tokio::time::Instant::now() + DRAIN_LIMIT;
        loop {
            let before = self.moved.load(Ordering::Relaxed);
            let ended = tokio::time::timeout(STILL_LIMIT, open.wait_for(|open| *open == 0)).await;
            let still = self.moved.load(Ordering::Relaxed) == before;
            if ended.is_ok() || still || tokio::time::Instant::now() > deadline {
                return;
            }
        }
    }

    /// The process has ended and its output with it: clients get their end.
    pub(crate) fn finish(&self) {
        self.clients().take();
        self.finished.send_replace(true);
    }

    /// Feeds the process; what it no longer reads is dropped.
    pub(super) async fn write_stdin(&self, data: &[u8]) {
        let mut finished = self.finished.subscribe();
        let write = async {
            let mut stdin = self.stdin.lock().await;
            if let Some(input) = stdin.as_mut()
                && (input.write_all(data).await.is_err() || input.flush().await.is_err())
            {
                *stdin = None;
            }
        };
        tokio::select! {
            () = write => {}
            _ = finished.wait_for(|finished| *finished) => {}
        }
    }

    /// A client's input has ended.
    pub(super) async fn client_ended(&self) {
        match self.stdin_end {
            StdinEnd::Close => self.close_stdin().await,
            StdinEnd::Keep => {}
        }
    }

    /// Closes the process's stdin, behind what was written to it before.
    pub(crate) async fn close_stdin(&self) {
        let mut finished = self.finished.subscribe();
        let close = async {
            if let Some(mut input) = self.stdin.lock().await.take() {
                // It is closed by being dropped, whatever this says.
                let _ = input.shutdown().await;
            }
        };
        tokio::select! {
            () = close => {}
            _ = finished.wait_for(|finished| *finished) => {}
        }
    }
}
