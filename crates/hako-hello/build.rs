//! Compiles `hello/main.rs` to a small static program and packs it as an image.

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "hello/main.rs";
/// Timestamps are fixed, so that the image's id changes only with its content.
const CREATED: &str = "2026-01-01T00:00:00Z";

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let program = out.join("hello");
    compile(&program)?;
    let archive = image(&std::fs::read(&program)?)?;
    std::fs::write(out.join("hello.tar.gz"), archive)?;
    Ok(())
}

fn compile(program: &Path) -> Result<()> {
    let status = Command::new(std::env::var("RUSTC")?)
        .args(["--crate-name", "hello", "--crate-type", "bin", "--edition", "2024"])
        .args(["--target", &std::env::var("TARGET")?])
        .args(["-C", "opt-level=z", "-C", "panic=abort", "-C", "lto=fat", "-C", "codegen-units=1"])
        .args(["-C", "strip=symbols", "-C", "target-feature=+crt-static"])
        // Smaller by a page of relocations each; nothing here needs a moving base.
        .args(["-C", "relocation-model=static", "-C", "link-arg=-Wl,--gc-sections,--build-id=none"])
        .args(["--remap-path-prefix", &format!("{}=", std::env::var("CARGO_MANIFEST_DIR")?)])
        .arg("-o")
        .arg(program)
        .arg(SOURCE)
        .status()
        .context("cannot run rustc for the hello program")?;
    ensure!(status.success(), "the hello program does not compile");
    Ok(())
}

fn image(program: &[u8]) -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "hello", program, 0o755)?;
    let layer = layer.into_inner()?;
    let (layer_digest, layer_size) = (digest(&layer), layer.len());

    let config = serde_json::to_vec(&json!({
        "architecture": go_arch(),
        "os": "linux",
        "created": CREATED,
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/hello"],
            "WorkingDir": "/",
            "Labels": {"hako.introspect": "true"}
        },
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        "history": [{"created": CREATED, "created_by": "hako: hello", "comment": "part of the program"}]
    }))?;
    let config_digest = digest(&config);
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config_digest, config.len()),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer_digest, layer_size)]
    }))?;
    let manifest_digest = digest(&manifest);

    let mut top = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest_digest, manifest.len());
    top["annotations"] = json!({
        "io.containerd.image.name": "docker.io/library/hello:latest",
        "org.opencontainers.image.ref.name": "latest"
    });
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [top]});
    let docker = json!([{
        "Config": blob(&config_digest),
        "RepoTags": ["hello:latest"],
        "Layers": [blob(&layer_digest)]
    }]);

    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    let mut archive = tar::Builder::new(gzip);
    append(&mut archive, &blob(&layer_digest), &layer, 0o644)?;
    append(&mut archive, &blob(&config_digest), &config, 0o644)?;
    append(&mut archive, &blob(&manifest_digest), &manifest, 0o644)?;
    append(&mut archive, "index.json", &serde_json::to_vec(&index)?, 0o644)?;
    append(&mut archive, "manifest.json", &serde_json::to_vec(&docker)?, 0o644)?;
    append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    Ok(archive.into_inner()?.finish()?)
}

fn append<W: std::io::Write>(tar: &mut tar::Builder<W>, path: &str, data: &[u8], mode: u32) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(data.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, path, data)?;
    Ok(())
}

fn digest(data: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(data)))
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn descriptor(media_type: &str, digest: &str, size: usize) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

fn go_arch() -> String {
    match std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => "amd64".into(),
        Ok("aarch64") => "arm64".into(),
        Ok(other) => other.into(),
        Err(_) => "amd64".into(),
    }
}
