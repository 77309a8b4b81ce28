//! `docker save`, and that what it wrote loads as what it was.

use hako_tests::{Case, Compression, Engine, Image, Layer, Registry, Wall, busybox, sha256, with_wall};
use serde_json::Value;
use std::{collections::BTreeMap, io::Read};

/// One wall is enough: images know no walls.
fn once(body: fn(&Case)) {
    with_wall(Wall::Process, body);
}

fn marked(tag: &str) -> Image {
    Image::new(tag, vec![busybox().layers()[0].clone(), Layer::new().file("mark", 0o644, tag).finish()])
}

fn save(case: &Case, names: &[&str]) -> Vec<u8> {
    let output = case.docker(["save"]).args(names).run();
    assert_eq!(output.code, 0, "{output}");
    output.stdout
}

/// The archive's files.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut tar = tar::Archive::new(archive);
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), bytes)
    });
    entries.collect()
}

fn json(files: &BTreeMap<String, Vec<u8>>, name: &str) -> Value {
    serde_json::from_slice(&files[name]).unwrap()
}

fn id(case: &Case, name: &str) -> String {
    case.docker(["image", "inspect", "-f", "{{.Id}}", name]).text()
}

/// Saved, removed and loaded again: the same ids, the same files, and the same
/// bytes when it is saved once more.
#[test]
fn round_trip() {
    once(|case| {
        let (one, two) = (marked("one:v1"), marked("two:v1"));
        case.engine.load(&one);
        case.engine.load(&two);
        let _ = case.docker(["tag", "one:v1", "again/one:v2"]).text();
        let names = ["one:v1", "two:v1", "again/one:v2"];
        let archive = save(case, &names);
        // Nothing in it depends on when it was written.
        if !Engine::is_reference() {
            assert!(archive == save(case, &names), "two saves differ");
        }
        let _ = case.docker(["rmi", "-f"]).args(names).text();
        let said = case.docker(["load"]).stdin(archive.clone()).text();
        for name in names {
            assert!(said.contains(&format!("Loaded image: {name}")), "{said}");
        }
        assert_eq!([id(case, "one:v1"), id(case, "again/one:v2"), id(case, "two:v1")], [one.id(), one.id(), two.id()]);
        assert_eq!(case.run(&["two:v1", "cat", "/mark"]).text(), "two:v1");
        if !Engine::is_reference() {
            assert!(archive == save(case, &names), "a save of what was loaded differs");
        }
        // Packed on its way.
        let _ = case.docker(["rmi", "-f"]).args(names).text();
        let _ = case.docker(["load"]).stdin(Compression::Gzip.pack(&archive)).text();
        assert_eq!(id(case, "one:v1"), one.id());
        let _ = case.docker(["rmi", "-f"]).args(names).text();
    });
}

/// Docker's and OCI's own accounts of the archive agree, and every digest holds.
#[test]
fn both_forms_in_one() {
    if Engine::is_reference() {
        return;
    }
    once(|case| {
        let image = marked("form:v1");
        case.engine.load(&image);
        let files = files(&save(case, &["form:v1"]));
        for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("blobs/sha256/") && !name.ends_with('/'))
        {
            assert_eq!(name, &format!("blobs/sha256/{}", sha256(bytes)));
        }
        assert_eq!(json(&files, "oci-layout")["imageLayoutVersion"], "1.0.0");
        let index = json(&files, "index.json");
        let entry = &index["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "docker.io/library/form:v1");
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "v1");
        let digest = entry["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let manifest = json(&files, &format!("blobs/sha256/{digest}"));
        let docker = json(&files, "manifest.json");
        assert_eq!(docker[0]["RepoTags"], serde_json::json!(["form:v1"]));
        let blob =
            |digest: &Value| format!("blobs/sha256/{}", digest.as_str().unwrap().strip_prefix("sha256:").unwrap());
        assert_eq!(docker[0]["Config"], blob(&manifest["config"]["digest"]));
        assert_eq!(docker[0]["Config"], format!("blobs/sha256/{}", sha256(&image.config())));
        let layers: Vec<String> = manifest["layers"].as_array().unwrap().iter().map(|l| blob(&l["digest"])).collect();
        assert_eq!(docker[0]["Layers"], serde_json::json!(layers));
        assert_eq!(json(&files, "repositories")["form"]["v1"], sha256(&image.layers()[1]));
        // Either half alone is enough.
        for left_out in ["index.json", "manifest.json"] {
            let _ = case.docker(["rmi", "form:v1"]).text();
            let mut half = Layer::new();
            for (name, bytes) in files.iter().filter(|(name, _)| !name.ends_with('/') && *name != left_out) {
                half = half.file(name, 0o644, bytes);
            }
            let said = case.docker(["load"]).stdin(half.finish()).text();
            assert!(said.contains("Loaded image: form:v1"), "without {left_out}: {said}");
            assert_eq!(id(case, "form:v1"), image.id());
        }
        let _ = case.docker(["rmi", "form:v1"]).text();
    });
}

