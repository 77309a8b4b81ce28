//! The command line: runc's names, what `docs/architecture.md` lists.

use crate::error::{Error, Result};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::path::PathBuf;

/// Flags before the command.
#[derive(Debug)]
pub struct Globals {
    /// Where containers are kept.
    pub root: PathBuf,
    /// Where warnings go.
    pub log: Option<PathBuf>,
    /// Whether everything goes there.
    pub debug: bool,
}

/// Flags of create.
#[derive(Debug)]
pub struct Create {
    /// Container.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Where its first process's pid goes.
    pub pid_file: Option<PathBuf>,
    /// Where its terminal goes.
    pub console_socket: Option<PathBuf>,
    /// Start it at once.
    pub start: bool,
    /// The descriptor over which it is told to start it.
    pub hold: Option<i32>,
    /// Over the same it is told first that the bundle's mounts are there.
    pub await_rootfs: bool,
    /// Move the root in place of pivot_root.
    pub no_pivot: bool,
}

/// Flags of exec.
#[derive(Debug)]
pub struct Exec {
    /// Container.
    pub id: String,
    /// OCI `process`.
    pub process: PathBuf,
    /// Where the new process's pid goes.
    pub pid_file: Option<PathBuf>,
    /// Where its terminal goes.
    pub console_socket: Option<PathBuf>,
    /// Do not wait for it.
    pub detach: bool,
}

/// One command.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Command {
    Create(Create),
    Start { id: String },
    Exec(Exec),
    Kill { id: String, signal: String, all: bool },
    Delete { id: String, force: bool },
    State { id: String },
    Ps { id: String },
    Pause { id: String },
    Resume { id: String },
    Events { id: String },
    Update { id: String, resources: PathBuf },
    Seccomp { out: PathBuf, arch: Option<String> },
    Await { socket: i32 },
    Features,
    Spec { bundle: PathBuf },
    List { json: bool },
    Print(String),
}

const HELP: &str = "\
hako-runtime: an OCI runtime

usage: hako-runtime [--root DIR] [--log FILE] [--debug] COMMAND

  create --bundle DIR [--pid-file FILE] [--console-socket SOCK] [--start | --hold FD [--await-rootfs]] [--no-pivot] ID
  start ID
  exec --process FILE [--pid-file FILE] [--console-socket SOCK] [--detach] ID
  kill [--all] ID [SIGNAL]
  delete [--force] ID
  state | ps | pause | resume | events ID
  update --resources FILE ID
  await FD becomes the command that comes over the socket FD
  seccomp --out FILE [--arch A] compiles linux.seccomp from stdin, for arm64 or amd64
  spec [--bundle DIR] | list [--format json] | features";

/// Parses a command line, its first word the program's name.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<(Globals, Command)> {
    let mut parser = lexopt::Parser::from_iter(args);
    let mut globals = Globals { root: PathBuf::from("/run/hako/runtime"), log: None, debug: false };
    let name = loop {
        match next(&mut parser)? {
            Some(Long("root")) => globals.root = path(&mut parser)?,
            Some(Long("log")) => globals.log = Some(path(&mut parser)?),
            Some(Long("log-format")) => check_log_format(&string(&mut parser)?)?,
            Some(Long("debug")) => globals.debug = true,
            Some(Long("version") | Short('v')) => return Ok((globals, Command::Print(version()))),
            Some(Long("help") | Short('h')) | None => return Ok((globals, Command::Print(HELP.to_owned()))),
            Some(Value(name)) => break name.string().map_err(|err| Error::message(err.to_string()))?,
            Some(other) => return Err(Error::message(other.unexpected().to_string())),
        }
    };
    let command = command(&name, &mut parser)?;
    Ok((globals, command))
}

/// Flags and words after the command, as they come.
#[derive(Default)]
struct Given {
    bundle: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    process: Option<PathBuf>,
    resources: Option<PathBuf>,
    out: Option<PathBuf>,
    arch: Option<String>,
    all: bool,
    force: bool,
    detach: bool,
    start: bool,
    hold: Option<i32>,
    await_rootfs: bool,
    no_pivot: bool,
    json: bool,
    words: Vec<String>,
}

fn command(name: &str, parser: &mut lexopt::Parser) -> Result<Command> {
    let mut given = given(parser)?;
    let limit = match name {
        "kill" => 2,
        "seccomp" | "features" | "spec" | "list" => 0,
        _ => 1,
    };
    if let Some(word) = given.words.get(limit) {
        return Err(Error::message(format!("unexpected argument {word:?}")));
    }
    let mut words = std::mem::take(&mut given.words).into_iter();
    let wanted = if name == "await" { "descriptor" } else { "container id" };
    let mut id = || words.next().ok_or_else(|| Error::message(format!("{name} needs a {wanted}")));
    if given.await_rootfs && given.hold.is_none() {
        return Err(Error::message("--await-rootfs needs --hold"));
    }
    Ok(match name {
        "create" => Command::Create(Create {
            id: id()?,
            bundle: given.bundle.unwrap_or_else(|| PathBuf::from(".")),
            pid_file: given.pid_file,
            console_socket: given.console_socket,
            start: given.start,
            hold: given.hold,
            await_rootfs: given.await_rootfs,
            no_pivot: given.no_pivot,
        }),
        "exec" => Command::Exec(Exec {
            id: id()?,
            process: needed(given.process, "--process")?,
            pid_file: given.pid_file,
            console_socket: given.console_socket,
            detach: given.detach,
        }),
        "start" => Command::Start { id: id()? },
        "kill" => {
            let id = id()?;
            Command::Kill { id, signal: words.next().unwrap_or_else(|| "SIGTERM".to_owned()), all: given.all }
        }
        "delete" => Command::Delete { id: id()?, force: given.force },
        "state" => Command::State { id: id()? },
        "ps" => Command::Ps { id: id()? },
        "pause" => Command::Pause { id: id()? },
        "resume" => Command::Resume { id: id()? },
        "events" => Command::Events { id: id()? },
        "update" => Command::Update { id: id()?, resources: needed(given.resources, "--resources")? },
        "await" => Command::Await { socket: descriptor(&id()?)? },
        "seccomp" => Command::Seccomp { out: needed(given.out, "--out")?, arch: given.arch },
        "features" => Command::Features,
        "spec" => Command::Spec { bundle: given.bundle.unwrap_or_else(|| PathBuf::from(".")) },
        "list" => Command::List { json: given.json },
        other => return Err(Error::message(format!("unknown command {other:?}"))),
    })
}

