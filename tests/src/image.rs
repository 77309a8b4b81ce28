//! Images made by the tests themselves: good ones and bad ones.

use crate::places::{cache_dir, on_path};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{fs, io::Write, path::Path, process::Command, sync::OnceLock};
use tar::{Builder, EntryType, Header};

/// How a blob or an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// `bytes`, packed.
    #[must_use]
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => bytes.to_vec(),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).expect("memory takes bytes");
                encoder.finish().expect("memory takes bytes")
            }
            Self::Zstd => zstd::encode_all(bytes, 1).expect("memory takes bytes"),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }
}

/// The digest of `bytes`, as hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A layer: a tar archive that is built entry by entry, also by ones that no
/// honest tool writes.
pub struct Layer {
    tar: Builder<Vec<u8>>,
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    /// An empty layer.
    #[must_use]
    pub fn new() -> Self {
        Self { tar: Builder::new(Vec::new()) }
    }

    /// Adds an entry with the name and link name exactly as given.
    #[must_use]
    pub fn entry(mut self, kind: EntryType, name: &str, link: &str, mode: u32, bytes: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(bytes.len() as u64);
        let gnu = header.as_gnu_mut().expect("made as GNU's");
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        if kind == EntryType::Char || kind == EntryType::Block {
            header.set_device_major(1).expect("a device number fits");
            header.set_device_minor(3).expect("a device number fits");
        }
        header.set_cksum();
        self.tar.append(&header, bytes).expect("memory takes bytes");
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, name: &str, mode: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, name, "", mode, bytes.as_ref())
    }

    /// Adds a folder.
    #[must_use]
    pub fn dir(self, name: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, name, "", mode, b"")
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, 0o777, b"")
    }

    /// The archive.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.tar.into_inner().expect("memory takes bytes")
    }
}

/// An image: its layers as plain tar archives, the lowest first, and its name.
#[derive(Clone)]
pub struct Image {
    tag: String,
    layers: Vec<Vec<u8>>,
    config: Value,
    architecture: String,
    /// Of Windows; empty for Linux.
    os_version: String,
}

impl Image {
    /// An image `name:tag` of `layers` that runs a shell by default.
    #[must_use]
    pub fn new(tag: &str, layers: Vec<Vec<u8>>) -> Self {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self {
            tag: tag.to_owned(),
            layers,
            config: json!({ "Cmd": ["sh"], "Env": [path] }),
            architecture: "amd64".to_owned(),
            os_version: String::new(),
        }
    }

