//! What stands between an engine and a registry: it counts, cuts and spoils.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It passes.
    Pass,
    /// So many bytes of the answer's body pass, then the connection ends.
    CutAnswer(usize),
    /// So many bytes of the request's body pass, then the connection ends.
    CutRequest(usize),
    /// One byte of the answer's body is another.
    Spoil,
}

/// A request as it came: `GET /v2/x/blobs/sha256:… bytes=5-` (with the range, if one was asked for).
type Decide = dyn Fn(&str) -> Fate + Send + Sync;

/// A proxy on a port of its own; a client may also connect through it to any
/// host by `CONNECT`, and reaches the registry.
pub struct Tap {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Tap {
    /// Stands before the server on 127.0.0.1:`port`.
    #[must_use]
    pub fn before(port: u16, decide: impl Fn(&str) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("bound").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, decide): (_, Arc<Decide>) = (Arc::clone(&seen), Arc::new(decide));
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let (log, decide) = (Arc::clone(&log), Arc::clone(&decide));
                // Whoever leaves early leaves an error behind that says nothing.
                thread::spawn(move || drop(serve(&stream, port, &*decide, &log)));
            }
        });
        Self { port: own, seen }
    }

    /// `127.0.0.1:<port>/<name>`.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far that contain `text`.
    #[must_use]
    pub fn seen(&self, text: &str) -> Vec<String> {
        self.seen.lock().expect("not poisoned").iter().filter(|line| line.contains(text)).cloned().collect()
    }
}

fn serve(client: &TcpStream, port: u16, decide: &Decide, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client);
    let (mut lines, mut range) = (Vec::new(), String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => range = format!(" {}", value.trim()),
            _ => {}
        }
        lines.push(line);
    }
    let Some(first) = lines.first() else { return Ok(()) };
    let request = first.rsplit_once(' ').map_or(first.as_str(), |(request, _)| request).to_owned() + &range;
    let fate = decide(&request);
    log.lock().expect("not poisoned").push(request.clone());
    let server = TcpStream::connect(("127.0.0.1", port))?;
    if request.starts_with("CONNECT ") {
        (&mut &*client).write_all(b"HTTP/1.1 200 connected\r\n\r\n")?;
    } else {
        // One request a connection, so that every one is seen.
        lines.retain(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let head = lines.concat() + "Connection: close\r\n\r\n";
        (&mut &server).write_all(head.as_bytes())?;
    }
    let limit = if let Fate::CutRequest(limit) = fate { limit } else { usize::MAX };
    thread::scope(|scope| {
        scope.spawn(|| {
            let cut = pass(&mut reader, &server, limit);
            let _ = server.shutdown(if cut { Shutdown::Both } else { Shutdown::Write });
            if cut {
                let _ = client.shutdown(Shutdown::Both);
            }
        });
        let _ = answer(&server, client, fate);
        let _ = client.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Copies at most `limit` bytes; whether there were more.
fn pass(from: &mut impl Read, mut to: &TcpStream, mut limit: usize) -> bool {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let part = count.min(limit);
        if to.write_all(&buffer[..part]).is_err() {
            return false;
        }
        if part < count {
            return true;
        }
        limit -= part;
    }
    false
}

fn answer(server: &TcpStream, mut client: &TcpStream, fate: Fate) -> std::io::Result<()> {
    let mut reader = BufReader::new(server);
    if !matches!(fate, Fate::CutAnswer(_) | Fate::Spoil) {
        pass(&mut reader, client, usize::MAX);
        return Ok(());
    }
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        client.write_all(line.as_bytes())?;
        line.clear();
    }
    client.write_all(b"\r\n")?;
    match fate {
        Fate::CutAnswer(limit) => drop(pass(&mut reader, client, limit)),
        _ => {
            let mut byte = [0];
            reader.read_exact(&mut byte)?;
            client.write_all(&[byte[0] ^ 1])?;
            pass(&mut reader, client, usize::MAX);
        }
    }
    Ok(())
}
