//! One instruction's line made into an [`Instruction`] or a [`Stage`]'s head.
//!
//! `parse-dockerfile` reads the line, of which flags are already taken off. It has
//! its own words for errors, so those here are Docker's, by what it was reading.

use crate::{
    Error, Result,
    flags::{self, Flags},
    health,
    lines::Line,
    mount, suggest,
    types::{Add, Command, Copy, Heredoc, Instruction, Run, Source},
    words::{self, at_least_one, exactly_one},
};
use parse_dockerfile as read;

/// An instruction or the head of a stage.
#[derive(Debug)]
pub(crate) enum Parsed {
    From { base: String, name: Option<String>, platform: Option<String> },
    Step(Instruction),
}

/// The keyword and what follows it.
pub(crate) fn keyword(line: &str) -> (&str, &str) {
    let line = line.trim();
    line.split_once(words::is_blank).map_or((line, ""), |(word, rest)| (word, rest.trim_start()))
}

/// Whether heredocs may follow the line: it is a `RUN`, `COPY` or `ADD`, or one
/// of them as a trigger, and no list in JSON.
pub(crate) fn takes_heredocs(line: &str, escape: char) -> bool {
    let (mut word, mut rest) = keyword(line);
    if word.eq_ignore_ascii_case("ONBUILD") {
        (word, rest) = keyword(rest);
    }
    let one_of = ["RUN", "COPY", "ADD"].iter().any(|known| word.eq_ignore_ascii_case(known));
    one_of && !matches!(list(flags::take(rest, escape).1), Ok(Some(_)))
}

/// A list of strings in JSON, if it is one.
///
/// # Errors
/// A list of something else.
fn list(text: &str) -> Result<Option<Vec<String>>> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(Error::Syntax("when using JSON array syntax, arrays must be comprised of strings only".into())),
    });
    strings.collect::<Result<_>>().map(Some)
}

/// # Errors
/// Docker's words for what is wrong with the line.
pub(crate) fn parse(line: Line, escape: char) -> Result<Parsed> {
    let (word, rest) = keyword(&line.text);
    let (given, rest) = flags::take(rest, escape);
    let name = word.to_ascii_uppercase();
    // Not read by the crate: the trigger is any line, looked at when it is pulled.
    if name == "ONBUILD" {
        Flags::new(given, &[], &[])?;
        return onbuild(rest, &line.heredocs).map(Parsed::Step);
    }
    if matches!(name.as_str(), "RUN" | "CMD" | "ENTRYPOINT" | "SHELL" | "VOLUME" | "COPY" | "ADD") {
        list(rest)?;
    }
    let args = Args { name: &name, rest, escape, heredocs: &line.heredocs };
    let text = document(&name, rest, &line.heredocs);
    // None may stand before a `FROM`, so one is put before all others.
    let found = read::parse_iter(&text).ok().and_then(|mut found| found.nth(usize::from(name != "FROM")));
    match found {
        Some(Ok(found)) => args.parsed(found, given),
        Some(Err(err)) if err.to_string().starts_with("unknown instruction") => Err(unknown(word)),
        // A shell's text is as it is, whatever stands in it.
        _ if name == "RUN" => args.run(args.shell(), given).map(Parsed::Step),
        _ if name == "ENTRYPOINT" => {
            Flags::new(given, &[], &[])?;
            Ok(Parsed::Step(Instruction::Entrypoint(Command::Exec(Vec::new()))))
        }
        _ => Err(args.refused()),
    }
}

/// A Dockerfile with the one instruction. Heredocs whose begin the crate sees must
/// have their ends; in a `RUN` it does not see them all, and their text is not its.
fn document(name: &str, rest: &str, heredocs: &[Heredoc]) -> String {
    let mut text = String::new();
    if name != "FROM" {
        text.push_str("FROM scratch\n");
    }
    text.extend([name, " ", rest]);
    if name != "RUN" {
        for heredoc in heredocs {
            text.extend(["\n", &heredoc.raw, &heredoc.name]);
        }
    }
    text
}

const NAMES: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

fn unknown(word: &str) -> Error {
    Error::value(format!("unknown instruction: {word}{}", suggest::hint(word, NAMES.iter().copied())))
}

/// The arguments of an instruction.
struct Args<'a> {
    name: &'a str,
    rest: &'a str,
    escape: char,
    heredocs: &'a [Heredoc],
}

