//! A registry that lies.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What [`FakeRegistry`] answers to a request.
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The `Content-Type`.
    pub media: String,
    /// The body's beginning.
    pub body: Vec<u8>,
    /// How many bytes of spaces follow it.
    pub padding: u64,
    /// A further header line, or empty; `PORT` in it is the registry's own.
    pub header: String,
}

impl Reply {
    /// An answer with a body.
    #[must_use]
    pub fn ok(media: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, media: media.to_owned(), body: body.into(), padding: 0, header: String::new() }
    }
    /// Not found.
    #[must_use]
    pub fn missing() -> Self {
        Self { status: 404, ..Self::ok("application/json", b"{}".to_vec()) }
    }
    /// Closed, until the client does what `challenge` says.
    #[must_use]
    pub fn closed(challenge: &str) -> Self {
        Self { status: 401, header: format!("WWW-Authenticate: {challenge}\r\n"), ..Self::missing() }
    }
}

/// A registry that answers what the test wants, true or not.
pub struct FakeRegistry {
    port: u16,
    sent: Arc<Mutex<u64>>,
}

impl FakeRegistry {
    /// Serves `answer(path)` for every GET; HEAD has the same without a body.
    #[must_use]
    pub fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::guarded(move |path, _| answer(path))
    }

    /// Serves `answer(path, authorization)`, the latter as the client sent it.
    #[must_use]
    pub fn guarded(answer: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let sent = Arc::new(Mutex::new(0));
        let (count, answer) = (Arc::clone(&sent), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let (count, answer) = (Arc::clone(&count), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &*answer, &count));
            }
        });
        Self { port, sent }
    }

    /// `127.0.0.1:<port>/<name>`.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// How many bytes of bodies clients have taken.
    #[must_use]
    pub fn sent(&self) -> u64 {
        *self.sent.lock().expect("not poisoned")
    }
}

fn serve(stream: TcpStream, answer: &(dyn Fn(&str, &str) -> Reply + Send + Sync), sent: &Mutex<u64>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut header, mut authorization) = (String::new(), String::new());
    while reader.read_line(&mut header).is_ok_and(|n| n > 2) {
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            value.trim().clone_into(&mut authorization);
        }
        header.clear();
    }
    let mut reply = answer(path, &authorization);
    let port = stream.local_addr().map_or(0, |address| address.port());
    reply.header = reply.header.replace("PORT", &port.to_string());
    let length = reply.body.len() as u64 + reply.padding;
    let head = format!(
        "HTTP/1.1 {} .\r\nContent-Type: {}\r\nContent-Length: {length}\r\n{}Connection: close\r\n\r\n",
        reply.status, reply.media, reply.header
    );
    if send(&stream, head.as_bytes(), None) && method == "GET" && send(&stream, &reply.body, Some(sent)) {
        let spaces = [b' '; 64 << 10];
        let mut left = reply.padding;
        while left > 0 {
            let part = usize::try_from(left.min(64 << 10)).unwrap_or(0);
            if !send(&stream, &spaces[..part], Some(sent)) {
                break;
            }
            left -= part as u64;
        }
    }
}

fn send(mut stream: &TcpStream, bytes: &[u8], sent: Option<&Mutex<u64>>) -> bool {
    let done = stream.write_all(bytes).is_ok();
    if let (true, Some(sent)) = (done, sent) {
        *sent.lock().expect("not poisoned") += bytes.len() as u64;
    }
    done
}
