//! Registries: Debian's docker-registry, and one that lies.

use crate::{Compression, Image, Tool, http::parse, places::tool, sha256, wait_until};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// A `docker-registry` of the test's own.
pub struct Registry {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Registry {
    /// Starts one on a free port.
    #[must_use]
    pub fn start() -> Self {
        Self::launch("")
    }

    /// One that lets in the user `tester` with the password `secret`, and nobody else.
    #[must_use]
    pub fn with_password() -> Self {
        // bcrypt, at its cheapest.
        Self::launch("tester:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n")
    }

    fn launch(users: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n",
            dir.path().join("store").display()
        );
        let passwords = dir.path().join("htpasswd");
        fs::write(&passwords, users).expect("a fresh folder");
        let auth = format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}\n", passwords.display());
        let config = if users.is_empty() { config } else { config + &auth };
        let file = dir.path().join("config.yml");
        fs::write(&file, config).expect("a fresh folder");
        let child = Command::new(tool(Tool::Registry))
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry starts");
        let registry = Self { child, port, _dir: dir };
        wait_until(Duration::from_secs(20), "docker-registry", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        registry
    }

    /// `127.0.0.1:<port>/<name>`.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    /// `127.0.0.1:<port>`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Puts `image` there as `repository:tag`; the manifest's digest.
    #[must_use]
    pub fn push(&self, image: &Image, repository: &str, tag: &str, compression: Compression) -> String {
        self.put("", image, repository, tag, compression)
    }

    /// The same for a registry that asks who it is.
    pub fn push_as(
        &self,
        user: &str,
        password: &str,
        image: &Image,
        repository: &str,
        tag: &str,
        compression: Compression,
    ) {
        let _ = self.put(&format!("{user}:{password}"), image, repository, tag, compression);
    }

    fn put(&self, user: &str, image: &Image, repository: &str, tag: &str, compression: Compression) -> String {
        let (manifest, blobs) = image.manifest(compression);
        for blob in blobs {
            let begun = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), user, "", b"");
            let place = begun.header("location").expect("an upload has a place").to_owned();
            let path = place.split_once(&format!(":{}", self.port)).map_or(place.clone(), |(_, path)| path.to_owned());
            let target = format!("{path}&digest=sha256:{}", sha256(&blob));
            assert_eq!(self.request("PUT", &target, user, "application/octet-stream", &blob).status, 201);
        }
        let target = format!("/v2/{repository}/manifests/{tag}");
        let media = "application/vnd.oci.image.manifest.v1+json";
        assert_eq!(self.request("PUT", &target, user, media, &manifest).status, 201);
        format!("sha256:{}", sha256(&manifest))
    }

    fn request(&self, method: &str, target: &str, user: &str, media: &str, body: &[u8]) -> crate::Answer {
        let authorization =
            if user.is_empty() { String::new() } else { format!("Authorization: Basic {}\r\n", base64(user)) };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the registry answers");
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Type: {media}\r\n\
             {authorization}Content-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("the registry reads");
        stream.write_all(body).expect("the registry reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the registry answers");
        parse(&answer)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of text, by hand: it is the only use here.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

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
