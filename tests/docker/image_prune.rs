//! `docker image prune`, the filters of the image list, and that what an image
//! had beside its layers goes with it.

use hako_tests::{Case, Engine, Image, Layer, Wall, busybox, with_wall};
use serde_json::json;

fn once(body: fn(&Case)) {
    with_wall(Wall::Process, body);
}

fn image(tag: &str, label: &str) -> Image {
    let mark = Layer::new().file("mark", 0o644, tag).finish();
    Image::new(tag, vec![busybox().layers()[0].clone(), mark]).with("Labels", json!({ label: "x" }))
}

/// Loads `image` and takes its name away.
fn dangling(case: &Case, image: &Image) -> String {
    case.engine.load(image);
    let _ = case.docker(["tag", image.tag(), "keeps:it"]).text();
    let _ = case.docker(["rmi", image.tag()]).text();
    // Another image takes the name over.
    let _ = case.docker(["tag", "busybox", "keeps:it"]).text();
    image.id()
}

fn ids(case: &Case, filters: &[&str]) -> Vec<String> {
    let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
    let text = case.docker(["images", "-q", "--no-trunc"]).args(filters).text();
    let mut ids: Vec<String> = text.lines().map(str::to_owned).collect();
    ids.sort();
    ids.dedup();
    ids
}

#[test]
fn without_a_name() {
    once(|case| {
        let (old, kept, used) = (image("a:1", "old"), image("b:1", "kept"), image("c:1", "used"));
        let gone = dangling(case, &old);
        case.engine.load(&kept);
        case.engine.load(&used);
        let _ = case.walled("create", &["--name", "user", "c:1"]).text();
        assert_eq!(ids(case, &["dangling=true"]), std::slice::from_ref(&gone));
        assert!(!ids(case, &["dangling=false"]).contains(&gone));
        // Labels decide, both ways, and the time.
        for filter in ["label=kept", "label!=old", "until=1970-01-02T00:00:00"] {
            let text = case.docker(["image", "prune", "-f", "--filter", filter]).text();
            assert_eq!(text, "Total reclaimed space: 0B", "{filter}");
        }
        let text = case.docker(["image", "prune", "-f", "--filter", "label=old"]).text();
        assert!(text.contains(&format!("deleted: {gone}")), "{text}");
        assert!(!text.contains("Total reclaimed space: 0B"), "{text}");
        assert!(ids(case, &["dangling=true"]).is_empty());
        // All that no container uses, with a name or without.
        let text = case.docker(["image", "prune", "-a", "-f"]).text();
        assert!(text.contains("untagged: b:1") && text.contains(&format!("deleted: {}", kept.id())), "{text}");
        assert!(!text.contains("c:1"), "{text}");
        assert_eq!(ids(case, &[]), [used.id()]);
        assert_eq!(case.docker(["image", "inspect", "-f", "{{.RepoTags}}", "c:1"]).text(), "[c:1]");
        let _ = case.docker(["rm", "user"]).text();
    });
}

#[test]
fn answers_and_events() {
    if Engine::is_reference() {
        return;
    }
    once(|case| {
        let events = case
            .docker(["events", "--filter", "type=image", "--format", "{{.Action}} {{.Actor.Attributes.reclaimed}}"])
            .start();
        std::thread::sleep(std::time::Duration::from_millis(500));
        let answer = case.engine.http("POST", "/v1.44/images/prune", None);
        assert_eq!((answer.status, answer.json()), (200, json!({ "ImagesDeleted": null, "SpaceReclaimed": 0 })));
        events.expect("prune 0\n");
        let _ = events.kill();
        let bad = case.engine.http("POST", "/v1.44/images/prune?filters=%7B%22name%22%3A%5B%22x%22%5D%7D", None);
        assert_eq!((bad.status, bad.message().as_str()), (400, "invalid filter 'name'"));
    });
}