    /// Changes the image's `config`: `Entrypoint`, `User`, `Labels`, …
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// The same image by another name.
    #[must_use]
    pub fn tagged(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.tag);
        self
    }

    /// The same image, said to be for another architecture.
    #[must_use]
    pub fn for_architecture(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// The same image, said to be of this version of Windows.
    #[must_use]
    pub fn for_windows(mut self, version: &str) -> Self {
        version.clone_into(&mut self.os_version);
        self
    }

    /// `name:tag`.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The layers' archives.
    #[must_use]
    pub fn layers(&self) -> &[Vec<u8>] {
        &self.layers
    }

    /// The image's configuration, whose digest is its id.
    #[must_use]
    pub fn config(&self) -> Vec<u8> {
        let diffs: Vec<String> = self.layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
        let history: Vec<Value> = diffs
            .iter()
            .map(|_| json!({ "created": "2024-01-02T03:04:05Z", "created_by": "the tests' harness" }))
            .collect();
        let mut config = json!({
            "architecture": self.architecture, "os": "linux", "created": "2024-01-02T03:04:05Z",
            "config": self.config, "history": history,
            "rootfs": { "type": "layers", "diff_ids": diffs },
        });
        if !self.os_version.is_empty() {
            config["os"] = json!("windows");
            config["os.version"] = json!(self.os_version);
        }
        config.to_string().into_bytes()
    }

    /// The image's id, `sha256:…`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("sha256:{}", sha256(&self.config()))
    }

    /// What `docker save` wrote until version 24.
    #[must_use]
    pub fn docker_archive(&self) -> Vec<u8> {
        let config = self.config();
        let config_name = format!("{}.json", sha256(&config));
        let mut tar = Layer::new();
        let mut names = Vec::new();
        for layer in &self.layers {
            let name = format!("{}/layer.tar", sha256(layer));
            tar = tar.file(&name, 0o644, layer);
            names.push(name);
        }
        let manifest = json!([{ "Config": config_name, "RepoTags": [self.tag], "Layers": names }]);
        tar.file(&config_name, 0o644, config).file("manifest.json", 0o644, manifest.to_string()).finish()
    }

    /// The manifest and its blobs, for a registry or an OCI layout.
    #[must_use]
    pub fn manifest(&self, compression: Compression) -> (Vec<u8>, Vec<Vec<u8>>) {
        let config = self.config();
        let packed: Vec<Vec<u8>> = self.layers.iter().map(|layer| compression.pack(layer)).collect();
        let media = format!("application/vnd.oci.image.layer.v1.tar{}", compression.suffix());
        let layers: Vec<Value> = packed.iter().map(|blob| descriptor(&media, blob)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config), "layers": layers,
        });
        let blobs = std::iter::once(config).chain(packed).collect();
        (manifest.to_string().into_bytes(), blobs)
    }

    /// The same as Docker's manifest of schema 2, its layers packed with gzip.
    #[must_use]
    pub fn docker_manifest(&self) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (manifest, blobs) = self.manifest(Compression::Gzip);
        let text = String::from_utf8(manifest).expect("JSON is text");
        let text = text
            .replace(
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.docker.distribution.manifest.v2+json",
            )
            .replace("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
            .replace(
                "application/vnd.oci.image.layer.v1.tar+gzip",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            );
        (text.into_bytes(), blobs)
    }

    /// An OCI layout as one archive.
    #[must_use]
    pub fn oci_layout(&self, compression: Compression) -> Vec<u8> {
        let (manifest, blobs) = self.manifest(compression);
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({
            "org.opencontainers.image.ref.name": self.tag,
            "io.containerd.image.name": format!("docker.io/library/{}", self.tag),
        });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] });
        let layout = json!({ "imageLayoutVersion": "1.0.0" });
        let mut tar = Layer::new()
            .file("oci-layout", 0o644, layout.to_string())
            .file("index.json", 0o644, index.to_string())
            .dir("blobs/", 0o755)
            .dir("blobs/sha256/", 0o755);
        for blob in blobs.iter().chain([&manifest]) {
            tar = tar.file(&format!("blobs/sha256/{}", sha256(blob)), 0o644, blob);
        }
        tar.finish()
    }
}

pub(crate) fn descriptor(media: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": media, "digest": format!("sha256:{}", sha256(blob)), "size": blob.len() })
}

/// The image `busybox`, of the host's static busybox.
#[must_use]
pub fn busybox() -> Image {
    static LAYER: OnceLock<Vec<u8>> = OnceLock::new();
    let layer = LAYER.get_or_init(|| busybox_layer(&on_path("busybox").expect("package busybox-static")));
    Image::new("busybox:latest", vec![layer.clone()])
}

/// The same for arm64, as `busybox:arm64`.
#[must_use]
pub fn busybox_arm64() -> Image {
    let program = cache_dir().join("tools/busybox-static_arm64/bin/busybox");
    Image::new("busybox:arm64", vec![busybox_layer(&program)]).for_architecture("arm64")
}

/// `program` may be another machine's; its applets are those of this one's.
fn busybox_layer(program: &Path) -> Vec<u8> {
    let native = on_path("busybox").expect("package busybox-static");
    let list = Command::new(native).arg("--list").output().expect("busybox runs");
    let applets = String::from_utf8(list.stdout).expect("names are text");
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n\
                  someone:x:1000:1000:Some One:/home/someone:/bin/sh\n";
    let group = "root:x:0:\nnogroup:x:65534:\nsomeone:x:1000:\nextra:x:2000:someone\n";
    let mut layer = ["bin", "dev", "etc", "home", "home/someone", "proc", "root", "sys", "usr", "var"]
        .iter()
        .fold(Layer::new(), |layer, dir| layer.dir(&format!("{dir}/"), 0o755))
        .dir("tmp/", 0o1777)
        .file("etc/passwd", 0o644, passwd)
        .file("etc/group", 0o644, group)
        .file("bin/busybox", 0o755, fs::read(program).expect("busybox can be read"));
    for (index, applet) in applets.lines().filter(|name| *name != "busybox").enumerate() {
        let name = format!("bin/{applet}");
        // Official images use hard links; both kinds must work.
        layer = if index % 2 == 0 {
            layer.entry(EntryType::Link, &name, "bin/busybox", 0o755, b"")
        } else {
            layer.link(&name, "busybox")
        };
    }
    layer.finish()
}
