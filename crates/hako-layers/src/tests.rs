//! Hostile and odd archives. They need root, as the engine does.

use super::*;
use std::{
    io::{Read, Write},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

struct Tar(Vec<u8>);

impl Tar {
    fn new() -> Self {
        Self(Vec::new())
    }
    fn add(mut self, flag: u8, name: &str, link: &str, data: &[u8]) -> Self {
        let mut h = tar::Header::new_gnu();
        let raw = h.as_mut_bytes();
        raw[..name.len()].copy_from_slice(name.as_bytes());
        raw[157..157 + link.len()].copy_from_slice(link.as_bytes());
        raw[156] = flag;
        h.set_mode(0o4755);
        h.set_uid(7);
        h.set_gid(8);
        h.set_mtime(1_000_000);
        h.set_size(data.len() as u64);
        h.set_device_major(1).unwrap();
        h.set_device_minor(3).unwrap();
        h.set_cksum();
        self.0.extend_from_slice(h.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }
    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let len = (1..).find(|n| n.to_string().len() + rest == *n).unwrap();
            data.extend_from_slice(format!("{len} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.add(b'x', "pax", "", &data)
    }
    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn unpacked(tar: &[u8]) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    unpack(tar, dir.path(), &|_| {})?;
    Ok(dir)
}

fn refused(tar: Vec<u8>) -> String {
    let err = unpacked(&tar).map(|_| ()).unwrap_err();
    assert_eq!(err.kind(), hako_model::ErrorKind::InvalidParameter, "{err}");
    err.to_string()
}

fn meta(dir: &tempfile::TempDir, name: &str) -> std::fs::Metadata {
    std::fs::symlink_metadata(dir.path().join(name)).unwrap()
}

#[test]
fn names_that_leave_the_layer_are_refused() {
    for name in ["../x", "a/../../x", "/../x", ".."] {
        assert!(refused(Tar::new().add(b'0', name, "", b"x").end()).contains("outside"), "{name}");
    }
    assert!(refused(Tar::new().add(b'1', "x", "../../etc/passwd", b"").end()).contains("outside"));
    for name in [".wh...", ".wh..", ".wh."] {
        refused(Tar::new().add(b'0', name, "", b"").end());
    }
    refused(Tar::new().add(b'2', "./", "/etc", b"").end());
}

#[test]
fn absolute_names_and_inner_dots_stay_inside() {
    let dir = unpacked(&Tar::new().add(b'0', "/etc/x", "", b"1").add(b'0', "a/../b", "", b"2").end()).unwrap();
    assert!(meta(&dir, "etc/x").is_file() && meta(&dir, "b").is_file());
}

#[test]
fn links_to_the_host_lead_back_into_the_layer() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let tar = Tar::new().add(b'2', "l", target, b"").add(b'0', "l/x", "", b"x").end();
    // The link dangles within the layer, so the parent cannot be made.
    assert!(unpacked(&tar).is_err());
    let up = Tar::new().add(b'2', "l", "../../../../../../../..", b"").add(b'0', "l/made", "", b"x").end();
    assert!(meta(&unpacked(&up).unwrap(), "made").is_file());
    let tar = Tar::new().add(b'0', "keep", "", b"old").add(b'2', "l", "/keep", b"").add(b'0', "l", "", b"new").end();
    let dir = unpacked(&tar).unwrap();
    assert_eq!(std::fs::read(dir.path().join("keep")).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    let proc = Tar::new().add(b'2', "l", "/proc/self/root", b"").add(b'0', "l/x", "", b"x").end();
    assert!(unpacked(&proc).is_err());
}

#[test]
fn a_hard_link_needs_its_target() {
    assert!(refused(Tar::new().add(b'1', "x", "y", b"").end()).contains("not in the layer"));
    let dir = unpacked(&Tar::new().add(b'0', "y", "", b"1").add(b'1', "x", "y", b"").end()).unwrap();
    assert_eq!(meta(&dir, "x").ino(), meta(&dir, "y").ino());
    // A link to a symbolic link is that link, not what it names.
    let tar = Tar::new().add(b'2', "s", "/etc/passwd", b"").add(b'1', "h", "s", b"").end();
    assert!(meta(&unpacked(&tar).unwrap(), "h").is_symlink());
}

#[test]
fn whiteouts() {
    let tar = Tar::new()
        .add(b'0', ".wh.gone", "", b"")
        .add(b'0', "d/.wh..wh..opq", "", b"")
        .add(b'0', ".wh.back", "", b"")
        .add(b'5', "back/", "", b"")
        .add(b'0', ".wh.deep", "", b"")
        .add(b'0', "deep/er/x", "", b"")
        .add(b'0', "here", "", b"")
        .add(b'0', ".wh.here", "", b"")
        .add(b'0', ".wh..wh.plnk", "", b"")
        .end();
    let dir = unpacked(&tar).unwrap();
    assert!(meta(&dir, "gone").file_type().is_char_device() && meta(&dir, "gone").rdev() == 0);
    assert!(meta(&dir, "here").is_file());
    let opaque = |name: &str| xattr(&dir.path().join(name), "trusted.overlay.opaque") == Some(b"y".to_vec());
    assert!(opaque("d") && opaque("back") && opaque("deep") && !opaque("deep/er"));
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let n = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(n);
    Some(value)
}

#[test]
fn what_a_file_has_is_kept() {
    let cap = b"\x01\0\0\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let long = "n".repeat(200);
    let tar = Tar::new()
        .pax(&[
            ("path", long.as_bytes()),
            ("SCHILY.xattr.security.capability", cap),
            ("mtime", b"5.25"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.a", b"line\nline"),
        ])
        .add(b'0', "short", "", b"data")
        .add(b'3', "null", "", b"")
        .add(b'6', "fifo", "", b"")
        .add(b'5', "d/", "", b"")
        .add(b'0', "d/late", "", b"")
        .end();
    let dir = unpacked(&tar).unwrap();
    let m = meta(&dir, &long);
    assert_eq!((m.mode() & 0o7777, m.uid(), m.gid(), m.mtime(), m.mtime_nsec()), (0o4755, 7, 8, 5, 250_000_000));
    let path = dir.path().join(&long);
    assert_eq!(xattr(&path, "security.capability").unwrap(), cap);
    assert_eq!(xattr(&path, "user.a").unwrap(), b"line\nline");
    assert_eq!(xattr(&path, "trusted.overlay.redirect"), None);
    let null = meta(&dir, "null");
    assert!(null.file_type().is_char_device() && null.rdev() == rustix::fs::makedev(1, 3));
    assert!(meta(&dir, "fifo").file_type().is_fifo());
    assert_eq!(meta(&dir, "d").mtime(), 1_000_000);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let tar = Tar::new()
        .add(b'0', "d/a/b", "", b"x")
        .add(b'0', "d", "", b"file")
        .add(b'2', "f", "x", b"")
        .add(b'5', "f", "", b"")
        .add(b'0', "f/y", "", b"y")
        .end();
    let dir = unpacked(&tar).unwrap();
    assert!(meta(&dir, "d").is_file() && meta(&dir, "f").is_dir() && meta(&dir, "f/y").is_file());
}

#[test]
fn sparse_files_of_every_kind() {
    let map = b"2\n0\n3\n1000000\n3\n".to_vec();
    let mut data = map;
    data.resize(512, 0);
    data.extend_from_slice(b"abcdef");
    let tar = Tar::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"s"),
            ("GNU.sparse.realsize", b"2000000"),
        ])
        .add(b'0', "GNUSparseFile.1/s", "", &data)
        .pax(&[("GNU.sparse.map", b"0,3,1000000,3"), ("GNU.sparse.size", b"2000000")])
        .add(b'0', "t", "", b"abcdef")
        .end();
    let dir = unpacked(&tar).unwrap();
    for name in ["s", "t"] {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        assert_eq!((bytes.len(), &bytes[..3], &bytes[1_000_000..1_000_003]), (2_000_000, &b"abc"[..], &b"def"[..]));
    }
    refused(Tar::new().pax(&[("GNU.sparse.map", b"9,9"), ("GNU.sparse.size", b"3")]).add(b'0', "t", "", b"abc").end());
    let huge = (1u64 << 50).to_string();
    let tar = Tar::new().pax(&[("GNU.sparse.map", b"0,3"), ("GNU.sparse.size", huge.as_bytes())]);
    assert!(refused(tar.add(b'0', "t", "", b"abc").end()).contains("limit"));
}

#[test]
fn compressions_give_one_digest() {
    let tar = Tar::new().add(b'0', "a", "", &[7; 100_000]).end();
    let (first, second) = tar.split_at(5000);
    let mut gz = Vec::new();
    for part in [first, second] {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        e.write_all(part).unwrap();
        gz.extend(e.finish().unwrap());
    }
    let zst = zstd::encode_all(&tar[..], 1).unwrap();
    let mut digests = Vec::new();
    let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz2.write_all(&tar).unwrap();
    let bz2 = bz2.finish().unwrap();
    for archive in [&tar, &gz, &bz2, &zst] {
        let dir = tempfile::tempdir().unwrap();
        digests.push(unpack(&archive[..], dir.path(), &|_| {}).unwrap().diff_id);
        for cut in [1, archive.len() / 2] {
            let dir = tempfile::tempdir().unwrap();
            assert!(unpack(&archive[..archive.len() - cut], dir.path(), &|_| {}).is_err() || archive == &tar);
        }
    }
    assert!(digests.iter().all(|d| *d == digests[0]));
    assert!(refused(tar[..3000].to_vec()).contains("truncated"));
    refused(b"\xfd7zXZ\0xx".to_vec());
    refused(b"not a tar at all".repeat(100));
}

/// As docker's client sends a context to which it has added a Dockerfile.
#[test]
fn the_last_padding_and_the_end_may_be_missing() {
    let whole = Tar::new().add(b'0', "x", "", b"abc").0;
    let dir = tempfile::tempdir().unwrap();
    unpack(&whole[..515], dir.path(), &|_| {}).unwrap();
    assert_eq!(std::fs::read(dir.path().join("x")).unwrap(), b"abc");
    assert!(refused(whole[..514].to_vec()).contains("truncated"));
}

#[test]
fn a_bomb_is_stopped() {
    // 9 GiB of a name's zeros cost nothing to send; the floor is 8 GiB.
    let head = Tar::new().pax(&[("size", (1u64 << 40).to_string().as_bytes())]).add(b'0', "x", "", b"").0;
    let mut e = zstd::Encoder::new(Vec::new(), 1).unwrap();
    e.write_all(&head).unwrap();
    let bomb = e.finish().unwrap();
    assert!(refused(bomb).contains("truncated"));
    let long = Tar::new().add(b'L', "x", "", &vec![b'a'; 2 << 20]).end();
    assert!(refused(long).contains("limit"));
}

#[test]
fn deep_trees_are_refused() {
    let mut tar = Tar::new().add(b'5', "l0", "", b"");
    let part = "d/".repeat(30);
    for n in 0..20 {
        tar = tar.add(b'5', &format!("l{n}/{part}"), "", b"");
        tar = tar.add(b'2', &format!("l{}", n + 1), &format!("l{n}/{}", &part[..part.len() - 1]), b"");
    }
    assert!(refused(tar.end()).contains("deeper"));
    refused(Tar::new().add(b'L', "x", "", "d/".repeat(400).as_bytes()).add(b'5', "x", "", b"").end());
}

#[test]
fn random_damage_never_panics() {
    let tar = Tar::new()
        .add(b'5', "d/", "", b"")
        .pax(&[("path", b"d/long"), ("GNU.sparse.map", b"0,3"), ("GNU.sparse.size", b"9")])
        .add(b'0', "d/x", "", b"abc")
        .add(b'1', "d/y", "d/x", b"")
        .add(b'L', "z", "", b"long")
        .add(b'2', "z", "x", b"")
        .end();
    let mut seed = 1u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize
    };
    for _ in 0..400 {
        let mut bytes = tar.clone();
        for _ in 0..=next() % 4 {
            let at = next() % bytes.len();
            bytes[at] = next() as u8;
        }
        // Checksums set right again, so that damage gets past them.
        for block in bytes.chunks_mut(512) {
            if block[257..262] == *b"ustar" {
                let mut h = tar::Header::from_byte_slice(block).clone();
                h.set_cksum();
                block.copy_from_slice(h.as_bytes());
            }
        }
        let _ = unpacked(&bytes);
    }
}

