//! Which image runs, and which does not and why: Linux, Windows and mixed
//! indexes, what images ask for, and what Docker's clients ask for Windows alone.

use hako_tests::{Case, Compression, Context, Engine, Image, Layer, Registry, Wall, both_walls, busybox, with_wall};
use serde_json::{Value, json};
use std::time::Duration;
use tar::EntryType;

fn once(body: fn(&Case)) {
    if !Engine::is_reference() {
        with_wall(Wall::Process, body);
    }
}

/// What Docker says of an image of another system.
const OTHER_SYSTEM: &str =
    "image operating system \"windows\" cannot be used on this platform: operating system is not supported";
const OLD: &str = "10.0.17763.1098";
const NEW: &str = "10.0.20348.1006";

/// As the layers of Windows are: three trees, and attributes of their own kind.
fn windows(tag: &str, version: &str) -> Image {
    let layer = Layer::new()
        .dir("Files/", 0o755)
        .entry(EntryType::XHeader, "PaxHeaders/license", "", 0o644, b"25 MSWINDOWS.fileattr=32\n")
        .file("Files/License.txt", 0o644, version)
        .dir("Hives/", 0o755)
        .file("Hives/System_Base", 0o644, "regf")
        .dir("UtilityVM/", 0o755);
    Image::new(tag, vec![layer.finish()]).with("Cmd", json!(["cmd.exe"])).for_windows(version)
}

fn entry(version: &str) -> (Image, Value) {
    let platform =
        json!({ "os": "windows", "architecture": "amd64", "os.version": version, "os.features": ["win32k"] });
    (windows("x:1", version), platform)
}

fn linux() -> (Image, Value) {
    let mark = Layer::new().file("mark", 0o644, "linux").finish();
    let image = Image::new("x:1", vec![busybox().layers()[0].clone(), mark]);
    (image, json!({ "os": "linux", "architecture": "amd64" }))
}

both_walls! {
    /// Of an index for both systems the host's own image runs; of one for the
    /// other alone none is taken, and the answer says what there is.
    fn indexes_of_both_systems(case) {
        if Engine::is_reference() {
            return;
        }
        let registry = Registry::start();
        for docker in [false, true] {
            let tag = if docker { "docker" } else { "oci" };
            let _ = registry.push_index(&[entry(OLD), linux(), entry(NEW)], "mixed", tag, docker);
            let name = registry.reference(&format!("mixed:{tag}"));
            assert_eq!(case.run(&[&name, "cat", "/mark"]).text(), "linux");
            let other = case.docker(["pull", "--platform", "windows/amd64", &name]).run();
            other.fails(1, OTHER_SYSTEM);
            assert!(other.err().contains("use a host with Windows 10.0."), "{other}");
            let _ = case.docker(["rmi", &name]).text();
        }
        let _ = registry.push_index(&[entry(OLD), entry(NEW)], "windows", "1", false);
        let name = registry.reference("windows:1");
        for (verb, code) in [("pull", 1), ("run", 125)] {
            let refused = match verb {
                "pull" => case.docker(["pull", &name]).run(),
                _ => case.run(&[&name, "cmd.exe"]).run(),
            };
            refused.fails(code, "no matching manifest for linux/amd64");
            let has = format!("(the index has windows({OLD}+win32k)/amd64, windows({NEW}+win32k)/amd64)");
            assert!(refused.err().contains("in the manifest list entries") && refused.err().contains(&has), "{refused}");
        }
        // One without an index says for itself what it is.
        let _ = registry.push(&windows("x:1", OLD), "single", "1", Compression::Gzip);
        case.docker(["pull", &registry.reference("single:1")]).run().fails(1, OTHER_SYSTEM);
        case.run(&[&registry.reference("single:1")]).run().fails(125, OTHER_SYSTEM);
        assert_eq!(case.docker(["images", "-q"]).text().lines().count(), 1, "busybox alone");
    }

    /// Kept, listed, shown, saved, pushed, and not run.
    fn a_loaded_image_of_windows(case) {
        if Engine::is_reference() {
            return;
        }
        let image = windows("win:1", OLD);
        let said = case.docker(["load"]).stdin(image.docker_archive()).text();
        assert_eq!(said, "Loaded image: win:1");
        assert!(case.docker(["images", "--no-trunc", "-q"]).text().contains(&image.id()));
        let shown = case.docker(["image", "inspect", "-f", "{{.Os}} {{.OsVersion}} {{.Architecture}}", "win:1"]).text();
        assert_eq!(shown, format!("windows {OLD} amd64"));
        for verb in ["run", "create"] {
            let refused = case.walled(verb, &["win:1"]).run();
            refused.fails(if verb == "run" { 125 } else { 1 }, OTHER_SYSTEM);
            let remedy = "use a host with Windows 10.0.17763.1098 (Windows Server 2019, Windows 10 1809) on amd64";
            assert!(refused.err().contains(remedy), "{refused}");
        }
        assert!(case.docker(["ps", "-aq"]).text().is_empty());
        let saved = case.docker(["save", "win:1"]).run();
        assert_eq!(saved.code, 0, "{}", saved.err());
        let _ = case.docker(["rmi", "win:1"]).text();
        let _ = case.docker(["load"]).stdin(saved.stdout).text();
        assert_eq!(case.docker(["image", "inspect", "-f", "{{.Id}}", "win:1"]).text(), image.id());
        let registry = Registry::start();
        let _ = case.docker(["tag", "win:1", &registry.reference("win:1")]).text();
        let _ = case.docker(["push", &registry.reference("win:1")]).text();
        let target = format!("/v1.41/distribution/{}/json", registry.reference("win:1"));
        let platforms = case.engine.http("GET", &target, None).json()["Platforms"].clone();
        assert_eq!(platforms, json!([{ "architecture": "amd64", "os": "windows", "os.version": OLD }]));
    }
}

