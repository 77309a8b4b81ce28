//! Log drivers: rotation, compression, attributes, and logs that are read
//! while all of that happens.

use hako_tests::{Case, Engine, Options, Wall, both_walls, busybox, wait_until, with_wall};
use nix::sys::signal::Signal;
use std::{fs, path::PathBuf, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

fn numbers(text: &str) -> Vec<u32> {
    text.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{line:?} is no number"))).collect()
}

/// Names and sizes of the container's log files.
fn files(case: &Case, name: &str, below: &str) -> Vec<(String, u64)> {
    let dir: PathBuf = case.engine.data_root().join("containers").join(case.inspect(name, "{{.Id}}")).join(below);
    let mut found: Vec<(String, u64)> = fs::read_dir(&dir)
        .unwrap_or_else(|err| panic!("{}: {err}", dir.display()))
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
        .filter(|(name, _)| name.contains(".log"))
        .collect();
    found.sort();
    found
}

both_walls! {
    /// Files stay within their size and number; what is left is the newest,
    /// without a gap, and tail, since and until count over all of them.
    fn rotation(case) {
        if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
            return;
        }
        let flags = ["--name", "box", "--log-opt", "max-size=20k", "--log-opt", "max-file=3", "busybox", "seq", "1", "3000"];
        let seen = case.walled("run", &flags).text();
        assert_eq!(numbers(&seen), (1..=3000).collect::<Vec<_>>());
        let files = files(case, "box", "");
        assert_eq!(files.len(), 3, "{files:?}");
        assert!(files.iter().all(|(_, size)| *size < 20_000 + 200), "{files:?}");
        let logged = numbers(&case.docker(["logs", "box"]).text());
        let first = logged[0];
        assert!((1500..2900).contains(&first), "the oldest lines have gone: {first}");
        assert_eq!(logged, (first..=3000).collect::<Vec<_>>());
        for count in [1, 200, 400, 3001 - first] {
            let tail = numbers(&case.docker(["logs", "--tail", &count.to_string(), "box"]).text());
            assert_eq!(tail, (3000 - count + 1..=3000).collect::<Vec<_>>());
        }
        let stamped = case.docker(["logs", "-t", "box"]).text();
        let stamp = stamped.lines().nth(20).unwrap().split(' ').next().unwrap().to_owned();
        let since = numbers(&case.docker(["logs", "--since", &stamp, "box"]).text());
        assert!(since.len() <= logged.len() && since.last() == Some(&3000), "{} of {}", since.len(), logged.len());
        assert_eq!(case.inspect("box", "{{.HostConfig.LogConfig.Type}} {{index .HostConfig.LogConfig.Config \"max-size\"}}"), "json-file 20k");
        let _ = case.docker(["rm", "box"]).text();
    }

    fn compressed(case) {
        if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
            return;
        }
        let opts = ["max-size=20k", "max-file=4", "compress=true"].map(|opt| format!("--log-opt={opt}"));
        let flags: Vec<&str> = opts.iter().map(String::as_str).chain(["--name", "box", "busybox", "seq", "1", "3000"]).collect();
        let _ = case.walled("run", &flags).text();
        wait_until(MINUTE, "the last file to be compressed", || {
            let files = files(case, "box", "");
            files.len() == 4 && files.iter().filter(|(name, _)| name.ends_with(".gz")).count() == 3
        });
        let files = files(case, "box", "");
        assert!(files.iter().filter(|(name, _)| name.ends_with(".gz")).all(|(_, size)| *size < 10_000), "{files:?}");
        let logged = numbers(&case.docker(["logs", "box"]).text());
        let first = logged[0];
        assert_eq!(logged, (first..=3000).collect::<Vec<_>>());
        assert!(logged.len() > 700, "{}", logged.len());
        for count in [100, 300, 500, 700, 3001 - first] {
            let tail = numbers(&case.docker(["logs", "--tail", &count.to_string(), "box"]).text());
            assert_eq!(tail, (3001 - count..=3000).collect::<Vec<_>>());
        }
    }

    /// A follower sees every line once, however often the file is rotated and
    /// compressed meanwhile.
    fn follow_over_rotations(case) {
        if hako_tests::not_on_reference("dockerd 20.10 loses lines where a file is rotated") {
            return;
        }
        let opts = ["max-size=10k", "max-file=20", "compress=true"].map(|opt| format!("--log-opt={opt}"));
        let script = "i=0; while [ $i -lt 1500 ]; do i=$((i+1)); echo $i; [ $((i % 50)) = 0 ] && sleep 0.05; done; true";
        let flags: Vec<&str> = opts.iter().map(String::as_str).chain(["busybox", "sh", "-c", script]).collect();
        case.daemon("box", &flags);
        let followers: Vec<_> = (0..3).map(|_| case.docker(["logs", "-f", "box"]).start()).collect();
        for follower in followers {
            assert_eq!(numbers(&follower.end().ok()), (1..=1500).collect::<Vec<_>>());
        }
        assert_eq!(numbers(&case.docker(["logs", "box"]).text()), (1..=1500).collect::<Vec<_>>());
        let rotated = Engine::is_reference() || files(case, "box", "").len() > 5;
        assert!(rotated);
    }

    /// The driver `local` has Docker's defaults and no path that is shown.
    fn local(case) {
        if hako_tests::not_on_reference("dockerd's driver takes no tag") {
            return;
        }
        let script = "echo out; echo err >&2";
        let flags = ["--name", "box", "--log-driver", "local", "--log-opt", "tag=x", "busybox", "sh", "-c", script];
        let _ = case.walled("run", &flags).run();
        let logs = case.docker(["logs", "box"]).run();
        assert_eq!((logs.ok().as_str(), logs.err().as_str()), ("out", "err"));
        assert_eq!(case.inspect("box", "{{.LogPath}}|{{.HostConfig.LogConfig.Type}}"), "|local");
        if !Engine::is_reference() {
            assert_eq!(files(case, "box", "local-logs").len(), 1);
        }
        // Started again it goes on in the same log.
        let _ = case.docker(["start", "-a", "box"]).run();
        assert_eq!(case.docker(["logs", "box"]).run().ok(), "out\nout");
    }

    /// Labels, variables and a tag are in every record and in `--details`.
    fn attributes(case) {
        let opts = ["labels=team,absent", "labels-regex=^com\\.", "env=COLOUR", "env-regex=^X", "tag={{upper .Name}}/{{truncate .ImageName 4}}"];
        let opts = opts.map(|opt| format!("--log-opt={opt}"));
        let rest = [
            "--name", "box", "--label", "team=a b", "--label", "com.x=1", "--label", "other=2", "-e", "COLOUR=red",
            "-e", "XY=3", "-e", "Y=4", "busybox", "echo", "hello",
        ];
        let flags: Vec<&str> = opts.iter().map(String::as_str).chain(rest).collect();
        let _ = case.walled("run", &flags).text();
        let details = case.docker(["logs", "--details", "box"]).text();
        assert_eq!(details, "COLOUR=red,XY=3,com.x=1,tag=BOX%2Fbusy,team=a+b hello");
        assert_eq!(case.docker(["logs", "box"]).text(), "hello");
        if !Engine::is_reference() {
            let record: serde_json::Value = serde_json::from_str(&fs::read_to_string(case.inspect("box", "{{.LogPath}}")).unwrap()).unwrap();
            assert_eq!(record["attrs"]["team"], "a b");
        }
    }

    /// Output that finds no room is lost, the container is not held up, and
    /// what is there is whole lines.
    fn non_blocking(case) {
        let flags = [
            "--name", "box", "--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=1m", "busybox", "seq", "1", "20000",
        ];
        let seen = case.walled("run", &flags).text();
        assert_eq!(numbers(&seen).len(), 20_000, "an attached client sees everything");
        let logged = numbers(&case.docker(["logs", "box"]).text());
        assert!(!logged.is_empty() && logged.windows(2).all(|pair| pair[0] < pair[1]));
    }

    fn refusals(case) {
        if hako_tests::not_on_reference("its texts are a newer dockerd's") {
            return;
        }
        let create = |flags: &[&str]| case.walled("create", flags).args(["busybox", "true"]).run();
        create(&["--log-driver", "carrier-pigeon"]).fails(1, "logger: no log driver named 'carrier-pigeon' is registered");
        create(&["--log-opt", "wings=2"]).fails(1, "unknown log opt 'wings' for json-file log driver");
        create(&["--log-opt", "mode=fast"]).fails(1, "logger: logging mode not supported: fast");
        create(&["--log-opt", "max-buffer-size=1m"])
            .fails(1, "logger: max-buffer-size option is only supported with 'mode=non-blocking'");
        let start = |flags: &[&str]| case.run(flags).args(["busybox", "true"]).run();
        let says = "failed to initialize logging driver: max-file cannot be less than 1";
        start(&["--log-opt", "max-file=0"]).fails(125, says);
        start(&["--log-opt", "compress=true"])
            .fails(125, "compress cannot be true when max-file is less than 2 or max-size is not set");
        start(&["--log-opt", "max-size=big"]).fails(125, "invalid size: 'big'");
    }

    /// A followed log ends with its container, also when that is removed.
    fn removed_while_followed(case) {
        case.idle("box");
        let follower = case.docker(["logs", "-f", "box"]).start();
        std::thread::sleep(Duration::from_millis(300));
        let _ = case.docker(["rm", "-f", "box"]).text();
        assert_eq!(follower.end().code, 0);
    }
}

