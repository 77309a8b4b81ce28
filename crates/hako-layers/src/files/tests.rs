//! Trees, good and hostile. They need root, as the engine does.

use super::*;
use crate::{Entry, EntryKind, TarReader};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

/// A container's root with a neighbour that must not be reached.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.path("root/etc")).unwrap();
        fs::create_dir(tree.path("outside")).unwrap();
        fs::write(tree.path("outside/secret"), "secret").unwrap();
        tree
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn root(&self) -> Root {
        Root::open(&self.path("root")).unwrap()
    }
    fn put(&self, name: &str, text: &str) {
        fs::write(self.path("root").join(name), text).unwrap();
    }
    fn pack(&self, path: &str) -> Vec<(String, Entry, Vec<u8>)> {
        let mut out = Vec::new();
        Source::find(&self.root(), &clean(path.as_bytes())).unwrap().pack(&mut out).unwrap();
        entries(&out)
    }
    fn extract(&self, to: &str, tar: &[u8]) -> hako_model::Result<()> {
        self.extract_as(to, tar, Extract::default())
    }
    fn extract_as(&self, to: &str, tar: &[u8], how: Extract) -> hako_model::Result<()> {
        let root = self.root();
        Destination::find(&root, &clean(to.as_bytes()))?.unpack(tar, how)
    }
}

