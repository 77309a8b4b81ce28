//! A layer is unpacked: nothing panics, nothing leaves the folder, and what was
//! unpacked is what the archive says.
#![no_main]

use hako_layers::{EntryKind, TarReader};
use libfuzzer_sys::fuzz_target;
use std::{collections::HashMap, fs, io::BufReader, path::Path};

/// A sign beside the folder, which no archive may touch.
const OUTSIDE: &str = "outside";

fuzz_target!(|bytes: &[u8]| {
    // An even first byte leaves the archive as it is, so that compressions are tried too.
    let Some((way, bytes)) = bytes.split_first() else { return };
    let bytes = if way % 2 == 0 { bytes.to_vec() } else { hako_fuzz::with_checksums(bytes) };
    let root = hako_fuzz::folder();
    let dir = root.path().join("layer");
    fs::create_dir(&dir).expect("a fresh folder");
    fs::write(root.path().join(OUTSIDE), OUTSIDE).expect("a fresh folder");
    if hako_layers::unpack(bytes.as_slice(), &dir, &|_| {}).is_ok() {
        let differs = hako_layers::verify(bytes.as_slice(), &dir).expect("it was read once");
        assert!(differs.is_empty() || !is_plain(&bytes), "{differs:?}");
    }
    untouched(root.path());
});

/// Whether each name leads to a place of its own. Where links lead elsewhere or
/// an entry replaces another, the tree's end does not show in each entry.
fn is_plain(bytes: &[u8]) -> bool {
    let Ok((_, plain)) = hako_layers::decompress(bytes) else { return false };
    let mut tar = TarReader::new(BufReader::new(plain));
    let mut names = HashMap::new();
    while let Ok(Some(entry)) = tar.next_entry() {
        let name: Vec<&[u8]> = entry.path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
        let is_link = matches!(entry.kind, EntryKind::Symlink | EntryKind::HardLink);
        let is_odd = name.iter().any(|part| *part == b".." || part.starts_with(b".wh."));
        if is_link || is_odd || names.insert(name.join(&b'/'), entry.kind).is_some() {
            return false;
        }
    }
    let below = |name: &[u8]| names.keys().any(|other| other.starts_with(&[name, b"/"].concat()));
    !names.iter().any(|(name, kind)| *kind != EntryKind::Directory && below(name))
}

fn untouched(root: &Path) {
    let mut names: Vec<_> = fs::read_dir(root).expect("it is there").map(|e| e.expect("a name").file_name()).collect();
    names.sort();
    assert_eq!(names, ["layer", OUTSIDE]);
    assert_eq!(fs::read(root.join(OUTSIDE)).expect("it is there"), OUTSIDE.as_bytes());
}
