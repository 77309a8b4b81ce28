//! `docker cp` into and out of containers that run, are paused, have ended, or never ran.

use hako_tests::{Case, Compression, Layer, Wall, both_walls, sha256, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::{Duration, Instant},
};
use tar::EntryType;

const MINUTE: Duration = Duration::from_secs(60);

fn cp(case: &Case, from: impl AsRef<str>, to: impl AsRef<str>) -> hako_tests::Output {
    case.docker(["cp", from.as_ref(), to.as_ref()]).run()
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_string_lossy().into_owned()
}

/// The names of a tar's entries, and what else matters of each.
fn entries(bytes: &[u8]) -> Vec<(String, EntryType, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let mut all = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        all.push((name, entry.header().entry_type(), data));
    }
    all
}

fn names(bytes: &[u8]) -> Vec<String> {
    entries(bytes).into_iter().map(|(name, _, _)| name).collect()
}

/// Bytes that no compression shortens, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A container that has ended, with files of its own.
fn ended(case: &Case, name: &str, flags: &[&str], script: &str) {
    let _ = case.walled("run", &["--name", name]).args(flags).args(["busybox", "sh", "-c", script]).text();
}

/// The text for a path that is not there, which an older client words itself.
fn nothing_there(output: &hako_tests::Output, text: &str) {
    let older = hako_tests::client_before(23, "it has words of its own for a path that is not there");
    output.fails(1, if older { "No such container:path" } else { text });
}

