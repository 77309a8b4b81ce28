//! `docker system df`.

use hako_tests::{Case, Wall, both_walls, with_wall};
use serde_json::{Value, json};

fn df(case: &Case, version: &str, query: &str) -> Value {
    let answer = case.engine.http("GET", &format!("/v{version}/system/df{query}"), None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

both_walls! {
    fn what_is_on_the_disk(case) {
        if hako_tests::not_on_reference("all tests share the reference") {
            return;
        }
        let table = || {
            let text = case.docker(["system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}"]).text();
            text.lines().map(|line| line.split('|').map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        let before = table();
        assert_eq!(before.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["Images", "Containers", "Local Volumes", "Build Cache"]);
        assert_eq!(before[1][..3], ["Containers", "0", "0"]);
        case.daemon("box", &["busybox", "sh", "-c", "dd if=/dev/zero of=/written bs=1M count=3 2>/dev/null; sync; sleep 1000"]);
        let _ = case.walled("create", &["--name", "idle", "busybox"]).text();
        assert_eq!(case.exec("box", "while ! [ -s /written ]; do sleep 0.1; done; sleep 1; sync").code, 0);
        let after = table();
        assert_eq!(after[0][1..3], ["1", "1"], "{after:?}");
        assert_eq!(after[1][1..3], ["2", "1"], "{after:?}");
        let full = df(case, "1.41", "");
        let containers = full["Containers"].as_array().unwrap();
        let size = |name: &str| {
            let found = containers.iter().find(|c| c["Names"][0] == format!("/{name}")).unwrap();
            (found["SizeRw"].as_u64().unwrap_or(0), found["SizeRootFs"].as_u64().unwrap_or(0))
        };
        let (written, whole) = size("box");
        assert!((3 << 20..200 << 20).contains(&written), "{written}");
        assert!(whole > written);
        assert!(size("idle").0 < 1 << 20);
        let image = &full["Images"][0];
        assert_eq!(image["Containers"], 2);
        assert_eq!(image["SharedSize"], 0);
        assert_eq!(full["LayersSize"], image["Size"]);
        // The verbose table reads them all.
        let verbose = case.docker(["system", "df", "-v"]).text();
        assert!(verbose.contains("busybox") && verbose.contains("box") && verbose.contains("Local Volumes space usage"), "{verbose}");
    }
}

/// The answer's shape by version, and `type`.
#[test]
fn shapes() {
    if hako_tests::not_on_reference("it is of a newer API than the reference's") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let old = df(case, "1.41", "?type=image");
        assert_eq!((&old["Containers"], &old["Volumes"], &old["BuildCache"]), (&json!([]), &json!([]), &json!([])));
        assert_eq!(old["BuilderSize"], 0);
        let chosen = df(case, "1.44", "?type=container&type=volume");
        assert_eq!((&chosen["Containers"], &chosen["Volumes"]), (&json!([]), &json!([])));
        assert_eq!((&chosen["Images"], &chosen["LayersSize"]), (&Value::Null, &json!(0)));
        assert!(chosen.get("ImageUsage").is_none());
        let both = df(case, "1.52", "");
        assert_eq!(both["ImageUsage"]["TotalCount"], 1);
        assert_eq!(both["ImageUsage"]["TotalSize"], both["LayersSize"]);
        assert_eq!(both["Images"].as_array().map(Vec::len), Some(1));
        let verbose = df(case, "1.52", "?verbose=1");
        assert!(verbose.get("Images").is_none());
        assert_eq!(verbose["ImageUsage"]["Items"].as_array().map(Vec::len), Some(1));
        assert!(df(case, "1.52", "?verbose=0")["ImageUsage"].get("Items").is_none());
        let bad = case.engine.http("GET", "/v1.44/system/df?type=moon", None);
        assert_eq!((bad.status, bad.message().as_str()), (400, "unknown object type: moon"));
        assert_eq!(df(case, "1.51", "")["Images"][0]["Containers"], 0);
    });
}
