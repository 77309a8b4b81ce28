//! A client's command: run to its end, or running while the test does more.

use crate::NetworkNamespace;
use std::{
    ffi::OsStr,
    fmt,
    io::{Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a command may take unless the test says otherwise. Generous: two
/// virtual machines may boot on an emulated processor meanwhile.
const DEADLINE: Duration = Duration::from_secs(90);

/// A command that is not started yet.
pub struct Client {
    command: Command,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
    network: Option<NetworkNamespace>,
}

/// How a command ended and what it wrote.
pub struct Output {
    /// The exit code; death by signal is 128 and the signal's number.
    pub code: i32,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
    line: String,
}

/// A command that runs.
pub struct Running {
    child: Child,
    line: String,
    stdin: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
    deadline: Duration,
}

struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Client {
    /// `program` with no arguments yet and an empty standard input.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        Self { command: Command::new(program), stdin: None, deadline: DEADLINE, network: None }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    /// Sets a variable of the command's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What the command reads from its standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// How long the command may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs the command in `network`.
    #[must_use]
    pub fn within(mut self, network: &NetworkNamespace) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// The command itself, for a terminal.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Runs to the end. Panics if the deadline passes.
    #[must_use]
    pub fn run(mut self) -> Output {
        let input = self.stdin.take();
        let mut running = self.start();
        let stdin = running.stdin.take();
        let writer = thread::spawn(move || {
            if let (Some(mut stdin), Some(bytes)) = (stdin, input) {
                // The command may end without reading everything.
                let _ = stdin.write_all(&bytes);
            }
        });
        let output = running.end();
        writer.join().expect("the writer does not panic");
        output
    }

    /// Runs to the end, demands success, and gives the standard output without
    /// its last newline.
    #[must_use]
    pub fn text(self) -> String {
        self.run().ok()
    }

    /// Starts it; its standard input stays open until [`Running::close_stdin`].
    #[must_use]
    pub fn start(mut self) -> Running {
        let line = format!("{:?}", self.command);
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = match &self.network {
            Some(network) => network.within(|| self.command.spawn()),
            None => self.command.spawn(),
        };
        let mut child = spawned.unwrap_or_else(|err| panic!("cannot run {line}: {err}"));
        let stdin = child.stdin.take();
        let stdout = Stream::new(child.stdout.take().expect("piped"));
        let stderr = Stream::new(child.stderr.take().expect("piped"));
        Running { child, line, stdin, stdout, stderr, deadline: self.deadline }
    }
}

impl Running {
    /// Writes to the command's standard input.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(bytes.as_ref()).expect("the command reads");
        stdin.flush().expect("the command reads");
    }

    /// Closes the command's standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// What has come on the standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What has come on the standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until the standard output has `text`.
    pub fn expect(&self, text: &str) {
        wait_until(self.deadline, &format!("{text:?} from {}", self.line), || self.stdout().contains(text));
    }

    /// Whether the command still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the command and reaps it.
    pub fn kill(mut self) -> Output {
        let _ = self.child.kill();
        self.end()
    }

    /// Waits for the command's end. Panics if the deadline passes.
    pub fn end(mut self) -> Output {
        use std::os::unix::process::ExitStatusExt;
        let begin = Instant::now();
        let mut pause = Duration::from_millis(1);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if begin.elapsed() > self.deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!(
                    "{} did not end in {:?}\n-- stdout\n{}\n-- stderr\n{}",
                    self.line,
                    self.deadline,
                    tail(&self.stdout.text()),
                    tail(&self.stderr.text())
                );
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Output { code, stdout: self.stdout.end(), stderr: self.stderr.end(), line: self.line }
    }
}

impl Stream {
    fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                sink.lock().expect("not poisoned").extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("not poisoned")).into_owned()
    }

    fn end(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        std::mem::take(&mut self.bytes.lock().expect("not poisoned"))
    }
}

impl Output {
    /// Demands success; the standard output without its last newline.
    #[must_use]
    pub fn ok(&self) -> String {
        assert_eq!(self.code, 0, "{self}");
        self.out()
    }

    /// Demands the exit code `code` and `text` on the standard error.
    pub fn fails(&self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{self}");
        assert!(self.err().contains(text), "{text:?} is missing: {self}");
    }

    /// The standard output without its last newline.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }

    /// The standard error without its last newline.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end_matches('\n').to_owned()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, err) = (self.out(), self.err());
        write!(f, "{}\nexit code {}\n-- stdout\n{}\n-- stderr\n{}", self.line, self.code, tail(&out), tail(&err))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn tail(text: &str) -> &str {
    let start = text.len().saturating_sub(4000);
    let start = (start..text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len());
    &text[start..]
}

/// Waits until `happened`, or panics with `what` after `deadline`.
pub fn wait_until(deadline: Duration, what: &str, mut happened: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
