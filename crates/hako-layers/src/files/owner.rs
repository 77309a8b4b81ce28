//! Who `user[:group]` is in a container: its own `/etc/passwd` and `/etc/group`.

use super::root::Root;
use hako_model::{Error, ErrorKind, Result};
use std::io::{BufRead, BufReader, Read};

/// How much of either file is read.
const MOST: u64 = 16 << 20;
/// The longest line that is looked at; a longer one is nobody's.
const LINE: u64 = 64 << 10;

/// The user and the group of `user[:group]`, each by name or number. A user
/// without an entry has the group 0, as in Docker.
///
/// # Errors
/// A name that has no entry.
pub fn owner(root: &Root, text: &str) -> Result<(u32, u32)> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let (uid, primary) = match user {
        "" => (0, 0),
        user => {
            let number = user.parse::<u32>().ok();
            let found = find(root, "/etc/passwd", |fields| {
                let uid = fields.get(2)?.parse::<u32>().ok()?;
                let gid = fields.get(3)?.parse::<u32>().ok()?;
                (fields.first() == Some(&user) || number == Some(uid)).then_some((uid, gid))
            })?;
            found.or(number.map(|uid| (uid, 0))).ok_or_else(|| unknown("user", user, "passwd"))?
        }
    };
    let gid = match group {
        "" => primary,
        group => {
            let number = group.parse::<u32>().ok();
            let found = find(root, "/etc/group", |fields| {
                let gid = fields.get(2)?.parse::<u32>().ok()?;
                (fields.first() == Some(&group) || number == Some(gid)).then_some(gid)
            })?;
            found.or(number).ok_or_else(|| unknown("group", group, "group"))?
        }
    };
    Ok((uid, gid))
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    Error::invalid(format!("unable to find {what} {name}: no matching entries in {file} file"))
}

fn find<T>(root: &Root, path: &str, wanted: impl Fn(&[&str]) -> Option<T>) -> Result<Option<T>> {
    let file = match root.read(path.as_bytes()) {
        Ok(file) => file,
        Err(err) if err.kind == ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
    };
    let mut reader = BufReader::new(file.take(MOST));
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line);
        let fields: Vec<&str> = text.trim_end().split(':').collect();
        if let Some(found) = wanted(&fields) {
            return Ok(Some(found));
        }
    }
}
