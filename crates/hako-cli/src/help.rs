//! Help and usage errors, with Docker's exit codes.

use crate::cli::GROUPS;
use crate::error::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::fmt::Write;

const FLAGS: &str = "\
Global flags:
  -H, --host ADDRESS     The engine's address: unix://PATH or tcp://HOST:PORT [env: HAKO_HOST]
      --tls              Use TLS; implied by --tlsverify
      --tlsverify        Use TLS and verify the engine [env: HAKO_TLS_VERIFY]
      --tlscacert FILE   Trust certificates signed only by this CA
      --tlscert FILE     TLS certificate
      --tlskey FILE      TLS key [folder of the three: HAKO_CERT_PATH]
  -V, --version          Print the version
  -h, --help             Print this help
";

/// `hako --help`.
pub(crate) fn root() -> String {
    let mut text = String::from(
        "Containers with two walls: one image, run as a process or in a virtual machine\n\nUsage: hako [FLAGS] COMMAND\n\n",
    );
    for (group, commands) in GROUPS {
        let _ = writeln!(text, "{group}:");
        for (name, about) in *commands {
            let _ = writeln!(text, "  {name:<12}{about}");
        }
        text.push('\n');
    }
    text.push_str(FLAGS);
    text.push_str(
        "\nWithout a running engine, hako starts one (as root). Docker's longer names work too: `hako container ls`.\n\
         Try `hako run hello`, then `hako run --isolation=vm hello`.\n\
         Run 'hako COMMAND --help' for more information on a command.\n",
    );
    text
}

/// What clap says, as this program says it: help is no error, a wrong flag ends
/// with 125 and wrong words with 1 (behind `run` all with 125), as Docker's.
pub(crate) fn usage(err: &clap::Error, command: &str) -> Error {
    if matches!(
        err.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return match crate::term::print(&err.render().to_string()) {
            Ok(()) => Error::exit(0),
            Err(err) => err,
        };
    }
    let name = format!("hako {command}");
    let name = name.trim_end();
    let text = err.render().to_string();
    let text = text.trim_start_matches("error: ");
    let text = text.split("\n\nFor more information").next().unwrap_or(text).trim_end();
    let (code, text) = match err.kind() {
        // clap's list of names says less than the usage line behind it.
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues | ErrorKind::MissingSubcommand => {
            let usage = text.find("Usage:").map_or("", |at| &text[at..]);
            (1, format!("'{name}' requires more arguments\n\n{usage}"))
        }
        ErrorKind::UnknownArgument if !is_flag(err) => (1, text.to_owned()),
        _ => (125, text.to_owned()),
    };
    let code = if matches!(command, "run" | "create") { 125 } else { code };
    Error::Exit { code, message: Some(format!("{text}\n\nRun '{name} --help' for more information")) }
}

/// Whether the argument that clap does not know is a flag and no word too many.
fn is_flag(err: &clap::Error) -> bool {
    matches!(err.get(ContextKind::InvalidArg), Some(ContextValue::String(arg)) if arg.starts_with('-'))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_command_stands_in_the_help() {
        let help = super::root();
        for command in crate::cli::root(None).get_subcommands() {
            assert!(help.contains(&format!("  {:<12}", command.get_name())), "{}", command.get_name());
        }
        crate::cli::root(None).debug_assert();
    }
}
