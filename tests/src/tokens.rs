//! A token server as registries in the cloud have one: it knows who may do
//! what, and docker-registry believes its signature.

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// The server. `tester` with the password `secret` may do everything; nobody
/// may read what is below `public/`.
pub struct TokenServer {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    dir: TempDir,
}

struct Signer {
    key: EcdsaKeyPair,
    certificate: String,
}

impl Default for TokenServer {
    fn default() -> Self {
        Self::start()
    }
}

impl TokenServer {
    /// What the registry calls itself.
    pub const SERVICE: &str = "registry of the tests";
    /// What the server calls itself.
    pub const ISSUER: &str = "tokens of the tests";
    /// What it gives to who wants to keep something instead of the password.
    pub const REFRESH: &str = "keep-me";

    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let pair = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["tokens.test".to_owned()]).and_then(|p| p.self_signed(&pair));
        let certificate = certificate.expect("a certificate");
        fs::write(dir.path().join("roots.pem"), certificate.pem()).expect("a fresh folder");
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der(), &SystemRandom::new());
        let signer =
            Signer { key: key.expect("a key of P-256"), certificate: BASE64_STANDARD.encode(certificate.der()) };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, signer) = (Arc::clone(&asked), Arc::new(signer));
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let (log, signer) = (Arc::clone(&log), Arc::clone(&signer));
                thread::spawn(move || serve(&stream, &signer, &log));
            }
        });
        Self { port, asked, dir }
    }

    /// Where tokens are asked for.
    #[must_use]
    pub fn realm(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    /// The file of the certificate that its signatures are verified by.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("roots.pem")
    }

    /// Who has asked for which scopes: `tester repository:a:pull`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

fn serve(stream: &TcpStream, signer: &Signer, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let _ = reader.read_line(&mut line);
    let (mut header, mut authorization, mut length) = (String::new(), String::new(), 0);
    while reader.read_line(&mut header).is_ok_and(|n| n > 2) {
        if let Some((name, value)) = header.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "authorization" => value.trim().clone_into(&mut authorization),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
        header.clear();
    }
    let mut body = String::new();
    let _ = reader.take(length).read_to_string(&mut body);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let query = if method == "POST" { body.as_str() } else { target.split_once('?').unwrap_or_default().1 };
    let (status, answer) = answer(method, &pairs(query), &authorization, signer, log);
    let answer = answer.to_string();
    let head = format!("HTTP/1.1 {status} .\r\nContent-Type: application/json\r\nConnection: close\r\n");
    let _ = write!(&*stream, "{head}Content-Length: {}\r\n\r\n{answer}", answer.len());
}

fn answer(
    method: &str,
    query: &[(String, String)],
    authorization: &str,
    signer: &Signer,
    log: &Mutex<Vec<String>>,
) -> (u16, Value) {
    let value = |key: &str| query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let refuse = |status| (status, json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "no" }] }));
    if value("service") != Some(TokenServer::SERVICE) {
        return refuse(400);
    }
    let basic = format!("Basic {}", BASE64_STANDARD.encode("tester:secret"));
    let user = match method {
        "POST"
            if value("grant_type") == Some("refresh_token") && value("refresh_token") == Some(TokenServer::REFRESH) =>
        {
            "tester"
        }
        "GET" if authorization == basic => "tester",
        "GET" if authorization.is_empty() => "nobody",
        _ => return refuse(401),
    };
    let scopes: Vec<&str> =
        query.iter().filter(|(name, _)| name == "scope").flat_map(|(_, scope)| scope.split(' ')).collect();
    log.lock().expect("not poisoned").push(format!("{user} {}", scopes.join(" ")));
    let mut access = Vec::new();
    for scope in scopes {
        let Some((name, actions)) = scope.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':')) else {
            return refuse(400);
        };
        let may = |action: &&str| user == "tester" || (*action == "pull" && name.starts_with("public/"));
        let actions: Vec<&str> = actions.split(',').filter(may).collect();
        access.push(json!({ "type": "repository", "name": name, "actions": actions }));
    }
    let mut answer = json!({ "token": signer.token(user, &access), "expires_in": 300 });
    if value("offline_token") == Some("true") && user == "tester" {
        answer["refresh_token"] = json!(TokenServer::REFRESH);
    }
    (200, answer)
}

impl Signer {
    fn token(&self, user: &str, access: &[Value]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let head = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.certificate] });
        let claims = json!({
            "iss": TokenServer::ISSUER, "sub": user, "aud": TokenServer::SERVICE,
            "exp": now + 300, "nbf": now - 10, "iat": now, "jti": now.to_string(), "access": access,
        });
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&head), part(&claims));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature");
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A query or a form, decoded.
fn pairs(query: &str) -> Vec<(String, String)> {
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (decode(key), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two digits"));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).expect("text")
}
