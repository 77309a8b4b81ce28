//! What the router and the engine give to and get from the image service.

use super::{ImageConfig, platform::Wanted};
use futures::stream::BoxStream;
use hako_model::{Digest, Result};
use hako_registry::Mirror;
use serde_json::Value;
use std::{collections::HashMap, path::PathBuf, sync::Arc};

/// Lines of Docker's JSON stream; each is written as one line.
pub type JsonLines = BoxStream<'static, Value>;

/// Which containers use an image.
pub type InUse = Arc<dyn Fn(&Digest) -> Vec<Consumer> + Send + Sync>;

/// Who hears of events about images.
pub type Notify = Arc<dyn Fn(ImageEvent) + Send + Sync>;

/// Which manifest of an image is pulled, by its place, for the platform that was
/// asked for: said by who knows what runs here.
pub type Choose = Box<dyn Fn(&hako_platform::Image, Option<&Wanted>) -> Result<usize> + Send + Sync>;

/// Settings.
#[derive(Debug, Clone)]
pub struct ImagesConfig {
    /// dockerd's `--insecure-registry`: hosts, with or without a port, or CIDR
    /// networks, spoken to by plain HTTP or with any certificate.
    pub insecure_registries: Vec<String>,
    /// dockerd's `--max-concurrent-downloads`.
    pub max_concurrent_downloads: usize,
    /// dockerd's `--max-concurrent-uploads`.
    pub max_concurrent_uploads: usize,
    /// dockerd's `--registry-mirror`, and those of other registries.
    pub mirrors: HashMap<String, Vec<Mirror>>,
    /// Folders like Docker's `/etc/docker/certs.d`.
    pub certs_dirs: Vec<PathBuf>,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            insecure_registries: Vec::new(),
            max_concurrent_downloads: 3,
            max_concurrent_uploads: 5,
            mirrors: HashMap::new(),
            certs_dirs: Vec::new(),
        }
    }
}

/// A container that uses an image.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// Its whole id.
    pub id: String,
    /// Running or paused.
    pub running: bool,
}

/// An event about an image, for `GET /events`.
#[derive(Debug, Clone)]
pub struct ImageEvent {
    /// `pull`, `push`, `load`, `save`, `import`, `tag`, `untag`, `delete`.
    pub action: &'static str,
    /// `Actor.ID`: the image's id, or for `pull` and `push` its familiar name.
    pub id: String,
    /// `Actor.Attributes`: `name`, and the image's labels.
    pub attributes: HashMap<String, String>,
}

/// What pull needs.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// `fromImage`: a reference, with or without tag or digest.
    pub from_image: String,
    /// `tag`: a tag or a digest, or empty.
    pub tag: String,
    /// `platform`: `os[/arch[/variant]]`, or empty for the host's.
    pub platform: String,
    /// The `X-Registry-Auth` header as it came.
    pub auth: Option<String>,
}

/// What push needs.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// A name, with or without a tag.
    pub name: String,
    /// `tag`, or empty: then the name's own, or every tag.
    pub tag: String,
    /// Push this platform's image alone.
    pub platform: Option<Wanted>,
    /// The `X-Registry-Auth` header as it came.
    pub auth: Option<String>,
}

/// What list needs.
#[derive(Debug, Clone, Default)]
pub struct ListParams {
    /// `all`.
    pub all: bool,
    /// `filters`, each with its values.
    pub filters: HashMap<String, Vec<String>>,
    /// `shared-size`.
    pub shared_size: bool,
    /// n of API version 1.n.
    pub api_minor: u32,
}

/// An image, ready for a container.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// Its id.
    pub id: Digest,
    /// The `config` object of its config.
    pub config: ImageConfig,
    /// `linux`.
    pub os: String,
    /// As Go names it.
    pub architecture: String,
    /// `v8` and the like, or empty.
    pub variant: String,
    /// Of Windows, or empty.
    pub os_version: String,
    /// `win32k` and the like.
    pub os_features: Vec<String>,
    /// Folders of its layers, bottom first: overlay lower directories.
    pub layers: Vec<PathBuf>,
    /// The top layer's chain id, the key of its EROFS image; of nothing for an image without layers.
    pub chain: Digest,
    /// Familiar: `busybox:latest`.
    pub repo_tags: Vec<String>,
    /// Familiar: `busybox@sha256:…`.
    pub repo_digests: Vec<String>,
}

/// One of the images that a name leads to, with what is known of it besides.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The image.
    pub image: ResolvedImage,
    /// Every name that it has, in full, with tag or digest.
    pub names: Vec<String>,
    /// Digests of its manifests and of the indexes that led to them.
    pub digests: Vec<Digest>,
    /// What these say of it.
    pub annotations: Vec<(String, String)>,
}
