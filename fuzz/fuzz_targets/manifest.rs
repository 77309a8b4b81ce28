//! Manifests and indexes, as a registry or an archive gives them.
#![no_main]

use hako_registry::{MAX_LAYERS, Platform, parse_index, parse_manifest, select};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for media in ["", "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.v2+json"]
    {
        if let Ok(Some(entries)) = parse_index(bytes, media) {
            let _ = select(&entries, &Platform::host());
        }
        if let Ok(manifest) = parse_manifest(bytes, media) {
            assert!(manifest.layers.len() <= MAX_LAYERS);
            assert_eq!(manifest.config.digest.hex().len(), 64);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(platform) = Platform::parse(text) {
            // What is shown is read as the same.
            assert_eq!(Platform::parse(&platform.to_string()).expect("it was shown"), platform);
        }
        if let Ok(reference) = hako_model::Reference::parse(text) {
            let key = reference.with_default_tag().key();
            assert_eq!(hako_model::Reference::parse(&key).expect("it was shown").key(), key);
        }
        let _ = hako_model::ImageName::parse(text);
    }
});
