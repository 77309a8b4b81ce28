//! What comes to a port's socket itself goes to the container.
//!
//! Packet rules lead nearly everything past the socket. What they cannot lead
//! arrives here: clients on `[::1]`, a host address of the family that the
//! container lacks, and everybody while a firewall is being flushed.

use super::socket;
use crate::{Netns, Protocol};
use socket2::Socket;
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

/// When a UDP client that says nothing more is forgotten: Docker's.
const UDP_IDLE: Duration = Duration::from_secs(90);
/// How many UDP clients one port has at a time; further ones are not served.
const UDP_CLIENTS: usize = 1024;
/// The longest datagram.
const DATAGRAM: usize = 65_535;
/// How long a container may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(30);

/// Serves `socket` until the handle is used. Needs a runtime.
pub(super) fn start(netns: Netns, protocol: Protocol, socket: Socket, container: SocketAddr) -> AbortHandle {
    let serve = async move {
        match protocol {
            Protocol::Tcp => tcp(netns, TcpListener::from_std(socket.into())?, container).await,
            Protocol::Udp => udp(netns, UdpSocket::from_std(socket.into())?, container).await,
            Protocol::Sctp => {
                // Held, and nothing more: its messages are not a stream to copy.
                std::future::pending::<()>().await;
                drop(socket);
                Ok(())
            }
        }
    };
    let task = tokio::spawn(async move {
        let ended: io::Result<()> = serve.await;
        if let Err(err) = ended {
            tracing::error!(%err, %container, "the relay of a published port has ended");
        }
    });
    task.abort_handle()
}

async fn tcp(netns: Netns, listener: TcpListener, container: SocketAddr) -> io::Result<()> {
    // Ends its connections when it is dropped.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(connections.spawn(pass_on(netns.clone(), client, container))),
                // Out of descriptors, or a client that has gone: the next may do.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A client whose container does not answer sees its connection end.
async fn pass_on(netns: Netns, mut client: TcpStream, container: SocketAddr) {
    let Ok(Ok(mut server)) = timeout(CONNECT, connect(&netns, container)).await else { return };
    // Of no use where it fails.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

async fn connect(netns: &Netns, container: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket::open(netns, Protocol::Tcp, container).await.map_err(io::Error::other)??;
    TcpSocket::from_std_stream(socket.into()).connect(container).await
}

/// The sockets to the container, by client.
type Clients = Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>;

async fn udp(netns: Netns, socket: UdpSocket, container: SocketAddr) -> io::Result<()> {
    let socket = Arc::new(socket);
    let clients = Clients::default();
    let mut answers = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut datagram) => {
                // An answer that could not be delivered is reported here; the port goes on.
                let Ok((length, client)) = received else { continue };
                let known = lock(&clients).get(&client).cloned();
                let server = match known {
                    Some(server) => server,
                    None if lock(&clients).len() >= UDP_CLIENTS => continue,
                    None => {
                        let Ok(server) = open_udp(&netns, container).await else { continue };
                        lock(&clients).insert(client, server.clone());
                        answers.spawn(answer(socket.clone(), server.clone(), client, clients.clone()));
                        server
                    }
                };
                // As lossy as UDP is.
                let _ = server.send(&datagram[..length]).await;
            }
            Some(_) = answers.join_next() => {}
        }
    }
}

async fn open_udp(netns: &Netns, container: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let socket = socket::open(netns, Protocol::Udp, container).await.map_err(io::Error::other)??;
    let socket = UdpSocket::from_std(socket.into())?;
    socket.connect(container).await?;
    Ok(Arc::new(socket))
}

/// Answers to one client, until there are none for a while.
async fn answer(socket: Arc<UdpSocket>, server: Arc<UdpSocket>, client: SocketAddr, clients: Clients) {
    let mut datagram = vec![0; DATAGRAM];
    // A server that is not there answers with an error: the next datagram tries again.
    while let Ok(Ok(length)) = timeout(UDP_IDLE, server.recv(&mut datagram)).await {
        let _ = socket.send_to(&datagram[..length], client).await;
    }
    lock(&clients).remove(&client);
}

fn lock(clients: &Clients) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Arc<UdpSocket>>> {
    // A map is whole whatever its last user died of.
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}
