//! Indexes of several platforms: what is chosen, kept side by side, and refused.

use hako_tests::{Case, Engine, Image, Layer, Registry, Wall, both_walls, busybox, sha256, with_wall};
use serde_json::{Value, json};

fn once(body: fn(&Case)) {
    with_wall(Wall::Process, body);
}

/// Images for four platforms, each with a file that tells them apart.
fn four() -> Vec<(Image, Value)> {
    let platforms = [("amd64", ""), ("arm64", "v8"), ("arm", "v7"), ("s390x", "")];
    platforms
        .iter()
        .map(|(architecture, variant)| {
            let layer = Layer::new().file("platform", 0o644, architecture).finish();
            let image = Image::new("four:1", vec![busybox().layers()[0].clone(), layer]);
            let mut platform = json!({ "os": "linux", "architecture": architecture });
            if !variant.is_empty() {
                platform["variant"] = json!(variant);
            }
            (image.for_architecture(architecture), platform)
        })
        .collect()
}

fn architecture(case: &Case, name: &str) -> String {
    case.docker(["image", "inspect", "-f", "{{.Architecture}}", name]).text()
}

both_walls! {
    /// Of an index of either kind the host's image is pulled and run.
    fn the_hosts_own(case) {
        let registry = Registry::start();
        for docker in [false, true] {
            let tag = if docker { "docker" } else { "oci" };
            let digest = registry.push_index(&four(), "four", tag, docker);
            let name = registry.reference(&format!("four:{tag}"));
            let said = case.docker(["pull", &name]).text();
            assert!(said.contains(&format!("Digest: {digest}")), "{said}");
            assert_eq!(case.run(&[&name, "cat", "/platform"]).text(), "amd64");
            let by_digest = registry.reference(&format!("four@{digest}"));
            assert_eq!(case.run(&[&by_digest, "cat", "/platform"]).text(), "amd64");
            let _ = case.docker(["rmi", "-f", &name]).text();
        }
    }

    /// Another architecture's image is pulled when it is asked for, and not run
    /// where there is neither an interpreter nor a guest kernel for it.
    fn another_is_not_run(case) {
        let registry = Registry::start();
        let _ = registry.push_index(&four(), "four", "1", false);
        let name = registry.reference("four:1");
        let refused = case.run(&["--platform", "linux/s390x", &name, "true"]).run();
        assert_eq!(refused.code, 125, "{refused}");
        let why = "The requested image's platform (linux/s390x) does not match the detected host platform (linux/amd64";
        assert!(Engine::is_reference() || refused.err().contains(why), "{refused}");
        let remedy = "use --isolation=hyperv";
        assert!(case.wall == Wall::Hyperv || Engine::is_reference() || refused.err().contains(remedy), "{refused}");
        // It was pulled for that, and is what the name leads to.
        assert_eq!(architecture(case, &name), "s390x");
    }
}

#[test]
fn side_by_side() {
    if Engine::is_reference() {
        return;
    }
    once(|case| {
        let registry = Registry::start();
        let images = four();
        let digest = registry.push_index(&images, "four", "1", false);
        let name = registry.reference("four:1");
        let pull = |platform: &str| case.docker(["pull", "--platform", platform, &name]).run();
        let _ = pull("linux/arm64").ok();
        assert_eq!(architecture(case, &name), "arm64");
        let _ = pull("linux/amd64").ok();
        let _ = pull("linux/s390x").ok();
        // The name leads to this host's image, whatever came last; the others are there beside it.
        assert_eq!(architecture(case, &name), "amd64");
        assert_eq!(case.run(&[&name, "cat", "/platform"]).text(), "amd64");
        let listed = case.docker(["images", "-q", "--no-trunc", &registry.reference("four")]).text();
        let ids: Vec<String> = [0, 1, 3].map(|at: usize| images[at].0.id()).into();
        assert!(listed.lines().count() == 3 && ids.iter().all(|id| listed.contains(id)), "{listed}");
        for id in &ids {
            let tags = case.docker(["image", "inspect", "-f", "{{json .RepoTags}} {{json .RepoDigests}}", id]).text();
            assert!(tags.contains(&name) && tags.contains(&digest), "{tags}");
        }
        let inspect = |platform: Value| {
            let query: String = platform.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
            case.engine.http("GET", &format!("/v1.49/images/{name}/json?platform={query}"), None)
        };
        let arm = inspect(json!({"os": "linux", "architecture": "arm64"}));
        assert_eq!(arm.json()["Architecture"], "arm64", "{}", arm.text());
        let missing = inspect(json!({"os": "linux", "architecture": "riscv64"}));
        let why = "was found but does not match the specified platform: wanted linux/riscv64, actual: linux/amd64";
        assert!(missing.status == 404 && missing.message().contains(why), "{}", missing.text());
        // A tag takes all of them along, and the name alone takes all of them away.
        let _ = case.docker(["tag", &name, "four:copy"]).text();
        let _ = case.docker(["rmi", &name]).text();
        let _ = case.docker(["image", "prune", "-f"]).run();
        assert_eq!(case.docker(["images", "-q", "four:copy"]).text().lines().count(), 3);
        case.engine.end_by(nix::sys::signal::Signal::SIGKILL);
        case.engine.launch();
        assert_eq!(case.docker(["images", "-q", "four:copy"]).text().lines().count(), 3);
        assert_eq!(architecture(case, "four:copy"), "amd64");
        let _ = case.docker(["rmi", "four:copy"]).text();
        for id in &ids {
            case.docker(["image", "inspect", id]).run().fails(1, "No such image");
        }
    });
}

