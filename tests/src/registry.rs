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
        let dir = tempfile::tempdir().expect("a temporary folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n",
            dir.path().join("store").display()
        );
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
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Puts `image` there as `repository:tag`; the manifest's digest.
    #[must_use]
    pub fn push(&self, image: &Image, repository: &str, tag: &str, compression: Compression) -> String {
        let (manifest, blobs) = image.manifest(compression);
        for blob in blobs {
            let begun = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
            let place = begun.header("location").expect("an upload has a place").to_owned();
            let path = place.split_once(&format!(":{}", self.port)).map_or(place.clone(), |(_, path)| path.to_owned());
            let target = format!("{path}&digest=sha256:{}", sha256(&blob));
            assert_eq!(self.request("PUT", &target, "application/octet-stream", &blob).status, 201);
        }
        let target = format!("/v2/{repository}/manifests/{tag}");
        let media = "application/vnd.oci.image.manifest.v1+json";
        assert_eq!(self.request("PUT", &target, media, &manifest).status, 201);
        format!("sha256:{}", sha256(&manifest))
    }

    fn request(&self, method: &str, target: &str, media: &str, body: &[u8]) -> crate::Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the registry answers");
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Type: {media}\r\n\
             Content-Length: {}\r\n\r\n",
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
}

impl Reply {
    /// An answer with a body.
    #[must_use]
    pub fn ok(media: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, media: media.to_owned(), body: body.into(), padding: 0 }
    }
    /// Not found.
    #[must_use]
    pub fn missing() -> Self {
        Self { status: 404, media: "application/json".into(), body: b"{}".to_vec(), padding: 0 }
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

fn serve(stream: TcpStream, answer: &(dyn Fn(&str) -> Reply + Send + Sync), sent: &Mutex<u64>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|n| n > 2) {
        header.clear();
    }
    let reply = answer(path);
    let length = reply.body.len() as u64 + reply.padding;
    let head = format!(
        "HTTP/1.1 {} .\r\nContent-Type: {}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
        reply.status, reply.media
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
