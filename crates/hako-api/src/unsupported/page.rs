//! `docs/unsupported.md`, from the tables.

use super::{Behind, CONFIG, HOST_CONFIG, NETWORK, Part, REQUESTS, Refusal, STEPS};
use crate::{
    endpoint::{ENDPOINTS, Op, no_plugin},
    error::http_status,
};
use hako_model::{Error, Isolation};
use std::fmt::Write;

impl Behind {
    /// Its words in the page.
    fn words(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Only(Isolation::Process) => "process",
            Self::Only(Isolation::Hyperv) => "hyperv",
            Self::ProcessWithoutAppArmor => "process, on a host without AppArmor",
            Self::ProcessWithSelinux => "process, on a host with SELinux",
            Self::ProcessJoiningHyperv => "process, where other is behind hyperv",
        }
    }
}

/// The page `docs/unsupported.md`.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# What is not built yet, or cannot be\n\nMade from the tables in `hako-api`; do not edit. hakod takes its \
         answers from the same tables, and the test `unsupported` sends every row to it.\n\n\
         ## Requests that answer 501\n\n| Request | Answer |\n|---|---|\n",
    );
    for row in ENDPOINTS {
        if let Op::Unsupported(what) = row.op {
            let answer = Error::unsupported(what).message;
            let _ = writeln!(page, "| `{} {}` | {answer} |", row.method.as_str(), row.path);
        }
    }
    for row in REQUESTS {
        let _ = writeln!(page, "| `{} {}` | {} |", row.method, row.target, row.error().message);
    }
    page.push_str(
        "\n## Requests that are answered as by a dockerd without the thing\n\n\
         No swarm, no plugins, `x` being the plugin that is asked for.\n\n\
         | Request | Status | Answer |\n|---|---|---|\n",
    );
    for row in ENDPOINTS {
        let (status, answer) = match row.op {
            Op::SwarmAbsent(text) => (503, text.to_owned()),
            Op::PluginAbsent => (404, no_plugin("x")),
            _ => continue,
        };
        let _ = writeln!(page, "| `{} {}` | {status} | {answer} |", row.method.as_str(), row.path);
    }
    page.push_str(
        "\n## What a Dockerfile may not ask for\n\nEach row is an example, and the build's last line.\n\n\
         | Instruction | Answer |\n|---|---|\n",
    );
    for row in STEPS {
        let _ = writeln!(page, "| `{}` | {} |", row.instruction, row.error().message);
    }
    page.push_str(
        "\n## What `POST /containers/create` refuses\n\nEach row is an example of what is refused, the wall that \
         refuses it, and the answer. What is in no row works, or is refused where and as dockerd refuses it.\n\n\
         | In | Example | Wall | Status | Answer |\n|---|---|---|---|---|\n",
    );
    rows(&mut page, CONFIG);
    rows(&mut page, HOST_CONFIG);
    page.push_str(
        "\n## What `POST /networks/create` refuses\n\n\
         | In | Example | Wall | Status | Answer |\n|---|---|---|---|---|\n",
    );
    rows(&mut page, NETWORK);
    page
}

fn rows<T: Part>(page: &mut String, rows: &[Refusal<T>]) {
    for row in rows {
        // A test reads every example; a default in its place would show there.
        let asked: T = serde_json::from_str(row.example).unwrap_or_default();
        let err = row.error(&asked);
        let part = T::NAME.trim_end_matches('.');
        let part = if part.is_empty() { String::new() } else { format!("`{part}`") };
        let (wall, status) = (row.behind.words(), http_status(err.kind));
        let _ = writeln!(page, "| {part} | `{}` | {wall} | {status} | {} |", row.example, err.message);
    }
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/unsupported.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let current = std::fs::read_to_string(path).is_ok_and(|text| text == page());
        assert!(current, "docs/unsupported.md is old: UPDATE_DOCS=1 cargo test -p hako-api");
    }
}
