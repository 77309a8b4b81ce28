//! `hakod --check-store`: whether a data root is what its database says, for
//! one that no engine uses. Nothing is changed.

use crate::config::Config;
use anyhow::{Context, bail};
use hako_store::{Finding, LayerRow, Store};

/// Holds rows against files, content against digests, and each unpacked layer
/// against its archive, byte by byte; prints what is wrong.
///
/// # Errors
/// Where something is wrong, or cannot be looked at.
pub fn check_store(config: Config) -> anyhow::Result<()> {
    let root = config.data_root;
    let store = Store::open_to_check(&root).with_context(|| format!("data root {}", root.display()))?;
    let mut findings = store.check()?;
    let layers = store.layers()?;
    for layer in layers.iter().filter(|layer| layer.dir.is_dir()) {
        findings.extend(tree(&store, layer)?);
    }
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        let damaged = findings.iter().filter(|finding| matches!(finding, Finding::Damage(_))).count();
        bail!("{}: {damaged} damaged, {} left over", root.display(), findings.len() - damaged);
    }
    println!("{}: {} images, {} layers, all well", root.display(), store.images()?.len(), layers.len());
    Ok(())
}

/// A layer whose archive is lost cannot be held against anything.
fn tree(store: &Store, layer: &LayerRow) -> anyhow::Result<Vec<Finding>> {
    let Some(blob) = layer.blob.as_ref().filter(|blob| store.has_blob(blob)) else { return Ok(Vec::new()) };
    let about = |what: String| Finding::Damage(format!("layer {}: {what}", layer.chain));
    Ok(match hako_layers::verify(store.open_blob(blob)?, &layer.dir) {
        Ok(differs) => differs.into_iter().map(about).collect(),
        // Its digest has told already that it is not what it was.
        Err(err) => vec![about(err.to_string())],
    })
}
