//! What `-v` and `--mount` say: host folders, propagation, parts of volumes,
//! volumes with a device.

use crate::volumes::{exists, folder, named};
use hako_tests::{Case, Engine, Wall, both_walls, not_on_reference, wait_until, with_wall};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);

fn none<'a>() -> Option<&'a str> {
    None
}

/// A tmpfs of the host, shared with whoever takes a part of it; unmounted with this.
struct Shared(TempDir);

impl Shared {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), none()).unwrap();
        mount(none(), dir.path(), none(), MsFlags::MS_SHARED, none()).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Mounts another tmpfs in a folder of it.
    fn mount_in(&self, name: &str) -> PathBuf {
        let place = self.path().join(name);
        fs::create_dir_all(&place).unwrap();
        mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), none()).unwrap();
        place
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for line in mounts_in(self.path()).iter().rev() {
            let _ = umount2(line.as_path(), MntFlags::MNT_DETACH);
        }
    }
}

/// What is mounted on `dir` and below, as this process sees it.
fn mounts_in(dir: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(dir)).collect()
}

fn once(body: fn(&Case)) {
    with_wall(Wall::Process, body);
}

both_walls! {
    fn host_folders_and_files(case) {
        let host = tempfile::tempdir().unwrap();
        let at = |name: &str| host.path().join(name).display().to_string();
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("dir/f"), "folder").unwrap();
        fs::write(at("file"), "file").unwrap();
        let (dir, file) = (format!("{}:/a/dir", at("dir")), format!("{}:/etc/one:ro", at("file")));
        let script = "cat /a/dir/f /etc/one; echo new > /a/dir/new; echo x > /etc/one || echo refused";
        assert_eq!(case.sh(&["-v", &dir, "-v", &file], script).text(), "folderfilerefused");
        assert_eq!(fs::read_to_string(at("dir/new")).unwrap(), "new\n");
        let mount = format!("type=bind,source={},target=/x,readonly", at("dir"));
        assert_eq!(case.sh(&["--mount", &mount], "cat /x/f; touch /x/y || echo refused").text(), "folderrefused");
        // One in the other, whatever the order.
        fs::create_dir(at("inner")).unwrap();
        fs::write(at("inner/g"), "inner").unwrap();
        let inner = format!("{}:/a/dir/in", at("inner"));
        assert_eq!(case.sh(&["-v", &inner, "-v", &dir], "cat /a/dir/in/g /a/dir/f").text(), "innerfolder");
        // A source that is missing: -v makes it, --mount does not.
        let made = format!("{}:/x", at("made/here"));
        assert_eq!(case.sh(&["-v", &made], "ls -A /x | wc -l").text(), "0");
        assert!(Path::new(&at("made/here")).is_dir());
        let missing = format!("type=bind,source={},target=/x", at("missing"));
        let text = format!("invalid mount config for type \"bind\": bind source path does not exist: {}", at("missing"));
        case.run(&["--mount", &missing, "busybox"]).run().fails(125, &text);
        assert!(!Path::new(&at("missing")).exists());
        // It goes between create and start.
        let _ = case.walled("create", &["--name", "box", "--mount", &mount, "busybox"]).text();
        fs::remove_dir_all(at("dir")).unwrap();
        let failed = case.docker(["start", "box"]).run();
        failed.fails(1, &at("dir"));
        let _ = case.docker(["rm", "box"]).text();
    }

    fn what_is_wrong_is_said_in_dockers_words(case) {
        let refused = |flags: &[&str], text: &str| case.run(flags).arg("busybox").run().fails(125, text);
        refused(&["-v", "/tmp:/x:bogus"], "invalid mode: bogus");
        refused(&["-v", "/tmp:/x", "-v", "/etc:/x"], "Duplicate mount point: /x");
        refused(&["-v", "/tmp:/"], "destination can't be '/'");
        refused(&["-v", "a/b:/x"], "includes invalid characters for a local volume name");
        let body = |mount: serde_json::Value| {
            let isolation = case.isolation();
            let host = json!({"Mounts": [mount], "Isolation": isolation.split_once('=').unwrap().1});
            let answer = case.engine.http("POST", "/v1.41/containers/create", Some(&json!({"Image": "busybox", "HostConfig": host})));
            (answer.status, answer.message())
        };
        let wrong = |kind: &str, why: &str| (400, format!("invalid mount config for type \"{kind}\": {why}"));
        let volume = json!({"Type": "volume", "Target": "/x", "BindOptions": {"Propagation": "rslave"}});
        assert_eq!(body(volume), wrong("volume", "field BindOptions must not be specified"));
        let bind = json!({"Type": "bind", "Source": "/tmp", "Target": "/x", "BindOptions": {"Propagation": "odd"}});
        assert_eq!(body(bind), wrong("bind", "invalid propagation mode: odd"));
        assert_eq!(body(json!({"Type": "bind", "Target": "/x"})), wrong("bind", "field Source must not be empty"));
        let driver = json!({"Name": "none-such"});
        let (_, text) = body(json!({"Type": "volume", "Target": "/x", "VolumeOptions": {"DriverConfig": driver}}));
        assert!(text.ends_with("error looking up volume plugin none-such: plugin \"none-such\" not found"), "{text}");
        assert_eq!(body(json!({"Type": "npipe", "Source": "x", "Target": "/x"})), wrong("npipe", "mount type unknown"));
        let left = case.docker(["volume", "ls", "-q", "--filter", &format!("name={}", case.engine.name())]).text();
        assert_eq!(left, "");
    }

    fn mount_flags(case) {
        let name = named(case, "data");
        let mount = format!("type=volume,source={name},target=/data,volume-label=team=a,volume-label=other=b");
        let _ = case.sh(&["--mount", &mount], "echo x > /data/x").text();
        let label = ["volume", "inspect", "--format", "{{.Labels.team}}{{.Labels.other}}", &name];
        assert_eq!(case.docker(label).text(), "ab");
        let read_only = format!("type=volume,source={name},target=/data,readonly");
        assert_eq!(case.sh(&["--mount", &read_only], "cat /data/x; touch /data/y || echo refused").text(), "x\nrefused");
        let _ = case.docker(["volume", "rm", &name]).text();
        let tmpfs = "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700";
        let shown = case.sh(&["--mount", tmpfs], "stat -c %a /t; df -k /t | awk 'END {print $2}'").text();
        assert_eq!(shown, "700\n1024");
        assert_eq!(case.sh(&["--volume-driver", "local", "-v", &format!("{name}:/x")], "ls /x").text(), "");
        let _ = case.docker(["volume", "rm", &name]).text();
    }
}

