//! `hako`, with Docker's flags.

use hako_tests::{Engine, Terminal, both_walls};

both_walls! {
    fn hello(case) {
        let hako = |args: &[&str]| case.engine.hako(["run", "--rm", &case.isolation()]).args(args);
        let said = hako(&["hello"]).text().to_lowercase();
        assert!(said.contains(&case.wall.to_string()), "{said}");
        let release = hako(&["busybox", "uname", "-r"]).text();
        assert!(said.contains(&release.to_lowercase()), "{said}");
    }

    fn the_main_verbs(case) {
        let hako = |args: &[&str]| case.engine.hako(args);
        let (wall, none) = (case.isolation(), "--network=none");
        let output = hako(&["run", "--rm", "-i", none, &wall, "busybox", "sh", "-c", "cat; echo err >&2; exit 5"]).stdin("in").run();
        assert_eq!((output.code, output.out().as_str(), output.err().as_str()), (5, "in", "err"));
        let id = hako(&["run", "-d", "--name", "box", &wall, "busybox", "sh", "-c", "echo logged; trap 'exit 0' TERM; while :; do sleep 0.1; done"]).text();
        assert_eq!(id.len(), 64);
        assert_eq!(hako(&["ps", "--format", "{{.Names}} {{.Image}}"]).text(), "box busybox");
        assert!(hako(&["ps"]).text().contains("box"));
        hako_tests::wait_until(std::time::Duration::from_secs(60), "the log", || hako(&["logs", "box"]).text() == "logged");
        assert_eq!(hako(&["exec", "box", "sh", "-c", "exit 8"]).run().code, 8);
        let inspected: serde_json::Value = serde_json::from_str(&hako(&["inspect", "box"]).text()).unwrap();
        assert_eq!(inspected[0]["HostConfig"]["Isolation"], case.wall.to_string());
        let _ = hako(&["stop", "box"]).text();
        let _ = hako(&["start", "box"]).text();
        let _ = hako(&["kill", "box"]).text();
        case.wait_for("box", "exited");
        assert_eq!(hako(&["rm", "box"]).text(), "box");
        assert_eq!(hako(&["ps", "-aq"]).text(), "");
        assert_eq!(hako(&["run", "--rm", &wall, "busybox", "no-such"]).run().code, 127);
        assert_eq!(hako(&["run", "--rm", &wall, "busybox", "/etc"]).run().code, 126);
        assert_eq!(hako(&["run", "--rm", &wall, "--no-such-flag", "busybox"]).run().code, 125);
        let missing = hako(&["logs", "nobody"]).run();
        missing.fails(1, "No such container: nobody");
    }

    fn on_a_terminal(case) {
        let mut terminal = Terminal::start(case.engine.hako(["run", "--rm", "-it", &case.isolation(), "busybox", "sh"]), 33, 99);
        terminal.expect("# ");
        for _ in 0..50 {
            terminal.send("stty size\r");
            std::thread::sleep(std::time::Duration::from_millis(100));
            if terminal.screen().contains("33 99") {
                break;
            }
        }
        terminal.expect("33 99");
        terminal.send("exit 3\r");
        assert_eq!(terminal.end(), 3);
    }
}

#[test]
fn images() {
    if Engine::is_reference() {
        return;
    }
    hako_tests::with_wall(hako_tests::Wall::Process, |case| {
        let hako = |args: &[&str]| case.engine.hako(args);
        let image = hako_tests::busybox().tagged("loaded:by-hako").with("Labels", serde_json::json!({"by": "hako"}));
        let said = hako(&["load"]).stdin(image.docker_archive()).text();
        assert!(said.contains("loaded:by-hako"), "{said}");
        let _ = hako(&["tag", "loaded:by-hako", "again:1"]).text();
        assert!(hako(&["images"]).text().contains("again"));
        let _ = hako(&["rmi", "loaded:by-hako", "again:1"]).text();
        assert!(!hako(&["images"]).text().contains("again"));
        let registry = hako_tests::Registry::start();
        let _ = registry.push(&image, "pulled", "v1", hako_tests::Compression::Gzip);
        let _ = hako(&["pull", &registry.reference("pulled:v1")]).text();
        assert!(hako(&["images"]).text().contains("pulled"));
        assert!(hako(&["version"]).text().contains("1.53"));
        assert!(!hako(&["info"]).text().is_empty());
        for shell in ["bash", "zsh", "fish"] {
            assert!(hako(&["completion", shell]).text().contains("hako"));
        }
    });
}
