//! Query strings.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `text` as one path segment or query value.
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A query string under construction.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    /// Adds `key=value`.
    #[must_use]
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(key);
        self.0.push('=');
        self.0.push_str(&escape(value));
        self
    }
    /// Adds `key=1` if `on`.
    #[must_use]
    pub(crate) fn flag(self, key: &str, on: bool) -> Self {
        if on { self.set(key, "1") } else { self }
    }
    /// Adds `key=value` if there is a value.
    #[must_use]
    pub(crate) fn opt(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }
    /// `path` with the query behind it.
    pub(crate) fn on(self, path: impl AsRef<str>) -> String {
        format!("{}{}", path.as_ref(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn values_are_escaped() {
        let path = Query::default().set("a", "x y/&").flag("b", true).flag("c", false).opt("d", None).on("/p");
        assert_eq!(path, "/p?a=x%20y%2F%26&b=1");
    }
}
