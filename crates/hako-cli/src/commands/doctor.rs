//! `hako doctor`: what each wall needs (`policy/platforms.toml`), and what this
//! host has of it. It changes nothing and starts no engine.

mod probe;

use crate::api::Client;
use crate::error::{Error, Result};
use crate::term::print;
use clap::Args;
use hako_model::Isolation;
use hako_platform::{Need, tables};
use probe::{Found, Places};
use serde_json::{Value, json};
use std::fmt::Write;

/// Look at what this host has of what each wall needs
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code: 0 if both walls have what they need, 2 if the process wall lacks something,
3 if the hyperv wall does, 4 if both do.")]
pub(crate) struct Doctor {
    /// Format output: text or json
    #[arg(short = 'f', long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

/// One need, and whether it is there.
struct Checked {
    need: &'static Need,
    found: Found,
}

impl Checked {
    /// `missing` only where the wall cannot do without.
    fn word(&self) -> &'static str {
        match (&self.found, self.need.optional) {
            (Found::There(_), _) => "ok",
            (Found::Missing(_), false) => "missing",
            (Found::Missing(_), true) => "absent",
            (Found::Unknown, _) => "unknown",
        }
    }
    fn is_lacking(&self) -> bool {
        self.word() == "missing"
    }
}

impl Doctor {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let places = Places::of_this_host();
        let needs = tables().needs.iter().filter(|need| need.os == std::env::consts::OS);
        let checked: Vec<Checked> = needs.map(|need| Checked { need, found: places.probe(&need.id) }).collect();
        let said = engine(client).await;
        let text = match self.format.as_str() {
            "json" => super::inspect::pretty(&document(&checked, said.as_deref())),
            _ => text(&checked, said.as_deref(), &places),
        };
        print(&text)?;
        match code(&checked) {
            0 => Ok(()),
            code => Err(Error::exit(code)),
        }
    }
}

/// What a running engine has found of its virtual machines. None is started for it.
async fn engine(client: &Client) -> Option<String> {
    if client.engine().owns(client.host()) && !client.engine().answers() {
        return None;
    }
    let info = client.get("/info").await.ok()?;
    let mut pairs =
        info["DriverStatus"].as_array()?.iter().filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)));
    pairs.find(|(name, _)| *name == "VM accelerator").map(|(_, text)| text.to_owned())
}

fn lacks(checked: &[Checked], wall: Isolation) -> bool {
    checked.iter().any(|one| one.need.wall == wall && one.is_lacking())
}

fn code(checked: &[Checked]) -> i32 {
    match (lacks(checked, Isolation::Process), lacks(checked, Isolation::Hyperv)) {
        (false, false) => 0,
        (true, false) => 2,
        (false, true) => 3,
        (true, true) => 4,
    }
}

fn text(checked: &[Checked], engine: Option<&str>, places: &Places) -> String {
    let mut out = String::new();
    for wall in [Isolation::Process, Isolation::Hyperv] {
        let verdict = if lacks(checked, wall) { "lacks what it needs" } else { "has what it needs" };
        let _ = writeln!(out, "The {wall} wall {verdict}");
        for one in checked.iter().filter(|one| one.need.wall == wall) {
            let detail = match &one.found {
                Found::There(detail) => detail.clone(),
                Found::Missing(why) => format!("{why}\n           {:<12}to do: {}", "", one.need.remedy),
                Found::Unknown => one.need.what.clone(),
            };
            let _ = writeln!(out, "  {:<9}{:<12}{detail}", one.word(), one.need.id);
        }
        let _ = writeln!(out);
    }
    let engine = engine.map_or_else(|| "none answers".to_owned(), |text| format!("virtual machines run by {text}"));
    let _ = writeln!(out, "Engine: {engine}");
    let interpreters = places.interpreters();
    let interpreters = if interpreters.is_empty() { "none".to_owned() } else { interpreters.join(", ") };
    let _ = writeln!(out, "Other architectures behind the process wall: {interpreters}");
    out
}

fn document(checked: &[Checked], engine: Option<&str>) -> Value {
    let rows: Vec<Value> = checked
        .iter()
        .map(|one| {
            let detail = match &one.found {
                Found::There(text) | Found::Missing(text) => Some(text),
                Found::Unknown => None,
            };
            json!({
                "wall": one.need.wall, "id": one.need.id, "what": one.need.what, "status": one.word(),
                "optional": one.need.optional, "detail": detail, "remedy": one.need.remedy,
            })
        })
        .collect();
    let walls = |wall| !lacks(checked, wall);
    json!({
        "process": walls(Isolation::Process),
        "hyperv": walls(Isolation::Hyperv),
        "needs": rows,
        "engine": engine,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(missing: &[&str]) -> Vec<Checked> {
        let found = |need: &Need| {
            if missing.contains(&need.id.as_str()) {
                Found::Missing("it is not there".into())
            } else {
                Found::There("it is".into())
            }
        };
        tables()
            .needs
            .iter()
            .filter(|need| need.os == "linux")
            .map(|need| Checked { need, found: found(need) })
            .collect()
    }

    #[test]
    fn codes_tell_the_walls_apart() {
        for (missing, expected) in
            [(vec![], 0), (vec!["overlayfs"], 2), (vec!["qemu"], 3), (vec!["qemu", "cgroups"], 4), (vec!["kvm"], 0)]
        {
            assert_eq!(code(&checked(&missing)), expected, "{missing:?}");
        }
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let (places, without) = (Places::of_this_host(), checked(&["qemu", "kvm"]));
        let text = text(&without, None, &places);
        assert!(
            text.contains("The hyperv wall lacks") && text.contains("to do: Debian: apt-get install qemu"),
            "{text}"
        );
        assert!(text.contains("absent   kvm"), "{text}");
        assert_eq!(document(&without, None)["hyperv"], false);
    }
}
