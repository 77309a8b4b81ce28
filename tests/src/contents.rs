//! What is in an image, layer by layer: for tests that compare images.

use crate::{Case, sha256};
use std::{collections::HashMap, io::Read};

impl Case {
    /// Of each layer, the lowest first, and each of its entries: name, kind,
    /// mode, owner, link and content, but no times. Sorted by name.
    #[must_use]
    pub fn layers(&self, image: &str) -> Vec<Vec<String>> {
        let saved = self.docker(["save", image]).run();
        assert_eq!(saved.code, 0, "{}", saved.err());
        let mut blobs = HashMap::new();
        for entry in tar::Archive::new(saved.stdout.as_slice()).entries().expect("an archive") {
            let mut entry = entry.expect("a whole archive");
            let name = entry.path().expect("a name").display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("a whole archive");
            blobs.insert(name, content);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&blobs["manifest.json"]).expect("a manifest");
        let names = manifest[0]["Layers"].as_array().expect("layers");
        names.iter().map(|name| entries(&blobs[name.as_str().expect("a name")])).collect()
    }
}

/// A line for each entry of an archive.
fn entries(archive: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in tar::Archive::new(archive).entries().expect("an archive") {
        let mut entry = entry.expect("a whole archive");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("a whole archive");
        let header = entry.header();
        let number = |number: std::io::Result<u64>| number.expect("a number");
        lines.push(format!(
            "{} {:?} {:o} {}:{} {:?} {}",
            entry.path().expect("a name").display().to_string().trim_end_matches('/'),
            header.entry_type(),
            header.mode().expect("a mode"),
            number(header.uid()),
            number(header.gid()),
            entry.link_name().expect("a name"),
            sha256(&content),
        ));
    }
    lines.sort();
    lines
}