impl Args<'_> {
    fn parsed(&self, found: read::Instruction<'_>, given: Vec<String>) -> Result<Parsed> {
        let step = match found {
            read::Instruction::From(from) => return stage(&from, given),
            read::Instruction::Run(found) => self.run(self.command(&found.arguments), given)?,
            read::Instruction::Copy(found) => self.copy(&found.src, &found.dest.value, given)?,
            read::Instruction::Add(found) => self.add(&found.src, &found.dest.value, given)?,
            read::Instruction::Healthcheck(found) => healthcheck(&found.arguments, given)?,
            found => {
                Flags::new(given, &[], &[])?;
                self.plain(found)?
            }
        };
        Ok(Parsed::Step(step))
    }

    /// Those that have no flags.
    fn plain(&self, found: read::Instruction<'_>) -> Result<Instruction> {
        Ok(match found {
            read::Instruction::Arg(found) => Instruction::Arg(args(&found.arguments.value, self.escape)?),
            read::Instruction::Env(found) => {
                Instruction::Env(words::pairs(self.name, &found.arguments.value, self.escape)?)
            }
            read::Instruction::Label(found) => {
                Instruction::Label(words::pairs(self.name, &found.arguments.value, self.escape)?)
            }
            read::Instruction::Cmd(found) => Instruction::Cmd(self.command(&found.arguments)),
            read::Instruction::Entrypoint(found) => Instruction::Entrypoint(self.command(&found.arguments)),
            read::Instruction::Workdir(found) => Instruction::Workdir(found.arguments.value.into_owned()),
            read::Instruction::User(found) => Instruction::User(found.arguments.value.into_owned()),
            read::Instruction::Stopsignal(found) => Instruction::StopSignal(found.arguments.value.into_owned()),
            read::Instruction::Maintainer(found) => Instruction::Maintainer(found.name.value.into_owned()),
            read::Instruction::Expose(found) => {
                let mut ports = strings(&found.arguments);
                ports.sort();
                Instruction::Expose(ports)
            }
            read::Instruction::Volume(found) => Instruction::Volume(volumes(&found.arguments)?),
            read::Instruction::Shell(found) => Instruction::Shell(strings(&found.arguments)),
            _ => return Err(unknown(self.name)),
        })
    }

    fn shell(&self) -> Command {
        Command::Shell(self.rest.to_owned())
    }

    fn command(&self, found: &read::Command<'_>) -> Command {
        match found {
            read::Command::Exec(words) => Command::Exec(strings(&words.value)),
            _ => self.shell(),
        }
    }

    fn run(&self, command: Command, given: Vec<String>) -> Result<Instruction> {
        let flags = Flags::new(given, &["network", "security"], &["mount"])?;
        let mounts = flags.all("mount")?;
        mounts.iter().try_for_each(|text| mount::check(text))?;
        let network = flags.one("network")?;
        if let Some(mode) = network.as_deref().filter(|mode| !matches!(*mode, "default" | "none" | "host")) {
            return Err(Error::value(format!("invalid network mode {mode:?}")));
        }
        let security = flags.one("security")?;
        if let Some(mode) = security.as_deref().filter(|mode| !matches!(*mode, "sandbox" | "insecure")) {
            return Err(Error::value(format!("security {mode:?} is not valid")));
        }
        Ok(Instruction::Run(Run { command, heredocs: self.heredocs.to_vec(), mounts, network, security }))
    }

    fn copy(&self, sources: &[read::Source<'_>], dest: &str, given: Vec<String>) -> Result<Instruction> {
        let flags = Flags::new(given, &["from", "chown", "chmod", "link", "parents"], &["exclude"])?;
        Ok(Instruction::Copy(Copy {
            sources: self.sources(sources, dest)?,
            dest: dest.to_owned(),
            from: flags.one("from")?,
            chown: flags.one("chown")?,
            chmod: flags.one("chmod")?,
            link: flags.switch("link")?.unwrap_or_default(),
            parents: flags.switch("parents")?.unwrap_or_default(),
            exclude: flags.all("exclude")?,
        }))
    }

    fn add(&self, sources: &[read::Source<'_>], dest: &str, given: Vec<String>) -> Result<Instruction> {
        let known = ["chown", "chmod", "link", "checksum", "keep-git-dir", "unpack"];
        let flags = Flags::new(given, &known, &["exclude"])?;
        Ok(Instruction::Add(Add {
            sources: self.sources(sources, dest)?,
            dest: dest.to_owned(),
            chown: flags.one("chown")?,
            chmod: flags.one("chmod")?,
            link: flags.switch("link")?.unwrap_or_default(),
            checksum: flags.one("checksum")?,
            keep_git_dir: flags.switch("keep-git-dir")?.unwrap_or_default(),
            unpack: flags.switch("unpack")?,
            exclude: flags.all("exclude")?,
        }))
    }

    /// The crate tells which source is a heredoc, in order, and not its name.
    fn sources(&self, found: &[read::Source<'_>], dest: &str) -> Result<Vec<Source>> {
        if !self.heredocs.is_empty() && crate::lines::is_heredoc_word(dest) {
            return Err(Error::value(format!("{} cannot accept a heredoc as a destination", self.name)));
        }
        let mut heredocs = self.heredocs.iter();
        let source = |source: &read::Source<'_>| match source {
            read::Source::Path(path) => Ok(Source::Path(path.value.clone().into_owned())),
            _ => heredocs.next().cloned().map(Source::Heredoc).ok_or_else(|| self.refused()),
        };
        found.iter().map(source).collect()
    }

    /// What is wrong with arguments that the crate did not take.
    fn refused(&self) -> Error {
        match self.name {
            "FROM" => Error::value(FROM_ARGUMENTS),
            "ADD" | "COPY" => Error::value(format!(
                "{} requires at least two arguments, but only one was provided. Destination could not be determined",
                self.name
            )),
            "WORKDIR" | "USER" | "STOPSIGNAL" | "MAINTAINER" => exactly_one(self.name),
            "SHELL" if !matches!(self.rest, "" | "[]") => {
                Error::value("SHELL requires the arguments to be in JSON form")
            }
            "HEALTHCHECK" if !self.rest.is_empty() => {
                let (kind, command) = keyword(self.rest);
                match kind.to_ascii_uppercase().as_str() {
                    "NONE" => Error::value("HEALTHCHECK NONE takes no arguments"),
                    "CMD" if command.is_empty() || command == "[]" => {
                        Error::value("Missing command after HEALTHCHECK CMD")
                    }
                    other => Error::value(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)")),
                }
            }
            _ => at_least_one(self.name),
        }
    }
}

const FROM_ARGUMENTS: &str = "FROM requires either one or three arguments";

fn strings(words: &[read::UnescapedString<'_>]) -> Vec<String> {
    words.iter().map(|word| word.value.clone().into_owned()).collect()
}

fn stage(from: &read::FromInstruction<'_>, given: Vec<String>) -> Result<Parsed> {
    let platform = Flags::new(given, &["platform"], &[])?.one("platform")?;
    if from.as_.as_ref().is_some_and(|(_, name)| name.value.is_empty()) {
        return Err(Error::value(FROM_ARGUMENTS));
    }
    let name = from.as_.as_ref().map(|(_, name)| stage_name(&name.value)).transpose()?;
    Ok(Parsed::From { base: from.image.value.clone().into_owned(), name, platform })
}

fn stage_name(text: &str) -> Result<String> {
    let name = text.to_lowercase();
    let rest = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if name.starts_with(|char: char| char.is_ascii_lowercase()) && name.bytes().all(rest) {
        return Ok(name);
    }
    Err(Error::value(format!(
        "invalid name for build stage: {text:?}, name can't start with a number or contain symbols"
    )))
}

fn args(text: &str, escape: char) -> Result<Vec<(String, Option<String>)>> {
    let found = words::quoted(text, escape);
    if found.is_empty() {
        return Err(at_least_one("ARG"));
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(Error::value("ARG names can not be blank")),
        Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
        None => Ok((word, None)),
    };
    found.into_iter().map(pair).collect()
}

fn volumes(found: &read::JsonOrStringArray<'_, 1>) -> Result<Vec<String>> {
    let paths = match found {
        read::JsonOrStringArray::Json(list) => strings(&list.value),
        read::JsonOrStringArray::String(list) => strings(list),
    };
    let paths: Vec<String> = paths.iter().map(|path| path.trim().to_owned()).collect();
    if paths.is_empty() {
        return Err(at_least_one("VOLUME"));
    }
    if paths.iter().any(String::is_empty) {
        return Err(Error::value("VOLUME specified can not be an empty string"));
    }
    Ok(paths)
}

fn healthcheck(found: &read::HealthcheckArguments<'_>, given: Vec<String>) -> Result<Instruction> {
    let flags = Flags::new(given, health::FLAGS, &[])?;
    let mut check = health::times(&flags)?;
    check.command = match found {
        read::HealthcheckArguments::Cmd { arguments, .. } => Some(match arguments {
            read::Command::Exec(words) => Command::Exec(strings(&words.value)),
            read::Command::Shell(text) => {
                list(text.value)?;
                Command::Shell(text.value.to_owned())
            }
            _ => return Err(unknown("HEALTHCHECK")),
        }),
        read::HealthcheckArguments::None { .. } if !flags.is_empty() => {
            return Err(Error::value("HEALTHCHECK NONE takes no arguments"));
        }
        _ => None,
    };
    if check.command.as_ref().is_some_and(Command::is_empty) {
        return Err(Error::value("Missing command after HEALTHCHECK CMD"));
    }
    Ok(Instruction::Healthcheck(check))
}

/// The trigger: the line, and the heredocs that belong to it.
fn onbuild(rest: &str, heredocs: &[Heredoc]) -> Result<Instruction> {
    let trigger = keyword(rest).0.to_ascii_uppercase();
    match trigger.as_str() {
        "" => return Err(at_least_one("ONBUILD")),
        "ONBUILD" => return Err(Error::value("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        "MAINTAINER" | "FROM" => {
            return Err(Error::value(format!("{trigger} isn't allowed as an ONBUILD trigger")));
        }
        _ => {}
    }
    let mut text = rest.to_owned();
    for heredoc in heredocs {
        text.extend(["\n", &heredoc.raw, &heredoc.name]);
    }
    Ok(Instruction::Onbuild(text))
}
