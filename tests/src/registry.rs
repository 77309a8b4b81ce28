//! Debian's docker-registry, as each test wants it.

use crate::{
    Authority, Compression, Image, TokenServer, Tool, http::parse, image::descriptor, places::tool, sha256, wait_until,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

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
        Self::launch("", &json!({}))
    }

    /// One that lets in the user `tester` with the password `secret`, and nobody else.
    #[must_use]
    pub fn with_password() -> Self {
        // bcrypt, at its cheapest.
        Self::launch("tester:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n", &json!({}))
    }

    /// One that lets in whom `tokens` has given a token for what is asked.
    #[must_use]
    pub fn with_tokens(tokens: &TokenServer) -> Self {
        let auth = json!({ "token": {
            "realm": tokens.realm(), "service": TokenServer::SERVICE, "issuer": TokenServer::ISSUER,
            "rootcertbundle": tokens.certificate(),
        }});
        Self::launch("", &json!({ "auth": auth }))
    }

    /// One with TLS and a certificate for `name` and 127.0.0.1; with `clients`
    /// only for those who have a certificate of the same authority.
    #[must_use]
    pub fn with_tls(authority: &Authority, name: &str, clients: bool) -> Self {
        let (certificate, key) = authority.issue(&[name, "127.0.0.1"]);
        let mut tls = json!({ "certificate": certificate, "key": key });
        if clients {
            tls["clientcas"] = json!([authority.certificate()]);
        }
        Self::launch("", &json!({ "http": { "tls": tls } }))
    }

    fn launch(users: &str, more: &Value) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let mut config = json!({
            "version": 0.1, "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": dir.path().join("store") }, "delete": { "enabled": true } },
            "http": { "addr": format!("127.0.0.1:{port}") },
        });
        if !users.is_empty() {
            let passwords = dir.path().join("htpasswd");
            fs::write(&passwords, users).expect("a fresh folder");
            config["auth"] = json!({ "htpasswd": { "realm": "tests", "path": passwords } });
        }
        if let Some(auth) = more.get("auth") {
            config["auth"] = auth.clone();
        }
        if let Some(tls) = more.pointer("/http/tls") {
            config["http"]["tls"] = tls.clone();
        }
        // YAML that is JSON.
        let file = dir.path().join("config.yml");
        fs::write(&file, config.to_string()).expect("a fresh folder");
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

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Puts `image` there as `repository:tag`; the manifest's digest.
    #[must_use]
    pub fn push(&self, image: &Image, repository: &str, tag: &str, compression: Compression) -> String {
        let (manifest, blobs) = image.manifest(compression);
        self.put("", repository, tag, OCI_MANIFEST, &manifest, &blobs)
    }

    /// The same with Docker's own kind of manifest.
    #[must_use]
    pub fn push_docker(&self, image: &Image, repository: &str, tag: &str) -> String {
        let (manifest, blobs) = image.docker_manifest();
        self.put("", repository, tag, DOCKER_MANIFEST, &manifest, &blobs)
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
        let (manifest, blobs) = image.manifest(compression);
        let _ = self.put(&format!("{user}:{password}"), repository, tag, OCI_MANIFEST, &manifest, &blobs);
    }

    /// Puts an index of images there, each with what its platform is (and with
    /// `annotations`, which go beside that); `docker` makes it and the manifests
    /// Docker's own. The index's digest.
    #[must_use]
    pub fn push_index(&self, images: &[(Image, Value)], repository: &str, tag: &str, docker: bool) -> String {
        let (list, single) = if docker { (DOCKER_LIST, DOCKER_MANIFEST) } else { (OCI_INDEX, OCI_MANIFEST) };
        let entries: Vec<Value> = images
            .iter()
            .map(|(image, platform)| {
                let (manifest, blobs) =
                    if docker { image.docker_manifest() } else { image.manifest(Compression::Gzip) };
                let target = format!("sha256:{}", sha256(&manifest));
                let _ = self.put("", repository, &target, single, &manifest, &blobs);
                let mut entry = descriptor(single, &manifest);
                let mut platform = platform.clone();
                if let Some(annotations) = platform.as_object_mut().and_then(|parts| parts.remove("annotations")) {
                    entry["annotations"] = annotations;
                }
                entry["platform"] = platform;
                entry
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": list, "manifests": entries }).to_string();
        self.put("", repository, tag, list, index.as_bytes(), &[])
    }

    /// The document under a tag or digest, with its media type.
    #[must_use]
    pub fn manifest(&self, repository: &str, target: &str) -> (String, Vec<u8>) {
        let accept = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST].join(", ");
        let accept = format!("Accept: {accept}\r\n");
        let answer = self.request("GET", &format!("/v2/{repository}/manifests/{target}"), "", &accept, b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        (answer.header("content-type").unwrap_or_default().to_owned(), answer.body)
    }

    fn put(&self, user: &str, repository: &str, tag: &str, media: &str, manifest: &[u8], blobs: &[Vec<u8>]) -> String {
        for blob in blobs {
            let length = blob.len() as u64;
            self.put_blob(user, repository, &sha256(blob), length, |stream| stream.write_all(blob));
        }
        let target = format!("/v2/{repository}/manifests/{tag}");
        let media = format!("Content-Type: {media}\r\n");
        assert_eq!(self.request("PUT", &target, user, &media, manifest).status, 201);
        format!("sha256:{}", sha256(manifest))
    }

    /// Puts a blob there that `write` writes, as `hex` and `length` say.
    pub fn put_blob(
        &self,
        user: &str,
        repository: &str,
        hex: &str,
        length: u64,
        write: impl FnOnce(&mut TcpStream) -> std::io::Result<()>,
    ) {
        let begun = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), user, "", b"");
        let place = begun.header("location").expect("an upload has a place").to_owned();
        let path = place.split_once(&format!(":{}", self.port)).map_or(place.clone(), |(_, path)| path.to_owned());
        let target = format!("{path}&digest=sha256:{hex}");
        let media = "Content-Type: application/octet-stream\r\n";
        assert_eq!(self.stream("PUT", &target, user, media, length, write).status, 201);
    }

    /// Puts a manifest there whose blobs are there.
    #[must_use]
    pub fn put_manifest(&self, repository: &str, tag: &str, manifest: &[u8]) -> String {
        self.put("", repository, tag, OCI_MANIFEST, manifest, &[])
    }

    fn request(&self, method: &str, target: &str, user: &str, headers: &str, body: &[u8]) -> crate::Answer {
        self.stream(method, target, user, headers, body.len() as u64, |stream| stream.write_all(body))
    }

    fn stream(
        &self,
        method: &str,
        target: &str,
        user: &str,
        headers: &str,
        length: u64,
        body: impl FnOnce(&mut TcpStream) -> std::io::Result<()>,
    ) -> crate::Answer {
        let user = match user {
            "" => String::new(),
            user => format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(user)),
        };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the registry answers");
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n{headers}{user}\
             Content-Length: {length}\r\n\r\n",
            self.port
        );
        stream.write_all(head.as_bytes()).expect("the registry reads");
        body(&mut stream).expect("the registry reads");
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
