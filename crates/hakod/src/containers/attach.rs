//! `POST /containers/{id}/attach`: the client's connection becomes the
//! container's streams. A container that has not started keeps the client
//! waiting, and its start connects it before the first byte can be lost.

use super::{
    actor::{Actor, AttachTicket, Request as Ask, View},
    life::{self, Todo, Verb, Who},
    logs,
};
use crate::{
    Engine,
    http::{
        Request, Response,
        hijack::{Client, content_type, hijack},
        websocket,
    },
    shim::Live,
};
use hako_api::ApiVersion;
use hako_model::{Error, Result};
use hako_task::stdio::AttachRequest;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::oneshot,
};

/// A client that waits for the start.
pub(super) struct Pending {
    request: AttachRequest,
    reply: oneshot::Sender<Result<UnixStream>>,
}

/// Attaches.
pub async fn serve(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    let query = &req.query;
    let streams = [query.flag("stdin"), query.flag("stdout"), query.flag("stderr")];
    let job = Job::prepare(engine, &req, streams).await?;
    let content_type = content_type(job.view.record.config.tty, req.version);
    Ok(hijack(req, content_type, move |client| job.run(client)))
}

/// `GET /containers/{id}/attach/ws`: the same over a WebSocket, whose messages
/// carry plain bytes.
pub async fn serve_websocket(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    // Older clients get all three.
    let chosen = req.version >= ApiVersion::new(1, 42);
    let streams = ["stdin", "stdout", "stderr"].map(|name| !chosen || req.query.flag(name));
    let job = Job::prepare(engine, &req, streams).await?;
    let multiplexed = !job.view.record.config.tty;
    websocket::accept(req, multiplexed, move |client| job.run(client))
}

/// An attach that has been admitted.
struct Job {
    engine: Arc<Engine>,
    view: Arc<View>,
    request: AttachRequest,
    /// Present with `stream`.
    ticket: Option<AttachTicket>,
    replay: bool,
    keys: Vec<u8>,
}

impl Job {
    async fn prepare(engine: &Arc<Engine>, req: &Request, [stdin, stdout, stderr]: [bool; 3]) -> Result<Self> {
        let container = engine.containers.find(&req.param)?;
        let view = container.view();
        let keys = detach_keys(req.query.get("detachKeys"))?;
        // A client that only wants the log so far is refused in the same states.
        life::admit(&view.record.state, Verb::Attach, Who { id: &req.param, name: &view.record.name })?;
        let stdin = stdin && view.record.config.open_stdin;
        let request = AttachRequest { exec_id: String::new(), stdin, stdout, stderr };
        let ticket = if req.query.flag("stream") {
            let request = request.clone();
            Some(container.ask(|reply| Ask::Attach { request, reply }).await?)
        } else {
            None
        };
        super::actor::emit(engine, &view.record, "attach", &[]);
        Ok(Self { engine: engine.clone(), view, request, ticket, replay: req.query.flag("logs"), keys })
    }

    async fn run(self, mut client: Client) {
        if self.replay {
            logs::replay(&self.engine, &self.view.record, &self.request, &mut client.output).await;
        }
        let Some(ticket) = self.ticket else { return end(client).await };
        let tty = self.view.record.config.tty;
        match ticket.await {
            Ok(Ok(stream)) => {
                if pump(client, stream, self.request.stdin, tty.then_some(self.keys)).await == Left::Detached {
                    super::actor::emit(&self.engine, &self.view.record, "detach", &[]);
                }
            }
            // The start failed and says so itself; or the container was removed.
            Ok(Err(_)) | Err(_) => end(client).await,
        }
    }
}

/// In the owner.
pub(super) async fn run(actor: &mut Actor, request: AttachRequest, todo: Todo) -> Result<AttachTicket> {
    let (reply, ticket) = oneshot::channel();
    let pending = Pending { request, reply };
    match (todo, &actor.live) {
        (Todo::Now, Some(live)) => connect(&live.clone(), pending).await?,
        (Todo::Now, None) => return Err(Error::conflict(format!("container {} is not running", actor.record.id))),
        (Todo::AtStart, _) => {
            actor.pending.retain(|waiting| !waiting.reply.is_closed());
            actor.pending.push(pending);
        }
        (Todo::AfterStart | Todo::AndThaw | Todo::CancelRestart | Todo::KillFirst | Todo::Nothing, _) => {
            return Err(Error::internal(format!("a client cannot be attached so: {todo:?}")));
        }
    }
    Ok(ticket)
}