/// `os.version` of a request and of an answer.
#[test]
fn versions_of_windows_are_kept() {
    once(|case| {
        let registry = Registry::start();
        let _ = registry.push_index(&[entry(OLD), linux()], "mixed", "1", false);
        let target = format!("/v1.41/distribution/{}/json", registry.reference("mixed:1"));
        let platforms = case.engine.http("GET", &target, None).json()["Platforms"].clone();
        assert_eq!(platforms, json!([entry(OLD).1, linux().1]));
        case.engine.load(&windows("win:1", OLD));
        let inspect = |version: &str| {
            let platform = json!({ "os": "windows", "architecture": "amd64", "os.version": version });
            let query: String = platform.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
            case.engine.http("GET", &format!("/v1.49/images/win:1/json?platform={query}"), None)
        };
        for version in [OLD, "10.0.17763"] {
            assert_eq!(inspect(version).json()["OsVersion"], OLD, "{version}");
        }
        for version in [NEW, "10.0.17763.1"] {
            let missing = inspect(version);
            let why = format!("does not match the specified platform: wanted windows({version})/amd64");
            assert!(missing.status == 404 && missing.message().contains(&why), "{}", missing.text());
        }
        let create = |platform: &str| {
            let target = format!("/v1.41/containers/create?platform={platform}");
            case.engine.http("POST", &target, Some(&json!({ "Image": "win:1" })))
        };
        let other = create("windows(10.0.20348)/amd64");
        assert!(
            other.status == 404 && other.message().contains("wanted windows(10.0.20348)/amd64"),
            "{}",
            other.text()
        );
        let own = create("windows(10.0.17763)/amd64");
        assert!(own.status == 501 && own.message().starts_with(OTHER_SYSTEM), "{}", own.text());
    });
}

/// No step can be upon what has its files elsewhere.
#[test]
fn nothing_is_built_on_windows() {
    once(|case| {
        case.engine.load(&windows("win:1", OLD));
        for rest in ["RUN dir", "COPY Dockerfile /", "ENV A=b"] {
            let context = Context::new(&format!("FROM win:1\n{rest}\n"));
            let built = case.docker(["build"]).arg(context.path()).env("DOCKER_BUILDKIT", "0").run();
            built.fails(1, OTHER_SYSTEM);
        }
    });
}

/// What an image asks for by its labels, where nobody has asked for a wall and
/// where somebody has.
#[test]
fn labels_of_images() {
    once(|case| {
        let labelled = |tag: &str, label: &str, value: &str| {
            let image = busybox().tagged(tag).with("Labels", json!({ label: value }));
            case.engine.load(&image);
        };
        labelled("thick:1", "hako.isolation.minimum", "hyperv");
        let made = case.docker(["create", "--name", "thick", "--network=none", "thick:1"]).run();
        assert_eq!(made.code, 0, "{made}");
        assert!(
            made.err().contains("WARNING: hyperv is chosen: the image asks for the hyperv wall at least"),
            "{made}"
        );
        assert_eq!(case.inspect("thick", "{{.HostConfig.Isolation}}"), "hyperv");
        let refused = case.walled("create", &["thick:1"]).run();
        refused.fails(1, "the image asks for the hyperv wall at least (label hako.isolation.minimum), not process");
        assert!(refused.err().contains("use --isolation=hyperv"), "{refused}");

        labelled("old:1", "hako.kernel.minimum", "3.2");
        let _ = case.docker(["create", "--name", "old", "--network=none", "old:1"]).text();
        assert_eq!(case.inspect("old", "{{.HostConfig.Isolation}}"), "process");
        let _ = case.docker(["create", "--name", "old-guest", "--isolation=hyperv", "--network=none", "old:1"]).text();
        labelled("new:1", "hako.kernel.minimum", "99.1");
        let refused = case.walled("create", &["new:1"]).run();
        refused
            .fails(1, "the image asks for kernel 99.1 or newer (label hako.kernel.minimum), and this host's kernel is");
        // Neither has one, and the guest's is known for what it is.
        let refused = case.docker(["create", "--network=none", "new:1"]).run();
        refused.fails(
            1,
            "the image asks for kernel 99.1 or newer (label hako.kernel.minimum), and the newest guest kernel is 6.",
        );
        let _ = case.docker(["rm", "thick", "old", "old-guest"]).text();
    });
}

