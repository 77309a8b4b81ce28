//! What Docker adds to Go's templates, for `--format` and for `--log-opt tag=`:
//! `json split join title lower upper pad truncate`.

use gtmpl_ng::{FuncError, NumberKind, Value as Go};
use serde_json::Value;

/// A function of a template.
pub type Function = fn(&[Go]) -> Result<Go, FuncError>;

/// A text is padded to this length at most.
const MOST: usize = 1 << 16;

/// The functions, in moby's order.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("json", |args| Ok(Go::from(value(first("json", args)?).to_string()))),
    ("split", |args| Ok(Go::Array(text("split", args, 0)?.split(&text("split", args, 1)?).map(Go::from).collect()))),
    ("join", |args| {
        let Some(Go::Array(items)) = args.first() else { return Ok(Go::from("")) };
        Ok(Go::from(items.iter().map(ToString::to_string).collect::<Vec<_>>().join(&text("join", args, 1)?)))
    }),
    ("title", |args| {
        let word = text("title", args, 0)?;
        let mut letters = word.chars();
        Ok(Go::from(letters.next().map(|c| c.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()))
    }),
    ("lower", |args| Ok(Go::from(text("lower", args, 0)?.to_lowercase()))),
    ("upper", |args| Ok(Go::from(text("upper", args, 0)?.to_uppercase()))),
    ("pad", |args| {
        let (before, after) = (number("pad", args, 1)?, number("pad", args, 2)?);
        let text = text("pad", args, 0)?;
        Ok(Go::from(if text.is_empty() { text } else { format!("{}{text}{}", " ".repeat(before), " ".repeat(after)) }))
    }),
    ("truncate", |args| {
        let length = number("truncate", args, 1)?;
        Ok(Go::from(text("truncate", args, 0)?.chars().take(length).collect::<String>()))
    }),
];

fn first<'a>(name: &str, args: &'a [Go]) -> Result<&'a Go, FuncError> {
    args.first().ok_or_else(|| FuncError::AtLeastXArgs(name.into(), 1))
}

/// An argument as a text.
///
/// # Errors
/// There are not so many.
pub fn text(name: &str, args: &[Go], index: usize) -> Result<String, FuncError> {
    args.get(index).map(ToString::to_string).ok_or_else(|| FuncError::ExactlyXArgs(name.into(), index + 1))
}

fn number(name: &str, args: &[Go], index: usize) -> Result<usize, FuncError> {
    match args.get(index) {
        Some(Go::Number(n)) => Ok(n.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0).min(MOST)),
        _ => Err(FuncError::Generic(format!("{name}: argument {index} must be a number"))),
    }
}

/// A template's value as JSON, the keys sorted as Go sorts those of a map.
fn value(go: &Go) -> Value {
    match go {
        Go::NoValue | Go::Nil | Go::Function(_) => Value::Null,
        Go::Bool(on) => Value::Bool(*on),
        Go::String(text) => Value::String(text.clone()),
        Go::Number(number) => match number.kind() {
            NumberKind::Unsigned(n) => n.into(),
            NumberKind::Signed(n) => n.into(),
            NumberKind::Float(n) => n.into(),
        },
        Go::Array(items) => items.iter().map(value).collect(),
        Go::Object(entries) | Go::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().map(|(key, go)| (key.clone(), value(go))).collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(sorted.into_iter().collect())
        }
    }
}
