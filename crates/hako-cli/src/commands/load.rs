//! `hako load`.

use crate::api::{Body, Client, Query, RequestBody, made};
use crate::error::{Error, Result, reason};
use crate::progress::Progress;
use crate::term::Target;
use clap::Args;
use hyper::Method;
use indicatif::ProgressBar;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

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

/// A body that is read from `source`.
pub(super) fn send(mut source: Box<dyn Read + Send>, bar: Option<ProgressBar>) -> Body {
    made(move |sink| {
        let end = loop {
            let mut piece = vec![0; PIECE];
            match source.read(&mut piece) {
                Ok(0) => break Ok(()),
                Ok(count) => {
                    piece.truncate(count);
                    bar.iter().for_each(|bar| bar.inc(count as u64));
                    if let Err(err) = sink.send(piece.into()) {
                        break Err(err);
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => break Err(err),
            }
        };
        bar.iter().for_each(ProgressBar::finish_and_clear);
        end
    })
}
