//! An image's config.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(chains) = hakod::images::untrusted::config(bytes) {
        assert!(chains.iter().all(|chain| chain.hex().len() == 64));
    }
});
