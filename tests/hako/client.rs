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

    fn files_and_figures(case) {
        let hako = |args: &[&str]| case.engine.hako(args);
        let folder = tempfile::tempdir().unwrap();
        let (wall, local) = (case.isolation(), folder.path());
        let at = |name: &str| local.join(name).to_str().unwrap().to_owned();
        let _ = hako(&["run", "-d", "--name", "box", "--network=none", "-m", "128m", &wall, "busybox", "sleep", "1000"]).text();
        std::fs::create_dir(local.join("d")).unwrap();
        std::fs::write(local.join("d/file"), "content").unwrap();
        // A folder that is not there takes the name; one that is takes the folder.
        let _ = hako(&["cp", &at("d"), "box:/new"]).text();
        let _ = hako(&["cp", &at("d"), "box:/new"]).text();
        assert_eq!(case.exec("box", "cat /new/file /new/d/file").ok(), "contentcontent");
        let _ = hako(&["cp", "box:/new/file", &at("renamed")]).text();
        assert_eq!(std::fs::read_to_string(local.join("renamed")).unwrap(), "content");
        let _ = hako(&["cp", "box:/new", &local.to_string_lossy()]).text();
        assert_eq!(std::fs::read_to_string(local.join("new/d/file")).unwrap(), "content");
        let _ = hako(&["cp", "box:/new/.", &at("content")]).text();
        assert_eq!(std::fs::read_to_string(local.join("content/file")).unwrap(), "content");
        hako(&["cp", "box:/nothing", &at("x")]).run().fails(1, "Could not find the file /nothing in container box");
        hako(&["cp", &at("nothing"), "box:/"]).run().fails(1, "o such file or directory");
        let archive = hako(&["cp", "box:/new/file", "-"]).run();
        assert!(archive.stdout.windows(7).any(|bytes| bytes == b"content"));
        let _ = hako(&["cp", "-", "box:/tmp"]).stdin(archive.stdout).text();
        assert_eq!(case.exec("box", "cat /tmp/file").ok(), "content");
        let changes = hako(&["diff", "box"]).text();
        assert!(changes.lines().any(|line| line == "A /new/file") && changes.contains("C /tmp"), "{changes}");
        let figures = hako(&["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", "box"]).text();
        assert!(figures.starts_with("box ") && figures.contains(" / 128MiB"), "{figures}");
        assert_eq!(hako(&["update", "--pids-limit", "77", "box"]).text(), "box");
        assert_eq!(case.inspect("box", "{{.HostConfig.PidsLimit}}"), "77");
        let id = hako(&["commit", "-m", "why", "-c", "ENV A=b", "box", "made:one"]).text();
        assert_eq!(case.docker(["image", "inspect", "-f", "{{.Id}}", "made:one"]).text(), id);
        assert_eq!(hako(&["run", "--rm", "--network=none", &wall, "made:one", "sh", "-c", "cat /new/file; echo $A"]).text(), "contentb");
        let _ = hako(&["export", "-o", &at("all.tar"), "box"]).text();
        let mut exported = tar::Archive::new(std::fs::File::open(local.join("all.tar")).unwrap());
        let names: Vec<String> = exported.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert!(names.iter().any(|name| name == "new/d/file"), "{names:?}");
        let _ = hako(&["rm", "-f", "box"]).text();
        let _ = hako(&["rmi", "made:one"]).text();
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