/// What is named decides which names are saved.
#[test]
fn by_name_repository_and_id() {
    once(|case| {
        let image = marked("repo:a");
        case.engine.load(&image);
        let _ = case.docker(["tag", "repo:a", "repo:b"]).text();
        let _ = case.docker(["tag", "repo:a", "other:c"]).text();
        let tags = |names: &[&str]| {
            let manifest = json(&files(&save(case, names)), "manifest.json");
            assert_eq!(manifest.as_array().unwrap().len(), 1, "an image is saved once");
            let tags = manifest[0]["RepoTags"].as_array().cloned().unwrap_or_default();
            let mut tags: Vec<String> = tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect();
            tags.sort();
            tags.join(" ")
        };
        assert_eq!(tags(&["repo:b"]), "repo:b");
        assert_eq!(tags(&["repo"]), "repo:a repo:b");
        assert_eq!(tags(&["repo:b", "other:c", "repo:b"]), "other:c repo:b");
        assert_eq!(tags(&[&image.id()]), "");
        let archive = save(case, &[&image.id()[7..19]]);
        let _ = case.docker(["rmi", "-f", &image.id()]).text();
        let said = case.docker(["load"]).stdin(archive).text();
        assert_eq!(said, format!("Loaded image ID: {}", image.id()));
        let _ = case.docker(["rmi", &image.id()]).text();
        case.docker(["save", "no-such:image"]).run().fails(1, "no-such:image");
        if !Engine::is_reference() {
            case.docker(["save", "busybox", "no-such"]).run().fails(1, "No such image: no-such:latest");
            let answer = case.engine.http(
                "GET",
                "/v1.48/images/get?names=busybox&platform=%7B%22os%22:%22linux%22,%22architecture%22:%22arm64%22%7D",
                None,
            );
            assert_eq!(
                (answer.status, answer.message().as_str()),
                (404, "no suitable export target found for platform linux/arm64/v8")
            );
            assert_eq!(case.engine.http("GET", "/v1.48/images/busybox/get?platform=linux/amd64", None).status, 200);
            assert_eq!(case.engine.http("GET", "/images/get", None).status, 400);
        }
    });
}

/// A name that leads elsewhere now loses its old image, and the client hears of it.
#[test]
fn a_load_takes_a_name_over() {
    once(|case| {
        let (old, new) = (marked("name:v1"), marked("other").tagged("name:v1"));
        case.engine.load(&old);
        let said = case.docker(["load"]).stdin(new.docker_archive()).text();
        assert!(
            said.contains(&format!(
                "The image name:v1 already exists, renaming the old one with ID {} to empty string",
                old.id()
            )),
            "{said}"
        );
        assert_eq!(id(case, "name:v1"), new.id());
        let _ = case.docker(["rmi", "name:v1", &old.id()]).text();
    });
}

/// What came from a registry keeps its manifest and its archives.
#[test]
fn digests_stay_what_they_were() {
    if Engine::is_reference() {
        return;
    }
    once(|case| {
        let registry = Registry::start();
        // A layer that the store has already stays the archive that it was.
        let image =
            Image::new("x", ["lower", "upper"].map(|name| Layer::new().file(name, 0o644, name).finish()).to_vec());
        for (tag, packed) in [("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
            let digest = registry.push(&image, "kept", tag, packed);
            let name = registry.reference(&format!("kept:{tag}"));
            let _ = case.docker(["pull", "-q", &name]).text();
            let archive = save(case, &[&name]);
            assert_eq!(json(&files(&archive), "index.json")["manifests"][0]["digest"], digest);
            let _ = case.docker(["rmi", "-f", &image.id()]).text();
            let _ = case.docker(["load"]).stdin(archive.clone()).text();
            assert_eq!(id(case, &name), image.id());
            assert!(archive == save(case, &[&name]));
            let _ = case.docker(["rmi", "-f", &image.id()]).text();
        }
    });
}

/// Many gigabytes would do as well: the engine's memory does not grow with an image.
#[test]
fn memory_stays_flat() {
    if Engine::is_reference() {
        return;
    }
    once(|case| {
        let size = 96 << 20;
        let noise: Vec<u8> = (0..size / 4).flat_map(|n: u32| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        let image = Image::new("large:v1", vec![Layer::new().file("noise", 0o644, noise).finish()]);
        let resident = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", case.engine.pid())).unwrap();
            let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        case.engine.load(&image);
        let archive = save(case, &["large:v1"]);
        assert!(archive.len() > size as usize);
        let most = resident();
        assert!(most < before + (48 << 10), "hakod grew from {before} to {most} KiB");
        let _ = case.docker(["rmi", "large:v1"]).text();
    });
}
