//! The `filters` query parameter.

use hako_model::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// Parsed filters: for each key the wanted values.
#[derive(Debug, Clone, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads the JSON text of the parameter: `{"key":["v"]}`, or the older
    /// `{"key":{"v":true}}`. Empty text is no filter.
    ///
    /// # Errors
    /// `invalid filter …`.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let bad = || Error::invalid(format!("invalid filter: {text}"));
        let Ok(Value::Object(map)) = serde_json::from_str(text) else { return Err(bad()) };
        let mut filters = BTreeMap::new();
        for (key, value) in map {
            let values = match value {
                Value::Array(items) => items.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>(),
                Value::Object(set) => {
                    Some(set.into_iter().filter(|(_, on)| on.as_bool() == Some(true)).map(|(k, _)| k).collect())
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            };
            filters.insert(key, values.ok_or_else(bad)?);
        }
        Ok(Self(filters))
    }

    /// Refuses keys that are not in `known`.
    ///
    /// # Errors
    /// Docker's `invalid filter 'key'`.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Error::invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// The values of `key`; empty where it is not filtered by.
    #[must_use]
    pub fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether `key` is not filtered by, or one of its values satisfies `test`.
    pub fn any(&self, key: &str, test: impl Fn(&str) -> bool) -> bool {
        let values = self.get(key);
        values.is_empty() || values.iter().any(|v| test(v))
    }

    /// Whether every value of `key` satisfies `test`.
    pub fn all(&self, key: &str, test: impl Fn(&str) -> bool) -> bool {
        self.get(key).iter().all(|v| test(v))
    }

    /// `label` filters: `key` or `key=value`, all of which must hold.
    pub fn labels<'a>(&self, labels: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.pairs("label", labels)
    }

    /// Filters of `key` that are `name` or `name=value`, all of which must hold.
    pub fn pairs<'a>(&self, key: &str, pairs: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.all(key, |want| match want.split_once('=') {
            Some((name, value)) => pairs(name) == Some(value),
            None => pairs(want).is_some(),
        })
    }
}

impl IntoIterator for Filters {
    type Item = (String, Vec<String>);
    type IntoIter = std::collections::btree_map::IntoIter<String, Vec<String>>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::Filters;

    #[test]
    fn both_forms() {
        let new = Filters::parse(r#"{"status":["exited"],"label":["a","b=c"]}"#).unwrap();
        let old = Filters::parse(r#"{"status":{"exited":true,"dead":false}}"#).unwrap();
        assert_eq!(new.get("status"), old.get("status"));
        assert!(new.labels(|key| match key {
            "a" => Some(""),
            "b" => Some("c"),
            _ => None,
        }));
        assert!(new.only(&["status"]).is_err());
        assert!(Filters::parse("[1]").is_err());
    }
}
