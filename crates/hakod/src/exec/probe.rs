//! A process that the engine itself runs in a container, for a health check: an
//! exec like a client's, with its events, and never on the host.

use super::start::Job;
use crate::{
    Engine,
    containers::{emit, record::Record},
    shim::Live,
};
use hako_api::{time, types::ExecConfig};
use hako_model::{Error, Result};
use hako_task::stdio::AttachRequest;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What is kept of a probe's output.
const MOST: usize = 4096;
/// How long a probe may take to start: the engine's time, not the probe's.
const START: Duration = Duration::from_secs(30);
/// How long a killed probe may take to end, and its last output to arrive.
const END: Duration = Duration::from_secs(30);

/// Where a probe runs.
pub struct Probe<'a> {
    /// The engine.
    pub engine: &'a Arc<Engine>,
    /// The container.
    pub record: &'a Record,
    /// Its shim.
    pub live: &'a Live,
}

impl Probe<'_> {
    /// Runs `words` for at most `limit`; answers the exit code and the output.
    /// Ends the process also when `stop` says that nobody cares any more.
    ///
    /// # Errors
    /// It cannot be started, or does not end when it is killed.
    pub async fn run(&self, words: &[String], limit: Duration, stop: &CancellationToken) -> Result<(i64, String)> {
        let config =
            ExecConfig { attach_stdout: true, attach_stderr: true, cmd: Some(words.to_vec()), ..ExecConfig::default() };
        let exec = self.engine.execs.add(self.record.id.as_str(), config);
        let action = format!("exec_create: {}", words.join(" "));
        emit(self.engine, self.record, &action, &[("execID", exec.id.clone())]);
        let request = AttachRequest { exec_id: exec.id.clone(), stdin: false, stdout: true, stderr: true };
        let job = Job { engine: self.engine.clone(), exec: exec.clone(), live: self.live.clone() };
        let stream = match timeout(START, job.launch(self.record, Some(request))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(err)) => return Err(job.failed(err)),
            Err(_) => {
                return Err(Error::internal(format!(
                    "timed out starting health check for container {}",
                    self.record.id
                )));
            }
        };
        let output = Arc::new(Output::default());
        let reader = stream.map(|stream| tokio::spawn(output.clone().read(stream)));
        let record = self.record.clone();
        let mut end = tokio::spawn(async move { job.end(&record).await });
        let in_time = tokio::select! {
            code = &mut end => Some(code),
            () = tokio::time::sleep(limit) => None,
            () = stop.cancelled() => None,
        };
        if let Some(code) = in_time {
            if let Some(reader) = reader {
                // The process has ended and all that it wrote was sent.
                let _ = timeout(END, reader).await;
            }
            return code.map(|code| (code, output.text())).map_err(|err| Error::internal(err.to_string()));
        }
        if let Err(err) = self.live.kill(&exec.id, libc::SIGKILL, false).await {
            tracing::debug!("kill health check {}: {err}", exec.id);
        }
        // Probes that do not die must not pile up.
        let _ = timeout(END, end).await;
        let said = output.text();
        let said = if said.is_empty() { said } else { format!(": {said}") };
        Ok((-1, format!("Health check exceeded timeout ({}){said}", time::go_duration(limit))))
    }
}

/// The beginning of what a probe writes.
#[derive(Default)]
struct Output(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    more: bool,
}

impl Output {
    /// Takes both streams out of Docker's frames, to their end, so that the
    /// process can always write.
    async fn read(self: Arc<Self>, mut stream: impl AsyncRead + Unpin) {
        let mut head = [0; 8];
        let mut buffer = vec![0; 4096];
        while stream.read_exact(&mut head).await.is_ok() {
            let mut left = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
            while left > 0 {
                let want = left.min(buffer.len());
                match stream.read(&mut buffer[..want]).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => {
                        self.keep(&buffer[..n]);
                        left -= n;
                    }
                }
            }
        }
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = (MOST - kept.bytes.len()).min(bytes.len());
        kept.bytes.extend_from_slice(&bytes[..room]);
        kept.more |= room < bytes.len();
    }

    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept.bytes);
        if kept.more { format!("{text}...") } else { text.into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_task::stdio::{StdStream, frame_head};

    #[tokio::test]
    async fn output_is_kept_up_to_its_bound() {
        let output = Arc::new(Output::default());
        let mut stream = Vec::new();
        for (kind, text) in [(StdStream::Stdout, "out".to_owned()), (StdStream::Stderr, "e".repeat(10_000))] {
            stream.extend_from_slice(&frame_head(kind, u32::try_from(text.len()).unwrap()));
            stream.extend_from_slice(text.as_bytes());
        }
        output.clone().read(stream.as_slice()).await;
        let text = output.text();
        assert_eq!(text.len(), MOST + 3);
        assert!(text.starts_with("outeee") && text.ends_with("e..."));
    }
}
