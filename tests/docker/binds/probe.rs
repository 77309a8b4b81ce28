//! What no shell can ask of a filesystem: this very program runs in the
//! container, to which it is given as a single file.
#![allow(unsafe_code)]
// UNSAFETY: mmap and the calls on attributes are what is tested; there is no
// face for them here.

use super::Folder;
use hako_tests::{Case, Client, Engine, Wall, both_walls};
use nix::fcntl::{FallocateFlags, FcntlArg, RenameFlags, fallocate, fcntl, renameat2};
use std::{
    env,
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

const WHAT: &str = "HAKO_TEST_PROBE";

/// Runs a part of this program in a container with the folder at `/mnt`.
pub(crate) fn probe(case: &Case, wall: Wall, folder: &Folder, what: &str) -> Client {
    let program = format!("{}:/probe:ro", env::current_exe().unwrap().display());
    let (folder, what) = (folder.at("/mnt"), format!("{WHAT}={what}"));
    let flags = ["--network=none", "-v", &program, "-v", &folder, "-w", "/mnt", "-e", &what, "busybox"];
    case.docker(["run", "--rm", &isolation(wall)]).args(flags).args([
        "/probe",
        "--ignored",
        "--exact",
        "binds::probe::inside",
        "--nocapture",
    ])
}

/// The flag for a wall; the reference has one.
pub(crate) fn isolation(wall: Wall) -> String {
    if Engine::is_reference() { "--isolation=default".into() } else { format!("--isolation={wall}") }
}

#[test]
#[ignore = "it is a program for containers"]
fn inside() {
    match env::var(WHAT).unwrap_or_default().as_str() {
        "files" => files(),
        "lock-hold" => lock_hold(),
        "lock-wait" => lock_wait(),
        "append" => append(),
        "" => {}
        other => panic!("no probe {other}"),
    }
}

both_walls! {
    fn calls(case) {
        let folder = Folder::new();
        let _ = probe(case, case.wall, &folder, "files").deadline(Duration::from_secs(120)).run().ok();
        // What it has left behind is on the host.
        assert_eq!(folder.read("mapped"), "mapped\n");
        assert_eq!(folder.read("linked"), "no name");
        let mut value = [0; 16];
        let path = CString::new(folder.path("mapped").to_str().unwrap()).unwrap();
        // SAFETY: the buffer has the length that is said.
        let n = unsafe { libc::getxattr(path.as_ptr(), c"user.kept".as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        assert_eq!(&value[..usize::try_from(n).unwrap()], b"value");
    }
}

fn open(path: &str) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn files() {
    mapped();
    direct();
    holes();
    attributes();
    renames();
    without_a_name();
    copied();
    directories();
    watched();
}

/// Changes that are made here are told here.
fn watched() {
    // SAFETY: takes no memory.
    let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: it was opened just now, for nobody else.
    let mut told = unsafe { File::from_raw_fd(fd) };
    // SAFETY: the path ends with a zero.
    assert!(unsafe { libc::inotify_add_watch(fd, c".".as_ptr(), libc::IN_CREATE) } > 0);
    fs::write("watched", "").unwrap();
    let mut event = [0; 256];
    let n = told.read(&mut event).unwrap();
    assert!(event[..n].windows(7).any(|name| name == b"watched"));
    fs::remove_file("watched").unwrap();
}

fn mapped() {
    let file = open("mapped");
    file.set_len(7).unwrap();
    // SAFETY: a new mapping of an open file.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(at, libc::MAP_FAILED);
    // SAFETY: the mapping has a page, of which the file fills seven bytes.
    unsafe { std::ptr::copy_nonoverlapping(b"mapped\n".as_ptr(), at.cast(), 7) };
    // SAFETY: it is the mapping from above.
    assert_eq!(unsafe { libc::msync(at, 4096, libc::MS_SYNC) }, 0);
    assert_eq!(fs::read_to_string("mapped").unwrap(), "mapped\n");
    file.write_all_at(b"M", 0).unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { *at.cast::<u8>() }, b'M');
    file.write_all_at(b"m", 0).unwrap();
    // SAFETY: as above; nothing uses it afterwards.
    unsafe { libc::munmap(at, 4096) };
}

fn direct() {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open("direct")
        .unwrap();
    let layout = std::alloc::Layout::from_size_align(8192, 4096).unwrap();
    // SAFETY: the size is not zero, and it is freed with the same layout.
    let block = unsafe { std::alloc::alloc_zeroed(layout) };
    // SAFETY: it has this length, and nobody else has it.
    let bytes = unsafe { std::slice::from_raw_parts_mut(block, 8192) };
    bytes.fill(7);
    file.write_all_at(bytes, 4096).unwrap();
    bytes.fill(0);
    file.read_exact_at(bytes, 4096).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 7));
    assert_eq!(file.metadata().unwrap().len(), 12288);
    // Without the flag it is the same file.
    assert_eq!(fs::read("direct").unwrap()[4095..4098], [0, 7, 7]);
    // SAFETY: as above.
    unsafe { std::alloc::dealloc(block, layout) };
    fs::remove_file("direct").unwrap();
}