both_walls! {
    /// A part of a volume is a part of it, whatever links lie in the way, and
    /// whoever changes them meanwhile.
    fn sub_paths(case) {
        if not_on_reference("they are of a newer API than the reference's")
            || hako_tests::client_before(26, "it has no volume-subpath")
        {
            return;
        }
        let _ = case.docker(["volume", "create", "data"]).text();
        let data = folder(case, "data");
        fs::create_dir_all(data.join("a/b")).unwrap();
        fs::write(data.join("a/b/f"), "deep").unwrap();
        fs::write(data.join("file"), "file").unwrap();
        symlink("a/b", data.join("inside")).unwrap();
        symlink("../../../../../../../../etc", data.join("out")).unwrap();
        symlink("/etc", data.join("absolute")).unwrap();
        let mount = |sub: &str, more: &str| format!("type=volume,source=data,target=/x,volume-subpath={sub}{more}");
        assert_eq!(case.sh(&["--mount", &mount("a", "")], "cat /x/b/f; ls /x").text(), "deepb");
        assert_eq!(case.sh(&["--mount", &mount("inside", "")], "cat /x/f").text(), "deep");
        assert_eq!(case.sh(&["--mount", &mount("file", "")], "cat /x").text(), "file");
        let read_only = case.sh(&["--mount", &mount("a", ",readonly")], "touch /x/y").run();
        read_only.fails(1, "Read-only file system");
        for out in ["out", "absolute", "a/../absolute", "missing"] {
            let failed = case.sh(&["--mount", &mount(out, "")], "cat /x/passwd").run();
            assert!(failed.code == 125 || failed.code == 127, "{out}: {failed}");
            assert!(!failed.out().contains("root:"), "{failed}");
        }
        for bad in ["../x", "a/../../x", "/etc"] {
            case.run(&["--mount", &mount(bad, ""), "busybox"])
                .run()
                .fails(125, "subpath must be a relative path within the volume");
        }
        // cp sees the same part, running or not.
        let _ =
            case.walled("create", &["--name", "box", "--mount", &mount("a/b", ""), "busybox", "cat", "/x/f"]).text();
        assert_eq!(case.docker(["cp", "box:/x/f", "-"]).run().code, 0);
        assert_eq!(case.docker(["start", "-a", "box"]).text(), "deep");
        fs::rename(data.join("a"), data.join("moved")).unwrap();
        symlink("/etc", data.join("a")).unwrap();
        case.docker(["cp", "box:/x/f", "-"]).run().fails(1, "");
        assert_ne!(case.docker(["start", "-a", "box"]).run().code, 0);
        let _ = case.docker(["rm", "box"]).text();
        // Somebody swaps a folder for a link to the host, again and again.
        fs::create_dir(data.join("real")).unwrap();
        fs::write(data.join("real/passwd"), "mine").unwrap();
        symlink("/etc", data.join("link")).unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let swap = || {
                while !stop.load(Ordering::Relaxed) {
                    for from in ["real", "link"] {
                        let _ = fs::rename(data.join(from), data.join("way"));
                        let _ = fs::rename(data.join("way"), data.join(from));
                        let _ = fs::rename(data.join(from), data.join("way"));
                        thread::sleep(Duration::from_millis(1));
                        let _ = fs::rename(data.join("way"), data.join(from));
                    }
                }
            };
            scope.spawn(swap);
            for _ in 0..12 {
                let output = case.sh(&["--mount", &mount("way", "")], "cat /x/passwd").run();
                assert!(!output.out().contains("root:"), "{output}");
            }
            stop.store(true, Ordering::Relaxed);
        });
}
}

