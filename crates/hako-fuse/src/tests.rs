//! The server, asked by a guest's kernel that is played here, also by one that
//! lies.

use crate::wire::{HEAD, MAX_IO, REPLY_HEAD, init, op};
use proptest::prelude::*;
use std::{
    fs::{self, File},
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileExt, MetadataExt, symlink},
            net::UnixStream,
        },
    },
    path::Path,
    thread::{self, JoinHandle},
};

/// A guest with one share.
struct Guest {
    socket: UnixStream,
    server: Option<JoinHandle<crate::Result<()>>>,
    last: u64,
}

/// The bytes of a request's part.
trait Bytes {
    fn bytes(&self) -> Vec<u8>;
}

impl Bytes for u32 {
    fn bytes(&self) -> Vec<u8> {
        self.to_ne_bytes().into()
    }
}

impl Bytes for u64 {
    fn bytes(&self) -> Vec<u8> {
        self.to_ne_bytes().into()
    }
}

impl Bytes for &str {
    fn bytes(&self) -> Vec<u8> {
        [self.as_bytes(), b"\0"].concat()
    }
}

macro_rules! body {
    ($($part:expr),* $(,)?) => {{
        #[allow(unused_mut)]
        let mut body: Vec<u8> = Vec::new();
        $(body.extend(Bytes::bytes(&$part));)*
        body
    }};
}

impl Guest {
    fn new(share: &Path) -> Self {
        Self::with_window(share, None)
    }

    fn with_window(share: &Path, window: Option<File>) -> Self {
        let (socket, theirs) = UnixStream::pair().unwrap();
        let share = share.to_owned();
        let server = thread::spawn(move || crate::serve_openly(&share, theirs, window.map(OwnedFd::from)));
        let mut guest = Self { socket, server: Some(server), last: 0 };
        let hello = body![7_u32, 39_u32, 131_072_u32, u32::MAX, u32::MAX, 0_u64, 0_u64];
        assert_eq!(guest.ask(op::INIT, 0, &hello).unwrap().len(), 64);
        guest
    }

    fn send(&mut self, opcode: u32, node: u64, body: &[u8]) -> u64 {
        self.send_through(0, opcode, node, body)
    }

    /// A request whose data passes through a slot of the window.
    fn send_through(&mut self, slot: u16, opcode: u32, node: u64, body: &[u8]) -> u64 {
        self.last += 1;
        let len = u32::try_from(HEAD + body.len()).unwrap();
        let head = body![len, opcode, self.last, node, 0_u32, 0_u32, 1_u32, u32::from(slot) << 16];
        self.socket.write_all(&[&head, body].concat()).unwrap();
        self.last
    }

    /// The next message: whom it answers, the error, and the rest.
    fn receive(&mut self) -> Option<(u64, i32, Vec<u8>)> {
        let mut head = [0; REPLY_HEAD];
        self.socket.read_exact(&mut head).ok()?;
        let number = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
        let mut body = vec![0; number(0) as usize - REPLY_HEAD];
        self.socket.read_exact(&mut body).ok()?;
        Some((u64::from_ne_bytes(head[8..].try_into().unwrap()), number(4).cast_signed(), body))
    }

    fn ask(&mut self, opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
        self.ask_through(0, opcode, node, body)
    }

    fn ask_through(&mut self, slot: u16, opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
        let asked = self.send_through(slot, opcode, node, body);
        loop {
            let (unique, error, body) = self.receive().expect("a reply");
            if unique == asked {
                return if error == 0 { Ok(body) } else { Err(-error) };
            }
        }
    }

    fn look(&mut self, node: u64, name: &str) -> Result<u64, i32> {
        self.ask(op::LOOKUP, node, &body![name]).map(|entry| number(&entry, 0))
    }

    fn share(&mut self) -> u64 {
        self.look(1, "0").unwrap()
    }

    fn open(&mut self, node: u64, flags: i32) -> Result<u64, i32> {
        self.ask(op::OPEN, node, &body![flags.cast_unsigned(), 0_u32]).map(|open| number(&open, 0))
    }

    fn end(mut self) -> crate::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Both).unwrap();
        self.server.take().unwrap().join().unwrap()
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn share() -> tempfile::TempDir {
    let outer = tempfile::tempdir().unwrap();
    fs::create_dir(outer.path().join("share")).unwrap();
    fs::write(outer.path().join("secret"), "outside").unwrap();
    fs::write(outer.path().join("share/file"), "inside").unwrap();
    symlink("/etc/passwd", outer.path().join("share/link")).unwrap();
    outer
}