fn holes() {
    let mut file = open("holes");
    file.write_all_at(&[1; 4096], 1 << 20).unwrap();
    assert_eq!(nix::unistd::lseek(&file, 0, nix::unistd::Whence::SeekData).unwrap(), 1 << 20);
    fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 65536).unwrap();
    fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE | FallocateFlags::FALLOC_FL_PUNCH_HOLE, 1 << 20, 4096)
        .unwrap();
    let mut byte = [9];
    file.read_exact_at(&mut byte, (1 << 20) + 5).unwrap();
    assert_eq!(byte, [0]);
    file.set_len(3).unwrap();
    assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), 3);
    file.set_len(1 << 33).unwrap();
    file.write_all_at(b"far", 1 << 33).unwrap();
    assert_eq!(fs::metadata("holes").unwrap().len(), (1 << 33) + 3);
    fs::remove_file("holes").unwrap();
}

fn attributes() {
    let set = |name: &std::ffi::CStr, value: &[u8], flags| {
        // SAFETY: the value has the length that is said.
        unsafe { libc::setxattr(c"mapped".as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags) }
    };
    assert_eq!(set(c"user.kept", b"value", libc::XATTR_CREATE), 0);
    assert_eq!(set(c"user.kept", b"value", libc::XATTR_CREATE), -1);
    assert_eq!(set(c"user.other", b"", 0), 0);
    let mut list = [0_u8; 64];
    // SAFETY: the buffer has the length that is said.
    let n = unsafe { libc::listxattr(c"mapped".as_ptr(), list.as_mut_ptr().cast(), list.len()) };
    let list = String::from_utf8_lossy(&list[..usize::try_from(n).unwrap()]).into_owned();
    assert!(list.contains("user.kept\0") && list.contains("user.other\0"), "{list:?}");
    // SAFETY: both are names that end with a zero.
    assert_eq!(unsafe { libc::removexattr(c"mapped".as_ptr(), c"user.other".as_ptr()) }, 0);
    // SAFETY: a length of zero asks for the length.
    let n = unsafe { libc::getxattr(c"mapped".as_ptr(), c"user.kept".as_ptr(), std::ptr::null_mut(), 0) };
    assert_eq!(n, 5);
    // SAFETY: as above.
    let n = unsafe { libc::getxattr(c"mapped".as_ptr(), c"user.other".as_ptr(), std::ptr::null_mut(), 0) };
    assert_eq!((n, nix::errno::Errno::last()), (-1, nix::errno::Errno::ENODATA));
}

fn renames() {
    fs::write("one", "1").unwrap();
    fs::write("two", "2").unwrap();
    let here = nix::fcntl::AT_FDCWD;
    let refused = renameat2(here, "one", here, "two", RenameFlags::RENAME_NOREPLACE);
    assert_eq!(refused, Err(nix::errno::Errno::EEXIST));
    renameat2(here, "one", here, "two", RenameFlags::RENAME_EXCHANGE).unwrap();
    assert_eq!((fs::read_to_string("one").unwrap(), fs::read_to_string("two").unwrap()), ("2".into(), "1".into()));
    fs::rename("one", "two").unwrap();
    assert_eq!(fs::read_to_string("two").unwrap(), "2");
    fs::remove_file("two").unwrap();
}

