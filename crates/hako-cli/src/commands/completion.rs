//! `hako completion`.

use crate::api::Client;
use crate::error::Result;
use clap::Args;
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "For bash: hako completion bash > /etc/bash_completion.d/hako")]
pub(crate) struct Completion {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

impl Completion {
    pub(crate) async fn run(self, _: &Client) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::cli::root(None), "hako", &mut script);
        crate::term::print(&String::from_utf8_lossy(&script))
    }
}