fn entries(tar: &[u8]) -> Vec<(String, Entry, Vec<u8>)> {
    let mut reader = TarReader::new(tar);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut data = Vec::new();
        let left = reader.data_left();
        reader
            .data(left, &mut |piece| {
                data.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        all.push((String::from_utf8(entry.path.clone()).unwrap(), entry, data));
    }
    all
}

fn names(entries: &[(String, Entry, Vec<u8>)]) -> Vec<&str> {
    entries.iter().map(|(name, _, _)| name.as_str()).collect()
}

/// An archive of entries `(type, name, link, data)`.
fn archive(list: &[(u8, &str, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (flag, name, link, data) in list {
        let mut h = tar::Header::new_gnu();
        let raw = h.as_mut_bytes();
        raw[..name.len()].copy_from_slice(name.as_bytes());
        raw[157..157 + link.len()].copy_from_slice(link.as_bytes());
        raw[156] = *flag;
        h.set_mode(0o750);
        h.set_uid(7);
        h.set_gid(8);
        h.set_mtime(1_000_000);
        h.set_size(data.len() as u64);
        h.set_cksum();
        bytes.extend_from_slice(h.as_bytes());
        bytes.extend_from_slice(data.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn links_lead_nowhere_but_into_the_root() {
    let tree = Tree::new();
    let outside = tree.path("outside");
    let root = tree.path("root");
    fs::create_dir_all(root.join(outside.strip_prefix("/").unwrap())).unwrap();
    symlink(&outside, root.join("abs")).unwrap();
    symlink("../../../../../../outside", root.join("rel")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    for path in ["/abs/secret", "/rel/secret", "/../outside/secret", "/magic/etc/passwd"] {
        let err = stat(&tree.root(), &clean(path.as_bytes())).unwrap_err();
        assert_eq!(err.kind, ErrorKind::NotFound, "{path}: {err}");
    }
    // Into the container, as its own processes would follow it.
    tree.extract("/abs", &archive(&[(b'0', "new", "", "x")])).unwrap();
    assert!(!outside.join("new").exists());
    assert!(root.join(outside.strip_prefix("/").unwrap()).join("new").exists());
    let err = tree.extract("/etc", &archive(&[(b'0', "../x", "", "x")])).unwrap_err();
    assert!(err.message.contains("outside of"), "{err}");
    // A link that the archive itself brings.
    let bytes = archive(&[(b'2', "way", &outside.to_string_lossy(), ""), (b'0', "way/in", "", "x")]);
    tree.extract("/etc", &bytes).unwrap();
    assert!(!outside.join("in").exists());
    let bytes = archive(&[(b'1', "hard", "../../outside/secret", "")]);
    assert!(tree.extract("/etc", &bytes).is_err());
}

#[test]
fn stats_are_dockers() {
    let tree = Tree::new();
    tree.put("etc/file", "12345");
    symlink("etc/file", tree.path("root/link")).unwrap();
    symlink("/etc", tree.path("root/dir")).unwrap();
    symlink("nowhere/at/all", tree.path("root/broken")).unwrap();
    symlink("loop", tree.path("root/loop")).unwrap();
    let told = |path: &str| stat(&tree.root(), &clean(path.as_bytes())).unwrap();
    let link = told("/link");
    assert_eq!((go_mode(link.mode) >> 27) & 1, 1);
    assert_eq!(link.link_target, b"/etc/file");
    assert_eq!(told("/broken").link_target, b"/nowhere/at/all");
    assert_eq!(told("/dir/").mode & 0o170_000, 0o040_000);
    assert_eq!(
        (told("/dir/").name, told("/").name, told("/etc/.").name),
        (b"dir".to_vec(), b"/".to_vec(), b".".to_vec())
    );
    assert_eq!(told("/dir/file").size, 5);
    assert!(stat(&tree.root(), b"/loop/x").is_err());
    let err = stat(&tree.root(), b"/etc/file/").unwrap_err();
    assert_eq!(err.message, "lstat /etc/file/: not a directory");
    assert_eq!(go_mode(0o106_755), (1 << 23) | (1 << 22) | 0o755);
    assert_eq!(go_mode(0o041_777), (1 << 31) | (1 << 20) | 0o777);
    assert_eq!(go_mode(0o020_600), (1 << 26) | (1 << 21) | 0o600);
}

#[test]
fn archives_begin_with_the_base_name() {
    let tree = Tree::new();
    tree.put("etc/b", "b");
    tree.put("etc/a", "a");
    fs::create_dir(tree.path("root/etc/d")).unwrap();
    assert_eq!(names(&tree.pack("/etc")), ["etc/", "etc/a", "etc/b", "etc/d/"]);
    assert_eq!(names(&tree.pack("/etc/.")), ["./", "./a", "./b", "./d/"]);
    assert_eq!(names(&tree.pack("/")), ["/", "/etc/", "/etc/a", "/etc/b", "/etc/d/"]);
    assert_eq!(names(&tree.pack("/etc/a")), ["a"]);
    let mut out = Vec::new();
    export(&tree.root(), &mut out).unwrap();
    assert_eq!(names(&entries(&out)), ["etc/", "etc/a", "etc/b", "etc/d/"]);
}

#[test]
fn what_is_packed_is_what_was_there() {
    let tree = Tree::new();
    let at = |name: &str| tree.path("root/etc").join(name);
    tree.put("etc/file", "data");
    std::os::unix::fs::chown(at("file"), Some(1000), Some(2000)).unwrap();
    fs::set_permissions(at("file"), fs::Permissions::from_mode(0o4711)).unwrap();
    rustix::fs::setxattr(at("file"), "user.colour", b"blue", rustix::fs::XattrFlags::empty()).unwrap();
    fs::hard_link(at("file"), at("zz")).unwrap();
    symlink("/x", at("link")).unwrap();
    assert!(Command::new("mknod").arg(at("null")).args(["c", "1", "3"]).status().unwrap().success());
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let packed = tree.pack("/etc");
    assert_eq!(names(&packed), ["etc/", "etc/fifo", "etc/file", "etc/link", "etc/null", "etc/zz"]);
    let (_, file, data) = &packed[2];
    assert_eq!((file.mode, file.uid, file.gid, data.as_slice()), (0o4711, 1000, 2000, &b"data"[..]));
    assert!(file.xattrs.contains(&(b"user.colour".to_vec(), b"blue".to_vec())));
    assert_eq!((packed[3].1.kind, packed[3].1.link.as_slice()), (EntryKind::Symlink, &b"/x"[..]));
    assert_eq!((packed[4].1.kind, packed[4].1.device), (EntryKind::CharDevice, (1, 3)));
    assert_eq!((packed[5].1.kind, packed[5].1.link.as_slice()), (EntryKind::HardLink, &b"etc/file"[..]));
    // And back.
    let mut out = Vec::new();
    Source::find(&tree.root(), b"/etc/.").unwrap().pack(&mut out).unwrap();
    fs::create_dir(tree.path("root/copy")).unwrap();
    tree.extract("/copy", &out).unwrap();
    let copy = |name: &str| fs::symlink_metadata(tree.path("root/copy").join(name)).unwrap();
    assert_eq!((copy("file").mode() & 0o7777, copy("file").uid(), copy("file").gid()), (0o4711, 1000, 2000));
    assert_eq!(copy("file").ino(), copy("zz").ino());
    assert_eq!(copy("null").rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(copy("file").mtime(), fs::metadata(at("file")).unwrap().mtime());
}

#[test]
fn a_hole_takes_no_time() {
    let tree = Tree::new();
    let file = fs::File::create(tree.path("root/big")).unwrap();
    file.set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", (1 << 40) - 3).unwrap();
    let mut out = Vec::new();
    Source::find(&tree.root(), b"/big").unwrap().pack(&mut out).unwrap();
    assert!(out.len() < 64 << 10, "{} bytes", out.len());
    tree.extract("/etc", &out).unwrap();
    let copy = fs::metadata(tree.path("root/etc/big")).unwrap();
    assert_eq!(copy.len(), 1 << 40);
    assert!(copy.blocks() < 1000);
}

#[test]
fn what_may_be_replaced() {
    let tree = Tree::new();
    fs::create_dir(tree.path("root/etc/dir")).unwrap();
    tree.put("etc/dir/inner", "");
    tree.put("etc/file", "old");
    let careful = Extract { no_overwrite_dir_non_dir: true, owner: None };
    let refused = |bytes: &[u8]| tree.extract_as("/etc", bytes, careful).unwrap_err().message;
    let message = refused(&archive(&[(b'0', "dir", "", "x")]));
    assert_eq!(message, "cannot overwrite directory \"/etc/dir\" with non-directory \"/etc\"");
    let message = refused(&archive(&[(b'5', "file", "", "")]));
    assert_eq!(message, "cannot overwrite non-directory \"/etc/file\" with directory \"/etc\"");
    tree.extract("/etc", &archive(&[(b'0', "dir", "", "x"), (b'5', "file", "", "")])).unwrap();
    assert!(tree.path("root/etc/dir").is_file() && tree.path("root/etc/file").is_dir());
    let err = tree.extract("/etc/dir", &archive(&[])).unwrap_err();
    assert_eq!(err.message, "extraction point is not a directory");
    assert_eq!(tree.extract("/none", &archive(&[])).unwrap_err().kind, ErrorKind::NotFound);
    let owned = Extract { no_overwrite_dir_non_dir: false, owner: Some((5, 6)) };
    tree.extract_as("/etc", &archive(&[(b'0', "a/b/c", "", "x")]), owned).unwrap();
    let meta = |name: &str| fs::symlink_metadata(tree.path("root/etc").join(name)).unwrap();
    assert_eq!((meta("a/b/c").uid(), meta("a/b/c").gid(), meta("a/b/c").mode() & 0o777), (5, 6, 0o750));
    assert_eq!((meta("a").uid(), meta("a").mode() & 0o777), (0, 0o755));
    // What the archive says of the directory itself is not taken.
    let before = meta(".").mode();
    tree.extract("/etc", &archive(&[(b'5', "./", "", "")])).unwrap();
    assert_eq!(meta(".").mode(), before);
    // A directory's time is set when all is in it.
    tree.extract("/etc", &archive(&[(b'5', "t/", "", ""), (b'0', "t/x", "", "x")])).unwrap();
    assert_eq!(meta("t").mtime(), 1_000_000);
}

#[test]
fn owners_are_the_containers() {
    let tree = Tree::new();
    tree.put("etc/passwd", "root:x:0:0::/:/bin/sh\nann:x:1000:1001::/:/bin/sh\n");
    tree.put("etc/group", "root:x:0:\nstaff:x:50:\n");
    let of = |text: &str| owner(&tree.root(), text);
    assert_eq!(of("ann").unwrap(), (1000, 1001));
    assert_eq!(of("1000").unwrap(), (1000, 1001));
    assert_eq!(of("77").unwrap(), (77, 0));
    assert_eq!(of("ann:staff").unwrap(), (1000, 50));
    assert_eq!(of(":50").unwrap(), (0, 50));
    assert!(of("bob").unwrap_err().message.contains("unable to find user bob"));
    // A host's file behind a link is not read.
    fs::remove_file(tree.path("root/etc/passwd")).unwrap();
    symlink("../../outside/secret", tree.path("root/etc/passwd")).unwrap();
    assert!(of("ann").is_err());
}

/// A process that swaps a directory and a link without end never gets us out.
#[test]
fn a_race_with_links_stays_inside() {
    let tree = Tree::new();
    let (root, outside) = (tree.path("root"), tree.path("outside"));
    fs::create_dir(root.join("dir")).unwrap();
    symlink(&outside, root.join("link")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (dir, link) = (root.join("dir"), root.join("link"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &dir, rustix::fs::CWD, &link, flags).unwrap();
            }
        });
        let bytes = archive(&[
            (b'5', "dir/sub", "", ""),
            (b'0', "dir/sub/file", "", "x"),
            (b'6', "dir/fifo", "", ""),
            (b'2', "dir/way", "/etc", ""),
        ]);
        for _ in 0..2000 {
            // It may fail; it may not get out.
            let _ = tree.extract("/", &bytes);
            let mut out = Vec::new();
            if let Ok(source) = Source::find(&tree.root(), b"/dir/") {
                let _ = source.pack(&mut out);
            }
            assert!(!out.windows(6).any(|bytes| bytes == b"secret"));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["secret"]);
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    assert_eq!(fs::metadata(&outside).unwrap().uid(), 0);
}

/// A real overlay: what a container does to it, and what is told of that.
struct Mounted(Tree);

impl Mounted {
    fn new(lower: &[(&str, &str)]) -> Self {
        let tree = Tree::new();
        for dir in ["lower", "upper", "work", "merged"] {
            fs::create_dir(tree.path(dir)).unwrap();
        }
        for (name, text) in lower {
            let path = tree.path("lower").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let dir = |name: &str| tree.path(name).display().to_string();
        let options = format!(
            "redirect_dir=off,metacopy=off,lowerdir={},upperdir={},workdir={}",
            dir("lower"),
            dir("upper"),
            dir("work")
        );
        let flags = nix::mount::MsFlags::empty();
        let merged = tree.path("merged");
        nix::mount::mount(Some("overlay"), &merged, Some("overlay"), flags, Some(options.as_str())).unwrap();
        Self(tree)
    }
    fn sh(&self, script: &str) {
        let done = Command::new("sh").args(["-ec", script]).current_dir(self.0.path("merged")).status().unwrap();
        assert!(done.success(), "{script}");
    }
    fn overlay(&self) -> Overlay {
        Overlay::open(&self.0.path("upper"), &[self.0.path("lower")]).unwrap()
    }
    fn changes(&self, hidden: &[&str]) -> Vec<String> {
        let hidden: Vec<String> = hidden.iter().map(|path| (*path).to_owned()).collect();
        let mut told = Vec::new();
        changes(&self.overlay(), &hidden, &mut |kind, path| {
            told.push(format!("{} {}", ["C", "A", "D"][usize::from(kind.number())], String::from_utf8_lossy(path)));
            Ok(())
        })
        .unwrap();
        told
    }
    fn layer(&self, hidden: &[&str]) -> Vec<u8> {
        let hidden: Vec<String> = hidden.iter().map(|path| (*path).to_owned()).collect();
        let mut out = Vec::new();
        layer(&self.overlay(), &hidden, &mut out).unwrap();
        out
    }
    /// The layer on top of the lower directory is the same tree.
    fn assert_layer_is_the_tree(&self) {
        let dir = self.0.path("again");
        fs::create_dir(&dir).unwrap();
        crate::unpack(self.layer(&[]).as_slice(), &dir, &|_| {}).unwrap();
        let (merged, again) = (self.0.path("merged"), self.0.path("remerged"));
        fs::create_dir(&again).unwrap();
        let options = format!("lowerdir={}:{}", dir.display(), self.0.path("lower").display());
        let flags = nix::mount::MsFlags::MS_RDONLY;
        nix::mount::mount(Some("overlay"), &again, Some("overlay"), flags, Some(options.as_str())).unwrap();
        let (left, right) = (listing(&merged), listing(&again));
        nix::mount::umount(&again).unwrap();
        assert_eq!(left, right);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = nix::mount::umount(&self.0.path("merged"));
    }
}

fn listing(dir: &Path) -> String {
    let script = "find . -mindepth 1 | LC_ALL=C sort | while read -r f; do stat -c '%n %F %a %u %g' \"$f\"; \
                  [ -f \"$f\" ] && cat \"$f\"; done; true";
    let output = Command::new("sh").args(["-c", script]).current_dir(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn changes_are_told_as_docker_does() {
    let image =
        [("a/b/file", "1"), ("a/b/gone", "2"), ("etc/passwd", "3"), ("opq/x", "4"), ("opq/y", "5"), ("kept/z", "")];
    let tree = Mounted::new(&image);
    assert_eq!(tree.changes(&[]), Vec::<String>::new());
    assert_eq!(tree.layer(&[]).len(), 1024);
    tree.sh("echo new > a/b/file; rm a/b/gone; echo x > a/added; mkdir fresh; touch fresh/in; \
             rm -r opq; mkdir opq; echo 6 > opq/y; touch opq/own; mv etc/passwd etc/group; chmod 700 kept");
    let expected = [
        "C /a",
        "A /a/added",
        "C /a/b",
        "C /a/b/file",
        "D /a/b/gone",
        "C /etc",
        "A /etc/group",
        "D /etc/passwd",
        "A /fresh",
        "A /fresh/in",
        "C /kept",
        "C /opq",
        "A /opq/own",
        "C /opq/y",
        "D /opq/x",
    ];
    assert_eq!(tree.changes(&[]), expected);
    let layer = entries(&tree.layer(&[]));
    let expected = [
        "a/",
        "a/added",
        "a/b/",
        "a/b/file",
        "a/b/.wh.gone",
        "etc/",
        "etc/group",
        "etc/.wh.passwd",
        "fresh/",
        "fresh/in",
        "kept/",
        "opq/",
        "opq/.wh..wh..opq",
        "opq/own",
        "opq/y",
    ];
    assert_eq!(names(&layer), expected);
    tree.assert_layer_is_the_tree();
}

#[test]
fn the_engines_mount_points_are_not_changes() {
    let hidden = ["/etc/hosts", "/etc", "/proc", "/dev"];
    let tree = Mounted::new(&[("usr/x", "")]);
    tree.sh("mkdir etc proc dev; touch etc/hosts");
    assert_eq!(tree.changes(&hidden), Vec::<String>::new());
    assert_eq!(tree.layer(&hidden).len(), 1024);
    tree.sh("echo mine > etc/own");
    assert_eq!(tree.changes(&hidden), ["A /etc", "A /etc/own"]);
    assert_eq!(names(&entries(&tree.layer(&hidden))), ["etc/", "etc/own"]);
    let tree = Mounted::new(&[("etc/x", "")]);
    tree.sh("touch etc/hosts");
    assert_eq!(tree.changes(&hidden), Vec::<String>::new());
    tree.sh("echo full > etc/hosts");
    assert_eq!(tree.changes(&hidden), ["C /etc", "A /etc/hosts"]);
}

#[test]
fn a_name_that_reads_as_a_whiteout_is_refused() {
    let tree = Mounted::new(&[("a", "")]);
    tree.sh("touch .wh.a");
    let mut out = Vec::new();
    assert!(layer(&tree.overlay(), &[], &mut out).unwrap_err().message.contains(".wh."));
}

#[test]
fn lower_directories_are_merged_as_overlayfs_does() {
    let tree = Mounted::new(&[("d/low", "1")]);
    // Two lower directories: the upper of one mount becomes the lower of the next.
    tree.sh("rm d/low; rmdir d; mkdir d; echo 2 > d/mid");
    let (upper, work, merged) = (tree.0.path("upper2"), tree.0.path("work2"), tree.0.path("merged2"));
    for dir in [&upper, &work, &merged] {
        fs::create_dir(dir).unwrap();
    }
    let lowers = [tree.0.path("upper"), tree.0.path("lower")];
    let options = format!(
        "redirect_dir=off,lowerdir={}:{},upperdir={},workdir={}",
        lowers[0].display(),
        lowers[1].display(),
        upper.display(),
        work.display()
    );
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("overlay"), &merged, Some("overlay"), flags, Some(options.as_str())).unwrap();
    fs::write(merged.join("d/low"), "again").unwrap();
    fs::write(merged.join("d/mid"), "changed").unwrap();
    let overlay = Overlay::open(&upper, &lowers).unwrap();
    let mut told = Vec::new();
    changes(&overlay, &[], &mut |kind, path| {
        told.push((kind, String::from_utf8_lossy(path).into_owned()));
        Ok(())
    })
    .unwrap();
    nix::mount::umount(&merged).unwrap();
    let expected = [(ChangeKind::Modified, "/d"), (ChangeKind::Added, "/d/low"), (ChangeKind::Modified, "/d/mid")];
    assert_eq!(told, expected.map(|(kind, path)| (kind, path.to_owned())));
}
