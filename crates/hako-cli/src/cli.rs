//! The command line: one table of commands, from which come the parser, the
//! grouped help, shell completion and the dispatch. Only the command that is
//! called is built in full; a client's start is short.

use crate::api::{Client, Engine, Host, TlsFlags};
use crate::commands as c;
use crate::error::{Error, Result};
use crate::{argv, help};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use std::path::PathBuf;

/// Flags before the command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The engine's address: unix://PATH or tcp://HOST:PORT
    #[arg(short = 'H', long, value_name = "ADDRESS", env = "HAKO_HOST", hide_env_values = true)]
    host: Option<String>,
    /// Use TLS; implied by --tlsverify
    #[arg(long)]
    tls: bool,
    /// Use TLS and verify the engine
    #[arg(long, env = "HAKO_TLS_VERIFY", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    tlsverify: bool,
    /// Trust certificates signed only by this CA
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// TLS certificate
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// TLS key
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
}

impl Global {
    fn client(self) -> Result<Client> {
        let certs = std::env::var_os("HAKO_CERT_PATH").map(PathBuf::from);
        let file = |given: Option<PathBuf>, name: &str| given.or_else(|| certs.as_ref().map(|dir| dir.join(name)));
        let tls = TlsFlags {
            enabled: self.tls || self.tlsverify,
            verify: self.tlsverify,
            ca: file(self.tlscacert, "ca.pem"),
            cert: file(self.tlscert, "cert.pem"),
            key: file(self.tlskey, "key.pem"),
        };
        let engine = Engine::from_env();
        let host = match self.host.filter(|host| !host.is_empty()) {
            Some(host) => Host::parse(&host, tls.enabled)?,
            None => Host::Unix(engine.socket()),
        };
        Ok(Client::new(host, tls, engine))
    }
}

/// Makes the table's functions.
macro_rules! commands {
    ($( $group:literal { $( $name:literal $(or $alias:literal)* => $args:ty: $about:literal, )* } )*) => {
        /// The commands by group, with what each does.
        pub(crate) const GROUPS: &[(&str, &[(&str, &str)])] = &[ $( ($group, &[ $( ($name, $about), )* ]), )* ];

        fn command(name: &str, full: bool) -> Option<Command> {
            Some(match name {
                $($( $name $(| $alias)* => {
                    let command = Command::new($name).about($about) $( .visible_alias($alias) )*;
                    if full { <$args>::augment_args(command) } else { command }
                } )*)*
                _ => return None,
            })
        }

        async fn dispatch(name: &str, matches: &ArgMatches, client: &Client) -> Result<()> {
            match name {
                $($( $name => Box::pin(<$args>::from_arg_matches(matches).map_err(|err| help::usage(&err, name))?.run(client)).await, )*)*
                _ => Err(Error::msg(format!("unknown command: hako {name}\n\nRun 'hako --help' for more information"))),
            }
        }
    };
}

