//! Names, asked by containers in namespaces of the tests' own.

#![allow(clippy::unwrap_used)]

mod lab;

use hako_net::{Answer, DnsServer, Names, Netns, Query, Question};
use hickory_server::proto::{
    op::{Message, Query as Asked, ResponseCode},
    rr::{Name, RecordType},
};
use lab::{Lab, PATIENCE};
use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    str::FromStr,
    sync::{Arc, Mutex},
};

/// The engine's names: `web` has two addresses, one of each family, to
/// whoever is on 10.1.0.0/24; everything else is the outside's.
#[derive(Default)]
struct Engine {
    seen: Mutex<Vec<Query>>,
    upstream: Vec<SocketAddr>,
}

impl Names for Engine {
    fn answer(&self, query: &Query) -> Answer {
        self.seen.lock().unwrap().push(query.clone());
        let addresses = || vec!["10.1.0.2".parse().unwrap(), "fd00:1::2".parse().unwrap(), "10.1.0.9".parse().unwrap()];
        match &query.question {
            Question::A(name) | Question::Aaaa(name) if name == "web" => Answer::Addresses(addresses()),
            Question::Other(name) if name == "web" => Answer::NoData,
            Question::A(name) if name == "gone" => Answer::NxDomain,
            Question::Ptr(address) if *address == addresses()[0] => Answer::Pointers(vec!["web.net".to_owned()]),
            _ if query.source == "10.1.0.4".parse::<IpAddr>().unwrap() => Answer::Refuse,
            _ => Answer::Forward(self.upstream.clone()),
        }
    }
}

/// A resolver outside.
struct Outside;

impl Names for Outside {
    fn answer(&self, query: &Query) -> Answer {
        match &query.question {
            Question::A(name) if name == "example.com" => Answer::Addresses(vec!["198.51.100.7".parse().unwrap()]),
            Question::A(name) if name == "many.example.com" => {
                Answer::Addresses((0..100).map(|n| IpAddr::from([198, 51, 100, n])).collect())
            }
            _ => Answer::NxDomain,
        }
    }
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.metadata.recursion_desired = true;
    message.add_query(Asked::query(Name::from_str(name).unwrap(), kind));
    message.to_vec().unwrap()
}

async fn send(netns: &Netns, server: &str, query: Vec<u8>, tcp: bool) -> std::io::Result<Message> {
    let server = SocketAddr::new(server.parse().unwrap(), 53);
    let answer = netns.run(move || {
        if tcp {
            let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE * 3))?;
            stream.write_all(&[&u16::try_from(query.len()).unwrap().to_be_bytes(), &query[..]].concat())?;
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer)?;
            return Ok(answer);
        }
        let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(PATIENCE * 3))?;
        socket.connect(server)?;
        socket.send(&query)?;
        let mut answer = vec![0; 65_536];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    });
    answer.await.unwrap().map(|answer: Vec<u8>| Message::from_vec(&answer).unwrap())
}

async fn ask(netns: &Netns, server: &str, name: &str, kind: RecordType, tcp: bool) -> Message {
    let answer = send(netns, server, question(name, kind), tcp).await.unwrap();
    assert_eq!(answer.metadata.id, 4711);
    assert!(answer.metadata.recursion_available);
    answer
}

fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[tokio::test]
async fn names_are_answered_or_forwarded() {
    let lab = Lab::new().await;
    let network = lab.bridge("br-a", &["10.1.0.0/24", "fd00:1::/64"]).await;
    let one = lab.container("one", &network, 3).await;
    let hidden = lab.container("hidden", &network, 4).await;
    let outside = DnsServer::new(lab.outside.clone(), Arc::new(Outside));
    outside.bind("203.0.113.2".parse().unwrap()).await.unwrap();
    // The first resolver is not there.
    let upstream = vec!["203.0.113.2:54".parse().unwrap(), "203.0.113.2:53".parse().unwrap()];
    let engine = Arc::new(Engine { upstream, ..Engine::default() });
    let server = DnsServer::new(lab.host.clone(), engine.clone());
    for gateway in ["10.1.0.1", "fd00:1::1", "10.1.0.1"] {
        server.bind(gateway.parse().unwrap()).await.unwrap();
    }
    for tcp in [false, true] {
        let web = ask(&one, "10.1.0.1", "WEB.", RecordType::A, tcp).await;
        assert_eq!(data(&web), ["10.1.0.2", "10.1.0.9"]);
        assert_eq!((web.answers[0].ttl, web.metadata.response_code), (600, ResponseCode::NoError));
        assert_eq!(data(&ask(&one, "fd00:1::1", "web.", RecordType::AAAA, tcp).await), ["fd00:1::2"]);
        let reverse = ask(&one, "10.1.0.1", "2.0.1.10.in-addr.arpa.", RecordType::PTR, tcp).await;
        assert_eq!(data(&reverse), ["web.net."]);
        let nothing = ask(&one, "10.1.0.1", "web.", RecordType::MX, tcp).await;
        assert!(nothing.answers.is_empty() && nothing.metadata.response_code == ResponseCode::NoError);
        let gone = ask(&one, "10.1.0.1", "gone.", RecordType::A, tcp).await;
        assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(data(&ask(&one, "10.1.0.1", "example.com.", RecordType::A, tcp).await), ["198.51.100.7"]);
        let unknown = ask(&one, "10.1.0.1", "unknown.example.", RecordType::A, tcp).await;
        assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
        let refused = ask(&hidden, "10.1.0.1", "example.com.", RecordType::A, tcp).await;
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
        let many = ask(&one, "10.1.0.1", "many.example.com.", RecordType::A, tcp).await;
        assert_eq!(many.metadata.truncation, !tcp, "too many for UDP");
        assert!(!tcp || many.answers.len() == 100);
    }
    let seen = engine.seen.lock().unwrap().clone();
    let (source, server_address) = ("10.1.0.3".parse().unwrap(), "10.1.0.1".parse().unwrap());
    assert_eq!(seen[0], Query { source, server: server_address, question: Question::A("web".into()) });
    assert!(seen.iter().any(|query| query.server.is_ipv6() && query.source == "fd00:1::3".parse::<IpAddr>().unwrap()));
    // What is no query gets an answer or none, and the server lives.
    for garbage in [vec![], vec![0; 5], vec![0xff; 40], question("web.", RecordType::A)[..14].to_vec()] {
        let (one, garbage) = (one.clone(), garbage);
        let socket = one.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(&garbage, "10.1.0.1:53").unwrap();
        });
        socket.await.unwrap();
    }
    assert_eq!(data(&ask(&one, "10.1.0.1", "web.", RecordType::A, false).await).len(), 2);
    server.unbind(server_address).await;
    server.unbind(server_address).await;
    assert!(send(&one, "10.1.0.1", question("web.", RecordType::A), true).await.is_err());
    assert_eq!(data(&ask(&one, "fd00:1::1", "web.", RecordType::A, false).await).len(), 2);
    server.bind(server_address).await.unwrap();
    assert_eq!(data(&ask(&one, "10.1.0.1", "web.", RecordType::A, true).await).len(), 2);
}

#[tokio::test]
async fn a_taken_or_strange_address_is_an_error() {
    let lab = Lab::new().await;
    lab.bridge("br-a", &["10.1.0.0/24"]).await;
    let _other = lab.host.run(|| UdpSocket::bind("10.1.0.1:53").unwrap()).await.unwrap();
    let server = DnsServer::new(lab.host.clone(), Arc::new(Outside));
    let taken = server.bind("10.1.0.1".parse().unwrap()).await.unwrap_err().to_string();
    assert!(taken.contains("10.1.0.1:53") && taken.contains("in use"), "{taken}");
    assert!(server.bind("10.9.9.9".parse().unwrap()).await.is_err());
}
