//! `hako top`.

use crate::api::{Client, Query, escape};
use crate::error::Result;
use crate::format::Table;
use crate::term::print;
use clap::Args;
use serde_json::Value;

/// Show the processes of a container
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// The container
    container: String,
    /// Options for ps
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Top {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let options = self.options.join(" ");
        let query = Query::default().opt("ps_args", Some(options.as_str()).filter(|o| !o.is_empty()));
        let answer = client.get(&query.on(format!("/containers/{}/top", escape(&self.container)))).await?;
        let words = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut table = Table::new(words(&answer["Titles"]));
        for process in answer["Processes"].as_array().into_iter().flatten() {
            table.push(words(process));
        }
        print(&table.to_string())
    }
}
