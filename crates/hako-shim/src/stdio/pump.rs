//! Moves a process's output: to the log first, then to the clients.

use super::{StdinEnd, Streams, client::HEAD, log::Log};
use hako_sandbox::{Output, Stdio};
use hako_task::stdio::StdStream;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// How much is read at once.
const CHUNK: usize = 32 << 10;

/// Takes the streams of a process and starts moving its output.
pub(crate) fn start(stdio: Stdio, tty: bool, stdin_end: StdinEnd, log: Option<Log>) -> Arc<Streams> {
    let outputs = [(StdStream::Stdout, stdio.stdout), (StdStream::Stderr, stdio.stderr)];
    let count = outputs.iter().filter(|(_, output)| output.is_some()).count();
    let streams = Arc::new(Streams::new(tty, stdin_end, stdio.stdin, count));
    let log = log.map(Arc::new);
    for (stream, output) in outputs {
        if let Some(output) = output {
            tokio::spawn(pump(output, stream, streams.clone(), log.clone()));
        }
    }
    streams
}

async fn pump(mut output: Output, stream: StdStream, streams: Arc<Streams>, log: Option<Arc<Log>>) {
    // Pages of it that no output reaches are never touched.
    let mut frame = vec![0; HEAD + CHUNK];
    let mut failing = false;
    let mut note = |result: std::io::Result<()>| {
        match &result {
            // A full disk fails every write: once is enough to say so.
            Err(err) if !failing => tracing::error!("write the container's log: {err}"),
            _ => {}
        }
        failing = result.is_err();
    };
    // A read that fails is the end: a VM that died, a pty that hung up.
    while let Ok(n @ 1..) = output.read(&mut frame[HEAD..]).await {
        let frame = &mut frame[..HEAD + n];
        if let Some(log) = &log {
            note(log.write(stream, &frame[HEAD..]).await);
        }
        streams.broadcast(stream, frame).await;
    }
    if let Some(log) = &log {
        note(log.end(stream).await);
    }
    streams.output_ended();
}
