//! An archive of images is loaded into a store: nothing panics, and nothing
//! but whole images stays.
#![no_main]

use hako_store::Store;
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

fuzz_target!(|bytes: &[u8]| {
    static STORE: OnceLock<(tempfile::TempDir, Store)> = OnceLock::new();
    let (_, store) = STORE.get_or_init(|| {
        let root = hako_fuzz::folder();
        let store = Store::open(root.path()).expect("a fresh folder");
        (root, store)
    });
    let tar = hako_fuzz::with_checksums(bytes);
    for id in hakod::images::untrusted::load(store, &tar).unwrap_or_default() {
        assert!(store.image(&id).expect("the store answers").is_some());
        store.delete_image(&id).expect("the store answers");
    }
    store.collect().expect("the store answers");
    let left = |name: &str| std::fs::read_dir(store.root().join(name)).expect("it is there").count();
    assert_eq!((left("layers"), left("blobs/sha256"), left("tmp")), (0, 0, 0));
});
