//! Files whose inode has to stay, since somebody has them mounted.

use std::{
    fs::OpenOptions,
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Gives the file `path` the content that `change` makes of the one that it has,
/// which may be anybody's: more than `most` bytes are not read, and no link is
/// followed. Who reads meanwhile may see some of both, and never nothing.
///
/// # Errors
/// The kernel's; `FileTooLarge`; `InvalidInput` if it is no regular file. Then
/// it is as it was, unless the disk is full.
pub fn rewrite(path: &Path, most: u64, change: impl FnOnce(&str) -> String) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    (&mut file).take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {most} bytes")));
    }
    let text = change(&String::from_utf8_lossy(&bytes));
    if text.as_bytes() == bytes {
        return Ok(());
    }
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::rewrite;
    use std::{fs, io::ErrorKind, os::unix::fs::MetadataExt};

    #[test]
    fn the_inode_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one and more\n").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        rewrite(&path, 100, |old| old.replace(" and more", "")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
        rewrite(&path, 4, |old| format!("{old}two\n")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    }

    #[test]
    fn nothing_else_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&path, "12345").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let change = |_: &str| "new".to_owned();
        assert_eq!(rewrite(&path, 4, change).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(rewrite(&link, 9, change).is_err() && rewrite(dir.path(), 9, change).is_err());
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(rewrite(&pipe, 9, change).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(rewrite(&dir.path().join("absent"), 9, change).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs::read_to_string(&path).unwrap(), "12345");
    }
}
