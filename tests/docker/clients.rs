//! The oldest and the newest client that users have.

use hako_tests::{Terminal, Tool, both_walls};

both_walls! {
    /// What most use, with the client of Debian 12 (20.10, API 1.41).
    fn debian_12s_client(case) {
        case.engine.use_client(Tool::DebianDocker);
        let version = case.docker(["version", "--format", "{{.Client.Version}} {{.Client.APIVersion}}"]).text();
        assert!(version.starts_with("20.10.") && version.ends_with(" 1.41"), "{version}");
        let output = case.sh(&["-i"], "cat; echo err >&2; exit 3").stdin("in").run();
        assert_eq!((output.code, output.out().as_str(), output.err().as_str()), (3, "in", "err"));
        case.idle("box");
        assert_eq!(case.exec("box", "echo exec").ok(), "exec");
        let table = case.docker(["ps", "--format", "{{.Names}} {{.Image}} {{.Command}}"]).text();
        assert!(table.starts_with("box busybox \"sh -c 'trap "), "{table}");
        let mut terminal = Terminal::start(case.docker(["exec", "-it", "box", "sh"]), 30, 100);
        terminal.expect("# ");
        terminal.send("stty size; exit 4\r");
        assert_eq!(terminal.end(), 4);
        let _ = case.docker(["logs", "box"]).text();
        let _ = case.docker(["inspect", "box"]).text();
        let _ = case.docker(["images"]).text();
        let _ = case.docker(["info"]).text();
        let _ = case.docker(["stop", "-t", "10", "box"]).text();
        assert_eq!(case.docker(["wait", "box"]).text(), "0");
        let _ = case.docker(["rm", "box"]).text();
        case.run(&["busybox", "no-such-command"]).run().fails(127, "executable file not found in $PATH");
    }
}
