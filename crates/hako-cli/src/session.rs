//! A terminal, or a row of pipes, joined to a process behind a wall: what `run`,
//! `start -a`, `attach` and `exec` share.

use crate::api::{Client, Hijacked, Query};
use crate::error::{Error, Result};
use crate::term::{Demux, DetachKeys, Output, RawMode, Target, read_stdin, size};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// The stream of a hijacked connection.
type Stream = hyper_util::rt::TokioIo<hyper::upgrade::Upgraded>;

/// Docker's default for `--detach-keys`.
const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

/// How long an engine may take to end the stream after the detach keys.
const LEAVE: std::time::Duration = std::time::Duration::from_secs(1);

/// How a session is joined.
#[derive(Debug)]
pub(crate) struct Session {
    /// The process has a terminal: nothing is framed, and ours becomes raw.
    pub(crate) tty: bool,
    /// stdin is passed on.
    pub(crate) stdin: bool,
    /// The keys that leave it, if not the default ones.
    pub(crate) detach_keys: Option<String>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The process's streams have ended.
    Eof,
    /// The user left by the detach keys.
    Detached,
    /// Nobody reads our stdout or stderr any more.
    BrokenPipe,
}

impl Session {
    /// Refuses a terminal session whose stdin is not a terminal, as Docker does.
    pub(crate) fn check_tty(&self) -> Result<()> {
        use std::io::IsTerminal;
        if self.tty && self.stdin && !std::io::stdin().is_terminal() {
            return Err(Error::msg("the input device is not a TTY"));
        }
        Ok(())
    }

    /// Carries bytes both ways until the process's output ends.
    pub(crate) async fn run(&self, hijacked: Hijacked) -> Result<End> {
        let keys = DetachKeys::parse(self.detach_keys.as_deref().filter(|k| !k.is_empty()).unwrap_or(DETACH_KEYS))?;
        let raw = if self.tty && self.stdin { RawMode::enter()? } else { None };
        let (reader, writer) = tokio::io::split(hijacked.io);
        let (detach, detached) = oneshot::channel();
        let input = tokio::spawn(send_input(writer, self.stdin, self.tty.then_some(keys), detach));
        let mut output = Output::default();
        let end = {
            let receive = receive_output(reader, self.tty, &mut output);
            tokio::pin!(receive);
            tokio::select! {
                // First: the stream's end that follows the keys is not the process's.
                biased;
                Ok(()) = detached => {
                    let _ = tokio::time::timeout(LEAVE, receive).await;
                    Ok(End::Detached)
                }
                end = &mut receive => end,
            }
        };
        let intact = output.finish().await;
        input.abort();
        drop(raw);
        if intact { end } else { Ok(End::BrokenPipe) }
    }
}

/// Passes stdin on and half-closes the stream at its end. The write half is kept
/// until the session ends: some engines take its loss for the client's death.
async fn send_input(
    mut writer: WriteHalf<Stream>,
    stdin: bool,
    mut keys: Option<DetachKeys>,
    detach: oneshot::Sender<()>,
) {
    let mut detach = Some(detach);
    if stdin {
        let mut pieces = read_stdin();
        while let Some(piece) = pieces.recv().await {
            let leaves = keys.as_mut().and_then(|keys| keys.end_in(&piece));
            if leaves.is_some() {
                // Said first: the engine ends the stream as soon as it has the keys.
                detach.take().map(|detach| detach.send(()));
            }
            // A process that has closed its stdin may still write.
            let bytes = &piece[..leaves.unwrap_or(piece.len())];
            if writer.write_all(bytes).await.is_err() || writer.flush().await.is_err() || leaves.is_some() {
                return hold(writer, detach).await;
            }
        }
        let _ = writer.shutdown().await;
    }
    hold(writer, detach).await;
}

/// Keeps the write half open, and the detach channel silent, until the session ends.
async fn hold(_writer: WriteHalf<Stream>, _detach: Option<oneshot::Sender<()>>) {
    std::future::pending().await
}