commands! {
    "Common commands" {
        "run" => c::run::Run: "Create and run a new container from an image",
        "exec" => c::exec::Exec: "Execute a command in a running container",
        "ps" => c::ps::Ps: "List containers",
        "images" => c::images::Images: "List images",
        "pull" => c::pull::Pull: "Download an image from a registry",
        "push" => c::push::Push: "Upload an image to a registry",
        "logs" => c::logs::Logs: "Show the output of a container",
    }
    "Containers" {
        "create" => c::create::Create: "Create a new container",
        "start" => c::start::Start: "Start stopped containers",
        "stop" => c::stop::Stop: "Stop running containers",
        "restart" => c::restart::Restart: "Restart containers",
        "kill" => c::kill::Kill: "Send a signal to running containers",
        "pause" => c::pause::Pause: "Freeze all processes of containers",
        "unpause" => c::pause::Unpause: "Thaw all processes of containers",
        "rm" => c::rm::Rm: "Remove containers",
        "attach" => c::attach::Attach: "Attach the terminal's streams to a running container",
        "wait" => c::wait::Wait: "Wait until containers stop, then print their exit codes",
        "top" => c::top::Top: "Show the processes of a container",
        "stats" => c::stats::Stats: "Show what containers use, again and again",
        "rename" => c::rename::Rename: "Rename a container",
        "update" => c::update::Update: "Change the limits and the restart policy of containers",
        "cp" => c::cp::Cp: "Copy files between a container and the local filesystem",
        "diff" => c::diff::Diff: "Show what a container has changed in its root filesystem",
        "export" => c::export::Export: "Export a container's root filesystem as a tar archive",
        "commit" => c::commit::Commit: "Make an image of a container's changes",
        "port" => c::port::Port: "List the published ports of a container",
    }
    "Images" {
        "build" => c::build::Build: "Build an image from a Dockerfile",
        "builder" => c::builder::Builder: "Manage the cache of builds",
        "load" => c::load::Load: "Load images from a tar archive or stdin",
        "save" => c::save::Save: "Save images to a tar archive",
        "import" => c::import::Import: "Make an image of a tar archive of files",
        "tag" => c::tag::Tag: "Give an image another name",
        "rmi" => c::rmi::Rmi: "Remove images",
        "login" => c::login::Login: "Log in to a registry",
        "logout" => c::logout::Logout: "Log out of a registry",
        "history" => c::history::History: "Show the history of an image",
        "prune" => c::prune::Prune: "Remove images that no container uses",
    }
    "Volumes" {
        "volume" => c::volume::Volume: "Create, list, inspect and remove volumes",
    }
    "Networks" {
        "network" => c::network::Network: "Manage networks",
    }
    "Any object and the engine" {
        "inspect" => c::inspect::Inspect: "Show all details of containers, images, networks and volumes as JSON",
        "events" => c::events::Events: "Follow what happens in the engine",
        "doctor" => c::doctor::Doctor: "Look at what this host has of what each wall needs",
        "info" => c::info::Info: "Show what the engine is and can do",
        "version" => c::version::Version: "Show the versions of client and engine",
        "system" => c::system::System: "Start and stop the engine; its disk use",
        "compat" => c::compat::Compat: "Say whether an image runs on a host, and behind which wall",
        "completion" => c::completion::Completion: "Print a completion script for a shell",
    }
}

/// The whole command line, or the flags before the command and `only` in full.
pub(crate) fn root(only: Option<&str>) -> Command {
    let base = Command::new("hako")
        .about("Containers with two walls: one image, run as a process or in a virtual machine")
        .version(concat!(env!("CARGO_PKG_VERSION")))
        .disable_help_subcommand(true)
        .subcommand_value_name("COMMAND")
        .args_override_self(true);
    let names = GROUPS.iter().flat_map(|(_, commands)| commands.iter().map(|(name, _)| *name));
    let names = names.filter(|name| only.is_none_or(|only| *name == only));
    let commands = names.filter_map(|name| command(name, true).map(finish));
    Global::augment_args(base).subcommands(commands).override_help(help::root()).subcommand_required(false)
}

fn finish(command: Command) -> Command {
    command.args_override_self(true).help_template("{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}")
}

/// Parses and runs one command line.
pub(crate) async fn run(mut args: Vec<String>) -> Result<()> {
    let flags = Global::augment_args(Command::new("hako"));
    let Some(at) = argv::first_word(&args, &flags, 1) else {
        let matches = root(Some("")).try_get_matches_from(&args).map_err(|err| help::usage(&err, ""))?;
        Global::from_arg_matches(&matches).map_err(|err| help::usage(&err, ""))?;
        return crate::term::print(&help::root());
    };
    if args[at] == "help" {
        match args.len() - at {
            1 => return crate::term::print(&help::root()),
            _ => {
                args.remove(at);
                args.push("--help".to_owned());
            }
        }
    }
    argv::shorten(&mut args, at);
    let Some(command) = command(&args[at], true) else {
        return Err(Error::msg(format!(
            "unknown command: hako {}\n\nRun 'hako --help' for more information",
            args[at]
        )));
    };
    let name = command.get_name().to_owned();
    let mut words = argv::normalise(&args[..at], &flags, 1);
    words.push(name.clone());
    let own_flags = words.len();
    words.extend(args.drain(at + 1..));
    let args = argv::normalise(&words, &command, own_flags);
    let matches = root(Some(&name)).try_get_matches_from(&args).map_err(|err| help::usage(&err, &name))?;
    let client = Global::from_arg_matches(&matches).map_err(|err| help::usage(&err, &name))?.client()?;
    match matches.subcommand() {
        Some((name, matches)) => dispatch(name, matches, &client).await,
        None => crate::term::print(&help::root()),
    }
}