/// Connects one client to the shim.
pub(super) async fn connect(live: &Live, pending: Pending) -> Result<()> {
    let stream = live.attach(&pending.request).await?;
    // The client may have gone while it waited.
    let _ = pending.reply.send(Ok(stream));
    Ok(())
}

/// How long, and how much, a client is read after the output has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
const DRAIN_BYTES: u64 = 64 << 20;

/// Why a client is attached no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The output has ended, or the client has gone.
    Ended,
    /// The client typed the detach keys.
    Detached,
}

/// Moves bytes until the output ends, the client goes, or it types the detach
/// keys (`keys` is present with a tty).
pub async fn pump(client: Client, stream: UnixStream, stdin: bool, keys: Option<Vec<u8>>) -> Left {
    let (mut from, to) = stream.into_split();
    let Client { mut input, mut output } = client;
    let outward = async {
        let copied = output.copy(&mut from).await;
        output.finish().await;
        copied
    };
    let inward = async {
        match &mut input {
            Some(input) if stdin => forward(input, to, keys).await,
            other => {
                if let Some(input) = other {
                    // Nobody wants it, and a WebSocket's end is seen only by reading.
                    let _ = tokio::io::copy(input, &mut tokio::io::sink()).await;
                }
                // Held, so that the shim does not take it for the client's leaving.
                let _held = to;
                std::future::pending().await
            }
        }
    };
    let left = tokio::select! {
        copied = outward => {
            if let Err(err) = copied {
                tracing::debug!("attached client: {err}");
            }
            Left::Ended
        }
        () = inward => Left::Detached,
    };
    end(Client { input, output }).await;
    left
}

/// Ends a client in order: it sees the end, and what it still sends is read. A
/// connection closed with bytes unread is reset, and the client may lose the
/// end of the output.
async fn end(mut client: Client) {
    client.output.finish().await;
    if let Some(input) = client.input {
        let mut nowhere = tokio::io::sink();
        // A client that keeps sending is cut off.
        let _ = tokio::time::timeout(DRAIN_LIMIT, tokio::io::copy(&mut input.take(DRAIN_BYTES), &mut nowhere)).await;
    }
}

/// Sends the client's bytes on; returns only when the client detaches.
async fn forward(mut input: impl tokio::io::AsyncRead + Unpin, mut to: OwnedWriteHalf, keys: Option<Vec<u8>>) {
    let mut scanner = keys.map(Scanner::new);
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = match input.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => n,
        };
        let (bytes, detached) = match &mut scanner {
            Some(scanner) => scanner.scan(&buffer[..n]),
            None => (buffer[..n].to_vec(), false),
        };
        if to.write_all(&bytes).await.is_err() {
            // The process reads no more. What else the client sends is dropped
            // when the output has ended.
            break;
        }
        if detached {
            return;
        }
    }
    // The end of the client's input; the process may have ended already.
    let _ = to.shutdown().await;
    let _held = to;
    std::future::pending().await
}

/// Finds the detach keys in what is typed. Keys that may be the beginning of
/// them are held back until it is clear.
struct Scanner {
    keys: Vec<u8>,
    matched: usize,
}

impl Scanner {
    fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    fn scan(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len());
        for &byte in typed {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(&byte) {
                self.matched = 1;
            } else {
                out.push(byte);
            }
        }
        (out, false)
    }
}

/// Reads `ctrl-p,ctrl-q`, `a,b`, `ctrl-@`; empty text is Docker's default.
///
/// # Errors
/// `Invalid detach keys`.
pub fn detach_keys(text: &str) -> Result<Vec<u8>> {
    let text = if text.is_empty() { "ctrl-p,ctrl-q" } else { text };
    let bad = || Error::invalid(format!("Invalid detach keys ({text}) provided"));
    let key = |word: &str| match (word.strip_prefix("ctrl-").map(str::as_bytes), word.as_bytes()) {
        (Some([letter @ (b'a'..=b'z' | b'A'..=b'Z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]), _) => {
            Some(letter.to_ascii_uppercase() - b'@')
        }
        (None, [byte]) => Some(*byte),
        _ => None,
    };
    text.split(',').map(|word| key(word).ok_or_else(bad)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert_eq!(detach_keys("").unwrap(), [16, 17]);
        assert_eq!(detach_keys("a,ctrl-[,ctrl-@").unwrap(), [b'a', 27, 0]);
        assert!(detach_keys("ctrl-1").is_err());
        let mut scanner = Scanner::new(vec![16, 17]);
        assert_eq!(scanner.scan(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(scanner.scan(b"\x10b"), (b"\x10\x10b".to_vec(), false));
        assert_eq!(scanner.scan(b"c\x10\x11d"), (b"c".to_vec(), true));
    }
}