/// `before`, `since`, `reference`, `label`, `until`.
#[test]
fn filters_of_the_list() {
    once(|case| {
        let stamp = |image: Image, year: u32| (image, format!("{year}-01-01T00:00:00Z"));
        for (image, created) in [stamp(image("old/app:1", "one"), 2001), stamp(image("new/app:2", "two"), 2020)] {
            let (name, layers) = (format!("{}.json", "config"), image.layers().to_vec());
            let mut config: serde_json::Value = serde_json::from_slice(&image.config()).unwrap();
            config["created"] = json!(created);
            let files: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
            let manifest = json!([{ "Config": name, "RepoTags": [image.tag()], "Layers": files }]);
            let mut archive = Layer::new().file(&name, 0o644, config.to_string());
            for (file, layer) in files.iter().zip(&layers) {
                archive = archive.file(file, 0o644, layer);
            }
            let archive = archive.file("manifest.json", 0o644, manifest.to_string()).finish();
            let _ = case.docker(["load", "-q"]).stdin(archive).text();
        }
        let names = |filters: &[&str]| {
            let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
            let text = case.docker(["images", "--format", "{{.Repository}}:{{.Tag}}"]).args(filters).text();
            let mut names: Vec<&str> = text.lines().filter(|name| name.contains("app")).collect();
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!(names(&[]), "new/app:2 old/app:1");
        assert_eq!(names(&["before=new/app:2"]), "old/app:1");
        assert_eq!(names(&["since=old/app:1"]), "new/app:2");
        assert_eq!(names(&["reference=*/app"]), "new/app:2 old/app:1");
        assert_eq!(names(&["reference=old/*:1"]), "old/app:1");
        assert_eq!(names(&["label=two=x"]), "new/app:2");
        assert_eq!(names(&["label=one", "label=two"]), "");
        // Debian's dockerd, the reference, is older than this filter.
        if !Engine::is_reference() {
            assert_eq!(names(&["until=2010-01-01"]), "old/app:1");
            case.docker(["images", "--filter", "moon=full"]).run().fails(1, "invalid filter");
            case.docker(["images", "--filter", "before=no-such"]).run().fails(1, "No such image: no-such:latest");
        }
        let _ = case.docker(["rmi", "old/app:1", "new/app:2"]).text();
    });
}

/// The EROFS image of the hyperv wall: one for all containers of an image,
/// counted, and gone with the image, also when hakod dies in between.
#[test]
fn erofs_images() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        let image = image("rooted:v1", "erofs");
        case.engine.load(&image);
        let there = || std::fs::read_dir(case.engine.data_root().join("erofs")).unwrap().count();
        let size = || {
            let df = case.engine.http("GET", "/v1.44/system/df?type=image", None).json();
            let found = df["Images"].as_array().unwrap().iter().find(|i| i["Id"] == image.id().as_str()).cloned();
            (df["LayersSize"].as_u64().unwrap(), found.unwrap()["Size"].as_u64().unwrap())
        };
        let before = (there(), size());
        for _ in 0..2 {
            assert_eq!(case.run(&["rooted:v1", "cat", "/mark"]).text(), "rooted:v1");
        }
        assert_eq!(there(), before.0 + 1);
        let after = size();
        assert!(after.0 > before.1.0 + 100_000 && after.1 > before.1.1 + 100_000, "{before:?} {after:?}");
        // The layers below are busybox's own: only this image's goes.
        let _ = case.docker(["rmi", "rooted:v1"]).text();
        assert_eq!(there(), before.0);
        case.engine.load(&image);
        assert_eq!(case.run(&["rooted:v1", "cat", "/mark"]).text(), "rooted:v1");
        case.engine.end_by(nix::sys::signal::Signal::SIGKILL);
        // As if it had died between the row and the file.
        let layers = case.engine.data_root().join("erofs").join(format!("{}.erofs", "0".repeat(64)));
        std::fs::write(layers, "of an image that is gone").unwrap();
        case.engine.launch();
        assert_eq!(there(), before.0 + 1);
        let _ = case.docker(["rmi", "rooted:v1"]).text();
    });
}
