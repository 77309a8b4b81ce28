//! Names: a server on the gateways of the networks, which both walls reach.

mod forward;

use crate::{Error, Netns, Result};
use async_trait::async_trait;
use hickory_server::{
    Server,
    net::runtime::Time,
    proto::{
        op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode},
        rr::{DNSClass, Name, RData, Record, RecordType, rdata::PTR},
    },
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::Mutex,
};

const PORT: u16 = 53;
/// How long an answer about a container holds, in seconds: Docker's.
const TTL: u32 = 600;
/// When a TCP client that says nothing more is sent away.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// How many answers may wait for one TCP client.
const RESPONSES: usize = 16;

/// Who asks what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The container's address.
    pub source: IpAddr,
    /// The gateway that was asked.
    pub server: IpAddr,
    /// The question.
    pub question: Question,
}

/// What is asked. Names are lower case, without the dot at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A name's IPv4 addresses.
    A(String),
    /// A name's IPv6 addresses.
    Aaaa(String),
    /// An address's name.
    Ptr(IpAddr),
    /// A name's records of another type.
    Other(String),
}

/// What to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, in this order (those of the asked family are used).
    Addresses(Vec<IpAddr>),
    /// These names (for an address).
    Pointers(Vec<String>),
    /// The name is ours and has no such record.
    NoData,
    /// There is no such name.
    NxDomain,
    /// Not ours: ask these, in order.
    Forward(Vec<SocketAddr>),
    /// Not ours, and outside names are none of the asker's business (an internal network).
    Refuse,
}

/// Knows the containers. Called for every query, on the server's task: answer
/// from memory.
pub trait Names: Send + Sync + 'static {
    /// Answers `query`.
    fn answer(&self, query: &Query) -> Answer;
}

/// The server. Dropping it closes every socket.
pub struct DnsServer {
    host: Netns,
    names: Arc<dyn Names>,
    bound: Mutex<HashMap<IpAddr, Server<Handler>>>,
}

impl DnsServer {
    /// A server that listens nowhere yet.
    #[must_use]
    pub fn new(host: Netns, names: Arc<dyn Names>) -> Self {
        Self { host, names, bound: Mutex::default() }
    }

    /// Listens on port 53 of `address`, UDP and TCP; nothing if it does already.
    ///
    /// # Errors
    /// The kernel's: somebody else's server has the port, or the address is not the host's.
    pub async fn bind(&self, address: IpAddr) -> Result<()> {
        let mut bound = self.bound.lock().await;
        if bound.contains_key(&address) {
            return Ok(());
        }
        let at = SocketAddr::new(address, PORT);
        let step = || format!("listen for names on {at}");
        let open = move || {
            let udp = std::net::UdpSocket::bind(at)?;
            udp.set_nonblocking(true)?;
            let tcp = std::net::TcpListener::bind(at)?;
            tcp.set_nonblocking(true)?;
            Ok((udp, tcp))
        };
        let opened: io::Result<_> = self.host.run_quick(open).await?;
        let (udp, tcp) = opened.map_err(|err| Error::io(step(), err))?;
        let handler = Handler { host: self.host.clone(), names: self.names.clone(), server: address };
        let mut server = Server::new(handler);
        server.register_socket(UdpSocket::from_std(udp).map_err(|err| Error::io(step(), err))?);
        let tcp = TcpListener::from_std(tcp).map_err(|err| Error::io(step(), err))?;
        server.register_listener(tcp, TCP_IDLE, RESPONSES);
        bound.insert(address, server);
        Ok(())
    }

    /// Listens there no more; returns when the sockets are closed.
    pub async fn unbind(&self, address: IpAddr) {
        let server = self.bound.lock().await.remove(&address);
        if let Some(mut server) = server {
            // Its tasks end; how is of no interest.
            let _ = server.shutdown_gracefully().await;
        }
    }
}

/// Answers what comes to one address.
struct Handler {
    host: Netns,
    names: Arc<dyn Names>,
    server: IpAddr,
}

/// What is sent back.
#[derive(Default)]
struct Reply {
    code: ResponseCode,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
    edns: Option<Edns>,
    truncated: bool,
    authentic: bool,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut client: R) -> ResponseInfo {
        let reply = self.reply(request).await;
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.recursion_available = true;
        metadata.truncation = reply.truncated;
        metadata.authentic_data = reply.authentic;
        let response = MessageResponseBuilder::new(&request.queries, reply.edns.as_ref()).build(
            metadata,
            &reply.answers,
            &reply.authorities,
            &[],
            &reply.additionals,
        );
        match client.send_response(response).await {
            Ok(info) => info,
            Err(err) => {
                tracing::debug!(%err, "an answer about a name was not delivered");
                ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
            }
        }
    }
}

impl Handler {
    async fn reply(&self, request: &Request) -> Reply {
        if request.metadata.message_type != MessageType::Query || request.metadata.op_code != OpCode::Query {
            return Reply { code: ResponseCode::NotImp, ..Reply::default() };
        }
        let Ok(info) = request.request_info() else {
            return Reply { code: ResponseCode::FormErr, ..Reply::default() };
        };
        let name: Name = info.query.name().into();
        let (class, kind) = (info.query.query_class(), info.query.query_type());
        let source = info.src.ip().to_canonical();
        let query = Query { source, server: self.server, question: question(&name, kind) };
        let answer = if class == DNSClass::IN { self.names.answer(&query) } else { Answer::NoData };
        match answer {
            Answer::Addresses(addresses) => {
                let records = addresses.into_iter().filter_map(|address| address_record(&name, kind, address));
                Reply { answers: records.collect(), ..Reply::default() }
            }
            Answer::Pointers(names) => {
                let name_of = |text: String| Name::from_utf8(text).ok();
                let record = |target| Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target)));
                Reply { answers: names.into_iter().filter_map(name_of).map(record).collect(), ..Reply::default() }
            }
            Answer::NoData => Reply::default(),
            Answer::NxDomain => Reply { code: ResponseCode::NXDomain, ..Reply::default() },
            Answer::Refuse => Reply { code: ResponseCode::Refused, ..Reply::default() },
            Answer::Forward(upstream) => forward::forward(&self.host, request, &upstream).await,
        }
    }
}

fn question(name: &Name, kind: RecordType) -> Question {
    let mut text = name.to_lowercase().to_utf8();
    if text.len() > 1 && text.ends_with('.') {
        text.pop();
    }
    match kind {
        RecordType::A => Question::A(text),
        RecordType::AAAA => Question::Aaaa(text),
        RecordType::PTR => match name.parse_arpa_name() {
            // A whole address, not the zone of some.
            Ok(net) if net.prefix_len() == net.max_prefix_len() => Question::Ptr(net.addr()),
            _ => Question::Other(text),
        },
        _ => Question::Other(text),
    }
}

fn address_record(name: &Name, kind: RecordType, address: IpAddr) -> Option<Record> {
    let data = match (kind, address) {
        (RecordType::A | RecordType::ANY, IpAddr::V4(address)) => RData::A(address.into()),
        (RecordType::AAAA | RecordType::ANY, IpAddr::V6(address)) => RData::AAAA(address.into()),
        _ => return None,
    };
    Some(Record::from_rdata(name.clone(), TTL, data))
}
