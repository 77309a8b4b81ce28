//! What runs inside: in containers, in guests and in namespaces. It is this
//! program itself, which is static, as `xtask inside`: a server that does what
//! it is ordered over TCP, and says the figures.
//!
//! ```text
//! bench ── Order (a line of JSON) ─► server ── Reply (a line of JSON) ─► bench
//!            Send{to} ─► server ── Sink, bytes … end ─► another server ── how many came
//! ```
//!
//! So nothing needs an `exec`, and a machine without an agent is measured as a
//! container is. It listens in namespaces that are reached from nowhere else.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Where it listens.
const PORT: u16 = 5201;
/// How long a server may take to be there, and an order to be done.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is sent and received at once.
const BLOCK: usize = 128 << 10;
/// What goes forth and back in a round trip.
const MESSAGE: usize = 64;
/// Round trips before those that count.
const WARM_UP: usize = 50;
/// Files of the work with small files.
pub const FILES: usize = 1000;
/// What is written and read of a large file at once.
const MIB: usize = 1 << 20;

/// What a server is told.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Take what follows, and say at its end how many bytes there were.
    Sink,
    /// Send back what follows.
    Echo,
    /// Send to the server there for so long: MB/s.
    Send { to: Ipv4Addr, millis: u64 },
    /// So many round trips to the server there: the middle one, in µs.
    Ping { to: Ipv4Addr, times: usize },
    /// [`FILES`] files in a new folder: made, listed and looked at, removed, in ms each.
    Files { dir: PathBuf },
    /// A new file of so many MiB, to the disk: ms.
    Write { file: PathBuf, mib: usize },
    /// A file of so many MiB: ms.
    Read { file: PathBuf, mib: usize },
}

/// The figures, or what went wrong.
type Reply = std::result::Result<Vec<f64>, String>;

/// Serves until the process is ended.
pub fn serve() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).context("listening")?;
    for stream in listener.incoming() {
        let stream = stream.context("accepting")?;
        thread::spawn(move || {
            if let Err(e) = answer(&stream) {
                eprintln!("inside: {e:#}");
            }
        });
    }
    Ok(())
}

fn answer(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(BLOCK, stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        // Who only looks whether somebody listens.
        return Ok(());
    }
    let done = match serde_json::from_str(&line).context("an order")? {
        Order::Sink => sink(&mut reader),
        Order::Echo => return echo(&mut reader, stream),
        order => obey(&order),
    };
    tell(stream, &done.map_err(|e| format!("{e:#}")) as &Reply)
}

fn tell(mut stream: &TcpStream, what: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(what)? + "\n";
    stream.write_all(line.as_bytes()).context("writing")
}

/// Does what needs no connection but its own.
fn obey(order: &Order) -> Result<Vec<f64>> {
    match order {
        Order::Send { to, millis } => Ok(vec![send(*to, Duration::from_millis(*millis))?]),
        Order::Ping { to, times } => Ok(vec![ping(*to, *times)?]),
        Order::Files { dir } => files(dir),
        Order::Write { file, mib } => Ok(vec![write(file, *mib)?]),
        Order::Read { file, mib } => Ok(vec![read(file, *mib)?]),
        Order::Sink | Order::Echo => bail!("an order for a server"),
    }
}

/// Has an order obeyed by the server at `to`, or here.
pub fn ask(to: Option<Ipv4Addr>, order: &Order) -> Result<Vec<f64>> {
    let Some(to) = to else { return obey(order) };
    let stream = connect(to)?;
    tell(&stream, order)?;
    reply(&stream).with_context(|| format!("{order:?} at {to}"))
}

fn reply(stream: &TcpStream) -> Result<Vec<f64>> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("reading the reply")?;
    let reply: Reply = serde_json::from_str(&line).with_context(|| format!("the reply {line:?}"))?;
    reply.map_err(anyhow::Error::msg)
}

