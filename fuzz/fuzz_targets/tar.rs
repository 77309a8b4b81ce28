//! The tar reader alone, which is faster than with a tree behind it.
#![no_main]

use hako_layers::TarReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let tar = hako_fuzz::with_checksums(bytes);
    let mut reader = TarReader::new(tar.as_slice());
    let mut data = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(entry.size <= i64::MAX as u64 && entry.mode <= 0o7777);
        let left = reader.data_left();
        if left % 2 == 0
            && reader
                .data(left, &mut |piece| {
                    data += piece.len();
                    Ok(())
                })
                .is_err()
        {
            break;
        }
    }
    assert!(data <= tar.len());
});
