//! What the targets share.

/// Writes right checksums into a tar's headers, so that what is mutated is
/// read and not refused: no honest reader gets further without.
pub fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut tar = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = tar.get_mut(at..at + 512) {
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        at = at.saturating_add(512).saturating_add(size(&block[124..136]).next_multiple_of(512));
    }
    tar
}

/// The size as most readers see it; what is none is 0.
fn size(field: &[u8]) -> usize {
    let text: String = field.iter().map(|b| char::from(*b)).filter(|c| c.is_ascii_digit()).collect();
    usize::from_str_radix(&text, 8).unwrap_or(0).min(1 << 40)
}

/// A folder in memory, where there is one.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}
