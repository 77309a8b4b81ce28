//! Archives and registries that lie. Each is refused with a text that says why,
//! and nothing is lost: what was loaded before still runs, nothing is left over,
//! and no file outside the engine's folders is touched.

use hako_tests::{Case, Compression, Engine, FakeRegistry, Image, Layer, Reply, Wall, busybox, sha256, with_wall};
use serde_json::{Value, json};
use std::{fs, path::Path};
use tar::EntryType;

fn once(body: fn(&Case)) {
    with_wall(Wall::Process, body);
}

/// Names and ids of all images, in order.
fn images(case: &Case) -> Vec<String> {
    let text = case.docker(["images", "--all", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]).text();
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    rows.sort();
    rows
}

/// Loads `archive`, which must fail with one of `texts`, and lose nothing.
fn refused(case: &Case, archive: Vec<u8>, texts: &[&str]) {
    let before = images(case);
    let output = case.docker(["load"]).stdin(archive).run();
    assert_eq!(output.code, 1, "{output}");
    let said = output.err().to_lowercase();
    // The reference's own words differ from release to release.
    assert!(Engine::is_reference() || texts.iter().any(|text| said.contains(text)), "none of {texts:?} in {output}");
    assert!(!said.contains("panic"), "{output}");
    assert_eq!(images(case), before);
    assert_eq!(case.sh(&[], "echo still here").text(), "still here");
    let left = case.engine.data_root().join("tmp");
    assert_eq!(fs::read_dir(&left).map_or(0, Iterator::count), 0, "{} is not empty", left.display());
}

fn evil(layer: Vec<u8>) -> Image {
    Image::new("evil:latest", vec![busybox().layers()[0].clone(), layer])
}

#[test]
fn truncated_archives() {
    once(|case| {
        let whole = evil(Layer::new().file("f", 0o644, "x").finish());
        for archive in [whole.docker_archive(), Compression::Gzip.pack(&whole.docker_archive())] {
            for part in [archive.len() / 3, archive.len() - 3000] {
                refused(
                    case,
                    archive[..part].to_vec(),
                    &["eof", "truncated", "unexpected end", "incomplete", "manifest"],
                );
            }
        }
        refused(case, b"this is no archive".repeat(100), &["archive", "tar", "format", "header", "manifest", "eof"]);
        refused(case, Vec::new(), &["archive", "empty", "eof", "manifest"]);
    });
}

#[test]
fn wrong_digests() {
    once(|case| {
        // The layer is not the one that the configuration names.
        let good = evil(Layer::new().file("f", 0o644, "good").finish());
        let config = good.config();
        let name = format!("{}.json", sha256(&config));
        let manifest = json!([{ "Config": name, "RepoTags": ["evil:latest"], "Layers": ["a.tar", "b.tar"] }]);
        let archive = Layer::new()
            .file("a.tar", 0o644, &good.layers()[0])
            .file("b.tar", 0o644, Layer::new().file("f", 0o644, "evil").finish())
            .file(&name, 0o644, config)
            .file("manifest.json", 0o644, manifest.to_string())
            .finish();
        refused(case, archive, &["diffid", "diff id", "diff_id", "digest", "mismatch", "does not match"]);
        // A blob of an OCI layout that is not what its name says.
        let layout = good.oci_layout(Compression::Plain);
        let at = layout.windows(4).position(|w| w == b"good").unwrap();
        let mut changed = layout;
        changed[at..at + 4].copy_from_slice(b"evil");
        refused(case, changed, &["digest", "mismatch", "does not match"]);
    });
}

