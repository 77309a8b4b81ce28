//! `hako`, the command line: a client of the Docker Engine API and nothing else.
//!
//! `cli` has the table of commands, `commands/` one file for each. `api` sends
//! requests and starts the engine where none runs, `session` joins a terminal to a
//! container, `format` shows answers, `flags` makes a container's configuration.

mod api;
mod argv;
mod cli;
mod commands;
mod error;
mod flags;
mod format;
mod help;
mod progress;
mod session;
mod sys;
mod term;
mod wait;

use std::ffi::OsString;

/// Runs one command line and gives the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> i32 {
    let args: Result<Vec<String>, OsString> = args.into_iter().map(OsString::into_string).collect();
    let args = match args {
        Ok(args) => args,
        Err(arg) => return fail(&format!("argument {} is not UTF-8", arg.display())),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return fail(&format!("cannot start: {err}")),
    };
    let result = runtime.block_on(cli::run(args));
    term::restore();
    // Threads that read stdin never end: the caller exits over them.
    runtime.shutdown_background();
    match result {
        Ok(()) => 0,
        Err(err) => {
            let text = err.to_string();
            if !text.is_empty() {
                eprintln!("hako: {text}");
            }
            err.code()
        }
    }
}

fn fail(text: &str) -> i32 {
    eprintln!("hako: {text}");
    1
}
