//! Request bodies as Go reads them: a `null` is the default, unknown fields are
//! ignored, and the case of a field's name does not matter.

use hako_model::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Parses `body` as JSON.
///
/// # Errors
/// `invalid JSON: …`, as Docker says it.
pub fn parse(body: &[u8]) -> Result<Value> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid("invalid JSON: got EOF while reading request body"));
    }
    serde_json::from_slice(body).map_err(|err| Error::invalid(format!("invalid JSON: {err}")))
}

/// Turns a parsed body into `T`, whose own field names (as its default
/// serialises them) decide the spelling of the top-level keys.
///
/// # Errors
/// `invalid JSON: …` for a field of another type.
pub fn decode<T: DeserializeOwned + Serialize + Default>(mut value: Value) -> Result<T> {
    strip_nulls(&mut value);
    canonical_keys::<T>(&mut value);
    from_value(value)
}

/// Like [`decode`] for a body that may be empty.
///
/// # Errors
/// As [`decode`].
pub fn decode_body<T: DeserializeOwned + Serialize + Default>(body: &[u8]) -> Result<T> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    decode(parse(body)?)
}

/// `serde_json::from_value` with Docker's prefix.
///
/// # Errors
/// `invalid JSON: …`.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|err| Error::invalid(format!("invalid JSON: {err}")))
}

/// Removes every object member that is `null`, at any depth.
pub fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Renames the keys of an object to the spelling that `T` uses, ignoring case.
pub fn canonical_keys<T: Serialize + Default>(value: &mut Value) {
    let Ok(Value::Object(known)) = serde_json::to_value(T::default()) else { return };
    let Value::Object(map) = value else { return };
    let mut renamed = Map::with_capacity(map.len());
    for (key, member) in std::mem::take(map) {
        let name = known.keys().find(|k| k.eq_ignore_ascii_case(&key)).cloned().unwrap_or(key);
        renamed.insert(name, member);
    }
    *map = renamed;
}

#[cfg(test)]
mod tests {
    use crate::types::HostConfig;
    use serde_json::json;

    #[test]
    fn go_rules() {
        let body = json!({"memory": 7, "Binds": null, "Unknown": {"x": 1}, "ConsoleSize": [1, 2]});
        let host: HostConfig = super::decode(body).unwrap();
        assert_eq!((host.memory, host.binds), (7, None));
        let err = super::decode::<HostConfig>(json!({"Memory": "x"})).unwrap_err();
        assert!(err.message.starts_with("invalid JSON: "), "{err}");
    }
}
