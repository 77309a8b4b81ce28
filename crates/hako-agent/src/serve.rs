//! The agent's process: the port, the streams on it, and the service.

use crate::{
    port::{self, Port},
    service::Service,
    streams::Streams,
};
use anyhow::{Context, Result};
use futures::stream;
use hako_sandbox::process::Reaper;
use hako_task::{
    extra::create_extra,
    files::MAX_LINE,
    mux::{Mux, MuxStream},
    stdio::{Ack, StreamHead, read_line_within, write_line},
    task_service::create_task,
    ttrpc::r#async::{Server, transport::Listener},
};
use std::{fs, io::Write, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// A century.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// On the kernel's command line: say hello on the port and end.
const PROBE_ARG: &str = "hako.probe=1";
/// On the kernel's command line: say hello on the port before serving.
const TEMPLATE_ARG: &str = "hako.template=1";
const PROBE_HELLO: &[u8] = b"hako\n";

/// Serves until the host hangs up.
pub fn run() -> Result<()> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false).with_writer(std::io::stderr).init();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Threads that a template has are there in its copies.
    let runtime = runtime.enable_all().thread_keep_alive(FOREVER).build().context("start the runtime")?;
    let command_line = fs::read_to_string("/proc/cmdline").context("read the kernel's command line")?;
    let said = |arg: &str| command_line.split_whitespace().any(|word| word == arg);
    let (probe, template) = (said(PROBE_ARG), said(TEMPLATE_ARG));
    let file = port::open()?;
    hako_net::netns::prepare().context("prepare the network")?;
    runtime.block_on(async {
        let mut hello = file.try_clone().context("share the port")?;
        let port = Port::new(file).await?;
        let mut greet = || hello.write_all(PROBE_HELLO).context("write to the port");
        if probe {
            return greet();
        }
        serve(port, template.then_some(greet)).await
    })
}

/// `ready` is called when all is there but whom to serve: a template is saved
/// then, with what copies of it would have to do each.
async fn serve(port: Port, ready: Option<impl FnMut() -> Result<()>>) -> Result<()> {
    let reaper = Reaper::start().context("become the reaper")?;
    let streams = Arc::new(Streams::default());
    let service = Arc::new(Service::new(streams.clone(), reaper));
    let (connections, accepted) = mpsc::unbounded_channel::<MuxStream>();
    let listener = Listener::new(stream::unfold(accepted, |mut accepted| async move {
        let stream = accepted.recv().await?;
        Some((Ok(stream), accepted))
    }));
    let mut server = Server::new()
        .add_listener(listener)
        .register_service(create_task(service.clone()))
        .register_service(create_extra(service.clone()));
    server.start().await.context("start the ttrpc server")?;
    if let Some(mut ready) = ready {
        service.stand_by().await;
        ready()?;
    }
    let (_mux, mut incoming, driver) = Mux::spawn(port, false);
    while let Some(stream) = incoming.accept().await {
        let (streams, service, connections) = (streams.clone(), service.clone(), connections.clone());
        tokio::spawn(async move {
            if let Err(err) = admit(stream, &streams, &service, &connections).await {
                tracing::warn!("a stream was not accepted: {err}");
            }
        });
    }
    match driver.await {
        Ok(ended) => ended.context("the agent's channel"),
        Err(err) => Err(err).context("the agent's channel"),
    }
}

/// Reads a stream's head and puts the stream where it belongs.
async fn admit(
    mut stream: MuxStream,
    streams: &Streams,
    service: &Service,
    connections: &mpsc::UnboundedSender<MuxStream>,
) -> std::io::Result<()> {
    match read_line_within(&mut stream, MAX_LINE).await? {
        StreamHead::Ttrpc => {
            write_line(&mut stream, &Ack { error: None }).await?;
            // The server is gone only when the process ends.
            let _ = connections.send(stream);
        }
        StreamHead::Stdio { id, exec_id, stream: which } => {
            let error = streams.refusal(&id, &exec_id, which);
            let refused = error.is_some();
            write_line(&mut stream, &Ack { error }).await?;
            if !refused {
                streams.offer(id, exec_id, which, stream);
            }
        }
        StreamHead::Frames { name } => {
            let error = service.networks().refusal(&name);
            let refused = error.is_some();
            write_line(&mut stream, &Ack { error }).await?;
            if !refused {
                service.networks().offer(name, stream);
            }
        }
        StreamHead::Files { id, request } => {
            write_line(&mut stream, &Ack { error: None }).await?;
            service.files(&id, request, stream).await;
        }
    }
    Ok(())
}
