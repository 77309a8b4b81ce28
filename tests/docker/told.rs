//! What a container is told at its creation and carries with it: its id in a
//! file, annotations, labels, the platform.

use hako_tests::{Engine, Wall, both_walls, busybox, not_on_reference, with_wall};
use serde_json::{Value, json};
use std::fs;

const ALL: &str = "{{json .Config.Labels}}";

both_walls! {
    fn id_file(case) {
        let file = case.engine.path("home/id");
        let flag = format!("--cidfile={}", file.display());
        let id = case.walled("create", &[&flag, "--name", "box", "busybox", "true"]).text();
        assert_eq!(fs::read_to_string(&file).unwrap(), id);
        assert_eq!(case.inspect("box", "{{.HostConfig.ContainerIDFile}}"), file.display().to_string());
        // A file that is there is another container's.
        let output = case.run(&[&flag, "busybox", "true"]).run();
        output.fails(125, "container ID file found");
        fs::remove_file(&file).unwrap();
        let _ = case.run(&[&flag, "busybox", "true"]).text();
        assert_eq!(fs::read_to_string(&file).unwrap().len(), 64);
        // One that could not be created leaves no file.
        fs::remove_file(&file).unwrap();
        let output = case.run(&[&flag, "-m", "4m", "busybox", "true"]).run();
        output.fails(125, "Minimum memory limit allowed is 6MB");
        assert!(!file.exists());
    }

    fn annotations(case) {
        if not_on_reference("annotations are of API 1.43") || hako_tests::client_before(24, "it has no --annotation") {
            return;
        }
        let flags = ["--name", "box", "--annotation", "org.example.note=yes", "--annotation", "empty"];
        let _ = case.walled("run", &flags).args(["-d", "busybox", "sleep", "1000"]).text();
        let shown: Value = serde_json::from_str(&case.inspect("box", "{{json .HostConfig.Annotations}}")).unwrap();
        assert_eq!(shown, json!({"org.example.note": "yes", "empty": ""}));
        // The runtime gets them too.
        let id = case.inspect("box", "{{.Id}}");
        let spec = case.engine.exec_root().join("shims").join(id).join("bundle/config.json");
        let spec: Value = serde_json::from_slice(&fs::read(spec).unwrap()).unwrap();
        assert_eq!(spec["annotations"]["org.example.note"], "yes");
        // What the engine tells its runtime is not the user's to say.
        let output = case.walled("create", &["--annotation", "hako.devices=all", "busybox"]).run();
        output.fails(1, "invalid annotation hako.devices: hako.* is the engine's own");
        let body = json!({"Image": "busybox", "HostConfig": {"Annotations": {"": "x"}}});
        let answer = case.engine.http("POST", "/containers/create", Some(&body));
        assert_eq!((answer.status, answer.message().as_str()), (400, "invalid Annotations: the empty string is not permitted as an annotation key"));
    }

    /// The image's, a file's and the command line's: the later ones win.
    fn labels(case) {
        let image = busybox().tagged("labelled:latest").with("Labels", json!({"of": "image", "kept": "image", "odd key/x": "a=b"}));
        case.engine.load(&image);
        let file = case.engine.path("home/labels");
        fs::write(&file, "# not a label\nof=file\nfile=1\n").unwrap();
        let _ = case.walled("create", &["--name", "box", "--label-file"]).arg(&file)
            .args(["-l", "of=flag", "--label", "empty=", "labelled", "true"]).text();
        let labels: Value = serde_json::from_str(&case.inspect("box", ALL)).unwrap();
        let expected = json!({"of": "flag", "kept": "image", "odd key/x": "a=b", "file": "1", "empty": ""});
        assert_eq!(labels, expected);
        assert_eq!(case.docker(["ps", "-a", "--format", "{{.Label \"of\"}}"]).text(), "flag");
        let _ = case.walled("create", &["--name", "plain", "busybox"]).text();
        assert_eq!(case.inspect("plain", ALL), "{}");
        // They stay with what is made of it, and are those that a restart finds.
        let _ = case.docker(["start", "box"]).text();
        let _ = case.docker(["wait", "box"]).text();
        let again: Value = serde_json::from_str(&case.inspect("box", ALL)).unwrap();
        assert_eq!(again, expected);
        if !Engine::is_reference() {
            case.engine.end_by(nix::sys::signal::Signal::SIGTERM);
            case.engine.launch();
            let after: Value = serde_json::from_str(&case.inspect("box", ALL)).unwrap();
            assert_eq!(after, expected);
        }
    }
}

/// An image for another processor or system is none, and nothing is created.
#[test]
fn platform() {
    with_wall(Wall::Process, |case| {
        let native = match std::env::consts::ARCH {
            "x86_64" => "linux/amd64",
            "aarch64" => "linux/arm64",
            other => panic!("tests of an architecture without a name: {other}"),
        };
        let other = if native == "linux/amd64" { "linux/arm64" } else { "linux/amd64" };
        for fitting in [native, "linux"] {
            assert_eq!(case.run(&["--platform", fitting, "busybox", "echo", "ran"]).text(), "ran");
        }
        let create = |platform: &str| case.walled("create", &["--pull=never", "--platform", platform, "busybox"]).run();
        for wrong in [other, "windows/amd64"] {
            let output = create(wrong);
            assert_eq!(output.code, 1, "{output}");
            assert!(output.err().contains("image with reference busybox was found but"), "{output}");
            assert!(output.err().contains("match the specified platform"), "{output}");
        }
        let output = create("linux/amd64/v1/more");
        output.fails(1, "\"linux/amd64/v1/more\": cannot parse platform specifier");
        let output = create("no-such-thing");
        output.fails(1, "\"no-such-thing\": unknown operating system or architecture");
        assert_eq!(case.docker(["ps", "-aq"]).text(), "");
    });
}