both_walls! {
    /// In and out of one container in each of its states; what was copied in
    /// before the first start is there when it runs.
    fn in_every_state(case) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("in"), "from the host").unwrap();
        let file = path(dir.path(), "in");
        let there_and_back = |state: &str| {
            assert_eq!(case.inspect("box", "{{.State.Status}}"), state);
            let (to, back) = (format!("box:/root/{state}"), path(dir.path(), state));
            let _ = cp(case, &file, &to).ok();
            let _ = cp(case, &to, &back).ok();
            assert_eq!(fs::read_to_string(&back).unwrap(), "from the host", "{state}");
        };
        let script = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
        let _ = case.walled("create", &["--name", "box", "busybox", "sh", "-c", script]).text();
        there_and_back("created");
        let _ = case.docker(["start", "box"]).text();
        assert_eq!(case.exec("box", "cat /root/created").ok(), "from the host");
        there_and_back("running");
        let _ = case.docker(["pause", "box"]).text();
        there_and_back("paused");
        let _ = case.docker(["unpause", "box"]).text();
        let _ = case.docker(["stop", "box"]).text();
        there_and_back("exited");
        let _ = case.docker(["start", "box"]).text();
        assert!(case.exec("box", "cat /root/running /root/exited").ok().ends_with("from the host"));
    }

    /// Names, folders, modes and owners come out as they are, and folders merge.
    fn folders(case) {
        let script = "mkdir -p /a/b/c; echo one > /a/one; echo two > /a/b/two; chmod 640 /a/one; \
                      chown 1000:2000 /a/b/two; ln -s one /a/link; ln /a/one /a/twin; mkfifo /a/fifo; \
                      touch -d '2001-02-03 04:05:06' /a/b/two; chmod 4755 /a/b/c; sleep 1000";
        case.daemon("box", &["busybox", "sh", "-c", script]);
        wait_until(MINUTE, "the tree", || case.exec("box", "stat -c %a /a/b/c").out() == "4755");
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let _ = cp(case, "box:/a", path(dir.path(), "copy")).ok();
        assert_eq!(fs::read_to_string(at("copy/one")).unwrap(), "one\n");
        assert_eq!(fs::metadata(at("copy/one")).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::metadata(at("copy/b/c")).unwrap().permissions().mode() & 0o7777, 0o4755);
        assert_eq!(fs::metadata(at("copy/b/two")).unwrap().mtime(), 981_173_106);
        assert_eq!(fs::read_link(at("copy/link")).unwrap(), Path::new("one"));
        assert_eq!(fs::metadata(at("copy/one")).unwrap().ino(), fs::metadata(at("copy/twin")).unwrap().ino());
        // The folder's content into a folder that is there.
        fs::create_dir(at("there")).unwrap();
        let _ = cp(case, "box:/a/.", path(dir.path(), "there")).ok();
        assert!(at("there/b/two").exists() && !at("there/a").exists());
        let _ = cp(case, "box:/a", path(dir.path(), "there")).ok();
        assert!(at("there/a/b/two").exists());
        // And in: beside what is there.
        fs::write(at("copy/new"), "new").unwrap();
        fs::remove_file(at("copy/fifo")).unwrap();
        let _ = cp(case, path(dir.path(), "copy/."), "box:/a").ok();
        let _ = cp(case, path(dir.path(), "copy"), "box:/fresh").ok();
        let listed = case.exec("box", "cat /a/new /fresh/b/two; stat -c '%u:%g %a' /fresh/one; readlink /fresh/link").ok();
        assert_eq!(listed, format!("newtwo\n{}:{} 640\none", nix::unistd::getuid(), nix::unistd::getgid()));
    }

    /// A tar to standard output, and one from standard input.
    fn streams(case) {
        if hako_tests::not_on_reference("dockerd before 23 reads no zstd") {
            return;
        }
        case.daemon("box", &["busybox", "sh", "-c", "mkdir /d; echo x > /d/x; ln -s /d /l; echo up; sleep 1000"]);
        wait_until(MINUTE, "the files", || case.docker(["logs", "box"]).text() == "up");
        let out = |from: &str| case.docker(["cp", from, "-"]).run().stdout;
        assert_eq!(names(&out("box:/d")), ["d/", "d/x"]);
        assert_eq!(names(&out("box:/d/.")), ["./", "./x"]);
        assert_eq!(names(&out("box:/d/x")), ["x"]);
        assert_eq!(entries(&out("box:/l"))[0].1, EntryType::Symlink);
        assert_eq!(names(&out("box:/l/")), ["l/", "l/x"]);
        let root = names(&out("box:/"));
        assert!(root.contains(&"/d/x".to_owned()) && root.contains(&"/proc/".to_owned()), "{root:?}");
        assert!(!root.iter().any(|name| name.starts_with("/proc/s") || name.starts_with("/dev/n")), "{root:?}");
        // As Docker takes them: compressed, too.
        let layer = Layer::new().dir("sub/", 0o750).file("sub/file", 0o600, "data").link("sub/link", "/etc").finish();
        for (number, compression) in [Compression::Plain, Compression::Gzip, Compression::Zstd].into_iter().enumerate() {
            let to = format!("/to{number}");
            let _ = case.exec("box", &format!("mkdir {to}")).ok();
            let sent = case.docker(["cp", "-", &format!("box:{to}")]).stdin(compression.pack(&layer)).run();
            let _ = sent.ok();
            let seen = case.exec("box", &format!("cat {to}/sub/file; stat -c ' %a' {to}/sub; readlink {to}/sub/link")).ok();
            assert_eq!(seen, "data 750\n/etc");
        }
        let broken = case.docker(["cp", "-", "box:/to0"]).stdin("this is no archive".repeat(100)).run();
        assert_eq!(broken.code, 1, "{broken}");
        case.docker(["cp", "-", "box:/d/x"]).stdin(layer).run().fails(1, "must be a directory");
    }

    /// Links are the container's: they lead into it, whatever they say.
    fn links_stay_inside(case) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "of the host").unwrap();
        let secret = path(dir.path(), "secret");
        let host = dir.path().display();
        let script = format!(
            "mkdir -p /r /in; echo inside > /r/real; ln -s /r/real /in/abs; ln -s ../r/real /in/rel; ln -s /r /in/dir; \
             ln -s {secret} /in/out; ln -s {host} /in/up; ln -s ../../../../../../../..{secret} /in/dots; \
             ln -s /proc/1/root /in/magic"
        );
        ended(case, "box", &[], &script);
        let follow = |from: &str, to: &str| case.docker(["cp", "-L", from, &path(dir.path(), to)]).run();
        for (from, to) in [("box:/in/abs", "abs"), ("box:/in/rel", "rel")] {
            let _ = follow(from, to).ok();
            assert_eq!(fs::read_to_string(dir.path().join(to)).unwrap(), "inside\n");
        }
        let _ = follow("box:/in/dir", "folder").ok();
        assert_eq!(fs::read_to_string(dir.path().join("folder/real")).unwrap(), "inside\n");
        for from in ["box:/in/out", "box:/in/dots"] {
            nothing_there(&follow(from, "stolen"), "Could not find the file");
        }
        for from in ["box:/in/up/secret", "box:/in/magic/etc", &format!("box:/../../..{secret}")] {
            nothing_there(&cp(case, from, path(dir.path(), "stolen")), "Could not find the file");
        }
        let _ = cp(case, "box:/in/out", path(dir.path(), "link")).ok();
        assert_eq!(fs::read_link(dir.path().join("link")).unwrap(), Path::new(&secret));
        // Into it: through a link to a folder, which may not lead out.
        let file = path(dir.path(), "abs");
        let _ = cp(case, &file, "box:/in/dir/new").ok();
        let _ = cp(case, &file, "box:/in/dir").ok();
        assert_eq!(names(&case.docker(["cp", "box:/r", "-"]).run().stdout), ["r/", "r/abs", "r/new", "r/real"]);
        nothing_there(&cp(case, &file, "box:/in/up/planted"), "Could not find the file");
        assert!(!dir.path().join("planted").exists() && !dir.path().join("stolen").exists());
    }

    /// `-a` gives everything to the container's user.
    fn archive_mode(case) {
        if hako_tests::not_on_reference("dockerd looks up the names of users on the host") {
            return;
        }
        let _ = case.walled("create", &["--name", "box", "--user", "someone", "busybox", "stat", "-c", "%u:%g", "/tmp/a", "/tmp/b"]).text();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "").unwrap();
        std::os::unix::fs::chown(dir.path().join("f"), Some(7), Some(8)).unwrap();
        let file = path(dir.path(), "f");
        let _ = cp(case, &file, "box:/tmp/a").ok();
        let _ = case.docker(["cp", "-a", &file, "box:/tmp/b"]).text();
        assert_eq!(case.docker(["start", "-a", "box"]).text(), "7:8\n1000:1000");
        // Out: the archive has the ids that it has there.
        let out = case.docker(["cp", "-a", "box:/tmp/b", "-"]).run().stdout;
        let mut archive = tar::Archive::new(out.as_slice());
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (1000, 1000));
    }

    /// In Docker's words.
    fn refusals(case) {
        case.daemon("box", &["busybox", "sh", "-c", "mkdir /d; touch /f; echo up; sleep 1000"]);
        wait_until(MINUTE, "the files", || case.docker(["logs", "box"]).text() == "up");
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("f"), "").unwrap();
        let (here, file, folder) = (path(dir.path(), "x"), path(dir.path(), "f"), path(dir.path(), "d"));
        nothing_there(&cp(case, "box:/none", &here), "Could not find the file /none in container box");
        nothing_there(&cp(case, &file, "box:/no/such/folder"), "Could not find the file /no/such in container box");
        cp(case, "nobody:/f", &here).fails(1, "No such container");
        cp(case, &file, "nobody:/f").fails(1, "No such container");
        cp(case, &folder, "box:/f").fails(1, "cannot copy directory");
        if hako_tests::not_on_reference("it is of a newer API than the reference's") {
            return;
        }
        let api = |method: &str, query: &str| case.engine.http(method, &format!("/v1.47/containers/box/archive?{query}"), None);
        let answer = api("GET", "path=");
        assert_eq!((answer.status, answer.message().as_str()), (400, "bad parameter: pathcannot be empty"));
        let answer = api("PUT", "path=/f");
        assert_eq!((answer.status, answer.message().as_str()), (400, "extraction point is not a directory"));
        assert_eq!(api("HEAD", "path=/none").status, 404);
        let answer = api("HEAD", "path=/d");
        let header = answer.header("X-Docker-Container-Path-Stat").unwrap().to_owned();
        let stat: Value = serde_json::from_slice(&base64(&header)).unwrap();
        assert_eq!((stat["name"].as_str(), stat["linkTarget"].as_str()), (Some("d"), Some("")));
        assert_eq!(stat["mode"].as_u64(), Some((1 << 31) | 0o755));
        let keys: Vec<&String> = stat.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 5, "{keys:?}");
        // A folder in place of a file, and the other way round.
        let over = |to: &str, layer: Layer| {
            let target = format!("/v1.47/containers/box/archive?path={to}&noOverwriteDirNonDir=true");
            case.engine.http_bytes("PUT", &target, &layer.finish()).message()
        };
        let message = over("/", Layer::new().file("d", 0o644, "x"));
        assert_eq!(message, "cannot overwrite directory \"/d\" with non-directory \"/\"");
        let message = over("/", Layer::new().dir("f/", 0o755));
        assert_eq!(message, "cannot overwrite non-directory \"/f\" with directory \"/\"");
        let message = over("/d", Layer::new().file("../../escape", 0o644, "x"));
        assert!(message.contains("is outside of"), "{message}");
        assert_eq!(case.exec("box", "test -d /d && test -f /f && echo same").ok(), "same");
    }

    /// 100 MB byte for byte, both ways, of a container that runs.
    fn large(case) {
        case.idle("box");
        let dir = tempfile::tempdir().unwrap();
        let bytes = noise(100 << 20);
        fs::write(dir.path().join("big"), &bytes).unwrap();
        let digest = sha256(&bytes);
        drop(bytes);
        let long = |from: &str, to: &str| case.docker(["cp", from, to]).deadline(MINUTE * 4).text();
        let _ = long(&path(dir.path(), "big"), "box:/big");
        let seen = case.docker(["exec", "box", "sha256sum", "/big"]).deadline(MINUTE * 4).text();
        assert!(seen.starts_with(&digest), "{seen}");
        let _ = long("box:/big", &path(dir.path(), "back"));
        assert_eq!(sha256(&fs::read(dir.path().join("back")).unwrap()), digest);
    }

    /// A hole of 4 GiB is copied as one: quickly, and as long as it is.
    fn holes(case) {
        if hako_tests::not_on_reference("dockerd makes no sparse copies") {
            return;
        }
        ended(case, "box", &[], "truncate -s 4G /hole; echo end >> /hole");
        let begin = Instant::now();
        let out = case.docker(["cp", "box:/hole", "-"]).run();
        assert!(out.stdout.len() < 1 << 20, "{} bytes", out.stdout.len());
        assert!(begin.elapsed() < MINUTE, "{:?}", begin.elapsed());
        // And in again, into another container's folder.
        let _ = case.walled("create", &["--name", "other", "busybox", "stat", "-c", "%s", "/root/hole"]).text();
        let _ = case.docker(["cp", "-", "other:/root"]).stdin(out.stdout).text();
        assert_eq!(case.docker(["start", "-a", "other"]).text(), ((4_u64 << 30) + 4).to_string());
    }

    /// What is mounted in a running container is seen; what may not be written is not.
    fn mounts(case) {
        if hako_tests::not_on_reference("dockerd sees no tmpfs of a running container") {
            return;
        }
        let flags = ["--read-only", "--tmpfs", "/scratch", "--tmpfs", "/fixed:ro"];
        let script = "echo tmp > /scratch/file; echo up; sleep 1000";
        let _ = case.walled("run", &["-d", "--name", "box"]).args(flags).args(["busybox", "sh", "-c", script]).text();
        wait_until(MINUTE, "the file", || case.docker(["logs", "box"]).text() == "up");
        let dir = tempfile::tempdir().unwrap();
        let _ = cp(case, "box:/scratch/file", path(dir.path(), "file")).ok();
        assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "tmp\n");
        let file = path(dir.path(), "file");
        let _ = cp(case, &file, "box:/scratch/again").ok();
        assert_eq!(case.exec("box", "cat /scratch/again").ok(), "tmp");
        cp(case, &file, "box:/root/x").fails(1, "container rootfs is marked read-only");
        cp(case, &file, "box:/fixed/x").fails(1, "mounted volume is marked read-only");
        nothing_there(&cp(case, &file, "box:/proc/x"), "Could not find the file");
        let _ = case.docker(["rm", "-f", "box"]).text();
        let _ = case.walled("create", &["--name", "box", "--read-only", "busybox", "true"]).text();
        cp(case, &file, "box:/root/x").fails(1, "container rootfs is marked read-only");
        let _ = cp(case, "box:/etc/passwd", path(dir.path(), "passwd")).ok();
    }

    /// A start comes right behind a copy, and a removal.
    fn copies_give_way(case) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "x").unwrap();
        let file = path(dir.path(), "f");
        let _ = case.walled("create", &["--name", "box", "busybox", "cat", "/f"]).text();
        let _ = cp(case, &file, "box:/f").ok();
        assert_eq!(case.docker(["start", "-a", "box"]).text(), "x");
        let _ = cp(case, "box:/f", path(dir.path(), "back")).ok();
        let _ = case.docker(["rm", "box"]).text();
        // Two at once, of a container that does not run.
        ended(case, "two", &[], "dd if=/dev/zero of=/f bs=1M count=8 2>/dev/null");
        let one = case.docker(["cp", "two:/f", &path(dir.path(), "one")]).start();
        let other = case.docker(["cp", "two:/f", &path(dir.path(), "other")]).start();
        let _ = (one.end().ok(), other.end().ok());
        for name in ["one", "other"] {
            assert_eq!(fs::metadata(dir.path().join(name)).unwrap().len(), 8 << 20);
        }
    }

    /// The engine ends, or is killed, while a container that does not run has its files open.
    fn ended_engine(case) {
        if hako_tests::not_on_reference("the engine itself is ended and started again") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "kept").unwrap();
        let _ = case.walled("create", &["--name", "box", "busybox", "cat", "/f"]).text();
        let before = case.engine.traces();
        let _ = cp(case, path(dir.path(), "f"), "box:/f").ok();
        case.engine.end_by(Signal::SIGTERM);
        assert_eq!(case.engine.traces().since(&before).processes.len(), 0, "an engine that ends leaves a shim");
        case.engine.launch();
        let _ = cp(case, path(dir.path(), "f"), "box:/f").ok();
        case.engine.end_by(Signal::SIGKILL);
        case.engine.launch();
        let mut left = case.engine.traces().since(&before);
        left.ignore_durable(&case.engine.data_root());
        assert!(left.processes.iter().all(|line| line.contains("hakod")), "left behind:\n{left}");
        assert!(left.mounts.is_empty(), "left behind:\n{left}");
        assert_eq!(case.docker(["start", "-a", "box"]).text(), "kept");
    }
}

