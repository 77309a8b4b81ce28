//! Images: list, inspect, history, tag, remove.

use hako_tests::{Case, Wall, busybox, with_wall};

/// One wall is enough: images know no walls.
fn once(body: fn(&Case)) {
    with_wall(Wall::Process, body);
}

#[test]
fn list_and_inspect() {
    once(|case| {
        let row =
            case.docker(["images", "--no-trunc", "--format", "{{.Repository}} {{.Tag}} {{.ID}}", "busybox"]).text();
        assert_eq!(row, format!("busybox latest {}", busybox().id()));
        let inspect = |format: &str| case.docker(["image", "inspect", "--format", format, "busybox"]).text();
        assert_eq!(inspect("{{.Os}}/{{.Architecture}} {{.Created}}"), "linux/amd64 2024-01-02T03:04:05Z");
        assert_eq!(inspect("{{json .Config.Cmd}}"), r#"["sh"]"#);
        assert_eq!(inspect("{{len .RootFS.Layers}}"), "1");
        assert!(inspect("{{.Size}}").parse::<u64>().unwrap() > 1_000_000);
    });
}

#[test]
fn history() {
    once(|case| {
        let text = case.docker(["history", "--no-trunc", "--format", "{{.CreatedBy}}", "busybox"]).text();
        assert_eq!(text, "the tests' harness");
    });
}

#[test]
fn tag_and_remove() {
    once(|case| {
        let image = busybox().with("Labels", serde_json::json!({"only": "here"})).tagged("tagged:one");
        case.engine.load(&image);
        let _ = case.docker(["tag", "tagged:one", "other/name:two"]).text();
        let id = |name: &str| case.docker(["image", "inspect", "-f", "{{.Id}}", name]).run();
        assert_eq!(id("other/name:two").ok(), image.id());
        let text = case.docker(["rmi", "tagged:one"]).text();
        assert_eq!(text, "Untagged: tagged:one");
        assert_ne!(id("tagged:one").code, 0);
        assert_eq!(id("other/name:two").ok(), image.id());
        let text = case.docker(["rmi", "other/name:two"]).text();
        assert!(text.contains(&format!("Deleted: {}", image.id())), "{text}");
        assert_ne!(id(&image.id()).code, 0);
        // The other image has the same layer and still runs.
        assert_eq!(case.sh(&[], "echo runs").text(), "runs");
        case.docker(["rmi", "no-such-image"]).run().fails(1, "No such image: no-such-image");
    });
}

#[test]
fn an_image_in_use_stays() {
    once(|case| {
        let image = busybox().with("Labels", serde_json::json!({"in": "use"})).tagged("used:latest");
        case.engine.load(&image);
        let _ = case.walled("create", &["--name", "user", "used"]).text();
        case.docker(["rmi", "used"]).run().fails(1, "conflict: unable to remove repository reference \"used\"");
        let _ = case.docker(["rm", "user"]).text();
        let _ = case.docker(["rmi", "used"]).text();
    });
}

#[test]
fn info_and_version() {
    once(|case| {
        let counts = case.docker(["info", "--format", "{{.Containers}} {{.ContainersRunning}} {{.Images}}"]).text();
        case.idle("box");
        let more = case.docker(["info", "--format", "{{.Containers}} {{.ContainersRunning}} {{.Images}}"]).text();
        assert_ne!(counts, more);
        let version =
            case.docker(["version", "--format", "{{.Server.Os}}/{{.Server.Arch}} {{.Server.KernelVersion}}"]).text();
        let kernel = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
        assert_eq!(version, format!("linux/amd64 {kernel}"));
        let _ = case.docker(["rm", "-f", "box"]).text();
        if hako_tests::not_on_reference("it is of Hako's own figures") {
            return;
        }
        // Which accelerator, and why: one line, and a warning if it is slow.
        let info = case.docker(["info"]).run();
        let line = info.ok().lines().find(|line| line.contains("VM accelerator:")).map(str::to_owned).unwrap();
        assert!(line.contains("kvm") || line.contains("tcg") || line.contains("prob"), "{line}");
        if line.contains(": tcg") {
            assert!(format!("{}{}", info.out(), info.err()).contains("emulated"), "{info}");
        }
    });
}
