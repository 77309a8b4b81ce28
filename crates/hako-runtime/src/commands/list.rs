//! `list`: all containers under `--root`.

use super::{print, print_json, state};
use crate::cli::Globals;
use crate::error::Result;
use crate::record::Folder;
use serde_json::Value;

/// Prints a table, or JSON.
pub fn run(globals: &Globals, json: bool) -> Result<()> {
    let entries = std::fs::read_dir(&globals.root).into_iter().flatten().flatten();
    let mut ids: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    ids.sort();
    let containers = ids.iter().filter_map(|id| Folder::new(&globals.root, id).ok()?.open().ok());
    let states: Vec<Value> = containers.map(|existing| state::state(&existing)).collect();
    if json {
        return print_json(&Value::Array(states));
    }
    print(&format!("{:<64}  {:<8}  {:<8}  BUNDLE", "ID", "PID", "STATUS"))?;
    for state in &states {
        let text = |name: &str| state[name].as_str().unwrap_or_default();
        print(&format!("{:<64}  {:<8}  {:<8}  {}", text("id"), state["pid"], text("status"), text("bundle")))?;
    }
    Ok(())
}
