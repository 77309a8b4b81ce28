//! `hako login`: whether a registry lets somebody in, kept for later.

use crate::api::{Client, Config, HUB, Login as Kept};
use crate::error::{Error, Result};
use crate::term::{RawMode, print_line};
use clap::Args;
use serde_json::{Value, json};
use std::io::{IsTerminal, Read, Write};

/// Log in to a registry
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Username
    #[arg(short = 'u', long, value_name = "NAME")]
    username: Option<String>,
    /// Password or token; shown by ps, so rather --password-stdin
    #[arg(short = 'p', long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Take the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// The registry, by default Docker Hub
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

impl Login {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let server = registry(self.server.as_deref());
        let mut config = Config::read()?;
        let known = config.login(&server)?;
        let given = self.username.is_some() || self.password.is_some() || self.password_stdin;
        let login = match known.filter(|_| !given) {
            Some(known) => {
                print_line("Authenticating with existing credentials...")?;
                known
            }
            None => self.ask()?,
        };
        let request = json!({
            "username": login.username, "password": login.password,
            "identitytoken": login.identity_token, "serveraddress": server,
        });
        let answer = client.post_json("/auth", request).await?;
        let token = answer.get("IdentityToken").and_then(Value::as_str).unwrap_or_default();
        let login = if token.is_empty() { login } else { Kept { identity_token: token.to_owned(), ..login } };
        if config.keep(&server, &login)? && login.identity_token.is_empty() {
            let file = config.path().display();
            eprintln!("WARNING: the password is stored as it is in '{file}'. A credential helper would keep it safe.");
        }
        print_line(answer.get("Status").and_then(Value::as_str).unwrap_or("Login Succeeded"))
    }

    fn ask(self) -> Result<Kept> {
        let terminal = std::io::stdin().is_terminal();
        let refused = || Error::msg("cannot perform an interactive login from a non TTY device");
        let username = match self.username {
            Some(name) => name,
            None if self.password_stdin => return Err(Error::msg("must provide --username with --password-stdin")),
            None if terminal => ask_for("Username: ", true)?,
            None => return Err(refused()),
        };
        let password = match self.password {
            Some(password) => {
                eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
                password
            }
            None if self.password_stdin => {
                let text = std::io::read_to_string(std::io::stdin())?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            None if terminal => ask_for("Password: ", false)?,
            None => return Err(refused()),
        };
        if username.is_empty() || password.is_empty() {
            let what = if username.is_empty() { "username" } else { "password" };
            return Err(Error::msg(format!("{what} is required")));
        }
        Ok(Kept { username, password, identity_token: String::new() })
    }
}

/// One line from the terminal, shown while it is typed or not.
fn ask_for(label: &str, shown: bool) -> Result<String> {
    let mut stderr = std::io::stderr();
    write!(stderr, "{label}")?;
    if shown {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let raw = RawMode::enter()?;
    let mut line = Vec::new();
    for byte in std::io::stdin().lock().bytes() {
        match byte? {
            b'\r' | b'\n' | 4 => break,
            // Ctrl-C: the terminal makes no signal of it now.
            3 => {
                drop(raw);
                writeln!(stderr)?;
                return Err(Error::exit(130));
            }
            8 | 127 => drop(line.pop()),
            byte => line.push(byte),
        }
    }
    drop(raw);
    writeln!(stderr)?;
    String::from_utf8(line).map_err(|_| Error::msg("the password is no text"))
}

/// What `config.json` calls the registry that is meant.
pub(super) fn registry(server: Option<&str>) -> String {
    match server.map(|server| server.trim_start_matches("https://").trim_start_matches("http://")) {
        None | Some("" | "docker.io" | "index.docker.io" | "index.docker.io/v1/") => HUB.to_owned(),
        Some(server) => server.split('/').next().unwrap_or(server).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::registry;

    #[test]
    fn servers() {
        for (server, name) in [
            (None, "https://index.docker.io/v1/"),
            (Some("docker.io"), "https://index.docker.io/v1/"),
            (Some("https://index.docker.io/v1/"), "https://index.docker.io/v1/"),
            (Some("http://127.0.0.1:5000/v2/"), "127.0.0.1:5000"),
            (Some("ghcr.io"), "ghcr.io"),
        ] {
            assert_eq!(registry(server), name);
        }
    }
}
