//! The kernel's side of all networks, and what this engine's is called there.

use super::names::EngineNames;
use crate::Engine;
use hako_net::{DnsServer, Firewall, Netns};
use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Where an engine keeps nothing else than what it is usually called by.
const USUAL: &str = "/run/hako";

pub(super) struct Plumbing {
    /// Where the bridges are.
    pub(super) host: Netns,
    /// The rules.
    pub(super) firewall: Firewall,
    /// The names.
    pub(super) dns: DnsServer,
    watched: AtomicBool,
}

impl Plumbing {
    /// In the namespace that the engine itself is in.
    pub(super) async fn open(engine: &Arc<Engine>) -> hako_net::Result<Self> {
        let host = Netns::current().await?;
        Ok(Self {
            firewall: Firewall::new(host.clone(), &instance(&engine.config.exec_root)),
            dns: DnsServer::new(host.clone(), Arc::new(EngineNames::new(engine))),
            host,
            watched: AtomicBool::new(false),
        })
    }

    /// From now on the rules are put back when somebody flushes them.
    pub(super) fn watch(self: &Arc<Self>) {
        if !self.watched.swap(true, Ordering::AcqRel) {
            let plumbing = self.clone();
            tokio::spawn(async move { plumbing.firewall.watch().await });
        }
    }
}

/// The name of the engine's table: two engines on one host have two.
fn instance(exec_root: &Path) -> String {
    if exec_root == Path::new(USUAL) {
        return "hako".to_owned();
    }
    format!("hako_{}", short(exec_root))
}

/// The default bridge's interface.
pub(super) fn default_bridge(exec_root: &Path) -> String {
    if exec_root == Path::new(USUAL) {
        return "hako0".to_owned();
    }
    format!("hako-{}", short(exec_root))
}

fn short(exec_root: &Path) -> String {
    hex::encode(&Sha256::digest(exec_root.as_os_str().as_encoded_bytes())[..4])
}

/// `<exec-root>/netns/<id>`.
pub(crate) fn netns_path(engine: &Engine, container: &str) -> PathBuf {
    netns_dir(engine).join(container)
}

/// `<exec-root>/netns`.
pub(super) fn netns_dir(engine: &Engine) -> PathBuf {
    engine.config.exec_root.join("netns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_engines_have_two_names() {
        assert_eq!((instance(Path::new(USUAL)).as_str(), default_bridge(Path::new(USUAL)).as_str()), ("hako", "hako0"));
        let other = default_bridge(Path::new("/tmp/x/run"));
        assert!(other.len() <= 15 && other != default_bridge(Path::new("/tmp/y/run")), "{other}");
    }
}