/// Entries that point out of the root filesystem.
#[test]
fn layers_that_climb_out() {
    once(|case| {
        let target = case.engine.path("outside");
        fs::create_dir(&target).unwrap();
        let out = target.to_string_lossy().into_owned();
        let up = "../".repeat(12);
        let name = format!("{up}{}", &out[1..]);
        let layers = [
            Layer::new().file(&format!("{name}/file"), 0o644, "out").finish(),
            Layer::new().file(&format!("{out}/file"), 0o644, "out").finish(),
            Layer::new().link("way", &out).file("way/file", 0o644, "out").finish(),
            Layer::new().link("way", &name).file("way/file", 0o644, "out").finish(),
            Layer::new().link("way", &out).file("way/.wh.precious", 0o644, "").finish(),
            Layer::new().file(&format!("{name}/.wh.precious"), 0o644, "").finish(),
            Layer::new().entry(EntryType::Link, "stolen", &format!("{name}/precious"), 0o644, b"").finish(),
            Layer::new().entry(EntryType::Link, "stolen", &format!("{out}/precious"), 0o644, b"").finish(),
            Layer::new().link("way", &out).dir("way/", 0o700).file("way/file", 0o644, "out").finish(),
        ];
        for (index, layer) in layers.into_iter().enumerate() {
            fs::write(target.join("precious"), "secret").unwrap();
            let output = case.docker(["load"]).stdin(evil(layer).docker_archive()).run();
            assert_eq!(fs::read_dir(&target).unwrap().count(), 1, "layer {index} wrote outside: {output}");
            assert_eq!(fs::read_to_string(target.join("precious")).unwrap(), "secret", "layer {index}");
            if output.code == 0 {
                // Kept inside the root filesystem: then nothing of the host may be in it.
                let seen = case.run(&["evil", "sh", "-c", "cat /stolen /way/precious 2>/dev/null; true"]).run();
                assert!(!seen.out().contains("secret"), "layer {index} reads a file of the host: {seen}");
                let _ = case.docker(["rmi", "-f", "evil"]).text();
            } else {
                assert!(!output.err().is_empty());
            }
            assert_eq!(case.sh(&[], "echo still here").text(), "still here");
        }
        fs::remove_dir_all(&target).unwrap();
    });
}

/// Paths in the archive's own files that point elsewhere.
#[test]
fn archives_that_name_other_files() {
    once(|case| {
        let good = evil(Layer::new().finish());
        let config = good.config();
        let secret = case.engine.path("tmp/secret.json");
        fs::write(&secret, &config).unwrap();
        let up = format!("{}{}", "../".repeat(12), &secret.to_string_lossy()[1..]);
        for name in [up.clone(), secret.to_string_lossy().into_owned()] {
            let manifest = json!([{ "Config": name, "RepoTags": ["evil:latest"], "Layers": ["a.tar", "b.tar"] }]);
            let archive = Layer::new()
                .file("a.tar", 0o644, &good.layers()[0])
                .file("b.tar", 0o644, &good.layers()[1])
                .file("manifest.json", 0o644, manifest.to_string())
                .finish();
            refused(case, archive, &["config", "no such file", "not found", "missing", "invalid", "secret.json"]);
        }
        let link = Layer::new()
            .link("config.json", &secret.to_string_lossy())
            .file("a.tar", 0o644, &good.layers()[0])
            .file("b.tar", 0o644, &good.layers()[1])
            .file(
                "manifest.json",
                0o644,
                json!([{ "Config": "config.json", "RepoTags": ["evil:latest"], "Layers": ["a.tar", "b.tar"] }])
                    .to_string(),
            )
            .finish();
        refused(case, link, &["config", "link", "no such file", "not found", "missing", "invalid", "symlink"]);
        fs::remove_file(&secret).unwrap();
    });
}