/// An index or a manifest asks by annotations as an image by labels.
#[test]
fn annotations_of_indexes() {
    once(|case| {
        let registry = Registry::start();
        let (image, mut platform) = linux();
        // The harness puts these beside the platform.
        platform["annotations"] = json!({ "hako.isolation.minimum": "hyperv" });
        let _ = registry.push_index(&[(image, platform)], "asks", "1", false);
        let name = registry.reference("asks:1");
        let _ = case.docker(["pull", &name]).text();
        let _ = case.docker(["create", "--name", "asks", "--network=none", &name]).run();
        assert_eq!(case.inspect("asks", "{{.HostConfig.Isolation}}"), "hyperv");
        let _ = case.docker(["rm", "asks"]).text();
    });
}

/// Fields of `HostConfig` that are Windows', as dockerd takes them on Linux.
#[test]
fn fields_of_windows() {
    once(|case| {
        let create = |host: Value| {
            let body = json!({ "Image": "busybox", "HostConfig": host });
            case.engine.http("POST", "/v1.41/containers/create", Some(&body))
        };
        // moby's words for the one; it says nothing of the other.
        let percent = "linux does not support CPU percent. Percent discarded.";
        let count = "CpuCount is a limit of Windows containers, and has no effect on this host";
        for (field, value, warning, shown) in [("CpuCount", 2, count, "2"), ("CpuPercent", 50, percent, "0")] {
            let made = create(json!({ field: value, "NetworkMode": "none" }));
            assert!(made.status == 201 && made.json()["Warnings"] == json!([warning]), "{}", made.text());
            let id = made.json()["Id"].as_str().unwrap().to_owned();
            assert_eq!(case.inspect(&id, &format!("{{{{.HostConfig.{field}}}}}")), shown);
            let _ = case.docker(["rm", &id]).text();
        }
        for (field, what) in [("IOMaximumIOps", "IOPs"), ("IOMaximumBandwidth", "bandwidth")] {
            let why = format!("invalid option: QoS maximum {what} configuration is not supported on linux");
            let refused = create(json!({ field: 100 }));
            assert_eq!((refused.status, refused.message()), (400, why), "{field}");
            assert_eq!(create(json!({ field: -1 })).status, 400, "{field}");
        }
        let refused = create(json!({ "SecurityOpt": ["credentialspec=file://spec.json"] }));
        assert_eq!(refused.status, 400);
        assert_eq!(refused.message(), "invalid --security-opt 2: \"credentialspec=file://spec.json\"");
        for bad in [json!([-1, 2]), json!(["a", "b"]), json!("80x25")] {
            assert_eq!(create(json!({ "ConsoleSize": bad })).status, 400, "{bad}");
        }
        let made = create(json!({ "ConsoleSize": [40, 120], "NetworkMode": "none" }));
        assert_eq!(made.status, 201, "{}", made.text());
        let id = made.json()["Id"].as_str().unwrap().to_owned();
        assert_eq!(case.inspect(&id, "{{json .HostConfig.ConsoleSize}}"), "[40,120]");
        let _ = case.docker(["rm", &id]).text();
    });
}

/// A request with an image that is not there and something else that is wrong is
/// told of the latter: "not found" has clients pull.
#[test]
fn what_is_wrong_is_said_before_a_pull() {
    once(|case| {
        let body = json!({ "Image": "no-such-image", "HostConfig": { "OomScoreAdj": 5000 } });
        let refused = case.engine.http("POST", "/v1.41/containers/create", Some(&body));
        assert!(refused.status == 400 && refused.message().contains("oom score"), "{}", refused.text());
        let body = json!({ "Image": "no-such-image" });
        assert_eq!(case.engine.http("POST", "/v1.41/containers/create", Some(&body)).status, 404);
        let _ = case.run(&["busybox", "true"]).deadline(Duration::from_secs(60)).text();
    });
}