#[test]
fn a_file_is_read_and_written() {
    let outer = share();
    let mut guest = Guest::new(&outer.path().join("share"));
    let root = guest.share();
    let file = guest.look(root, "file").unwrap();
    assert_eq!(guest.look(root, "file").unwrap(), file);
    let fh = guest.open(file, libc::O_RDWR).unwrap();
    let read = body![fh, 2_u64, 100_u32, 0_u32, 0_u64, 0_u32, 0_u32];
    assert_eq!(guest.ask(op::READ, file, &read).unwrap(), b"side");
    let mut write = body![fh, 2_u64, 3_u32, 0_u32, 0_u64, 0_u32, 0_u32];
    write.extend_from_slice(b"SID");
    assert_eq!(guest.ask(op::WRITE, file, &write).unwrap(), body![3_u32, 0_u32]);
    assert_eq!(fs::read_to_string(outer.path().join("share/file")).unwrap(), "inSIDe");
    // What is open has a number of its own node's.
    assert_eq!(guest.ask(op::READ, root, &read).unwrap_err(), libc::EBADF);
    guest.ask(op::RELEASE, file, &body![fh, 0_u32, 0_u32, 0_u64]).unwrap();
    assert_eq!(guest.ask(op::READ, file, &read).unwrap_err(), libc::EBADF);
    guest.send(op::FORGET, file, &body![2_u64]);
    assert_eq!(guest.open(file, libc::O_RDONLY).unwrap_err(), libc::ESTALE);
    guest.end().unwrap();
}

#[test]
fn large_data_passes_through_the_window() {
    let outer = share();
    let path = outer.path().join("window");
    let window = File::options().create_new(true).read(true).write(true).open(path).unwrap();
    let mut guest = Guest::with_window(&outer.path().join("share"), Some(window.try_clone().unwrap()));
    let root = guest.share();
    let file = guest.look(root, "file").unwrap();
    let fh = guest.open(file, libc::O_RDWR).unwrap();
    let order = |size: u32| body![fh, 0_u64, size, 0_u32, 0_u64, 0_u32, 0_u32];
    let slot = |slot: u64| (slot - 1) * MAX_IO as u64;
    // A read says how much there is, and where it was told to put it.
    assert_eq!(guest.ask_through(3, op::READ, file, &order(MAX_IO as u32)).unwrap(), body![6_u32]);
    let mut seen = [0; 6];
    window.read_exact_at(&mut seen, slot(3)).unwrap();
    assert_eq!(&seen, b"inside");
    // A write has its data there.
    let data: Vec<u8> = (0..MAX_IO).map(|n| n as u8).collect();
    window.write_all_at(&data, slot(8)).unwrap();
    assert_eq!(guest.ask_through(8, op::WRITE, file, &order(MAX_IO as u32)).unwrap(), body![MAX_IO as u32, 0_u32]);
    assert_eq!(fs::read(outer.path().join("share/file")).unwrap(), data);
    // Slots that there are not, more than fits, and what another was given.
    for (slot, size) in [(9, 8), (u16::MAX, 8), (1, MAX_IO as u32 + 1), (1, u32::MAX)] {
        for opcode in [op::READ, op::WRITE] {
            assert_eq!(guest.ask_through(slot, opcode, file, &order(size)).unwrap_err(), libc::EINVAL);
        }
    }
    assert_eq!(guest.ask_through(1, op::READ, root, &order(8)).unwrap_err(), libc::EBADF);
    guest.end().unwrap();
    // Without a window there are no slots.
    let mut guest = Guest::new(&outer.path().join("share"));
    let root = guest.share();
    let file = guest.look(root, "file").unwrap();
    let fh = guest.open(file, libc::O_RDWR).unwrap();
    let read = body![fh, 0_u64, 8_u32, 0_u32, 0_u64, 0_u32, 0_u32];
    assert_eq!(guest.ask_through(1, op::READ, file, &read).unwrap_err(), libc::EINVAL);
    guest.end().unwrap();
}