/// Without a word a container hears of no mounts that come later, and tells of none.
#[test]
fn propagation() {
    if not_on_reference("the reference runs in a mount namespace of its own") {
        return;
    }
    once(|case| {
        let shared = Shared::new();
        let host = shared.path().display();
        let _before = shared.mount_in("before");
        for (name, mode) in [("private", ""), ("slave", ":rslave"), ("shared", ":rshared")] {
            case.idle_with(name, &["-v", &format!("{host}:/x{mode}"), "--privileged"]);
        }
        let later = shared.mount_in("later");
        fs::write(later.join("f"), "later").unwrap();
        let sees = |name: &str| case.exec(name, "cat /x/later/f 2>/dev/null").out() == "later";
        assert_eq!([sees("private"), sees("slave"), sees("shared")], [false, true, true]);
        // And the other way round.
        for name in ["private", "slave", "shared"] {
            let _ = case
                .exec(name, &format!("mkdir /x/{name} && mount -t tmpfs tmpfs /x/{name} && echo in > /x/{name}/f"))
                .ok();
        }
        let told = |name: &str| shared.path().join(name).join("f").exists();
        assert_eq!([told("private"), told("slave"), told("shared")], [false, false, true]);
        // What the host had mounted stays mounted when they are gone.
        let _ = case.docker(["rm", "-f", "private", "slave", "shared"]).text();
        assert!(mounts_in(shared.path()).contains(&later) && later.join("f").exists());
        // One that propagates beside one that must not.
        let private = format!("{host}:/y");
        case.idle_with("both", &["-v", &format!("{host}:/x:rslave"), "-v", &private]);
        let last = shared.mount_in("last");
        fs::write(last.join("f"), "last").unwrap();
        assert_eq!(case.exec("both", "cat /x/last/f; ls /y/last").ok(), "last");
        let _ = case.docker(["rm", "-f", "both"]).text();
        // Only what is shared on the host can be.
        let alone = tempfile::tempdir_in("/tmp").unwrap();
        mount(Some("tmpfs"), alone.path(), Some("tmpfs"), MsFlags::empty(), none()).unwrap();
        mount(none(), alone.path(), none(), MsFlags::MS_PRIVATE, none()).unwrap();
        let flag = |mode: &str| format!("{}:/x:{mode}", alone.path().display());
        let shared_refused = case.run(&["-v", &flag("rshared"), "busybox"]).run();
        let slave_refused = case.run(&["-v", &flag("rslave"), "busybox"]).run();
        umount2(alone.path(), MntFlags::MNT_DETACH).unwrap();
        shared_refused.fails(125, "but it is not a shared mount");
        slave_refused.fails(125, "but it is not a shared or slave mount");
    });
}