fn given(parser: &mut lexopt::Parser) -> Result<Given> {
    let mut given = Given::default();
    while let Some(arg) = next(parser)? {
        match arg {
            Long("bundle") | Short('b') => given.bundle = Some(path(parser)?),
            Long("pid-file") => given.pid_file = Some(path(parser)?),
            Long("console-socket") => given.console_socket = Some(path(parser)?),
            Long("process") | Short('p') => given.process = Some(path(parser)?),
            Long("resources") | Short('r') => given.resources = Some(path(parser)?),
            Long("out") => given.out = Some(path(parser)?),
            Long("arch") => given.arch = Some(string(parser)?),
            Long("all") | Short('a') => given.all = true,
            Long("force") | Short('f') => given.force = true,
            Long("detach") | Short('d') => given.detach = true,
            Long("start") => given.start = true,
            Long("hold") => given.hold = Some(descriptor(&string(parser)?)?),
            Long("await-rootfs") => given.await_rootfs = true,
            Long("no-pivot") => given.no_pivot = true,
            // events has nothing but one look at the statistics.
            Long("stats") => {}
            Long("format") => match string(parser)?.as_str() {
                "json" => given.json = true,
                "table" => given.json = false,
                other => return Err(Error::message(format!("unknown format {other:?}"))),
            },
            Value(word) => given.words.push(word.string().map_err(|err| Error::message(err.to_string()))?),
            other => return Err(Error::message(other.unexpected().to_string())),
        }
    }
    Ok(given)
}

fn next<'a>(parser: &'a mut lexopt::Parser) -> Result<Option<lexopt::Arg<'a>>> {
    parser.next().map_err(|err| Error::message(err.to_string()))
}

fn path(parser: &mut lexopt::Parser) -> Result<PathBuf> {
    parser.value().map(PathBuf::from).map_err(|err| Error::message(err.to_string()))
}

fn string(parser: &mut lexopt::Parser) -> Result<String> {
    parser.value().and_then(|value| value.string()).map_err(|err| Error::message(err.to_string()))
}

/// None of those that a program has in any case.
fn descriptor(word: &str) -> Result<i32> {
    let number = word.parse().ok().filter(|number| *number > 2);
    number.ok_or_else(|| Error::message(format!("invalid descriptor {word:?}")))
}

fn needed(value: Option<PathBuf>, flag: &str) -> Result<PathBuf> {
    value.ok_or_else(|| Error::message(format!("{flag} is required")))
}

fn check_log_format(format: &str) -> Result<()> {
    if format == "text" {
        return Ok(());
    }
    Err(Error::message(format!("not supported: log format {format:?}")))
}

fn version() -> String {
    format!("hako-runtime version {}\nspec: 1.2.0", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command_of(line: &str) -> Result<Command> {
        parse(line.split(' ').map(OsString::from)).map(|(_, command)| command)
    }

    #[test]
    fn the_lines_of_the_contract_parse() {
        let line = "hako-runtime --root /r --log /l create --bundle /b --pid-file /p --console-socket /s c1";
        assert!(matches!(command_of(line).unwrap(), Command::Create(c) if c.id == "c1" && !c.start));
        assert!(matches!(command_of("x kill --all c1 KILL").unwrap(), Command::Kill { all: true, .. }));
        assert!(matches!(command_of("x delete c1 --force").unwrap(), Command::Delete { force: true, .. }));
        assert!(matches!(command_of("x seccomp --out f").unwrap(), Command::Seccomp { .. }));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(command_of("x start").unwrap_err().to_string(), "start needs a container id");
        assert_eq!(command_of("x start a b").unwrap_err().to_string(), "unexpected argument \"b\"");
        assert_eq!(command_of("x fly").unwrap_err().to_string(), "unknown command \"fly\"");
        assert_eq!(command_of("x await").unwrap_err().to_string(), "await needs a descriptor");
        assert_eq!(command_of("x await 1").unwrap_err().to_string(), "invalid descriptor \"1\"");
        assert!(command_of("x exec c").is_err());
        assert_eq!(command_of("x create --await-rootfs c").unwrap_err().to_string(), "--await-rootfs needs --hold");
        assert_eq!(command_of("x create --hold 2 c").unwrap_err().to_string(), "invalid descriptor \"2\"");
    }
}