#[test]
fn nothing_leads_out() {
    let outer = share();
    let mut guest = Guest::new(&outer.path().join("share"));
    let root = guest.share();
    for name in ["..", ".", "", "../secret", "/etc/passwd", "file/..", "./file"] {
        assert_eq!(guest.look(root, name).unwrap_err(), libc::EINVAL, "{name}");
        for opcode in [op::UNLINK, op::RMDIR] {
            assert_eq!(guest.ask(opcode, root, &body![name]).unwrap_err(), libc::EINVAL, "{name}");
        }
        assert_eq!(guest.ask(op::MKDIR, root, &body![0o755_u32, 0_u32, name]).unwrap_err(), libc::EINVAL, "{name}");
        assert_eq!(guest.ask(op::RENAME, root, &body![root, "file", name]).unwrap_err(), libc::EINVAL, "{name}");
    }
    // A link is its text, and is neither opened nor looked into.
    let link = guest.look(root, "link").unwrap();
    assert_eq!(guest.ask(op::READLINK, link, &[]).unwrap(), b"/etc/passwd");
    assert_eq!(guest.open(link, libc::O_RDONLY).unwrap_err(), libc::ELOOP);
    assert_eq!(guest.look(link, "passwd").unwrap_err(), libc::ENOTDIR);
    // Nor is it truncated, and its mode is its own.
    let setattr = |valid: u32| {
        body![
            valid, 0_u32, 0_u64, 0_u64, 0_u64, 0_u64, 0_u64, 0_u64, 0_u32, 0_u32, 0_u32, 0o777_u32, 0_u32, 0_u32,
            0_u32, 0_u32
        ]
    };
    assert_eq!(guest.ask(op::SETATTR, link, &setattr(1 << 3)).unwrap_err(), libc::ELOOP);
    assert!(guest.ask(op::SETATTR, link, &setattr(1)).is_err());
    assert_ne!(fs::metadata("/etc/passwd").unwrap().mode() & 0o7777, 0o777);
    // The mount's own root is nobody's folder.
    assert_eq!(guest.ask(op::MKDIR, 1, &body![0o755_u32, 0_u32, "x"]).unwrap_err(), libc::EROFS);
    assert_eq!(guest.look(1, "1").unwrap_err(), libc::ENOENT);
    assert_eq!(guest.look(1, "99999999999999999999").unwrap_err(), libc::ENOENT);
    guest.end().unwrap();
}

#[test]
fn devices_are_not_opened() {
    let outer = share();
    let path = outer.path().join("share/null");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::sys::stat::mknod(&path, nix::sys::stat::SFlag::S_IFCHR, mode, libc::makedev(1, 3)).unwrap();
    nix::unistd::mkfifo(&outer.path().join("share/pipe"), mode).unwrap();
    let mut guest = Guest::new(&outer.path().join("share"));
    let root = guest.share();
    for name in ["null", "pipe"] {
        let node = guest.look(root, name).unwrap();
        assert_eq!(guest.open(node, libc::O_RDWR).unwrap_err(), libc::EPERM);
        // Nor by making what is there already.
        let create = body![libc::O_RDWR.cast_unsigned(), 0o644_u32, 0_u32, 0_u32, name];
        assert_eq!(guest.ask(op::CREATE, root, &create).unwrap_err(), libc::ESTALE);
    }
    let create = body![libc::O_RDWR.cast_unsigned(), 0o644_u32, 0_u32, 0_u32, "link"];
    assert_eq!(guest.ask(op::CREATE, root, &create).unwrap_err(), libc::ESTALE);
    // Nor made: char 1:5, block 7:0; what is a name only is.
    for (mode, device) in [(libc::S_IFCHR, 0x105_u32), (libc::S_IFBLK, 0x700)] {
        let body = body![mode | 0o666, device, 0_u32, 0_u32, "device"];
        assert_eq!(guest.ask(op::MKNOD, root, &body).unwrap_err(), libc::EPERM);
    }
    assert!(guest.ask(op::MKNOD, root, &body![libc::S_IFIFO | 0o600, 0_u32, 0_u32, 0_u32, "fifo"]).is_ok());
    guest.end().unwrap();
}

#[test]
fn attributes_of_the_kernel_are_not_the_guests() {
    let outer = share();
    let mut guest = Guest::new(&outer.path().join("share"));
    let root = guest.share();
    let file = guest.look(root, "file").unwrap();
    for name in ["trusted.x", "security.selinux", "security.ima", "system.other", ""] {
        let set = [body![1_u32, 0_u32, 0_u32, 0_u32, name], b"v".to_vec()].concat();
        assert_eq!(guest.ask(op::SETXATTR, file, &set).unwrap_err(), libc::EOPNOTSUPP, "{name}");
        assert_eq!(guest.ask(op::GETXATTR, file, &body![0_u32, 0_u32, name]).unwrap_err(), libc::EOPNOTSUPP);
    }
    guest.end().unwrap();
}

