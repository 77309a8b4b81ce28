//! `hako compat`: whether an image runs on a host, behind which wall, and what to
//! do if not. The rules are hako-platform's, the ones that the engine places by.

mod answer;
mod facts;

use crate::api::Client;
use crate::error::{Error, Result};
use crate::term::print;
use answer::Answer;
use clap::Args;
pub(super) use facts::interpreters;
use hako_model::Isolation;
use hako_platform::{Caller, Platform, Request, VmOptions, comparison, matrix, tables};

/// Say whether an image runs on a host, and behind which wall
#[derive(Debug, Args)]
#[command(after_help = "\
IMAGE is an image that the engine has or a registry knows, a column of --matrix (ltsc2019),
or a file: the output of `hako inspect --type image`, an image's config, or an index.
--host is a row of --matrix (windows-server-2022) or a file; without it, the engine's host:
  {\"os\": \"windows\", \"architecture\": \"amd64\", \"version\": \"10.0.20348.1006\", \"product\": \"server\"}

Exit code: 0 if it runs, with --isolation behind that wall, without it behind the host's
default; 1 if it does not.")]
pub(crate) struct Compat {
    /// The image
    #[arg(required_unless_present_any = ["matrix", "list", "walls"])]
    image: Option<String>,
    /// The host: a row of --matrix, or a JSON file (default: the engine's)
    #[arg(long, value_name = "ROW|FILE")]
    host: Option<String>,
    /// Print what every known host does with every known image
    #[arg(long, conflicts_with_all = ["image", "host", "list"])]
    matrix: bool,
    /// Print the two walls side by side
    #[arg(long, conflicts_with_all = ["image", "host", "list", "matrix"])]
    walls: bool,
    /// List the rows and columns that --host and IMAGE take
    #[arg(long, conflicts_with_all = ["image", "host"])]
    list: bool,
    /// Format output: text or json; with --matrix and --walls also markdown, with --matrix svg
    #[arg(short = 'f', long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json", "markdown", "svg"])]
    format: String,
    /// The wall to ask for: default, process or hyperv
    #[arg(long, value_name = "WALL", default_value = "default", hide_default_value = true)]
    isolation: String,
    /// The platform to ask for
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// The guest kernel to ask for
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// Allow an image newer than its Windows host, behind the hyperv wall
    #[arg(long)]
    allow_newer: bool,
    /// A file with an administrator's policy, or the engine's whole configuration
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    /// The user to ask as, for the policy (default: nobody in particular)
    #[arg(long, value_name = "NAME", requires = "policy")]
    user: Option<String>,
    /// Show every rule that was applied
    #[arg(long)]
    explain: bool,
}

impl Compat {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        if self.matrix {
            return print(&self.table()?);
        }
        if self.walls {
            return print(&self.comparison()?);
        }
        if self.list {
            return print(&names());
        }
        if !matches!(self.format.as_str(), "text" | "json") {
            return Err(Error::msg(format!("format {} is for --matrix: use text or json", self.format)));
        }
        let request = self.request()?;
        let host = match &self.host {
            Some(host) => facts::Known { host: facts::named_host(host)?, default: None },
            None => facts::engine_host(client).await?,
        };
        let name = self.image.as_deref().unwrap_or_default();
        let image = facts::image(client, name, self.host.is_none()).await?;
        let request = Request { engine_default: host.default, ..request };
        let answer = Answer::new(name, &image, &host.host, &request);
        let text = if self.format == "json" { answer.json() } else { answer.text(self.explain) };
        print(&text)?;
        if answer.runs() { Ok(()) } else { Err(Error::exit(1)) }
    }

    fn table(&self) -> Result<String> {
        let table = matrix::matrix();
        Ok(match self.format.as_str() {
            "json" => super::inspect::pretty(&serde_json::to_value(&table)?),
            "markdown" => table.markdown(),
            "svg" => table.svg(),
            _ => table.text(),
        })
    }

    fn comparison(&self) -> Result<String> {
        match self.format.as_str() {
            "json" => Ok(super::inspect::pretty(&serde_json::to_value(&tables().comparison)?)),
            "markdown" => Ok(comparison::document()),
            "text" => Ok(comparison::text()),
            other => Err(Error::msg(format!("format {other} is for --matrix: use text, markdown or json"))),
        }
    }

    fn request(&self) -> Result<Request> {
        let platform = self.platform.as_deref().map(Platform::parse).transpose();
        let policy = self.policy.as_deref().map(facts::policy).transpose()?.unwrap_or_default();
        Ok(Request {
            policy,
            caller: Caller { users: self.user.clone().into_iter().collect(), socket: None },
            isolation: Isolation::from_request(&self.isolation)?,
            platform: platform.map_err(|err| Error::msg(err.to_string()))?,
            vm: VmOptions { kernel: self.kernel.clone(), ..VmOptions::default() },
            allow_newer: self.allow_newer,
            ..Request::default()
        })
    }
}

/// What `--host` and IMAGE take beside files.
fn names() -> String {
    let list = |rows: &[hako_platform::Row]| -> String {
        rows.iter().map(|row| format!("  {:<24}{}\n", row.id, row.title)).collect()
    };
    format!("Hosts:\n{}\nImages:\n{}", list(&tables().hosts), list(&tables().images))
}