/// Read-only is all that is mounted below as well, unless told otherwise.
#[test]
fn recursion() {
    if not_on_reference("it is of a newer engine than the reference")
        || hako_tests::client_before(25, "it has no bind-recursive")
    {
        return;
    }
    once(|case| {
        let shared = Shared::new();
        let below = shared.mount_in("below");
        fs::write(below.join("f"), "below").unwrap();
        let mount = |more: &str| format!("type=bind,source={},target=/x{more}", shared.path().display());
        let script =
            "cat /x/below/f; touch /x/below/new 2>/dev/null && echo written; touch /x/new 2>/dev/null && echo top";
        let sh = |more: &str| case.sh(&["--mount", &mount(more)], &format!("{script}; true")).text();
        assert_eq!(sh(""), "belowwritten\ntop");
        assert_eq!(sh(",readonly"), "below");
        assert_eq!(sh(",readonly,bind-recursive=writable"), "belowwritten");
        assert_eq!(sh(",readonly,bind-recursive=readonly,bind-propagation=rprivate"), "below");
        assert_eq!(sh(",bind-recursive=disabled"), "written\ntop");
        let volume = format!("{}:/x:ro", shared.path().display());
        assert_eq!(case.sh(&["-v", &volume], &format!("{script}; true")).text(), "below");
    });
}

/// A volume with a device is mounted while a container that runs has it.
#[test]
fn devices() {
    once(|case| {
        let (memory, host) = (named(case, "memory"), tempfile::tempdir().unwrap());
        let options = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=2m,mode=700"];
        let _ = case.docker(["volume", "create"]).args(options).arg(&memory).text();
        let flag = format!("{memory}:/x");
        case.idle_with("one", &["-v", &flag]);
        let _ = case.exec("one", "echo kept > /x/f").ok();
        assert_eq!(case.sh(&["-v", &flag], "cat /x/f; df -k /x | awk 'END {print $2}'").text(), "kept\n2048");
        let mounted = || !mounts_in(&folder(case, &memory)).is_empty();
        if !Engine::is_reference() {
            assert!(mounted());
            case.engine.end_by(nix::sys::signal::Signal::SIGKILL);
            case.engine.launch();
            assert!(mounted());
            assert_eq!(case.sh(&["-v", &flag], "cat /x/f").text(), "kept");
        }
        let _ = case.docker(["rm", "-f", "one"]).text();
        if !Engine::is_reference() {
            wait_until(MINUTE, "the volume to be unmounted", || !mounted());
        }
        assert_eq!(case.sh(&["-v", &flag], "ls /x").text(), "");
        let _ = case.docker(["volume", "rm", &memory]).text();
        // A folder of the host stays when its volume goes.
        fs::write(host.path().join("f"), "host").unwrap();
        let bound = named(case, "bound");
        let device = format!("device={}", host.path().display());
        let _ = case.docker(["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, &bound]).text();
        assert_eq!(case.sh(&["-v", &format!("{bound}:/x")], "cat /x/f; echo new > /x/new").text(), "host");
        case.idle_with("two", &["-v", &format!("{bound}:/x")]);
        let _ = case.docker(["rm", "-f", "-v", "two"]).text();
        let _ = case.docker(["volume", "rm", &bound]).text();
        assert_eq!(fs::read_to_string(host.path().join("new")).unwrap(), "new\n");
        assert!(host.path().join("f").exists() && !exists(case, &bound));
        // What cannot be mounted fails the start, in Docker's words.
        let broken = named(case, "broken");
        let device = host.path().join("missing").display().to_string();
        let device = format!("device={device}");
        let _ = case.docker(["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, &broken]).text();
        let failed = case.run(&["-v", &format!("{broken}:/x"), "busybox"]).run();
        assert_ne!(failed.code, 0);
        let text = failed.err();
        assert!(
            text.contains("failed to mount local volume: mount ") && text.contains("no such file or directory"),
            "{failed}"
        );
        let _ = case.docker(["volume", "rm", "-f", &broken]).run();
    });
}
