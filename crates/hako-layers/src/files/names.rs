//! Paths as text: what a client wrote, made absolute and plain.

/// Go's `filepath.Join("/", path)`, and then the trailing slash or `/.` that
/// the client wrote, for those mean something.
#[must_use]
pub fn clean(path: &[u8]) -> Vec<u8> {
    let mut cleaned = absolute(path);
    let here = path.split(|b| *b == b'/').rfind(|part| !part.is_empty()) == Some(b".") || path.is_empty();
    if here {
        if cleaned != b"/" {
            cleaned.push(b'/');
        }
        cleaned.push(b'.');
    }
    if path.ends_with(b"/") && !cleaned.ends_with(b"/") {
        cleaned.push(b'/');
    }
    cleaned
}

/// An absolute path without `.`, `..` and empty components; `..` of the root is the root.
pub(crate) fn absolute(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let mut cleaned = b"/".to_vec();
    cleaned.extend_from_slice(&parts.join(&b'/'));
    cleaned
}

/// Go's `filepath.Base`: the last component, `/` of the root.
#[must_use]
pub fn base_name(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
    match (&path[..end], path.is_empty()) {
        (b"", true) => b".",
        (b"", false) => b"/",
        (path, _) => path.rsplit(|b| *b == b'/').next().unwrap_or(path),
    }
}

/// Whether a path asks for what a link at its end leads to.
pub(crate) fn follows(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.") || path == b"."
}

/// The directory and the last component of an absolute path without a trailing slash.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(0) => (b"/", &path[1..]),
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"/", path),
    }
}

/// `dir` and `name` with one slash between them.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = dir.to_vec();
    if !path.ends_with(b"/") && !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(path: &str) -> String {
        String::from_utf8(clean(path.as_bytes())).unwrap()
    }

    #[test]
    fn paths_are_made_plain() {
        for (from, to) in [
            ("a", "/a"),
            ("/a/./b/../c", "/a/c"),
            ("../../x", "/x"),
            ("/a/", "/a/"),
            ("/a/.", "/a/."),
            ("/", "/"),
            ("/.", "/."),
            (".", "/."),
            ("a/..", "/"),
        ] {
            assert_eq!(cleaned(from), to, "{from}");
        }
    }

    #[test]
    fn bases() {
        for (path, base) in [("/a/b", "b"), ("/a/b/", "b"), ("/", "/"), ("/a/.", "."), ("", "."), ("//", "/")] {
            assert_eq!(base_name(path.as_bytes()), base.as_bytes(), "{path}");
        }
    }
}
