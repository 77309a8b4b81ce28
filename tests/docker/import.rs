//! `docker import`.

use hako_tests::{Case, Compression, Engine, Layer, Wall, both_walls, busybox, with_wall};
use std::process::{Command, Stdio};

fn inspect(case: &Case, image: &str, format: &str) -> String {
    case.docker(["image", "inspect", "-f", format, image]).text()
}

/// Packed by a program of the host.
fn packed_by(program: &str, bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut child =
        Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it is installed");
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

both_walls! {
    /// An exported container comes back as an image with one layer.
    fn what_was_exported(case) {
        let _ = case.walled("run", &["--name", "box", "busybox", "sh", "-c", "echo kept > /kept; chown 1000:2000 /kept"]).text();
        let tree = case.docker(["export", "box"]).run();
        assert_eq!(tree.code, 0, "{tree}");
        let changes = ["CMD [\"sh\", \"-c\", \"cat /kept; stat -c %u:%g /kept; echo $FROM $PWD\"]", "ENV FROM=import", "WORKDIR /usr"];
        let mut import = case.docker(["import", "-m", "a message"]);
        for change in changes {
            import = import.args(["--change", change]);
        }
        let id = import.args(["-", "imported:v1"]).stdin(tree.stdout).text();
        assert_eq!(inspect(case, "imported:v1", "{{.Id}} {{.Comment}} {{.Os}}/{{.Architecture}} {{len .RootFS.Layers}}"), format!("{id} a message linux/amd64 1"));
        let history = case.docker(["history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "imported:v1"]).text();
        assert_eq!(history, "|a message");
        assert_eq!(case.run(&["imported:v1"]).text(), "kept\n1000:2000\nimport /usr");
        let _ = case.docker(["rm", "box"]).text();
        let _ = case.docker(["rmi", "imported:v1"]).text();
    }
}

/// The same tree gives the same layer, however it is packed.
#[test]
fn every_packing() {
    with_wall(Wall::Process, |case| {
        let tree = Layer::new().dir("bin/", 0o755).file("bin/x", 0o755, "x").finish();
        let packed = [
            tree.clone(),
            Compression::Gzip.pack(&tree),
            packed_by("bzip2", &tree),
            packed_by("xz", &tree),
            if Engine::is_reference() { tree.clone() } else { Compression::Zstd.pack(&tree) },
        ];
        let expected = format!("sha256:{}", hako_tests::sha256(&tree));
        for (number, bytes) in packed.into_iter().enumerate() {
            let name = format!("packed:{number}");
            let _ = case.docker(["import", "-", &name]).stdin(bytes).text();
            assert_eq!(
                inspect(case, &name, "{{index .RootFS.Layers 0}} {{.Comment}}"),
                format!("{expected} Imported from -")
            );
        }
        // Without a name it is an image still.
        let id = case.docker(["import", "-"]).stdin(tree).text();
        assert_eq!(inspect(case, &id, "{{json .RepoTags}}"), "[]");
        let _ = case.docker(["image", "prune", "-a", "-f"]).text();
    });
}

/// An archive of layers that only some can read: kept so that all can.
#[test]
fn a_layer_packed_by_xz() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let layer = busybox().layers()[0].clone();
        let image = busybox().tagged("xz:v1").with("Labels", serde_json::json!({"packed": "xz"}));
        let (config, name) = (image.config(), format!("{}.json", hako_tests::sha256(&image.config())));
        let manifest = serde_json::json!([{ "Config": name, "RepoTags": ["xz:v1"], "Layers": ["a/layer.tar"] }]);
        let _ = case.docker(["rmi", "-f", "busybox"]).text();
        let archive = Layer::new()
            .file("a/layer.tar", 0o644, packed_by("xz", &layer))
            .file(&name, 0o644, config)
            .file("manifest.json", 0o644, manifest.to_string())
            .finish();
        let _ = case.docker(["load"]).stdin(archive).text();
        assert_eq!(inspect(case, "xz:v1", "{{.Id}}"), image.id());
        assert_eq!(case.run(&["xz:v1", "echo", "runs"]).text(), "runs");
        let saved = case.docker(["save", "xz:v1"]).run();
        assert!(saved.stdout.len() > layer.len(), "the layer is saved as it is");
    });
}

#[test]
fn what_is_refused() {
    with_wall(Wall::Process, |case| {
        let tree = Layer::new().file("x", 0o644, "x").finish();
        case.docker(["import", "--change", "RUN rm", "-", "x"]).stdin(tree.clone()).run().fails(1, "run");
        case.docker(["import", "-", "UPPER"]).stdin(tree.clone()).run().fails(1, "must be lowercase");
        let escape = Layer::new().file("../../etc/x", 0o644, "x").finish();
        let output = case.docker(["import", "-", "hostile"]).stdin(escape).run();
        assert_ne!(output.code, 0, "{output}");
        if Engine::is_reference() {
            return;
        }
        case.docker(["import", "http://127.0.0.1:1/tree.tar", "x"])
            .run()
            .fails(1, "not supported: image import from a URL");
        case.docker(["import", "--platform", "windows/amd64", "-", "x"]).stdin(tree).run().fails(1, "windows");
        case.docker(["import", "-", "x"]).stdin(vec![7_u8; 4096]).run().fails(1, "checksum is wrong");
        assert_eq!(case.docker(["images", "-q", "x"]).text(), "");
        let count = |name: &str| std::fs::read_dir(case.engine.data_root().join(name)).unwrap().count();
        assert_eq!((count("tmp"), count("layers")), (0, 1), "what was refused has left something");
    });
}
