//! Attach over a WebSocket, by a client of another make than the engine's server.

use hako_tests::{Case, both_walls};
use std::{os::unix::net::UnixStream, time::Duration};
use tungstenite::{Message, WebSocket, client::IntoClientRequest, error::Error, handshake::client::Response};

type Socket = WebSocket<UnixStream>;

fn connect(case: &Case, container: &str, query: &str) -> Result<(Socket, Response), String> {
    let stream = UnixStream::connect(case.engine.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let target = format!("ws://localhost/v1.43/containers/{container}/attach/ws?{query}");
    tungstenite::client(target.into_client_request().unwrap(), stream).map_err(|err| err.to_string())
}

fn open(case: &Case, container: &str, query: &str) -> Socket {
    connect(case, container, query).unwrap_or_else(|err| panic!("{container} {query}: {err}")).0
}

/// Everything to the end; frames must be binary.
fn rest(socket: &mut Socket) -> String {
    let mut text = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => text.extend_from_slice(&bytes),
            Ok(Message::Close(_)) => {}
            Ok(other) => panic!("not a binary frame: {other:?}"),
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => break,
            Err(err) => panic!("{err}"),
        }
    }
    String::from_utf8(text).unwrap()
}

/// Reads until `text` has come.
fn expect(socket: &mut Socket, text: &str) {
    let mut seen = String::new();
    while !seen.contains(text) {
        match socket.read().unwrap() {
            Message::Binary(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?} instead of {text:?} behind {seen:?}"),
        }
    }
}

both_walls! {
    /// Both ways, without the heads that the other kind of attach has.
    fn both_ways(case) {
        if hako_tests::not_on_reference("which streams are attached is of API 1.42") {
            return;
        }
        let script = "while read x; do [ $x = quit ] && exit 3; echo got $x; done";
        case.daemon("box", &["-i", "busybox", "sh", "-c", script]);
        let mut socket = open(case, "box", "stream=1&stdin=1&stdout=1&stderr=1");
        socket.send(Message::binary(b"one\n".to_vec())).unwrap();
        expect(&mut socket, "got one\n");
        // Text does as well, and a ping is answered.
        socket.send(Message::text("two\nquit\n")).unwrap();
        assert_eq!(rest(&mut socket), "got two\n");
        assert_eq!(case.docker(["wait", "box"]).text(), "3");
    }

    /// What was logged comes first, and only the streams that were asked for.
    fn logs_and_streams(case) {
        if hako_tests::not_on_reference("which streams are attached is of API 1.42") {
            return;
        }
        let script = "echo out; echo err >&2; read x; echo more";
        case.daemon("box", &["-i", "busybox", "sh", "-c", script]);
        hako_tests::wait_until(Duration::from_secs(60), "the log", || !case.docker(["logs", "box"]).run().stderr.is_empty());
        let mut past = open(case, "box", "logs=1&stdout=1");
        assert_eq!(rest(&mut past), "out\n");
        let mut all = open(case, "box", "logs=1&stream=1&stdout=1&stderr=1&stdin=1");
        all.send(Message::binary(b"x\n".to_vec())).unwrap();
        let text = rest(&mut all);
        assert!(text.contains("out\n") && text.contains("err\n") && text.ends_with("more\n"), "{text}");
    }

    /// A client that goes leaves the container running; detach keys do the same.
    fn leaving(case) {
        if hako_tests::not_on_reference("which streams are attached is of API 1.42") {
            return;
        }
        case.daemon("box", &["-it", "busybox", "sh"]);
        let mut first = open(case, "box", "stream=1&stdin=1&stdout=1&stderr=1");
        first.send(Message::binary(b"word=kept\r".to_vec())).unwrap();
        expect(&mut first, "word=kept");
        first.close(None).unwrap();
        rest(&mut first);
        let mut second = open(case, "box", "stream=1&stdin=1&stdout=1&stderr=1&detachKeys=ctrl-a,a");
        second.send(Message::binary(b"echo it-is-$word\r".to_vec())).unwrap();
        expect(&mut second, "it-is-kept");
        second.send(Message::binary(b"\x01a".to_vec())).unwrap();
        rest(&mut second);
        assert_eq!(case.inspect("box", "{{.State.Running}}"), "true");
        std::thread::sleep(Duration::from_millis(1100));
        let told = case.docker(["events", "--since", "1m", "--until", "0s", "-f", "event=detach", "--format", "{{.Actor.Attributes.name}}"]).text();
        assert_eq!(told, "box");
    }

    fn refusals(case) {
        if hako_tests::not_on_reference("which streams are attached is of API 1.42") {
            return;
        }
        case.daemon("box", &["busybox", "sleep", "1000"]);
        assert!(connect(case, "nobody", "stream=1").unwrap_err().contains("404"));
        assert!(connect(case, "box", "stream=1&detachKeys=ctrl-1").unwrap_err().contains("400"));
        let plain = case.engine.http("GET", "/v1.43/containers/box/attach/ws?stream=1", None);
        assert_eq!(plain.status, 400, "{}", plain.text());
    }
}