/// JSON with fields that nobody knows is taken; JSON that is none is refused.
#[test]
fn odd_json() {
    once(|case| {
        let image = Image::new("odd:latest", busybox().layers().to_vec())
            .with("x-unknown", json!({"deep": [1, 2, {"3": null}]}))
            .with("Healthcheck2", json!(7));
        let _ = case.docker(["load"]).stdin(image.docker_archive()).text();
        assert_eq!(case.run(&["odd", "echo", "taken"]).text(), "taken");
        let archive = |manifest: &str| Layer::new().file("manifest.json", 0o644, manifest).finish();
        for manifest in ["{", "[1]", "[{}]", "[{\"Config\":7}]", &"[".repeat(100_000)] {
            refused(
                case,
                archive(manifest),
                &["json", "manifest", "invalid", "config", "decod", "parse", "expected", "empty", "unmarshal"],
            );
        }
    });
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A pull that must fail, with one of `texts`; the client's whole output.
fn pull_refused(case: &Case, registry: &FakeRegistry, texts: &[&str]) {
    let before = images(case);
    let output = case.docker(["pull", &registry.reference("evil:latest")]).run();
    assert_eq!(output.code, 1, "{output}");
    let said = format!("{}{}", output.out(), output.err()).to_lowercase();
    assert!(texts.iter().any(|text| said.contains(text)), "none of {texts:?} in {output}");
    assert_eq!(images(case), before);
    assert_eq!(case.sh(&[], "echo still here").text(), "still here");
}

fn memory_of(pid: i32) -> u64 {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The engine stops reading long before the end, and does not keep what it read.
#[test]
fn a_manifest_of_100_megabytes() {
    once(|case| {
        if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
            return;
        }
        let before = memory_of(case.engine.pid());
        let registry = FakeRegistry::start(|path| match path {
            "/v2/" => Reply::ok("application/json", "{}"),
            _ => Reply { padding: 100 << 20, ..Reply::ok(MANIFEST, "{\"schemaVersion\": 2, ") },
        });
        pull_refused(case, &registry, &["manifest", "too large", "limit", "size"]);
        assert!(registry.sent() < 40 << 20, "{} bytes were taken", registry.sent());
        let grown = memory_of(case.engine.pid()).saturating_sub(before);
        assert!(grown < 40 << 10, "hakod grew by {grown} KiB");
    });
}

#[test]
fn blobs_that_are_not_what_was_promised() {
    once(|case| {
        // Debian 12's dockerd takes a blob that is longer than promised.
        if hako_tests::not_on_reference("its texts are Hako's own") {
            return;
        }
        let serve = |change: fn(&mut Value, &mut Vec<Vec<u8>>)| {
            let (manifest, mut blobs) = evil(Layer::new().file("f", 0o644, "x").finish()).manifest(Compression::Gzip);
            let names: Vec<String> = blobs.iter().map(|blob| sha256(blob)).collect();
            let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
            change(&mut manifest, &mut blobs);
            let manifest = manifest.to_string();
            FakeRegistry::start(move |path| match path {
                "/v2/" => Reply::ok("application/json", "{}"),
                _ if path.starts_with("/v2/evil/manifests/") => Reply::ok(MANIFEST, manifest.clone()),
                _ => match names.iter().position(|name| path.ends_with(name.as_str())) {
                    Some(index) => Reply::ok("application/octet-stream", blobs[index].clone()),
                    None => Reply::missing(),
                },
            })
        };
        let digest = ["digest", "mismatch", "does not match", "verification", "size"];
        // Other bytes of the same length, a shorter and a longer blob.
        pull_refused(case, &serve(|_, blobs| *blobs[2].last_mut().unwrap() ^= 1), &digest);
        pull_refused(
            case,
            &serve(|_, blobs| {
                let _ = blobs[2].pop();
            }),
            &["digest", "size", "eof", "unexpected", "match", "short"],
        );
        pull_refused(
            case,
            &serve(|_, blobs| blobs[2].extend([0; 1000])),
            &["digest", "size", "match", "longer", "more"],
        );
        pull_refused(case, &serve(|_, blobs| blobs[0].push(b' ')), &digest);
        // Digests that are names of files elsewhere, or nothing.
        for name in ["sha256:../../../../etc/passwd", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", ""] {
            let evil = name.to_owned();
            let (manifest, _) = busybox().manifest(Compression::Plain);
            let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
            manifest["layers"][0]["digest"] = json!(evil);
            let manifest = manifest.to_string();
            let registry = FakeRegistry::start(move |path| match path {
                "/v2/" => Reply::ok("application/json", "{}"),
                _ => Reply::ok(MANIFEST, manifest.clone()),
            });
            pull_refused(case, &registry, &["digest", "invalid", "unsupported", "algorithm", "checksum"]);
        }
        // A manifest that is no manifest, and one of another kind.
        for body in ["", "null", "[]", "{\"schemaVersion\":1}", "{\"schemaVersion\":2,\"layers\":{}}"] {
            let registry = FakeRegistry::start(move |path| match path {
                "/v2/" => Reply::ok("application/json", "{}"),
                _ => Reply::ok(MANIFEST, body),
            });
            pull_refused(
                case,
                &registry,
                &["manifest", "invalid", "json", "schema", "expected", "eof", "config", "layers", "unsupported"],
            );
        }
    });
}