/// A container that swaps a folder and a link to the host's without end.
#[test]
fn a_race_does_not_lead_out() {
    hako_tests::with_wall(Wall::Process, |case| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "of the host").unwrap();
        let host = dir.path().display();
        let script = format!(
            "mkdir -p /w/d {host}; echo mine > /w/d/secret; ln -s {host} /w/l; cd /w; \
             while :; do mv -T d t; mv -T l d; mv -T d l; mv -T t d; done 2>/dev/null"
        );
        case.daemon("box", &["--cpus", "0.5", "busybox", "sh", "-c", &script]);
        let planted = Layer::new().file("d/planted", 0o644, "x").finish();
        for _ in 0..60 {
            let out = case.docker(["cp", "box:/w/d/secret", "-"]).run();
            assert!(!String::from_utf8_lossy(&out.stdout).contains("of the host"));
            let _ = case.docker(["cp", "-", "box:/w"]).stdin(planted.clone()).run();
        }
        assert!(!dir.path().join("planted").exists());
    });
}

/// Debian's docker client of API 1.41 does it the same way.
#[test]
fn the_oldest_client() {
    hako_tests::with_wall(Wall::Process, |case| {
        if hako_tests::not_on_reference("it is the reference's own client") {
            return;
        }
        case.engine.use_client(hako_tests::Tool::DebianDocker);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "old").unwrap();
        let _ = case.docker(["create", "--name", "box", "busybox", "cat", "/f"]).text();
        let _ = cp(case, path(dir.path(), "f"), "box:/f").ok();
        let _ = cp(case, "box:/f", path(dir.path(), "back")).ok();
        assert_eq!(fs::read_to_string(dir.path().join("back")).unwrap(), "old");
        assert_eq!(case.docker(["diff", "box"]).text(), "A /f");
        let id = case.docker(["commit", "box", "mine"]).text();
        assert!(id.starts_with("sha256:"), "{id}");
        assert_eq!(case.docker(["run", "--rm", "mine"]).text(), "old");
    });
}

fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for char in text.bytes().filter(|char| *char != b'=') {
        let value = alphabet.iter().position(|known| *known == char).expect("base64");
        bits = (bits << 6) | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    bytes
}
