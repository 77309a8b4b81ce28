//! The kernel's table of mounts: what is mounted where, and how it propagates.

use std::{
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// One mount of this mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// Where.
    pub point: PathBuf,
    /// It belongs to a group whose members see one another's mounts.
    pub is_shared: bool,
    /// It sees the mounts of such a group.
    pub is_slave: bool,
}

/// Every mount, in the order in which they were made.
///
/// # Errors
/// The table cannot be read.
pub fn table() -> io::Result<Vec<MountInfo>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// The mount that `path`, which has no links, lies in.
///
/// # Errors
/// The table cannot be read.
pub fn mount_of(path: &Path) -> io::Result<Option<MountInfo>> {
    let mut found: Option<MountInfo> = None;
    for mount in table()? {
        // Of two at one place the later one is on top.
        let deeper = found.as_ref().is_none_or(|found| mount.point.starts_with(&found.point));
        if path.starts_with(&mount.point) && deeper {
            found = Some(mount);
        }
    }
    Ok(found)
}

/// What is mounted on `dir` and below it.
///
/// # Errors
/// The table cannot be read.
pub fn mounts_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(table()?.into_iter().map(|mount| mount.point).filter(|point| point.starts_with(dir)).collect())
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw`
fn parse(line: &[u8]) -> Option<MountInfo> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = unescape(fields.nth(4)?);
    let more: Vec<&[u8]> = fields.skip(1).take_while(|field| *field != b"-").collect();
    let has = |tag: &[u8]| more.iter().any(|field| field.starts_with(tag));
    Some(MountInfo { point, is_shared: has(b"shared:"), is_slave: has(b"master:") })
}

/// A blank is `\040` there.
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let digits =
            text.get(at + 1..at + 4).filter(|digits| text[at] == b'\\' && digits.iter().all(u8::is_ascii_digit));
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let mount =
            parse(b"36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime shared:7 master:1 - ext3 /dev/root rw").unwrap();
        assert_eq!(mount, MountInfo { point: "/mnt 2\\x".into(), is_shared: true, is_slave: true });
        let plain = parse(b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,shared:1").unwrap();
        assert_eq!(plain, MountInfo { point: "/".into(), is_shared: false, is_slave: false });
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn every_path_lies_in_a_mount() {
        assert_eq!(mount_of(Path::new("/proc/self")).unwrap().unwrap().point, Path::new("/proc"));
        assert!(mounts_in(Path::new("/")).unwrap().len() > 1);
    }
}