#[test]
fn disks() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let from = dir.path().join("from");
    std::fs::create_dir_all(from.join("upper")).unwrap();
    ext4_of(&from, 10 << 30, &a).unwrap();
    let m = std::fs::metadata(&a).unwrap();
    assert!(m.len() == 10 << 30 && m.blocks() * 512 < 8 << 20, "{}", m.blocks());
    sparse_copy(&a, &b).unwrap();
    assert!(sparse_copy(&a, &b).is_err());
    let _ = std::fs::remove_file(&b);
    sparse_copy(&a, &b).unwrap();
    let m = std::fs::metadata(&b).unwrap();
    assert!(m.len() == 10 << 30 && m.blocks() * 512 < 8 << 20);
    let head = |p: &Path| {
        let mut v = vec![0; 1 << 20];
        std::fs::File::open(p).unwrap().read_exact(&mut v).unwrap();
        v
    };
    assert_eq!(head(&a), head(&b));
}

#[test]
fn erofs_of_merged_layers() {
    let dir = tempfile::tempdir().unwrap();
    let layers = dir.path().join("layers");
    let mut lowers = Vec::new();
    for (n, tar) in [
        Tar::new().add(b'0', "gone", "", b"x").add(b'0', "kept", "", b"kept").end(),
        Tar::new().add(b'0', ".wh.gone", "", b"").add(b'0', "new", "", b"new").end(),
    ]
    .iter()
    .enumerate()
    {
        let lower = layers.join(n.to_string());
        std::fs::create_dir_all(&lower).unwrap();
        unpack(&tar[..], &lower, &|_| {}).unwrap();
        lowers.push(lower);
    }
    for n in 0..3 {
        let scratch = dir.path().join(format!("s{n}"));
        std::fs::create_dir(&scratch).unwrap();
        build_erofs(&lowers[..n], &dir.path().join(format!("{n}.erofs")), &scratch).unwrap();
        let image = std::fs::read(dir.path().join(format!("{n}.erofs"))).unwrap();
        assert_eq!(image[1024..1028], 0xE0F5_E1E2_u32.to_le_bytes());
    }
}

/// Go's reader takes an empty number for 0, and clients leave owners empty.
#[test]
fn empty_numbers_are_zero() {
    let mut tar = Tar::new().add(b'0', "f", "", b"x").0;
    tar[100..124].fill(0);
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&tar[..512]);
    header.set_cksum();
    tar[..512].copy_from_slice(header.as_bytes());
    let dir = unpacked(&Tar(tar).end()).unwrap();
    let meta = dir.path().join("f").metadata().unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0, 0, 0));
}
