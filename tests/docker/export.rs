//! `docker export`.

use hako_tests::both_walls;
use std::{collections::BTreeMap, io::Read, time::Duration};

fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(bytes);
    let mut all = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        all.insert(String::from_utf8(entry.path_bytes().into_owned()).unwrap(), data);
    }
    all
}

both_walls! {
    /// The root filesystem with what the container has changed, without what is
    /// mounted in it.
    fn without_mounts(case) {
        if hako_tests::not_on_reference("dockerd has mount points of its own in a layer") {
            return;
        }
        let script = "echo own > /own; rm /etc/group; echo hidden > /scratch/file; echo up; read end";
        case.daemon("box", &["-i", "--tmpfs", "/scratch", "busybox", "sh", "-c", script]);
        hako_tests::wait_until(Duration::from_secs(60), "the files", || case.docker(["logs", "box"]).text() == "up");
        let running = files(&case.docker(["export", "box"]).run().stdout);
        let _ = case.docker(["kill", "box"]).text();
        let ended = files(&case.docker(["export", "box"]).run().stdout);
        for all in [&running, &ended] {
            assert_eq!(all.get("own").map(Vec::as_slice), Some(&b"own\n"[..]), "{:?}", all.keys());
            assert!(all.contains_key("bin/busybox") && all.contains_key("etc/passwd") && all.contains_key("scratch/"));
            assert!(!all.contains_key("etc/group") && !all.contains_key("scratch/file"));
            assert!(!all.keys().any(|name| name.starts_with("proc/") && name != "proc/"), "{:?}", all.keys());
            assert!(!all.keys().any(|name| name.starts_with("dev/") && name != "dev/"), "{:?}", all.keys());
        }
        assert_eq!(running.keys().collect::<Vec<_>>(), ended.keys().collect::<Vec<_>>());
        let _ = case.walled("create", &["--name", "new", "busybox", "true"]).text();
        let new = files(&case.docker(["export", "new"]).run().stdout);
        assert!(new.contains_key("etc/group") && !new.contains_key("own"));
        case.docker(["export", "nobody"]).run().fails(1, "No such container: nobody");
    }
}
