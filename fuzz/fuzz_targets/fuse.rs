//! A guest's kernel that lies: what it sends is answered by messages and nothing
//! else, the server ends when the guest does, and nothing outside the share is
//! touched.
//!
//! The first byte says whether the rest is what comes over the socket, or a list
//! of requests, whose heads are made well so that more of them is reached.
#![no_main]

use hako_fuse::wire::{HEAD, MAX_IO, REPLY_HEAD, op};
use libfuzzer_sys::fuzz_target;
use nix::sys::{
    resource::{Resource, setrlimit},
    signal::{SigSet, Signal},
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileExt, symlink},
            net::UnixStream,
        },
    },
    path::Path,
    sync::Once,
    thread,
};

/// A file and a text beside the share, which no guest may see or touch.
const OUTSIDE: &str = "outside";
/// No file grows beyond this, however a guest asks: files are in memory here. The
/// fuzzer's own files are held to it as well.
const MOST_FILE: u64 = 16 << 20;
/// The first opcode that there is none of, and some more.
const OPCODES: u8 = 56;

static LIMIT: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    LIMIT.call_once(|| {
        setrlimit(Resource::RLIMIT_FSIZE, MOST_FILE, MOST_FILE).expect("a lower limit");
        // What is too long is an error then; threads begin with this one's mask.
        SigSet::from(Signal::SIGXFSZ).thread_block().expect("a signal can be blocked");
    });
    let Some((way, bytes)) = bytes.split_first() else { return };
    let root = hako_fuzz::folder();
    let share = root.path().join("share");
    fill(root.path(), &share);
    let mut sent = known();
    if way % 2 == 0 {
        sent.extend_from_slice(bytes);
    } else {
        requests(bytes, &mut sent);
    }
    let (mut guest, server) = UnixStream::pair().expect("two ends");
    let mut answers = guest.try_clone().expect("a second handle");
    let served = {
        let (share, window) = (share.clone(), window(root.path()));
        thread::spawn(move || hako_fuse::serve_openly(&share, server, Some(window)))
    };
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        // Broken off, as the server does when it has had enough.
        let _ = answers.read_to_end(&mut all);
        all
    });
    // The server need not read on.
    let _ = guest.write_all(&sent);
    let _ = guest.shutdown(Shutdown::Write);
    let answers = reader.join().expect("the reader does not panic");
    // That it hangs up on nonsense is well; that it panics is not.
    let _ = served.join().expect("the server does not panic");
    are_messages(&answers);
    untouched(root.path());
});

fn fill(root: &Path, share: &Path) {
    fs::create_dir(share).expect("a fresh folder");
    fs::create_dir(share.join("folder")).expect("a fresh folder");
    fs::write(root.join(OUTSIDE), OUTSIDE).expect("a fresh folder");
    fs::write(share.join("file"), "inside").expect("a fresh folder");
    symlink("../outside", share.join("link")).expect("a fresh folder");
}

/// Memory for large data, in which there is a little; it has no name.
fn window(root: &Path) -> OwnedFd {
    let path = root.join("window");
    let file = File::options().create_new(true).read(true).write(true).open(&path).expect("a fresh file");
    fs::remove_file(path).expect("it is there");
    file.write_all_at(b"what is in the first slot", 0).expect("room for it");
    file.into()
}

fn request(opcode: u32, node: u64, body: &[u8], to: &mut Vec<u8>) {
    request_through(0, opcode, node, body, to);
}

/// One whose data passes through a slot of the window.
fn request_through(slot: u16, opcode: u32, node: u64, body: &[u8], to: &mut Vec<u8>) {
    let len = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
    let unique = to.len() as u64 + 1;
    for word in [len, opcode] {
        to.extend_from_slice(&word.to_ne_bytes());
    }
    for long in [unique, node] {
        to.extend_from_slice(&long.to_ne_bytes());
    }
    // The user, the group and the process that asks.
    for word in [0_u32, 0, 1, u32::from(slot) << 16] {
        to.extend_from_slice(&word.to_ne_bytes());
    }
    to.extend_from_slice(body);
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// What every kernel begins with: an agreement, and a look at what there is. The
/// share, its file, link and folder are the first nodes, and the file is open.
fn known() -> Vec<u8> {
    let mut sent = Vec::new();
    request(op::INIT, 0, &words(&[7, 39, 1 << 17, u32::MAX, u32::MAX, 0, 0, 0, 0]), &mut sent);
    request(op::LOOKUP, 1, b"0\0", &mut sent);
    for name in [&b"file\0"[..], b"link\0", b"folder\0"] {
        request(op::LOOKUP, 2, name, &mut sent);
    }
    request(op::OPEN, 3, &words(&[2, 0]), &mut sent);
    request(op::OPENDIR, 2, &words(&[0, 0]), &mut sent);
    sent
}

/// Each: opcode, node, the length of the rest.
fn requests(mut bytes: &[u8], to: &mut Vec<u8>) {
    while let [opcode, node, len, rest @ ..] = bytes {
        let (body, next) = rest.split_at(usize::from(*len).min(rest.len()));
        // One more than there are.
        let slot = u16::from(node / 16) % 10;
        request_through(slot, u32::from(opcode % OPCODES), u64::from(node % 16), body, to);
        bytes = next;
    }
}

/// Whole messages, each an answer or a notice; the last may be broken off.
fn are_messages(mut bytes: &[u8]) {
    while bytes.len() >= REPLY_HEAD {
        let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let (len, error) = (number(0) as usize, number(4).cast_signed());
        let unique = u64::from_ne_bytes(bytes[8..16].try_into().expect("eight bytes"));
        assert!((REPLY_HEAD..=MAX_IO + REPLY_HEAD).contains(&len), "a message of {len} bytes");
        assert!((-4095..=0).contains(&error) || unique == 0, "error {error}");
        assert!(error == 0 || unique == 0 || len == REPLY_HEAD, "an error with {len} bytes");
        bytes = bytes.get(len..).unwrap_or_default();
    }
}

fn untouched(root: &Path) {
    let mut names: Vec<_> = fs::read_dir(root).expect("it is there").map(|e| e.expect("a name").file_name()).collect();
    names.sort();
    assert_eq!(names, [OUTSIDE, "share"]);
    assert_eq!(fs::read(root.join(OUTSIDE)).expect("it is there"), OUTSIDE.as_bytes());
}
