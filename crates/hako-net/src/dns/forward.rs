//! Names of the outside: asked of the resolvers that the host has.

use super::Reply;
use crate::Netns;
use hickory_server::{
    net::xfer::Protocol,
    proto::op::{Message, ResponseCode},
    server::Request,
};
use socket2::{Domain, Socket, Type};
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, UdpSocket},
    time::timeout,
};

/// How long one resolver may take: Docker's.
const PATIENCE: Duration = Duration::from_secs(4);
/// The longest answer.
const ANSWER: usize = 65_535;

/// The first sensible answer of `upstream`, which are asked in order.
pub(super) async fn forward(host: &Netns, request: &Request, upstream: &[SocketAddr]) -> Reply {
    let mut last = ResponseCode::ServFail;
    for server in upstream {
        let asked = timeout(PATIENCE, ask(host, request, *server)).await.unwrap_or_else(|late| Err(late.into()));
        match asked {
            // Another one may be willing and able.
            Ok(message) if matches!(message.metadata.response_code, ResponseCode::ServFail | ResponseCode::Refused) => {
                last = message.metadata.response_code;
            }
            Ok(message) => return reply(message),
            Err(err) => tracing::debug!(%err, %server, "a resolver did not answer"),
        }
    }
    Reply { code: last, ..Reply::default() }
}

fn reply(message: Message) -> Reply {
    Reply {
        code: message.metadata.response_code,
        truncated: message.metadata.truncation,
        authentic: message.metadata.authentic_data,
        answers: message.answers,
        authorities: message.authorities,
        additionals: message.additionals,
        edns: message.edns,
    }
}

/// Asks over what the client asked over: if an answer is too long for UDP, it
/// is the client who asks again.
async fn ask(host: &Netns, request: &Request, server: SocketAddr) -> io::Result<Message> {
    let mut query = request.as_slice().to_vec();
    // The client's number could be guessed by whoever made it ask.
    let id: u16 = rand::random();
    query.get_mut(..2).ok_or(io::ErrorKind::InvalidData)?.copy_from_slice(&id.to_be_bytes());
    let kind = if request.protocol() == Protocol::Udp { Type::DGRAM } else { Type::STREAM };
    let socket = host.run_quick(move || socket(server, kind)).await.map_err(io::Error::other)??;
    if kind == Type::STREAM {
        let answer = over_tcp(socket, server, &query).await?;
        return parse(&answer, id, request).ok_or_else(|| io::ErrorKind::InvalidData.into());
    }
    let socket = UdpSocket::from_std(socket.into())?;
    // The kernel drops what others send.
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut answer = vec![0; ANSWER];
    loop {
        let length = socket.recv(&mut answer).await?;
        // What answers something else is forged or late.
        if let Some(message) = parse(&answer[..length], id, request) {
            return Ok(message);
        }
    }
}

fn socket(server: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(server), kind, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

async fn over_tcp(socket: Socket, server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpSocket::from_std_stream(socket.into()).connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The answer to exactly this question.
fn parse(answer: &[u8], id: u16, request: &Request) -> Option<Message> {
    let message = Message::from_vec(answer).ok()?;
    let asked = request.request_info().ok()?;
    let same = message.queries.iter().all(|query| {
        query.name().to_lowercase() == asked.query.name().into() && query.query_type() == asked.query.query_type()
    });
    (message.metadata.id == id && same).then_some(message)
}
