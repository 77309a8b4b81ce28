//! `hako load`.

use crate::api::{Client, Query, RequestBody};
use crate::error::{Error, Result, reason};
use crate::progress::Progress;
use crate::term::Target;
use bytes::Bytes;
use clap::Args;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Method;
use hyper::body::Frame;
use indicatif::ProgressBar;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// How much of an archive is read at once.
const PIECE: usize = 256 << 10;

/// Load images from a tar archive or stdin
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Read from tar archive file, instead of STDIN
    #[arg(short = 'i', long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Load only the given platform variant
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Suppress the load output
    #[arg(short = 'q', long)]
    quiet: bool,
}

impl Load {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let mut progress = Progress::new(Target::Stdout);
        let (source, bar): (Box<dyn Read + Send>, _) = match &self.input {
            Some(path) => {
                let wrong = |err: io::Error| Error::msg(format!("open {}: {}", path.display(), reason(&err)));
                let file = File::open(path).map_err(wrong)?;
                let size = file.metadata().map_err(wrong)?.len();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (Box::new(file), if self.quiet { None } else { progress.upload(size, &name) })
            }
            None if io::stdin().is_terminal() => {
                return Err(Error::msg("requested load from stdin, but stdin is empty"));
            }
            None => (Box::new(io::stdin()), None),
        };
        let path = Query::default()
            .set("quiet", if self.quiet { "1" } else { "0" })
            .opt("platform", self.platform.as_deref())
            .on("/images/load");
        let messages = client.messages(Method::POST, &path, RequestBody::Tar(send(source, bar)), &[]).await?;
        // The answer names what was loaded, quiet or not, as Docker's does.
        progress.follow(messages, false).await
    }
}

/// A body that is read by a thread of its own, a few pieces ahead.
pub(super) fn send(mut source: Box<dyn Read + Send>, bar: Option<ProgressBar>) -> UnsyncBoxBody<Bytes, io::Error> {
    let (queue, pieces) = mpsc::channel::<io::Result<Frame<Bytes>>>(4);
    std::thread::spawn(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = match source.read(&mut piece) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                other => other,
            };
            let sent = match read {
                Ok(0) => break,
                Ok(count) => {
                    piece.truncate(count);
                    bar.iter().for_each(|bar| bar.inc(count as u64));
                    queue.blocking_send(Ok(Frame::data(piece.into())))
                }
                Err(err) => {
                    let _ = queue.blocking_send(Err(err));
                    break;
                }
            };
            if sent.is_err() {
                break;
            }
        }
        bar.iter().for_each(ProgressBar::finish_and_clear);
    });
    let stream =
        futures::stream::unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) });
    UnsyncBoxBody::new(StreamBody::new(stream))
}
