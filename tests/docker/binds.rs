//! Host folders and files in containers: the same behind both walls, and seen
//! by both at the same time.

mod probe;
mod shared;

use hako_tests::{Case, Output, both_walls};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A folder of the host, and the flags that put it at `/mnt`.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|err| panic!("{name}: {err}"))
    }

    /// The value of `-v`.
    pub(crate) fn at(&self, target: &str) -> String {
        format!("{}:{target}", self.0.path().display())
    }
}

/// Runs a script with the folder at `/mnt`.
fn sh(case: &Case, folder: &Folder, script: &str) -> Output {
    case.sh(&["-v", &folder.at("/mnt"), "-w", "/mnt"], script).run()
}

fn meta(path: &Path) -> fs::Metadata {
    fs::symlink_metadata(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

both_walls! {
    fn read_and_write(case) {
        let folder = Folder::new();
        folder.write("from-host", "host\n");
        let out = sh(case, &folder, "cat from-host && echo container > from-container && mkdir d && echo x > d/y");
        assert_eq!(out.ok(), "host");
        assert_eq!(folder.read("from-container"), "container\n");
        assert_eq!(folder.read("d/y"), "x\n");
        // What inspect shows.
        let _ = case.walled("create", &["--name", "box", "-v", &folder.at("/mnt:ro"), "busybox"]).text();
        let shown = case.inspect("box", "{{range .Mounts}}{{.Type}} {{.Source}} {{.Destination}} {{.RW}}{{end}}");
        assert_eq!(shown, format!("bind {} /mnt false", folder.0.path().display()));
    }

    /// Numbers of users are the host's, and modes are as they were asked for.
    fn ownership(case) {
        let folder = Folder::new();
        fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o777)).unwrap();
        folder.write("mine", "x");
        chown(folder.path("mine"), Some(1234), Some(4321)).unwrap();
        fs::set_permissions(folder.path("mine"), fs::Permissions::from_mode(0o640)).unwrap();
        folder.write("secret", "x");
        fs::set_permissions(folder.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        let script = "stat -c '%u %g %a' mine && umask 027 && touch made && mkdir dir && ln -s x link && mkfifo pipe \
                      && ! cat secret 2>/dev/null && ! touch /mnt/secret 2>/dev/null && id -u";
        let flags = ["-v", &folder.at("/mnt"), "-w", "/mnt", "-u", "1234:4321"];
        let out = case.sh(&flags, script).run();
        assert_eq!(out.ok(), "1234 4321 640\n1234");
        for (name, mode) in [("made", 0o640), ("dir", 0o750), ("link", 0o777), ("pipe", 0o640)] {
            let meta = meta(&folder.path(name));
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1234, 4321, mode), "{name}");
        }
        // Root of the container changes what it likes, by the capabilities that it has.
        let _ = sh(case, &folder, "chown 7:8 made && chmod 4755 made && touch -d @1000 made").ok();
        let made = meta(&folder.path("made"));
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777, made.mtime()), (7, 8, 0o4755, 1000));
        let out = case.sh(&["-v", &folder.at("/mnt"), "--cap-drop", "CHOWN"], "chown 9 /mnt/made").run();
        out.fails(1, "Operation not permitted");
        // Who is not root takes the bit from a file by writing to it.
        fs::set_permissions(folder.path("made"), fs::Permissions::from_mode(0o4777)).unwrap();
        let _ = case.sh(&flags, "echo x >> made").run().ok();
        assert_eq!(meta(&folder.path("made")).mode() & 0o7777, 0o777);
    }

    /// A directory with the set-group-ID bit gives its group away.
    fn groups_of_directories(case) {
        let folder = Folder::new();
        fs::create_dir(folder.path("team")).unwrap();
        chown(folder.path("team"), Some(0), Some(2000)).unwrap();
        fs::set_permissions(folder.path("team"), fs::Permissions::from_mode(0o2777)).unwrap();
        let flags = ["-v", &folder.at("/mnt"), "-w", "/mnt/team", "-u", "1000:1000", "--group-add", "2000"];
        let _ = case.sh(&flags, "touch file && mkdir dir && mkdir -m 2750 other").run().ok();
        for name in ["team/file", "team/dir", "team/other"] {
            assert_eq!((meta(&folder.path(name)).uid(), meta(&folder.path(name)).gid()), (1000, 2000), "{name}");
        }
        assert_eq!(meta(&folder.path("team/dir")).mode() & 0o7000, 0o2000);
    }

    /// Links are the container's: what they lead to is looked for in its own tree.
    fn links_stay_inside(case) {
        let folder = Folder::new();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "of the host").unwrap();
        fs::create_dir(folder.path("d")).unwrap();
        folder.write("d/file", "inside");
        symlink("d/file", folder.path("relative")).unwrap();
        symlink("/etc/passwd", folder.path("passwd")).unwrap();
        symlink(outside.path(), folder.path("outside")).unwrap();
        symlink("../../../../../../etc/hostname", folder.path("up")).unwrap();
        let script = "cat relative && cat passwd && test ! -e outside/secret && cat up && ls -a .. | wc -l && ls -a / | wc -l";
        let out = case.sh(&["-v", &folder.at("/mnt"), "-w", "/mnt", "--hostname", "inside"], script).run();
        let text = out.ok();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("insideroot:x:0:0:root:/root:/bin/sh"), "{out}");
        assert!(!out.ok().contains("of the host"), "{out}");
        let n = lines.len();
        assert_eq!((lines[n - 3], lines[n - 2]), ("inside", lines[n - 1]), "{out}");
        // Links that the container makes are text on the host, and hard links are one file.
        let _ = sh(case, &folder, "ln -s /etc/shadow made && echo 1 > a && ln a b && echo 2 >> b && readlink made").ok();
        assert_eq!(fs::read_link(folder.path("made")).unwrap(), Path::new("/etc/shadow"));
        assert_eq!((meta(&folder.path("a")).nlink(), meta(&folder.path("a")).ino()), (2, meta(&folder.path("b")).ino()));
        assert_eq!(folder.read("a"), "1\n2\n");
    }

    fn names(case) {
        let folder = Folder::new();
        let script = "
            set -e
            mkdir a b; echo 1 > a/f; mv a/f b/g; test ! -e a/f; cat b/g
            echo old > t; echo new > t.new; mv t.new t; cat t
            exec 3<>gone; rm gone; echo alive >&3; cat /proc/self/fd/3
            mv a 'a with spaces'; mv 'a with spaces' b/ä; test -d b/ä; ls b | wc -l
            rmdir b 2>/dev/null && exit 1
            rm -r b; ls
            long=$(head -c 255 /dev/zero | tr '\\0' n); echo x > $long; cat $long
            touch ${long}n 2>/dev/null && exit 1
            i=0; while [ $i -lt 300 ]; do : > many-$i; i=$((i+1)); done; ls | grep -c many; rm many-*; ls | grep -c many || true";
        let out = sh(case, &folder, script);
        assert_eq!(out.ok(), "1\nnew\nalive\n2\nt\nx\n300\n0");
        assert!(!folder.path("gone").exists());
    }

    /// Pipes and sockets are names; devices are the engine's to give.
    fn special_files(case) {
        let folder = Folder::new();
        mknod(&folder.path("null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
        mknod(&folder.path("disk"), SFlag::S_IFBLK, Mode::from_bits_truncate(0o666), makedev(7, 0)).unwrap();
        let script = "
            set -e
            mkfifo pipe; (echo through > pipe &); cat pipe
            stat -c '%F %t %T' null disk
            echo x > null; test -z \"$(cat null)\"
            cat disk 2>/dev/null && exit 1
            echo end";
        let out = sh(case, &folder, script);
        assert_eq!(out.ok(), "through\ncharacter special file 1 3\nblock special file 7 0\nend");
        assert!(meta(&folder.path("pipe")).file_type().is_fifo());
        if case.wall == hako_tests::Wall::Hyperv {
            // A number is another device on the host than in the guest.
            sh(case, &folder, "mknod x c 1 5").fails(1, "not permitted");
        }
    }

    fn read_only(case) {
        let folder = Folder::new();
        folder.write("file", "text");
        fs::create_dir(folder.path("d")).unwrap();
        let script = "cat file; for c in 'touch x' 'rm file' 'chmod 777 file' 'mkdir y' 'ln file z' 'mv file g' \
                      'touch d/x' 'sh -c \"echo x >> file\"' 'chown 5 file'; do eval $c 2>&1 | grep -c 'Read-only'; done";
        for flags in [["-v", &folder.at("/mnt:ro")], ["--mount", &format!("type=bind,source={},target=/mnt,readonly", folder.0.path().display())]] {
            let out = case.sh(&[flags[0], flags[1], "-w", "/mnt"], script).run();
            assert_eq!(out.out(), "text1\n1\n1\n1\n1\n1\n1\n1\n1", "{out}");
        }
        // One folder twice, once to be written to.
        let flags = ["-v", &folder.at("/ro:ro"), "-v", &folder.at("/rw")];
        let out = case.sh(&flags, "echo more >> /rw/file; cat /ro/file; touch /ro/x").run();
        out.fails(1, "Read-only file system");
        assert_eq!(out.out(), "textmore");
    }

    /// A file is a mount, and stays the same file when its name goes to another.
    fn single_files(case) {
        let folder = Folder::new();
        folder.write("conf", "one\n");
        folder.write("other", "other\n");
        let conf = |options: &str| format!("{}:/etc/my.conf{options}", folder.path("conf").display());
        let out = case.sh(&["-v", &conf("")], "cat /etc/my.conf; echo two >> /etc/my.conf; ls /etc | grep my; rm /etc/my.conf").run();
        assert_eq!((out.code, out.out()), (1, "one\nmy.conf".to_owned()), "{out}");
        assert!(out.err().contains("Resource busy") || out.err().contains("Device or resource busy"), "{out}");
        assert_eq!(folder.read("conf"), "one\ntwo\n");
        case.sh(&["-v", &conf(":ro")], "echo x > /etc/my.conf").run().fails(1, "Read-only file system");
        // Nothing beside it is there.
        let out = case.sh(&["-v", &conf("")], "cat /etc/other /etc/my.conf/../other").run();
        assert_ne!(out.code, 0, "{out}");
        assert!(!out.out().contains("other\n"), "{out}");
    }

    /// Mounts in mounts, in the order of their depth, whatever the order of flags.
    fn nested(case) {
        let (outer, inner) = (Folder::new(), Folder::new());
        fs::create_dir(outer.path("below")).unwrap();
        outer.write("below/hidden", "");
        inner.write("seen", "inner");
        let file = format!("{}:/mnt/below/file", outer.path("below/hidden").display());
        let flags = ["-v", &file, "-v", &inner.at("/mnt/below"), "-v", &outer.at("/mnt"), "--tmpfs", "/mnt/tmp"];
        let script = "cat /mnt/below/seen; ls /mnt /mnt/below; touch /mnt/tmp/x; touch /mnt/below/new; mv /mnt/below/new /mnt/moved";
        let out = case.sh(&flags, script).run();
        assert_eq!(out.ok(), "inner/mnt:\nbelow\ntmp\n\n/mnt/below:\nfile\nseen");
        assert!(outer.path("moved").exists() && !inner.path("new").exists());
        // Mount points stay, as they do on any host.
        assert!(outer.path("tmp").is_dir() && inner.path("file").is_file() && !outer.path("tmp/x").exists());
    }

    /// What is mounted in the folder on the host comes along, with numbers of its own.
    fn mounts_of_the_host(case) {
        let folder = Folder::new();
        fs::create_dir(folder.path("m")).unwrap();
        let none = None::<&str>;
        nix::mount::mount(Some("tmpfs"), &folder.path("m"), Some("tmpfs"), nix::mount::MsFlags::empty(), none).unwrap();
        folder.write("m/file", "in the mount");
        let out = sh(case, &folder, "cat m/file; echo x > m/new; find . | sort | tr '\\n' ' '");
        let text = fs::read_to_string(folder.path("m/new"));
        nix::mount::umount2(&folder.path("m"), nix::mount::MntFlags::MNT_DETACH).unwrap();
        assert_eq!(out.ok(), "in the mount. ./m ./m/file ./m/new ");
        assert_eq!(text.unwrap(), "x\n");
    }

    fn large_and_many(case) {
        let folder = Folder::new();
        let script = "
            set -e
            dd if=/dev/urandom of=big bs=1M count=24 2>/dev/null; sync; sha256sum < big
            truncate -s 5G sparse; echo end >> sparse; stat -c %s sparse
            mkdir tree; for d in 1 2 3 4 5 6 7 8; do mkdir -p tree/$d/x; for f in 1 2 3 4 5 6 7 8 9; do echo $d$f > tree/$d/x/$f; done; done
            find tree -type f | wc -l; tar -cf - tree | tar -xf - -C /tmp; diff -r tree /tmp/tree; rm -r tree";
        let out = sh(case, &folder, script);
        let lines: Vec<String> = out.ok().lines().map(str::to_owned).collect();
        assert_eq!(lines[0].split_whitespace().next().unwrap(), hako_tests::sha256(&fs::read(folder.path("big")).unwrap()));
        assert_eq!(lines[1..], ["5368709124", "72"]);
        let sparse = meta(&folder.path("sparse"));
        assert!(sparse.len() == 5_368_709_124 && sparse.blocks() < 100_000, "{}", sparse.blocks());
        // And back.
        let out = sh(case, &folder, "sha256sum < big; tail -c 4 sparse");
        assert_eq!(out.ok(), format!("{}\nend", lines[0]));
    }

    /// `cp` through mounts, whether the container runs or not.
    fn copies(case) {
        let (rw, ro) = (Folder::new(), Folder::new());
        ro.write("file", "host");
        fs::create_dir(rw.path("d")).unwrap();
        rw.write("d/one", "1");
        let script = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
        let flags = ["--name", "box", "-v", &rw.at("/rw"), "-v", &ro.at("/ro:ro"), "busybox", "sh", "-c", script];
        let _ = case.walled("create", &flags).text();
        let out = tempfile::tempdir().unwrap();
        let to = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
        for state in ["created", "running", "exited"] {
            assert_eq!(case.inspect("box", "{{.State.Status}}"), state);
            let _ = case.docker(["cp", "box:/ro/file", &to("out")]).text();
            assert_eq!(fs::read_to_string(to("out")).unwrap(), "host");
            let _ = case.docker(["cp", &to("out"), &format!("box:/rw/{state}")]).text();
            assert_eq!(rw.read(state), "host");
            let _ = case.docker(["cp", "box:/rw/d", &to(state)]).text();
            assert_eq!(fs::read_to_string(out.path().join(state).join("one")).unwrap(), "1");
            case.docker(["cp", &to("out"), "box:/ro/x"]).run().fails(1, "mounted volume is marked read-only");
            if state == "running" {
                // A link leads into the container.
                let _ = symlink("/etc/hostname", rw.path("link"));
                let _ = case.docker(["cp", "-L", "box:/rw/link", &to("name")]).text();
                let name = case.inspect("box", "{{.Config.Hostname}}");
                assert_eq!(fs::read_to_string(to("name")).unwrap().trim(), name);
            }
            match state {
                "created" => drop(case.docker(["start", "box"]).text()),
                _ => drop(case.docker(["stop", "-t", "5", "box"]).run()),
            }
        }
    }

    /// A source that is not there: made for `-v`, an error for `--mount`.
    fn missing_sources(case) {
        let folder = Folder::new();
        let missing = folder.path("new/deep");
        let out = case.sh(&["-v", &format!("{}:/mnt", missing.display())], "echo x > /mnt/f").run();
        assert_eq!(out.code, 0, "{out}");
        assert!(missing.join("f").exists());
        let mount = format!("type=bind,source={},target=/mnt", folder.path("none").display());
        case.run(&["--mount", &mount, "busybox"]).run().fails(125, "bind source path does not exist");
        // Gone between create and start.
        let _ = case.walled("create", &["--name", "box", "-v", &format!("{}:/mnt", missing.display()), "busybox", "true"]).text();
        fs::remove_dir_all(folder.path("new")).unwrap();
        let _ = case.docker(["start", "--attach", "box"]).text();
        assert!(missing.is_dir(), "it is made again");
    }
}

/// What cannot be had in another kernel is refused by name.
#[test]
fn what_is_refused_behind_the_hyperv_wall() {
    if hako_tests::not_on_reference("there is no hyperv wall") {
        return;
    }
    hako_tests::with_wall(hako_tests::Wall::Hyperv, |case| {
        let folder = Folder::new();
        let out = case.walled("create", &["-v", &folder.at("/mnt:rshared"), "busybox"]).run();
        out.fails(1, "not supported: HostConfig.Binds behind the hyperv wall");
        let _listener = std::os::unix::net::UnixListener::bind(folder.path("sock")).unwrap();
        let socket = format!("{}:/run/sock", folder.path("sock").display());
        case.run(&["-v", &socket, "busybox", "true"]).run().fails(125, "a socket of the host");
    });
}