fn connect(to: Ipv4Addr) -> Result<TcpStream> {
    let address = SocketAddr::from((to, PORT));
    let stream =
        TcpStream::connect_timeout(&address, Duration::from_secs(5)).with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Waits until a server is at `to`.
pub fn wait(to: Ipv4Addr) -> Result<()> {
    let begin = Instant::now();
    loop {
        match connect(to) {
            Ok(_) => return Ok(()),
            Err(e) if begin.elapsed() > PATIENCE => return Err(e),
            Err(_) => {
                super::interrupt::check()?;
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn sink(from: &mut impl Read) -> Result<Vec<f64>> {
    let (mut buffer, mut bytes) = (vec![0; BLOCK], 0);
    loop {
        match from.read(&mut buffer).context("receiving")? {
            0 => return Ok(vec![bytes as f64]),
            n => bytes += n,
        }
    }
}

fn echo(from: &mut impl Read, mut to: &TcpStream) -> Result<()> {
    let mut message = [0; MESSAGE];
    while from.read_exact(&mut message).is_ok() {
        to.write_all(&message).context("echoing")?;
    }
    Ok(())
}

/// Sends for `long`; MB/s that have arrived, by this side's clock.
fn send(to: Ipv4Addr, long: Duration) -> Result<f64> {
    let mut stream = connect(to)?;
    tell(&stream, &Order::Sink)?;
    let block = vec![7; BLOCK];
    let begin = Instant::now();
    while begin.elapsed() < long {
        stream.write_all(&block).context("sending")?;
    }
    stream.shutdown(Shutdown::Write).context("ending")?;
    let bytes = reply(&stream)?.first().copied().context("an empty reply")?;
    Ok(bytes / 1e6 / begin.elapsed().as_secs_f64())
}

/// The middle one of `times` round trips in µs.
fn ping(to: Ipv4Addr, times: usize) -> Result<f64> {
    let mut stream = connect(to)?;
    tell(&stream, &Order::Echo)?;
    let mut message = [7; MESSAGE];
    let mut trips = Vec::with_capacity(times);
    for trip in 0..times + WARM_UP {
        let begin = Instant::now();
        stream.write_all(&message).context("sending")?;
        stream.read_exact(&mut message).context("receiving")?;
        if trip >= WARM_UP {
            trips.push(begin.elapsed().as_secs_f64() * 1e6);
        }
    }
    trips.sort_by(f64::total_cmp);
    trips.get(trips.len() / 2).copied().context("no round trips")
}

fn files(dir: &Path) -> Result<Vec<f64>> {
    fs::create_dir(dir).with_context(|| format!("making {}", dir.display()))?;
    let names: Vec<PathBuf> = (0..FILES).map(|n| dir.join(format!("file-{n:04}"))).collect();
    let made = millis(|| names.iter().try_for_each(|name| File::create_new(name).map(drop)).context("making files"))?;
    let looked = millis(|| {
        let mut found = 0;
        for entry in fs::read_dir(dir)? {
            found += usize::from(fs::symlink_metadata(entry?.path())?.is_file());
        }
        ensure!(found == FILES, "{found} files of {FILES}");
        Ok(())
    })?;
    let removed = millis(|| names.iter().try_for_each(fs::remove_file).context("removing files"))?;
    fs::remove_dir(dir)?;
    Ok(vec![made, looked, removed])
}

fn write(file: &Path, mib: usize) -> Result<f64> {
    // Freeing what was there is not writing.
    let _ = fs::remove_file(file);
    let block = vec![7; MIB];
    millis(|| {
        let mut out = File::create_new(file).with_context(|| format!("making {}", file.display()))?;
        (0..mib).try_for_each(|_| out.write_all(&block)).context("writing")?;
        out.sync_all().context("fsync")
    })
}

fn read(file: &Path, mib: usize) -> Result<f64> {
    let mut block = vec![0; MIB];
    millis(|| {
        let mut from = File::open(file).with_context(|| format!("opening {}", file.display()))?;
        let mut bytes = 0;
        loop {
            match from.read(&mut block).context("reading")? {
                0 => break,
                n => bytes += n,
            }
        }
        ensure!(bytes == mib * MIB, "{bytes} bytes of {mib} MiB");
        Ok(())
    })
}

fn millis(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(super::measure::millis(begin))
}

#[cfg(test)]
mod tests {
    use super::{FILES, Order, answer, ask, connect, files, read, sink, tell, write};
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    /// A served connection to a port of the kernel's choice.
    fn served() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        std::thread::spawn(move || answer(&listener.accept().unwrap().0));
        stream
    }

    #[test]
    fn what_is_sunk_is_counted() {
        let mut stream = served();
        tell(&stream, &Order::Sink).unwrap();
        stream.write_all(&vec![1; 300_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(super::reply(&stream).unwrap(), [300_000.0]);
        assert_eq!(sink(&mut &[0; 77][..]).unwrap(), [77.0]);
    }

    #[test]
    fn echoes_come_back() {
        let mut stream = served();
        tell(&stream, &Order::Echo).unwrap();
        stream.write_all(&[9; 64]).unwrap();
        let mut back = [0; 64];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, [9; 64]);
    }

    #[test]
    fn work_on_files_is_timed_and_errors_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let figures = files(&dir.path().join("files")).unwrap();
        assert!(figures.len() == 3 && figures.iter().all(|figure| *figure > 0.0), "{FILES} files: {figures:?}");
        let file = dir.path().join("large");
        assert!(write(&file, 2).unwrap() > 0.0);
        assert!(read(&file, 2).unwrap() > 0.0);
        assert!(read(&file, 3).is_err(), "a file that is too short");
        let stream = served();
        tell(&stream, &Order::Read { file: dir.path().join("absent"), mib: 1 }).unwrap();
        assert!(super::reply(&stream).unwrap_err().to_string().contains("absent"));
        assert!(ask(None, &Order::Read { file, mib: 2 }).is_ok());
        assert!(connect("127.99.99.99".parse().unwrap()).is_err());
    }
}
