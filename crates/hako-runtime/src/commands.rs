//! One file per command.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod hold;
mod kill;
mod list;
mod pause;
mod ps;
mod seccomp;
mod spec;
mod start;
mod state;
mod update;
mod waiting;

use crate::cli::{Command, Globals};
use crate::error::{Context, Result};
use crate::record::{Existing, Folder};
use crate::seal;
use std::io::Write;
use std::process::ExitCode;

/// Runs a command.
pub fn run(globals: &Globals, command: Command) -> Result<ExitCode> {
    let open = |id: &str| -> Result<Existing> { Folder::new(&globals.root, id)?.open() };
    if matches!(command, Command::Create(_) | Command::Exec(_) | Command::Await { .. }) {
        seal::ensure()?;
    }
    match command {
        Command::Create(flags) => create::run(globals, flags)?,
        Command::Start { id } => start::run(globals, &open(&id)?)?,
        Command::Exec(flags) => return exec::run(globals, flags),
        Command::Kill { id, signal, all } => kill::run(&open(&id)?, &signal, all)?,
        Command::Delete { id, force } => delete::run(globals, &id, force)?,
        Command::State { id } => state::run(&open(&id)?)?,
        Command::Ps { id } => ps::run(&open(&id)?)?,
        Command::Pause { id } => pause::pause(&open(&id)?)?,
        Command::Resume { id } => pause::resume(&open(&id)?)?,
        Command::Events { id } => events::run(&open(&id)?)?,
        Command::Update { id, resources } => update::run(&open(&id)?, &resources)?,
        Command::Await { socket } => return waiting::run(socket),
        Command::Seccomp { out, arch } => seccomp::run(&out, arch.as_deref())?,
        Command::Features => features::run()?,
        Command::Spec { bundle } => spec::run(&bundle)?,
        Command::List { json } => list::run(globals, json)?,
        Command::Print(text) => print(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a line; a reader that has gone is an error, not a panic.
fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context(|| "write to stdout")
}

/// Prints JSON.
fn print_json(value: &serde_json::Value) -> Result<()> {
    print(&serde_json::to_string_pretty(value).context(|| "encode JSON")?)
}

/// Opens the log that `--log` names.
fn open_log(globals: &Globals) -> Result<Option<std::fs::File>> {
    let Some(path) = &globals.log else { return Ok(None) };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    file.map(Some).context(|| format!("open {}", path.display()))
}