/// `image prune -a` takes the images that no container uses, also where their
/// name leads to one that is used.
#[test]
fn pruned_one_by_one() {
    if Engine::is_reference() {
        return;
    }
    once(|case| {
        let registry = Registry::start();
        let images = four();
        let _ = registry.push_index(&images, "four", "1", false);
        let name = registry.reference("four:1");
        for platform in ["linux/amd64", "linux/arm64", "linux/s390x"] {
            let _ = case.docker(["pull", "--platform", platform, &name]).text();
        }
        let _ = case.walled("create", &["--name", "user", &name]).text();
        let said = case.docker(["image", "prune", "-af"]).text();
        for (at, gone) in [(0, false), (1, true), (3, true)] {
            let id = images[at].0.id();
            assert_eq!(said.contains(&format!("deleted: {id}")), gone, "{said}");
            assert_eq!(case.docker(["image", "inspect", &id]).run().code != 0, gone, "{id}");
        }
        // What is used has its names still.
        let listed = case.docker(["images", "-q", "--no-trunc", &name]).text();
        assert_eq!(listed, images[0].0.id());
        let _ = case.docker(["rm", "user"]).text();
        let said = case.docker(["image", "prune", "-af"]).text();
        assert!(said.contains(&format!("deleted: {}", images[0].0.id())), "{said}");
        assert!(case.docker(["images", "-aq"]).text().is_empty());
    });
}

/// An index of which every image is here is pushed whole; of another one this host's image.
#[test]
fn pushed() {
    if Engine::is_reference() {
        return;
    }
    once(|case| {
        let (from, to) = (Registry::start(), Registry::start());
        // Layers of their own, which come packed as the index says.
        let single = |architecture: &str| {
            let layer = Layer::new().file("platform", 0o644, architecture).finish();
            let image = Image::new("two:1", vec![layer]).for_architecture(architecture);
            (image, json!({ "os": "linux", "architecture": architecture }))
        };
        let images = [single("amd64"), single("arm64")];
        let digest = from.push_index(&images, "two", "1", true);
        let (name, copy) = (from.reference("two:1"), to.reference("copy:1"));
        let _ = case.docker(["pull", &name]).text();
        let _ = case.docker(["tag", &name, &copy]).text();
        let said = case.docker(["push", &copy]).text();
        let single = format!("sha256:{}", sha256(&images[0].0.docker_manifest().0));
        assert!(said.contains(&format!("1: digest: {single}")), "{said}");
        let _ = case.docker(["pull", "--platform", "linux/arm64", &name]).text();
        let _ = case.docker(["tag", &name, &copy]).text();
        let said = case.docker(["push", &copy]).text();
        assert!(said.contains(&format!("1: digest: {digest}")), "{said}");
        assert_eq!(to.manifest("copy", "1"), from.manifest("two", "1"));
        let _ = case.docker(["rmi", &name, &copy]).text();
        let _ = case.docker(["pull", "--platform", "linux/arm64", &copy]).text();
        assert_eq!(architecture(case, &copy), "arm64");
    });
}

#[test]
fn what_is_not_there() {
    once(|case| {
        let registry = Registry::start();
        let _ = registry.push_index(&four(), "four", "1", false);
        let name = registry.reference("four:1");
        let missing = case.docker(["pull", "--platform", "linux/riscv64", &name]).run();
        missing.fails(1, "no matching manifest for linux/riscv64 in the manifest list entries");
        let bad = case.docker(["pull", "--platform", "linux/a/b/c", &name]).run();
        assert_eq!(bad.code, 1, "{bad}");
        // A single image is for one platform, and says so.
        let wrong = case.docker(["create", "--pull", "never", "--platform", "linux/arm64", "busybox"]).run();
        let why = "was found but does not match the specified platform: wanted linux/arm64";
        assert!(Engine::is_reference() || (wrong.code != 0 && wrong.err().contains(why)), "{wrong}");
    });
}

/// `GET /distribution/…`: what is there, without pulling it.
#[test]
fn distribution() {
    once(|case| {
        let registry = Registry::start();
        let digest = registry.push_index(&four(), "four", "1", false);
        let ask = |name: &str| {
            case.engine.http("GET", &format!("/v1.41/distribution/{}/json", registry.reference(name)), None)
        };
        let index = ask("four:1").json();
        assert_eq!(index["Descriptor"]["digest"], digest);
        assert_eq!(index["Descriptor"]["mediaType"], "application/vnd.oci.image.index.v1+json");
        assert_eq!(index["Descriptor"]["size"], registry.manifest("four", "1").1.len());
        let platforms: Vec<&str> =
            index["Platforms"].as_array().unwrap().iter().filter_map(|p| p["architecture"].as_str()).collect();
        assert_eq!(platforms, ["amd64", "arm64", "arm", "s390x"]);
        assert_eq!(index["Platforms"][1]["variant"], "v8");
        let single = registry.push(&busybox(), "single", "1", hako_tests::Compression::Gzip);
        let one = ask(&format!("single@{single}")).json();
        assert_eq!(one["Platforms"], json!([{ "architecture": "amd64", "os": "linux" }]));
        let missing = ask("four:2");
        assert!(missing.status == 404 || Engine::is_reference(), "{}", missing.text());
        assert!(case.docker(["images", "-q", &registry.reference("four")]).text().is_empty());
    });
}