async fn receive_output(mut reader: ReadHalf<Stream>, tty: bool, output: &mut Output) -> Result<End> {
    let mut demux = Demux::default();
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(64 << 10);
        // An engine that dies resets the connection: the wait that follows says so.
        if reader.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            return Ok(End::Eof);
        }
        write_output(&mut demux, tty, buffer.split().freeze(), output).await?;
        if output.broken() {
            return Ok(End::BrokenPipe);
        }
    }
}

/// Writes one piece of an engine's stream, framed unless `tty`.
pub(crate) async fn write_output(demux: &mut Demux, tty: bool, data: Bytes, output: &mut Output) -> Result<()> {
    if tty {
        output.write(Target::Stdout, data).await;
        return Ok(());
    }
    let mut pieces = Vec::new();
    demux.feed(data, |target, piece| pieces.push((target, piece))).map_err(|err| Error::msg(err.to_string()))?;
    for (target, piece) in pieces {
        output.write(target, piece).await;
    }
    Ok(())
}

/// Keeps the size of a process's terminal that of ours. `path` is
/// `/containers/ID/resize` or `/exec/ID/resize`.
pub(crate) struct Resizer {
    client: Client,
    path: String,
    changed: Signal,
}

impl Resizer {
    /// Watches from now on; call before the process starts.
    pub(crate) fn new(client: &Client, path: String) -> Result<Self> {
        Ok(Self { client: client.clone(), path, changed: signal(SignalKind::window_change())? })
    }

    /// Sets the size now and at every change, without an end.
    pub(crate) async fn follow(mut self) {
        // The process may not be there yet: Docker's client tries as often.
        for attempt in 1..=10u64 {
            if self.resize().await.is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5 * attempt)).await;
        }
        while self.changed.recv().await.is_some() {
            let _ = self.resize().await;
        }
    }

    async fn resize(&self) -> Result<()> {
        let Some((rows, columns)) = size() else { return Ok(()) };
        let query = Query::default().set("h", &rows.to_string()).set("w", &columns.to_string());
        self.client.post(&query.on(&self.path)).await.map(drop)
    }
}

/// The signals that are passed on to a container: what can be caught and is not
/// about this process itself (its children, its pipes, its terminal's size).
const PROXIED: &[(&str, i32)] = &[
    ("HUP", libc_signal(nix::sys::signal::Signal::SIGHUP)),
    ("INT", libc_signal(nix::sys::signal::Signal::SIGINT)),
    ("QUIT", libc_signal(nix::sys::signal::Signal::SIGQUIT)),
    ("USR1", libc_signal(nix::sys::signal::Signal::SIGUSR1)),
    ("USR2", libc_signal(nix::sys::signal::Signal::SIGUSR2)),
    ("ALRM", libc_signal(nix::sys::signal::Signal::SIGALRM)),
    ("TERM", libc_signal(nix::sys::signal::Signal::SIGTERM)),
    ("CONT", libc_signal(nix::sys::signal::Signal::SIGCONT)),
    ("TSTP", libc_signal(nix::sys::signal::Signal::SIGTSTP)),
];

const fn libc_signal(signal: nix::sys::signal::Signal) -> i32 {
    signal as i32
}

/// Passes signals on to container `id` from now until the program ends.
pub(crate) fn proxy_signals(client: &Client, id: &str) -> Result<()> {
    for &(name, number) in PROXIED {
        let mut caught = signal(SignalKind::from_raw(number))?;
        let (client, id) = (client.clone(), id.to_owned());
        tokio::spawn(async move {
            while caught.recv().await.is_some() {
                // A container that has just ended refuses: nothing is lost.
                let _ = client.post(&Query::default().set("signal", name).on(format!("/containers/{id}/kill"))).await;
            }
        });
    }
    Ok(())
}

/// Without a proxy, a signal that ends this program must not leave the terminal raw.
pub(crate) fn end_by_signal() -> Result<()> {
    for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()] {
        let mut caught = signal(kind)?;
        tokio::spawn(async move {
            if caught.recv().await.is_some() {
                crate::term::restore();
                std::process::exit(128 + kind.as_raw_value());
            }
        });
    }
    Ok(())
}
