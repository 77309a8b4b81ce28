//! `hako images`.

use crate::api::{Client, Query};
use crate::error::Result;
use crate::flags::filters;
use crate::format::{Column, Listing, Row, exact_size, human_duration, human_size, local_stamp, short_id, since_now};
use clap::Args;
use serde_json::Value;

/// List images
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Show all images (default hides intermediate images)
    #[arg(short = 'a', long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

const COLUMNS: &[Column] = &[
    Column { field: "Repository", head: "REPOSITORY" },
    Column { field: "Tag", head: "TAG" },
    Column { field: "Digest", head: "DIGEST" },
    Column { field: "ID", head: "IMAGE ID" },
    Column { field: "CreatedSince", head: "CREATED" },
    Column { field: "Size", head: "SIZE" },
    Column { field: "CreatedAt", head: "CREATED AT" },
    Column { field: "Containers", head: "CONTAINERS" },
    Column { field: "SharedSize", head: "SHARED SIZE" },
    Column { field: "UniqueSize", head: "UNIQUE SIZE" },
    Column { field: "VirtualSize", head: "SIZE" },
];

const NONE: &str = "<none>";

impl Images {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let mut conditions = self.filter.clone();
        conditions.extend(self.reference.as_ref().map(|reference| format!("reference={reference}")));
        let query = Query::default().flag("all", self.all).opt("filters", filters(&conditions)?.as_deref());
        let answer = client.get(&query.on("/images/json")).await?;
        let digests = self.digests || self.format.as_deref().is_some_and(|format| format.contains(".Digest"));
        let mut images: Vec<&Value> = answer.as_array().into_iter().flatten().collect();
        images.sort_by_key(|image| std::cmp::Reverse(image["Created"].as_i64()));
        let mut rows: Vec<Row> = images.into_iter().flat_map(|image| self.rows(image, digests)).collect();
        if self.quiet {
            rows.dedup_by(|a, b| a["ID"] == b["ID"]);
        }
        let shown: &[&str] = match self.digests {
            true => &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
            false => &["Repository", "Tag", "ID", "CreatedSince", "Size"],
        };
        let quiet = self.quiet.then_some("ID");
        Listing { columns: COLUMNS, default: shown, format: self.format.as_deref(), quiet }.show(&rows)
    }

    /// A row for each name of an image, or one for an image without a name.
    fn rows(&self, image: &Value, digests: bool) -> Vec<Row> {
        let texts =
            |key: &str| image[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
        let (tags, repo_digests) = (texts("RepoTags"), texts("RepoDigests"));
        let tags: Vec<&str> = tags.into_iter().filter(|tag| *tag != "<none>:<none>").collect();
        let digest_of = |repo: &str| {
            repo_digests
                .iter()
                .filter_map(|text| text.split_once('@'))
                .find(|(name, _)| *name == repo)
                .map_or(NONE, |(_, digest)| digest)
        };
        if tags.is_empty() {
            let first = repo_digests.first().and_then(|text| text.split_once('@')).filter(|(name, _)| *name != NONE);
            let (repo, digest) = first.unwrap_or((NONE, NONE));
            return vec![self.row(image, repo, NONE, digest)];
        }
        tags.iter()
            .filter_map(|tag| tag.rsplit_once(':'))
            .map(|(repo, tag)| self.row(image, repo, tag, if digests { digest_of(repo) } else { NONE }))
            .collect()
    }

    fn row(&self, image: &Value, repo: &str, tag: &str, digest: &str) -> Row {
        let id = image["Id"].as_str().unwrap_or_default();
        let number = |key: &str| image[key].as_i64();
        let created = number("Created").unwrap_or(0);
        let shared = number("SharedSize").filter(|&size| size >= 0);
        let size = number("Size").unwrap_or(0);
        let known = |size: Option<i64>| size.map_or("N/A".to_owned(), human_size);
        let fields = [
            ("Repository", repo.to_owned()),
            ("Tag", tag.to_owned()),
            ("Digest", digest.to_owned()),
            ("ID", if self.no_trunc { id.to_owned() } else { short_id(id).to_owned() }),
            ("CreatedSince", since(created)),
            ("CreatedAt", local_stamp(created)),
            ("Size", human_size(size)),
            ("VirtualSize", exact_size(size)),
            ("Containers", number("Containers").filter(|&n| n >= 0).map_or("N/A".to_owned(), |n| n.to_string())),
            ("SharedSize", known(shared)),
            ("UniqueSize", known(shared.map(|shared| size - shared))),
        ];
        fields.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
    }
}

/// An image without a date has none in its row, as in Docker's.
fn since(created: i64) -> String {
    if created <= 0 { "N/A".to_owned() } else { format!("{} ago", human_duration(since_now(created))) }
}
