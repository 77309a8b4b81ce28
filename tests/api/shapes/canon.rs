//! An answer without what is another each time, and what two of them differ in.

use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, fmt};

/// Fields whose numbers, and those below them, are the same each time.
const EXACT: [&str; 9] =
    ["HostConfig", "Config", "ProcessConfig", "StatusCode", "status", "Kind", "ExitCode", "FailingStreak", "RestartCount"];

/// What the host's kernel decides.
const OF_THE_HOST: [&str; 6] =
    ["AppArmorProfile", "CgroupnsMode", "MemorySwap", "OomKillDisable", "Processes", "stats"];

/// What is of the host altogether: kinds of values alone.
pub fn kinds(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => json!("<bool>"),
        Value::Number(_) => json!("<number>"),
        Value::String(_) => json!("<text>"),
        Value::Array(_) => json!("<list>"),
        Value::Object(fields) => Value::Object(fields.iter().map(|(key, value)| (key.clone(), kinds(value))).collect()),
    }
}

/// Replaces times, ids, digests, paths and counted numbers by what they are.
pub fn canon(value: &Value) -> Value {
    walk(value, false)
}

fn walk(value: &Value, exact: bool) -> Value {
    match value {
        Value::String(text) => word(text),
        Value::Number(_) if exact => value.clone(),
        Value::Number(_) => json!("<number>"),
        Value::Array(items) => Value::Array(items.iter().map(|item| walk(item, exact)).collect()),
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| {
                let of_host = OF_THE_HOST.contains(&key.as_str());
                let inner = || walk(value, exact || EXACT.contains(&key.as_str()));
                (key.clone(), if of_host { json!("<of the host>") } else { inner() })
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

fn word(text: &str) -> Value {
    if text == "0001-01-01T00:00:00Z" {
        return json!("<no time>");
    }
    if is_time(text) {
        return json!("<time>");
    }
    if let Some(status) = since(text) {
        return json!(status);
    }
    let mut words: Vec<String> = Vec::new();
    // Ids stand in the midst of messages and paths too.
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        words.push(before.to_owned());
        words.push(match digits.len() {
            64 => "<id>".to_owned(),
            12 if digits.bytes().any(|b| b.is_ascii_digit()) => "<short id>".to_owned(),
            _ => digits.to_owned(),
        });
        rest = after;
    }
    words.push(rest.to_owned());
    let text = words.concat();
    // Where an engine keeps its things is its own affair.
    if text.starts_with("/tmp/") { json!("<path>") } else { json!(text) }
}

/// A status with how long it has been: `Up 2 seconds (healthy)`, `Exited (0) 2 seconds ago`.
fn since(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("Up ") {
        let more = rest.find('(').map_or("", |at| &rest[at..]);
        return Some(format!("Up <a while> {more}"));
    }
    let (word, rest) = text.split_once(") ")?;
    (rest.ends_with(" ago") && word.contains('(')).then(|| format!("{word}) <a while> ago"))
}

/// `2026-01-02T03:04:05.123456789Z`, in whatever length of the fraction.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[13] == b':' && text.ends_with('Z')
}

/// One field in which the two differ.
pub struct Difference {
    /// The answer's name, then the fields down to it.
    pub path: String,
    pub reference: Value,
    pub here: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let absent = |value: &Value| if *value == absent() { "absent".to_owned() } else { value.to_string() };
        write!(f, "{}: Docker has {}, Hako {}", self.path, absent(&self.reference), absent(&self.here))
    }
}

/// Stands for a field that is not there; no answer has it.
fn absent() -> Value {
    json!("\u{0}absent")
}

/// Adds to `found` every field in which `reference` and `here` differ.
pub fn differ(path: &str, reference: &Value, here: &Value, found: &mut Vec<Difference>) {
    match (reference, here) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let keys: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
            let of = |from: &Map<String, Value>, key: &str| from.get(key).cloned().unwrap_or_else(absent);
            for key in keys {
                differ(&format!("{path}.{key}"), &of(theirs, key), &of(ours, key), found);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (number, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                differ(&format!("{path}[{number}]"), theirs, ours, found);
            }
        }
        _ if reference == here => {}
        _ => found.push(Difference { path: path.to_owned(), reference: reference.clone(), here: here.clone() }),
    }
}

#[test]
fn words_that_are_others_each_time() {
    let id = "0123456789abcdef".repeat(4);
    let value = json!({
        "a": "2026-01-02T03:04:05.5Z", "b": format!("sha256:{id}"), "c": format!("container {id} is dead"),
        "d": 7, "HostConfig": {"e": 7}, "f": "/tmp/x/y", "g": "/t", "h": "Up 2 hours (healthy)",
    });
    let expected = json!({
        "a": "<time>", "b": "sha256:<id>", "c": "container <id> is dead",
        "d": "<number>", "HostConfig": {"e": 7}, "f": "<path>", "g": "/t", "h": "Up <a while> (healthy)",
    });
    assert_eq!(canon(&value), expected);
}

#[test]
fn differences_have_a_path() {
    let mut found = Vec::new();
    differ("x", &json!({"a": [1, 2], "b": null}), &json!({"a": [1, 3], "c": 1}), &mut found);
    let paths: Vec<&str> = found.iter().map(|difference| difference.path.as_str()).collect();
    assert_eq!(paths, ["x.a[1]", "x.b", "x.c"]);
    assert_eq!(found[1].to_string(), "x.b: Docker has null, Hako absent");
}