/// The engine's own default, which a container's options add to.
#[test]
fn the_engines_default() {
    if hako_tests::not_on_reference("the engine itself is ended and started again") {
        return;
    }
    let args = ["--log-driver", "local", "--log-opt", "max-size=30k", "--log-opt", "max-file=2"].map(str::to_owned);
    let engine = Engine::with(Options { args: args.to_vec(), ..Options::default() });
    engine.load(&busybox());
    assert_eq!(engine.docker(["info", "--format", "{{.LoggingDriver}}"]).text(), "local");
    let drivers = engine.docker(["info", "--format", "{{.Plugins.Log}}"]).text();
    assert_eq!(drivers, "[json-file local none]");
    let show = |flags: &[&str]| {
        let id = engine.docker(["create"]).args(flags).args(["busybox"]).text();
        engine.docker(["inspect", "-f", "{{.HostConfig.LogConfig.Type}} {{.HostConfig.LogConfig.Config}}", &id]).text()
    };
    assert_eq!(show(&[]), "local map[max-file:2 max-size:30k]");
    assert_eq!(show(&["--log-opt", "max-file=7"]), "local map[max-file:7 max-size:30k]");
    assert_eq!(show(&["--log-driver", "json-file"]), "json-file map[]");
    engine.finish();
}

/// hakod killed while a log rotates and is followed: nothing is lost or twice.
#[test]
fn the_engine_killed_while_it_rotates() {
    if hako_tests::not_on_reference("the engine itself is ended and started again") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let opts = ["max-size=10k", "max-file=50", "compress=true"].map(|opt| format!("--log-opt={opt}"));
        let script =
            "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo $i; [ $((i % 20)) = 0 ] && sleep 0.05; done; true";
        let flags: Vec<&str> = opts.iter().map(String::as_str).chain(["busybox", "sh", "-c", script]).collect();
        case.daemon("box", &flags);
        let follower = case.docker(["logs", "-f", "box"]).start();
        follower.expect("300\n");
        case.engine.end_by(Signal::SIGKILL);
        let cut = follower.end();
        let seen = numbers(cut.out().rsplit_once('\n').map_or("", |(whole, _)| whole));
        assert_eq!(seen, (1..=u32::try_from(seen.len()).unwrap()).collect::<Vec<_>>());
        case.engine.launch();
        let again = case.docker(["logs", "-f", "box"]).start();
        assert_eq!(numbers(&again.end().ok()), (1..=2000).collect::<Vec<_>>());
    });
}

/// The shim killed in the middle of its work: what was written is read, whole
/// records only, and the next run goes on behind it.
#[test]
fn the_shim_killed_while_it_rotates() {
    if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let opts = ["max-size=10k", "max-file=3", "compress=true"].map(|opt| format!("--log-opt={opt}"));
        let script = "i=1000; while :; do i=$((i+1)); echo $i; done";
        let flags: Vec<&str> = opts.iter().map(String::as_str).chain(["busybox", "sh", "-c", script]).collect();
        case.daemon("box", &flags);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(400));
            let dir = case.engine.exec_root().join("shims").join(case.inspect("box", "{{.Id}}"));
            let state: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("state.json")).unwrap()).unwrap();
            let shim = i32::try_from(state["shim_pid"].as_i64().unwrap()).unwrap();
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), Signal::SIGKILL).unwrap();
            case.wait_for("box", "exited");
            let logged = numbers(&case.docker(["logs", "box"]).text());
            assert!(!logged.is_empty());
            let _ = case.docker(["start", "box"]).text();
        }
        wait_until(MINUTE, "the new run's first lines", || {
            !case.docker(["logs", "--tail", "1", "box"]).text().is_empty()
        });
    });
}