fn without_a_name() {
    let mut file = open("gone");
    fs::remove_file("gone").unwrap();
    file.write_all(b"still here").unwrap();
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), file.metadata().unwrap().nlink()), ("still here", 0));
    file.set_len(2).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 2);
    // One that never had a name, and gets one.
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: the path ends with a zero.
    let fd = unsafe { libc::open(c".".as_ptr(), flags, 0o600) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: it was opened just now, for nobody else.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(b"no name").unwrap();
    let from = CString::new(format!("/proc/self/fd/{fd}")).unwrap();
    let here = libc::AT_FDCWD;
    // SAFETY: both paths end with a zero.
    let linked = unsafe { libc::linkat(here, from.as_ptr(), here, c"linked".as_ptr(), libc::AT_SYMLINK_FOLLOW) };
    assert_eq!(linked, 0, "{}", std::io::Error::last_os_error());
}

fn copied() {
    fs::write("from", vec![5_u8; 300_000]).unwrap();
    let (from, to) = (File::open("from").unwrap(), open("to"));
    let mut left = 300_000;
    while left > 0 {
        left -= nix::fcntl::copy_file_range(&from, None, &to, None, left).unwrap();
    }
    assert_eq!(fs::read("to").unwrap(), vec![5_u8; 300_000]);
    fs::remove_file("from").unwrap();
    fs::remove_file("to").unwrap();
    let mut disk = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero, and the structure is the call's to fill.
    assert_eq!(unsafe { libc::statvfs(c".".as_ptr(), disk.as_mut_ptr()) }, 0);
    // SAFETY: filled above.
    assert!(unsafe { disk.assume_init() }.f_blocks > 0);
}

/// Entries go while they are read, and the read goes on.
fn directories() {
    fs::create_dir("dir").unwrap();
    for n in 0..1000 {
        fs::write(format!("dir/{n}"), "").unwrap();
    }
    let mut seen = 0;
    for entry in fs::read_dir("dir").unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
        seen += 1;
    }
    assert_eq!(seen, 1000);
    fs::remove_dir("dir").unwrap();
}

/// A lock of `fcntl` on the file's first bytes.
pub(crate) fn lock(kind: i32) -> libc::flock {
    let small = |number: i32| i16::try_from(number).unwrap();
    libc::flock { l_type: small(kind), l_whence: small(libc::SEEK_SET), l_start: 0, l_len: 10, l_pid: 0 }
}

fn wait_for(name: &str) {
    let begin = Instant::now();
    while !Path::new(name).exists() {
        assert!(begin.elapsed() < Duration::from_secs(100), "no {name}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Holds both kinds of locks until it is told to end.
fn lock_hold() {
    let (posix, flock) = (open("posix"), open("flock"));
    fcntl(&posix, FcntlArg::F_SETLK(&lock(libc::F_WRLCK))).unwrap();
    flock.lock().unwrap();
    fs::write("held", "").unwrap();
    wait_for("release");
}

/// Waits for both that somebody else holds.
fn lock_wait() {
    let (posix, flock) = (open("posix"), open("flock"));
    let taken = fcntl(&posix, FcntlArg::F_SETLK(&lock(libc::F_WRLCK)));
    assert!(matches!(taken, Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES)), "{taken:?}");
    assert!(flock.try_lock().is_err());
    // A lock elsewhere in the file is in nobody's way.
    let mut beside = lock(libc::F_WRLCK);
    beside.l_start = 100;
    fcntl(&posix, FcntlArg::F_SETLK(&beside)).unwrap();
    let mut asked = lock(libc::F_RDLCK);
    fcntl(&posix, FcntlArg::F_GETLK(&mut asked)).unwrap();
    assert_eq!(i32::from(asked.l_type), libc::F_WRLCK);
    fs::write("waits", "").unwrap();
    fcntl(&posix, FcntlArg::F_SETLKW(&lock(libc::F_WRLCK))).unwrap();
    flock.lock().unwrap();
    fs::write("got", "").unwrap();
}

/// Whole lines at the end of one file, as others do at the same time.
fn append() {
    let mut file = OpenOptions::new().append(true).create(true).open("log").unwrap();
    for n in 0..200 {
        file.write_all(format!("{n:0100}\n").as_bytes()).unwrap();
    }
}
