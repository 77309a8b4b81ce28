//! `POST /exec/{id}/start`.

use super::{Exec, State, create::told};
use crate::{
    Engine,
    containers::{
        attach::{Left, detach_keys, pump},
        life::{self, Verb, Who},
        record::Record,
    },
    http::{
        Request, Response, empty,
        hijack::{Client, Output, content_type, hijack},
    },
    shim::Live,
    spec,
};
use hako_api::{decode, types::ExecStartOptions};
use hako_model::{Error, ErrorKind, Result};
use hako_task::stdio::{AttachRequest, StdStream, frame_head};
use hyper::StatusCode;
use std::sync::Arc;
use tokio::{net::UnixStream, sync::oneshot};

/// Starts a process: detached at once, attached after the connection has been
/// taken over. What goes wrong then is said in the stream, and in the exit code.
pub async fn serve(engine: &Arc<Engine>, mut req: Request) -> Result<Response> {
    let exec = engine.execs.find(&req.param)?;
    let options: ExecStartOptions = decode::decode_body(&req.read().await?)?;
    let container = engine
        .containers
        .find(&exec.container)
        .map_err(|_| Error::not_found(format!("No such exec instance: {}", exec.id)))?;
    let view = container.view();
    let who = Who { id: container.id.as_str(), name: &view.record.name };
    life::admit(&view.record.state, Verb::Exec, who)?;
    let live = container.live()?;
    exec.begin()?;
    let job = Job { engine: engine.clone(), exec: exec.clone(), live };
    if options.detach {
        return match job.launch(&view.record, None).await {
            Ok(_) => {
                let record = view.clone();
                tokio::spawn(async move { job.end(&record.record).await });
                Ok(empty(StatusCode::OK))
            }
            Err(err) => Err(job.failed(err)),
        };
    }
    let tty = exec.config.tty;
    let keys = detach_keys(&exec.config.detach_keys)?;
    Ok(hijack(req, content_type(tty, hako_api::version::MAX), move |client| async move {
        job.attached(client, view, tty.then_some(keys)).await;
    }))
}

/// One exec on its way.
pub(super) struct Job {
    pub(super) engine: Arc<Engine>,
    pub(super) exec: Arc<Exec>,
    pub(super) live: Live,
}

impl Job {
    /// Runs the process with the client's connection as its streams.
    async fn attached(self, mut client: Client, view: Arc<crate::containers::View>, keys: Option<Vec<u8>>) {
        let config = &self.exec.config;
        let request = AttachRequest {
            exec_id: self.exec.id.clone(),
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
        };
        let stdin = request.stdin;
        let stream = match self.launch(&view.record, Some(request)).await {
            Ok(stream) => stream,
            Err(err) => {
                let err = self.failed(err);
                say(&mut client.output, &err, self.exec.config.tty).await;
                return;
            }
        };
        // The end is recorded before the client sees its stream end, for then it asks for the exit code.
        let (engine, exec, detached) = (self.engine.clone(), self.exec.clone(), view.clone());
        let (ended, end) = oneshot::channel();
        let Client { input, output } = client;
        let client = Client { input, output: output.until(end) };
        tokio::spawn(async move {
            self.end(&view.record).await;
            // The client may have detached.
            let _ = ended.send(());
        });
        match stream {
            Some(stream) => {
                if pump(client, stream, stdin, keys).await == Left::Detached {
                    let about = [("execID", exec.id.clone())];
                    crate::containers::emit(&engine, &detached.record, "exec_detach", &about);
                }
            }
            None => {
                let mut client = client;
                client.output.finish().await;
            }
        }
    }

    /// Registers, attaches and starts the process.
    pub(super) async fn launch(&self, record: &Record, attach: Option<AttachRequest>) -> Result<Option<UnixStream>> {
        // As in dockerd it is told of also if it then cannot run.
        self.emit_start(record);
        let config = &self.exec.config;
        let process = spec::exec_process(&self.engine, record, config)?;
        let process = serde_json::to_vec(&process).map_err(|err| Error::internal(err.to_string()))?;
        let id = &self.exec.id;
        self.live.exec(id, process, config.tty, config.attach_stdin).await?;
        let stream = match attach {
            Some(request) => Some(self.live.attach(&request).await?),
            None => None,
        };
        let pid = self.live.start(id).await?;
        self.exec.set(State::Running { pid });
        if let Some([height, width]) = config.console_size.filter(|_| config.tty)
            && let Err(err) = self.live.resize(id, u32::from(width), u32::from(height)).await
        {
            // It may have ended already.
            tracing::debug!("size of exec {id}: {err}");
        }
        Ok(stream)
    }

    /// Waits for the end and records it; answers the exit code.
    pub(super) async fn end(&self, record: &Record) -> i64 {
        let exit = self.live.wait(&self.exec.id).await;
        let code = exit.map_or(137, |exit| i64::from(exit.exit_code));
        self.exec.set(State::Ended { code });
        let about = [("execID", self.exec.id.clone()), ("exitCode", code.to_string())];
        crate::containers::emit(&self.engine, record, "exec_die", &about);
        if let Err(err) = self.live.delete(&self.exec.id).await {
            // With the container's end its shim goes.
            tracing::debug!("delete exec {}: {err}", self.exec.id);
        }
        code
    }

    /// A process that could not start has the exit code that a shell would give.
    pub(super) fn failed(&self, err: Error) -> Error {
        let (code, kind) = crate::containers::classify(&err.message);
        // Docker has two codes for an exec that cannot start.
        let code = if code == 127 { 127 } else { 126 };
        self.exec.set(State::Ended { code: i64::from(code) });
        let kind = if err.kind == ErrorKind::Internal { kind } else { err.kind };
        // dockerd looks users up itself, and runc says the rest.
        if err.message.starts_with("unable to find ") {
            return Error::new(kind, err.message);
        }
        let text = format!("OCI runtime exec failed: exec failed: unable to start container process: {}", err.message);
        Error::new(kind, format!("{text}: unknown"))
    }

    fn emit_start(&self, record: &Record) {
        let words = told(self.exec.config.cmd.as_deref().unwrap_or_default());
        let about = [("execID", self.exec.id.clone())];
        crate::containers::emit(&self.engine, record, &format!("exec_start: {words}"), &about);
    }
}

/// Writes an error where the output would have been.
async fn say(output: &mut Output, err: &Error, tty: bool) {
    let text = format!("{}\r\n", err.message);
    let mut bytes = Vec::new();
    if !tty {
        bytes.extend_from_slice(&frame_head(StdStream::Stderr, u32::try_from(text.len()).unwrap_or(0)));
    }
    bytes.extend_from_slice(text.as_bytes());
    // The client may have gone; the exit code says it as well.
    let _ = output.send(&bytes).await;
    output.finish().await;
}
