//! `--format`: Go templates over the engine's JSON, by gtmpl-ng (decision: the one
//! kept engine in Rust that follows Go's semantics; the older `gtmpl` does not).
//! Docker's functions are added: `json split join title lower upper pad truncate println table`.

use crate::error::{Error, Result};
use gtmpl_ng::{Context, Limits, Value as Go};
use hako_api::template::{FUNCTIONS, Function, text};
use serde_json::Value;
use std::collections::HashMap;

/// Keys whose objects are maps in Docker's types: a missing key is no error there.
const MAPS: &[&str] = &[
    "Labels",
    "Annotations",
    "Networks",
    "Ports",
    "Volumes",
    "ExposedPorts",
    "Sysctls",
    "Options",
    "Tmpfs",
    "Attributes",
    "\0Labels",
];

/// A parsed template.
pub(crate) struct Template {
    parsed: gtmpl_ng::Template,
    /// `{{json .A.B}}` and nothing else: answered from the document itself, so that
    /// the order of keys is the engine's.
    json_path: Option<Vec<String>>,
}

impl Template {
    /// Parses `text`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut parsed = gtmpl_ng::Template::with_limits(Limits::unlimited());
        parsed.add_funcs(FUNCTIONS);
        parsed.add_funcs(OWN);
        let text = unescape(text).replace(".Label \"", "label . \"");
        parsed.parse(text.clone()).map_err(|err| Error::msg(format!("template parsing error: {err}")))?;
        Ok(Self { parsed, json_path: json_path(&text) })
    }

    /// Whether it is `{{json .}}` and the like, shown in the document's own order.
    pub(crate) fn is_json(&self) -> bool {
        self.json_path.is_some()
    }

    /// The template's text for `value`.
    pub(crate) fn render(&self, value: &Value) -> Result<String> {
        if let Some(found) = self.json_path.as_ref().and_then(|path| lookup(value, path)) {
            return Ok(found.to_string());
        }
        let context = Context::from(to_go(value, false));
        self.parsed.render(&context).map_err(|err| {
            // The engine quotes the whole document behind the field that it lacks.
            let text = err.to_string();
            Error::msg(format!("template execution error: {}", text.split(" in map[").next().unwrap_or_default()))
        })
    }
}

/// Prints `value` as `--format` says: `json` or a template.
pub(crate) fn print_formatted(format: &str, value: &Value) -> Result<()> {
    let template = Template::parse(if format == "json" { "{{json .}}" } else { format })?;
    crate::term::print_line(template.render(value)?)
}

/// Docker's `\t` and `\n` in a format that a shell has left alone.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn json_path(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let path = inner.strip_prefix("json ")?.trim().strip_prefix('.')?;
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.split('.').map(|part| plain(part).then(|| part.to_owned())).collect()
}

fn lookup<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// An object is Go's struct, whose missing fields are errors, unless it is a map there.
fn to_go(value: &Value, map: bool) -> Go {
    match value {
        Value::Null => Go::Nil,
        Value::Bool(on) => Go::Bool(*on),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(n), _) => Go::from(n),
            (_, Some(n)) => Go::from(n),
            _ => Go::from(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Go::from(text.as_str()),
        Value::Array(items) => Go::Array(items.iter().map(|item| to_go(item, false)).collect()),
        Value::Object(entries) => {
            let entries: HashMap<String, Go> =
                entries.iter().map(|(key, value)| (key.clone(), to_go(value, MAPS.contains(&key.as_str())))).collect();
            if map { Go::Map(entries) } else { Go::Object(entries) }
        }
    }
}

/// Functions of this client's own.
const OWN: &[(&str, Function)] = &[
    ("label", |args| {
        let Some(Go::Object(row)) = args.first() else { return Ok(Go::from("")) };
        let Some(Go::Map(labels)) = row.get("\u{0}Labels") else { return Ok(Go::from("")) };
        Ok(labels.get(&text("label", args, 1)?).cloned().unwrap_or_else(|| Go::from("")))
    }),
    ("index", |args| {
        // Go answers a missing key of a map of texts with the empty text.
        match (gtmpl_ng::funcs::index(args)?, args) {
            (Go::NoValue, [Go::Map(_), _]) => Ok(Go::from("")),
            (found, _) => Ok(found),
        }
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(text: &str) -> String {
        let value = json!({
            "Id": "abc", "State": {"Running": true, "ExitCode": 137, "Pid": 0},
            "Config": {"Env": ["A=1", "B=2"], "Labels": {"k": "v"}},
            "HostConfig": {"Memory": 536_870_912_i64, "Isolation": "hyperv"}, "Names": "x,y", "Zero": null,
        });
        Template::parse(text).and_then(|t| t.render(&value)).unwrap_or_else(|err| format!("ERR {err}"))
    }

    #[test]
    fn the_everyday_subset() {
        assert_eq!(render("{{.Id}}"), "abc");
        assert_eq!(render("{{.State.Running}} {{.State.ExitCode}}"), "true 137");
        assert_eq!(render("{{json .State}}"), r#"{"Running":true,"ExitCode":137,"Pid":0}"#);
        assert_eq!(render("{{ json .Config.Env }}"), r#"["A=1","B=2"]"#);
        assert_eq!(render("{{.HostConfig.Memory}}/{{.HostConfig.Isolation}}"), "536870912/hyperv");
        assert_eq!(render("{{range .Config.Env}}{{.}};{{end}}"), "A=1;B=2;");
        assert_eq!(
            render(r#"{{index .Config.Labels "k"}}{{index .Config.Labels "none"}}|{{.Config.Labels.k}}"#),
            "v|v"
        );
        assert_eq!(render("{{if .State.Running}}up{{else}}down{{end}}"), "up");
        assert_eq!(render(r#"{{if eq .State.ExitCode 137}}killed{{end}}"#), "killed");
        assert_eq!(render(r#"{{join .Config.Env "+"}} {{len .Config.Env}}"#), "A=1+B=2 2");
        assert_eq!(render(r#"{{range split .Names ","}}<{{.}}>{{end}}"#), "<x><y>");
        assert_eq!(render(r"{{upper .Id}}\t{{title .Id}}\n{{truncate .Id 2}}"), "ABC\tAbc\nab");
        assert_eq!(render(r#"{{printf "%s-%d" .Id .State.ExitCode}}"#), "abc-137");
        assert_eq!(render("{{with .Config}}{{len .Env}}{{end}}{{println}}"), "2\n");
        assert_eq!(render("{{json .Id}}{{json .Zero}}"), "\"abc\"null");
    }

    #[test]
    fn mistakes_are_named() {
        assert!(render("{{.Nope}}").starts_with("ERR template execution error"), "{}", render("{{.Nope}}"));
        assert!(render("{{.Id").starts_with("ERR template parsing error"));
        assert!(render("{{nofunc .Id}}").starts_with("ERR template parsing error"));
    }
}
