//! Arrows go one way: actors use isolation, isolation uses machinery, machinery
//! uses words. So a crate can be read, tested and replaced knowing only what is
//! below it, and machinery for one outside thing never learns of another.

use super::Complaint;
use anyhow::{Context, Result};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A crate's layer, the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// Pure: no I/O, no async.
    Words,
    /// The operating system itself: the machinery that all other machinery stands on.
    Os,
    /// One outside thing each, deaf to one another.
    Machinery,
    /// The trait and its walls.
    Isolation,
    /// The programs.
    Actors,
}

const LAYERS: &[(&str, Layer)] = &[
    ("hako-model", Layer::Words),
    ("hako-platform", Layer::Words),
    ("hako-api", Layer::Words),
    ("hako-task", Layer::Words),
    ("hako-dockerfile", Layer::Words),
    ("hako-os", Layer::Os),
    ("hako-store", Layer::Machinery),
    ("hako-registry", Layer::Machinery),
    ("hako-layers", Layer::Machinery),
    ("hako-net", Layer::Machinery),
    ("hako-fuse", Layer::Machinery),
    ("hako-qemu", Layer::Machinery),
    ("hako-hcs", Layer::Machinery),
    ("hako-hello", Layer::Machinery),
    ("hako-sandbox", Layer::Isolation),
    ("hako-cli", Layer::Actors),
    ("hakod", Layer::Actors),
    ("hako-shim", Layer::Actors),
    ("hako-runtime", Layer::Actors),
    ("hako-agent", Layer::Actors),
    ("hako-init", Layer::Actors),
];

/// Crates that may use only these others of the workspace.
const ONLY: &[(&str, &[&str])] = &[
    // A client of the Docker API like any other: it has no other way in. What a
    // `.dockerignore` leaves out is decided here, before anything is sent.
    ("hako-cli", &["hako-model", "hako-platform", "hako-api", "hako-dockerfile"]),
    // Black box: they see what a user sees.
    ("hako-tests", &[]),
    // Must build on a machine without any package.
    ("xtask", &[]),
];

fn layer(name: &str) -> Option<Layer> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

/// Whether the crate `name` is a program of its own.
pub fn is_actor(name: &str) -> bool {
    layer(name) == Some(Layer::Actors)
}

/// Words may use words; machinery may not use machinery; the rest looks down.
fn allowed(user: Layer, used: Layer) -> bool {
    match user {
        Layer::Words => used == Layer::Words,
        Layer::Os | Layer::Machinery | Layer::Isolation | Layer::Actors => used < user,
    }
}

/// Checks every manifest of the workspace.
pub fn check(root: &Path) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    let mut manifests: Vec<PathBuf> = vec![root.join("tests/Cargo.toml"), root.join("xtask/Cargo.toml")];
    for entry in fs::read_dir(root.join("crates"))? {
        manifests.push(entry?.path().join("Cargo.toml"));
    }
    for manifest in manifests {
        let text = fs::read_to_string(&manifest).with_context(|| format!("{}", manifest.display()))?;
        let path = manifest.strip_prefix(root)?.to_path_buf();
        let parsed: toml::Table = text.parse().with_context(|| format!("{}", path.display()))?;
        complaints.extend(check_manifest(&parsed).into_iter().map(|text| Complaint {
            path: path.clone(),
            line: 0,
            text,
        }));
    }
    Ok(complaints)
}

fn check_manifest(manifest: &toml::Table) -> Vec<String> {
    let name = manifest.get("package").and_then(|p| p.get("name")).and_then(toml::Value::as_str).unwrap_or_default();
    let used = uses(manifest);
    if let Some((_, only)) = ONLY.iter().find(|(known, _)| *known == name) {
        return used
            .iter()
            .filter(|other| !only.contains(&other.as_str()))
            .map(|other| format!("{name} may not use {other}"))
            .collect();
    }
    let Some(mine) = layer(name) else {
        return vec![format!("{name} has no layer: give it one in xtask/src/tidy/layers.rs")];
    };
    used.iter()
        .filter(|other| !layer(other).is_some_and(|other| allowed(mine, other)))
        .map(|other| format!("{name} ({mine:?}) may not use {other} ({:?}): arrows go down only", layer(other)))
        .collect()
}

/// The crates of this workspace that a manifest names as dependencies.
fn uses(manifest: &toml::Table) -> BTreeSet<String> {
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    tables
        .iter()
        .filter_map(|table| manifest.get(*table)?.as_table())
        .flat_map(|table| table.keys())
        .filter(|name| name.starts_with("hako"))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(name: &str, dependency: &str) -> Vec<String> {
        let text = format!("[package]\nname = {name:?}\n[dependencies]\n{dependency} = \"1\"\n");
        check_manifest(&text.parse().unwrap())
    }

    #[test]
    fn arrows_go_down_only() {
        assert!(complaints("hakod", "hako-store").is_empty());
        assert!(complaints("hako-layers", "hako-os").is_empty());
        assert!(complaints("hako-api", "hako-model").is_empty());
        assert_eq!(complaints("hako-os", "hakod").len(), 1);
        assert_eq!(complaints("hako-store", "hako-layers").len(), 1, "machinery is deaf to machinery");
        assert_eq!(complaints("hako-model", "hako-os").len(), 1, "words do no I/O");
        assert_eq!(complaints("hako-shim", "hakod").len(), 1, "actors do not link each other");
        assert_eq!(complaints("hako-cli", "hako-store").len(), 1);
        assert_eq!(complaints("hako-unknown", "serde").len(), 1);
    }
}
