//! The accept loops.

use super::{Listener, Peer, router::route};
use crate::Engine;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

/// Accepts until `stop` changes; then the socket's file is removed.
pub async fn serve(engine: Arc<Engine>, listener: Listener, tls: Option<TlsAcceptor>, mut stop: watch::Receiver<bool>) {
    match listener {
        Listener::Unix(listener, path) => {
            let socket: Arc<str> = path.to_string_lossy().into();
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((io, _)) => {
                            let uid = io.peer_cred().ok().map(|peer| peer.uid());
                            let peer = Peer { uid, socket: Some(socket.clone()) };
                            tokio::spawn(connection(engine.clone(), peer, io));
                        }
                        Err(err) => refused(&err).await,
                    },
                    _ = stop.changed() => break,
                }
            }
            // Another process may have replaced it; a stale file is only untidy.
            let _ = std::fs::remove_file(path);
        }
        Listener::Tcp(listener) => {
            let socket: Option<Arc<str>> = listener.local_addr().ok().map(|address| address.to_string().into());
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((io, _)) => {
                            let peer = Peer { uid: None, socket: socket.clone() };
                            tokio::spawn(tcp(engine.clone(), peer, io, tls.clone()));
                        }
                        Err(err) => refused(&err).await,
                    },
                    _ = stop.changed() => break,
                }
            }
        }
    }
}

/// Out of file descriptors, most likely: accepting again at once would spin.
async fn refused(err: &std::io::Error) {
    tracing::warn!("cannot accept a connection: {err}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn tcp(engine: Arc<Engine>, peer: Peer, io: tokio::net::TcpStream, tls: Option<TlsAcceptor>) {
    // Interactive streams go by single keys.
    let _ = io.set_nodelay(true);
    match tls {
        None => connection(engine, peer, io).await,
        Some(acceptor) => match acceptor.accept(io).await {
            Ok(io) => connection(engine, peer, io).await,
            Err(err) => tracing::debug!("tls: {err}"),
        },
    }
}

async fn connection<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(engine: Arc<Engine>, peer: Peer, io: T) {
    let service = service_fn(move |req: hyper::Request<Incoming>| {
        let (engine, peer) = (engine.clone(), peer.clone());
        engine.activity.note();
        async move { Ok::<_, Infallible>(route(engine, peer, req).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .title_case_headers(true)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
        .await;
    if let Err(err) = served {
        tracing::debug!("connection: {err}");
    }
}