#[test]
fn a_removed_file_is_not_kept() {
    let outer = share();
    let path = outer.path().join("share/file");
    let mut guest = Guest::new(&outer.path().join("share"));
    let root = guest.share();
    let first = guest.look(root, "file").unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another").unwrap();
    // Whether or not it has the number of the old one, it is another.
    assert_ne!(guest.look(root, "file").unwrap(), first);
    guest.end().unwrap();
}

#[test]
fn what_others_wrote_is_told_with_the_open() {
    let outer = share();
    let path = outer.path().join("share/file");
    let mut guest = Guest::new(&outer.path().join("share"));
    let root = guest.share();
    let file = guest.look(root, "file").unwrap();
    fs::write(&path, "longer than before").unwrap();
    // So that its name is looked up again; if it is not, the open goes on all the same.
    assert_eq!(guest.ask(op::OPEN, file, &body![0_u32, 0_u32]).unwrap_err(), libc::ESTALE);
    let asked = guest.send(op::OPEN, file, &body![0_u32, 0_u32]);
    let (unique, code, body) = guest.receive().unwrap();
    assert_eq!((unique, code, number(&body, 0)), (0, 2, file));
    assert_eq!(guest.receive().unwrap().0, asked);
    fs::write(&path, "again").unwrap();
    assert_eq!(guest.look(root, "file").unwrap(), file);
    assert!(guest.open(file, libc::O_RDONLY).is_ok(), "it has been told");
    guest.end().unwrap();
}

/// A lock of another open file on the host stands in the way, and is waited for.
#[test]
fn locks_are_the_hosts() {
    let outer = share();
    let mut guest = Guest::new(&outer.path().join("share"));
    let root = guest.share();
    let file = guest.look(root, "file").unwrap();
    let fh = guest.open(file, libc::O_RDWR).unwrap();
    let mine = fs::File::open(outer.path().join("share/file")).unwrap();
    mine.lock().unwrap();
    let (write, unlock) = (libc::F_WRLCK.cast_unsigned(), libc::F_UNLCK.cast_unsigned());
    let flock = |kind: u32| body![fh, 7_u64, 0_u64, i64::MAX.cast_unsigned(), kind, 1_u32, 1_u32, 0_u32];
    assert_eq!(guest.ask(op::SETLK, file, &flock(write)).unwrap_err(), libc::EAGAIN);
    // One that waits can be taken back.
    let waits = guest.send(op::SETLKW, file, &flock(write));
    guest.send(op::INTERRUPT, 0, &body![waits]);
    assert_eq!(guest.receive().unwrap(), (waits, -libc::EINTR, vec![]));
    let waits = guest.send(op::SETLKW, file, &flock(write));
    // Others are served meanwhile.
    assert!(guest.look(root, "file").is_ok());
    mine.unlock().unwrap();
    assert_eq!(guest.receive().unwrap(), (waits, 0, vec![]));
    assert!(mine.try_lock().is_err());
    guest.ask(op::SETLK, file, &flock(unlock)).unwrap();
    mine.try_lock().unwrap();
    // Two owners of one guest, and an end that the first one's close brings.
    let posix = |owner: u64, kind: u32| body![fh, owner, 0_u64, 9_u64, kind, 1_u32, 0_u32, 0_u32];
    guest.ask(op::SETLK, file, &posix(1, write)).unwrap();
    assert_eq!(guest.ask(op::SETLK, file, &posix(2, write)).unwrap_err(), libc::EAGAIN);
    let found = guest.ask(op::GETLK, file, &posix(2, write)).unwrap();
    assert_eq!((number(&found, 0), number(&found, 8)), (0, 9));
    let waits = guest.send(op::SETLKW, file, &posix(2, write));
    let flushed = guest.send(op::FLUSH, file, &body![fh, 0_u64, 1_u64]);
    let mut answers = [guest.receive().unwrap(), guest.receive().unwrap()];
    answers.sort();
    assert_eq!(answers, [(waits, 0, vec![]), (flushed, 0, vec![])]);
    guest.end().unwrap();
}

