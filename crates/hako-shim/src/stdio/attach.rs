//! Connections to `stdio.sock`: streams of a process, or the container's files.

use super::Streams;
use crate::container::{Handle, Request};
use hako_task::{
    files::{MAX_LINE, refuse},
    stdio::{AttachReply, AttachRequest, ClientHead, read_line_within, write_line},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::AsyncReadExt,
    net::{UnixListener, UnixStream, unix::OwnedReadHalf},
};

/// How long a client may take to say what it wants.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// How much of stdin is read at once.
const CHUNK: usize = 32 << 10;

/// Serves clients until the process ends.
pub(crate) async fn serve(listener: UnixListener, container: Handle) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let container = container.clone();
                tokio::spawn(async move {
                    // A client that breaks off is its own affair.
                    let _ = admit(client, container).await;
                });
            }
            Err(err) => {
                tracing::warn!("accept on stdio.sock: {err}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn admit(mut client: UnixStream, container: Handle) -> io::Result<()> {
    match tokio::time::timeout(HEAD_LIMIT, read_line_within(&mut client, MAX_LINE)).await?? {
        ClientHead::Attach(req) => attach(client, req, container).await,
        ClientHead::Files { files } => match container.call(Request::Files).await {
            Ok(sandbox) => {
                sandbox.files(files, client).await;
                // Its buffers were larger than all else of this process.
                hako_os::process::trim_memory();
                Ok(())
            }
            Err(err) => refuse(&mut client, err).await,
        },
    }
}

async fn attach(mut client: UnixStream, req: AttachRequest, container: Handle) -> io::Result<()> {
    let streams = match container.streams(&req.exec_id).await {
        Ok(streams) => streams,
        Err(err) => return write_line(&mut client, &AttachReply { error: Some(err.message) }).await,
    };
    let (source, sink) = client.into_split();
    streams.attach(&req, sink).await?;
    feed(source, req.stdin, &streams).await;
    streams.drop_gone();
    Ok(())
}

/// Reads the client to its end even when nobody wants its bytes: closing a
/// socket with unread bytes would take the last output from the client.
async fn feed(mut source: OwnedReadHalf, wanted: bool, streams: &Arc<Streams>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(n @ 1..) = source.read(&mut chunk).await {
        if wanted {
            streams.write_stdin(&chunk[..n]).await;
        }
    }
    if wanted {
        streams.client_ended().await;
    }
}
