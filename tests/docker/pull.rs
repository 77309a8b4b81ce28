//! `docker pull` from Debian's registry.

use hako_tests::{Compression, Registry, Wall, both_walls, busybox, with_wall};

both_walls! {
    /// By tag and by digest, layers packed each way, and the pull that `run` does.
    fn pull_and_run(case) {
        let registry = Registry::start();
        for (tag, packed) in [("plain", Compression::Plain), ("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
            if packed == Compression::Zstd && hako_tests::Engine::is_reference() {
                continue;
            }
            let digest = registry.push(&busybox(), "some/box", tag, packed);
            let name = registry.reference(&format!("some/box:{tag}"));
            let said = case.docker(["pull", &name]).text();
            assert!(said.contains(&format!("Digest: {digest}")), "{said}");
            assert!(said.contains("Status: Downloaded newer image for") || said.contains("Image is up to date"), "{said}");
            assert_eq!(case.docker(["image", "inspect", "-f", "{{.Id}}", &name]).text(), busybox().id());
            let digests = case.docker(["image", "inspect", "-f", "{{json .RepoDigests}}", &name]).text();
            assert!(digests.contains(&format!("{}@{digest}", registry.reference("some/box"))), "{digests}");
            let again = case.docker(["pull", &name]).text();
            assert!(again.contains("Status: Image is up to date for"), "{again}");
            let by_digest = format!("{}@{digest}", registry.reference("some/box"));
            assert_eq!(case.run(&[&by_digest, "echo", "runs"]).text(), "runs");
            let _ = case.docker(["rmi", "-f", &name, &by_digest]).run();
        }
        let _ = registry.push(&busybox().with("Labels", serde_json::json!({"by": "run"})), "other", "v1", Compression::Gzip);
        let output = case.run(&[&registry.reference("other:v1"), "echo", "pulled"]).run();
        assert_eq!(output.ok(), "pulled");
        assert!(output.err().contains("Unable to find image"), "{output}");
    }
}

#[test]
fn what_is_not_there() {
    with_wall(Wall::Process, |case| {
        let registry = Registry::start();
        let missing = case.docker(["pull", &registry.reference("no/such:tag")]).run();
        missing.fails(1, "not found");
        let output = case.run(&[&registry.reference("no/such:tag"), "true"]).run();
        assert_eq!(output.code, 125, "{output}");
        let gone = registry.reference("some:tag");
        drop(registry);
        let refused = case.docker(["pull", &gone]).run();
        refused.fails(1, "connection refused");
    });
}