#[test]
fn many_at_a_time() {
    let outer = share();
    for n in 0..500 {
        fs::write(outer.path().join(format!("share/{n}")), n.to_string()).unwrap();
    }
    let mut guest = Guest::new(&outer.path().join("share"));
    let root = guest.share();
    let asked: Vec<u64> = (0..500).map(|n| guest.send(op::LOOKUP, root, &body![n.to_string().as_str()])).collect();
    let mut answered: Vec<u64> = (0..500).map(|_| guest.receive().unwrap()).map(|answer| answer.0).collect();
    answered.sort_unstable();
    assert_eq!(answered, asked);
    // All of them by reading the directory, and again with what they are.
    for (opcode, skip) in [(op::READDIR, 0), (op::READDIRPLUS, 128)] {
        let fh = number(&guest.ask(op::OPENDIR, root, &body![0_u32, 0_u32]).unwrap(), 0);
        let (mut offset, mut names) = (0, Vec::new());
        loop {
            let read = body![fh, offset, 4096_u32, 0_u32, 0_u64, 0_u32, 0_u32];
            let entries = guest.ask(opcode, root, &read).unwrap();
            assert!(entries.len() <= 4096);
            let mut at = 0;
            while at < entries.len() {
                let dirent = &entries[at + skip..];
                offset = number(dirent, 8);
                let len = u32::from_ne_bytes(dirent[16..20].try_into().unwrap()) as usize;
                names.push(String::from_utf8(dirent[24..24 + len].to_vec()).unwrap());
                at += skip + (24 + len).next_multiple_of(8);
            }
            if entries.is_empty() {
                break;
            }
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 500 + 4, "{opcode}");
        assert!(guest.ask(op::RELEASEDIR, root, &body![fh, 0_u32, 0_u32, 0_u64]).is_ok());
    }
    guest.end().unwrap();
}

#[test]
fn impossible_lengths_end_the_connection() {
    for len in [0_u32, 39, u32::MAX, (MAX_IO * 2) as u32] {
        let outer = share();
        let mut guest = Guest::new(&outer.path().join("share"));
        let mut head = body![len];
        head.resize(HEAD, 0);
        guest.socket.write_all(&head).unwrap();
        assert!(guest.receive().is_none());
        assert!(guest.server.take().unwrap().join().unwrap().is_err(), "{len}");
    }
}

#[test]
fn little_is_agreed_on_with_an_old_kernel() {
    let outer = share();
    let mut guest = Guest::new(&outer.path().join("share"));
    assert_eq!(guest.ask(op::INIT, 0, &body![6_u32, 0_u32, 0_u32, 0_u32]).unwrap_err(), libc::EPROTO);
    let few = init::ASYNC_READ as u32 | 1 << 31;
    let said = guest.ask(op::INIT, 0, &body![7_u32, 31_u32, 0_u32, few]).unwrap();
    assert_eq!(u32::from_ne_bytes(said[12..16].try_into().unwrap()), init::ASYNC_READ as u32);
    guest.end().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is sent in whole requests is answered or ignored, and the next
    /// honest request is answered too; nothing outside is touched.
    #[test]
    fn lies_are_survived(
        lies in prop::collection::vec((0_u32..60, 0_u64..6, prop::collection::vec(any::<u8>(), 0..200), any::<bool>()), 1..60),
        numbers in prop::collection::vec(0_u64..4, 8),
    ) {
        let outer = share();
        let mut guest = Guest::new(&outer.path().join("share"));
        let root = guest.share();
        let file = guest.look(root, "file").unwrap();
        let _ = guest.open(file, libc::O_RDWR);
        for (opcode, node, mut bytes, sane) in lies {
            if sane {
                // With numbers that mean something, the rest is reached.
                let head: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
                bytes.splice(0..0, head[..(opcode as usize * 7) % 64].to_vec());
                bytes.extend(b"file\0new\0");
            }
            guest.send(opcode, node, &bytes);
        }
        let fresh = guest.send(op::STATFS, root, &[]);
        loop {
            let (unique, error, _) = guest.receive().expect("the server lives");
            if unique == fresh {
                // It may have been lied about how often it was seen.
                prop_assert!(error == 0 || error == -libc::ESTALE);
                break;
            }
        }
        prop_assert_eq!(fs::read_to_string(outer.path().join("secret")).unwrap(), "outside");
        prop_assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2);
        guest.end().unwrap();
    }
}
