//! Docker's words for sizes and spans of time (go-units).

/// The longest `text` of `width` characters, cut with an ellipsis.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// An id without its algorithm, cut to twelve digits.
pub(crate) fn short_id(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

/// `1 thing`, `2 things`.
fn plural(count: i64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// A span in words: `About a minute`, `3 hours`, `2 weeks`.
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds < 60 => plural(seconds, "second"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => plural(minutes, "minute"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => plural(hours, "hour"),
        () if hours < 24 * 7 * 2 => plural(hours / 24, "day"),
        () if hours < 24 * 30 * 2 => plural(hours / 24 / 7, "week"),
        () if hours < 24 * 365 * 2 => plural(hours / 24 / 30, "month"),
        () => plural(seconds / 3600 / 24 / 365, "year"),
    }
}

const DECIMAL: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// A size in powers of 1000 with three significant digits: `4.27MB`.
pub(crate) fn human_size(bytes: i64) -> String {
    scaled(bytes, 1000.0, DECIMAL, 3)
}

/// A size in powers of 1000 with four significant digits: `1.982MB`.
pub(crate) fn exact_size(bytes: i64) -> String {
    scaled(bytes, 1000.0, DECIMAL, 4)
}

/// A size in powers of 1024 with four significant digits: `7.763GiB`.
pub(crate) fn human_bytes(bytes: i64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

#[allow(clippy::cast_precision_loss)]
fn scaled(bytes: i64, base: f64, units: &[&str], digits: usize) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// Go's `%.{digits}g` for values from 0 to 1023.
fn significant(value: f64, digits: usize) -> String {
    let whole = format!("{:.0}", value.trunc()).len();
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        assert_eq!(human_size(0), "0B");
        assert_eq!(human_size(999), "999B");
        assert_eq!(human_size(4_269_678), "4.27MB");
        assert_eq!(human_size(1_500), "1.5kB");
        assert_eq!(human_size(123_456_789), "123MB");
        assert_eq!(human_bytes(8_335_499_264), "7.763GiB");
    }

    #[test]
    fn spans_are_dockers() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (600, "10 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 21, "3 weeks"),
            (86_400 * 100, "3 months"),
            (86_400 * 365 * 3, "3 years"),
        ];
        for (seconds, words) in cases {
            assert_eq!(human_duration(seconds), words);
        }
    }

    #[test]
    fn cuts() {
        assert_eq!(ellipsis("sleep 1000", 20), "sleep 1000");
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
