//! The query string, and percent-encoding.

/// Decoded parameters in the order they were sent.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands behind the `?`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key, true), decode(value, true))
                })
                .collect(),
        )
    }
    /// The first value of `key`, or empty text.
    #[must_use]
    pub fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }
    /// Whether `key` was sent at all.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }
    /// Every value of `key`.
    #[must_use]
    pub fn all(&self, key: &str) -> Vec<&str> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.as_str()).collect()
    }
    /// Docker's `BoolValue`: empty, `0`, `no`, `false` and `none` are false.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        !matches!(self.get(key).trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }
    /// As [`Query::flag`], with a value for when `key` was not sent.
    #[must_use]
    pub fn flag_or(&self, key: &str, default: bool) -> bool {
        if self.has(key) { self.flag(key) } else { default }
    }
}

/// Decodes `%XX`, and with `form` also `+`. Bytes that are no UTF-8 are replaced.
#[must_use]
pub fn decode(text: &str, form: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits fit a byte.
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _, _) if form => out.push(b' '),
            (byte, _, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn forms() {
        let q = Query::parse("a=1&b=x%20y+z&c&d=false&e=%zz");
        assert!(q.flag("a") && !q.flag("d") && !q.flag("c") && q.has("c"));
        assert_eq!((q.get("b"), q.get("e")), ("x y z", "%zz"));
    }
}
