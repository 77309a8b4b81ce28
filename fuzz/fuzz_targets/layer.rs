//! A layer is unpacked: nothing panics, nothing leaves the folder, and what was
//! unpacked is what the archive says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{fs, path::Path};

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
        assert!(differs.is_empty(), "{differs:?}");
    }
    untouched(root.path());
});

fn untouched(root: &Path) {
    let mut names: Vec<_> = fs::read_dir(root).expect("it is there").map(|e| e.expect("a name").file_name()).collect();
    names.sort();
    assert_eq!(names, ["layer", OUTSIDE]);
    assert_eq!(fs::read(root.join(OUTSIDE)).expect("it is there"), OUTSIDE.as_bytes());
}
