//! `hako volume`, and the flags of `run` that are about volumes.

use hako_tests::{Wall, with_wall};
use std::fs;

#[test]
fn volumes() {
    with_wall(Wall::Process, |case| {
        let hako = |args: &[&str]| case.engine.hako(args);
        let run = |flags: &[&str], script: &str| {
            hako(&["run", "--rm", "--network=none", "--isolation=process"])
                .args(flags)
                .args(["busybox", "sh", "-c", script])
                .text()
        };
        assert_eq!(hako(&["volume", "create", "--label", "team=a", "data"]).text(), "data");
        let memory = ["volume", "create", "-d", "local", "-o", "type=tmpfs", "--opt", "device=tmpfs", "memory"];
        assert_eq!(hako(&memory).text(), "memory");
        assert_eq!(hako(&["volume", "create"]).text().len(), 64);
        assert_eq!(hako(&["volume", "ls", "-q", "-f", "name=^[dm]"]).text(), "data\nmemory");
        assert_eq!(hako(&["volume", "ls", "-f", "label=team"]).text(), "DRIVER    VOLUME NAME\nlocal     data");
        let row = hako(&["volume", "ls", "-f", "label=team", "--format", "{{.Name}} {{.Labels}} {{.Scope}}"]).text();
        assert_eq!(row, "data team=a local");
        assert_eq!(
            run(
                &["-v", "data:/x", "--tmpfs", "/t", "-v", "memory:/m"],
                "echo kept > /x/f; mount | grep -cE ' /(t|m) '"
            ),
            "2"
        );
        assert_eq!(
            run(
                &["--mount", "type=volume,src=data,dst=/y,readonly"],
                "cat /y/f; touch /y/g 2>/dev/null || echo refused"
            ),
            "kept\nrefused"
        );
        let place = hako(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]).text();
        assert_eq!(fs::read_to_string(format!("{place}/f")).unwrap(), "kept\n");
        let inspected: serde_json::Value = serde_json::from_str(&hako(&["inspect", "data"]).text()).unwrap();
        assert_eq!(inspected[0]["Labels"]["team"], "a");
        let _ = hako(&["create", "--name", "box", "-v", "data:/x", "--volume-driver", "local", "busybox"]).text();
        assert_eq!(run(&["--volumes-from", "box:ro"], "cat /x/f"), "kept");
        let df = hako(&["system", "df"]).text();
        let row = df.lines().find(|line| line.starts_with("Local Volumes")).unwrap();
        assert!(row.ends_with("5B") && row.contains(" 2 "), "{df}");
        hako(&["volume", "rm", "data"]).run().fails(1, "volume is in use");
        hako(&["volume", "rm", "nobody"]).run().fails(1, "no such volume");
        assert_eq!(hako(&["volume", "rm", "--force", "nobody"]).run().code, 0);
        hako(&["volume", "prune"]).run().fails(1, "use --force");
        let pruned = hako(&["volume", "prune", "-f"]).text();
        assert!(pruned.starts_with("Deleted Volumes:\n") && pruned.ends_with("Total reclaimed space: 0B"), "{pruned}");
        let _ = hako(&["rm", "-v", "box"]).text();
        let _ = hako(&["volume", "create"]).text();
        let pruned = hako(&["system", "prune", "--force", "--volumes"]).text();
        assert!(pruned.contains("Deleted Volumes:"), "{pruned}");
        assert_eq!(
            hako(&["volume", "prune", "--all", "--force", "--filter", "label=team"]).text(),
            "Deleted Volumes:\ndata\nTotal reclaimed space: 5B"
        );
        assert_eq!(hako(&["volume", "rm", "memory"]).text(), "memory");
    });
}
