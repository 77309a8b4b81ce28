//! `hako history`.

use crate::api::{Client, escape};
use crate::error::Result;
use crate::format::{Column, Listing, Row, ellipsis, human_duration, human_size, local_stamp, short_id, since_now};
use clap::Args;
use serde_json::Value;

/// Show the history of an image
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short = 'q', long)]
    quiet: bool,
    /// The image
    image: String,
}

const COLUMNS: &[Column] = &[
    Column { field: "ID", head: "IMAGE" },
    Column { field: "CreatedSince", head: "CREATED" },
    Column { field: "CreatedAt", head: "CREATED AT" },
    Column { field: "CreatedBy", head: "CREATED BY" },
    Column { field: "Size", head: "SIZE" },
    Column { field: "Comment", head: "COMMENT" },
];

impl History {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let answer = client.get(&format!("/images/{}/history", escape(&self.image))).await?;
        let rows: Vec<Row> = answer.as_array().into_iter().flatten().map(|item| self.row(item)).collect();
        let time = if self.human { "CreatedSince" } else { "CreatedAt" };
        let shown = ["ID", time, "CreatedBy", "Size", "Comment"];
        let quiet = self.quiet.then_some("ID");
        Listing { columns: COLUMNS, default: &shown, format: self.format.as_deref(), quiet }.show(&rows)
    }

    fn row(&self, item: &Value) -> Row {
        let text = |key: &str| item[key].as_str().unwrap_or_default();
        let created = item["Created"].as_i64().unwrap_or(0);
        let size = item["Size"].as_i64().unwrap_or(0);
        let by = text("CreatedBy").replace('\t', " ");
        let fields = [
            ("ID", if self.no_trunc { text("Id") } else { short_id(text("Id")) }.to_owned()),
            (
                "CreatedSince",
                if created <= 0 { "N/A".to_owned() } else { format!("{} ago", human_duration(since_now(created))) },
            ),
            ("CreatedAt", local_stamp(created)),
            ("CreatedBy", if self.no_trunc { by } else { ellipsis(&by, 45) }),
            ("Size", if self.human { human_size(size) } else { size.to_string() }),
            ("Comment", text("Comment").to_owned()),
        ];
        fields.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
    }
}
