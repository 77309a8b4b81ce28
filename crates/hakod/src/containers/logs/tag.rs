//! `--log-opt tag=`: a Go template with moby's functions (`daemon/logger/templates`).

use crate::{Engine, containers::record::Record};
use gtmpl_ng::{Context, FuncError, Limits, Template, Value as Go};
use hako_model::{Error, Result};
use std::collections::{BTreeMap, HashMap};

/// A tag is for every record of a log.
const MOST_TAG: usize = 4096;

/// A function of moby's.
type Function = fn(&[Go]) -> std::result::Result<Go, FuncError>;

/// moby's, in its order.
const FUNCTIONS: &[(&str, Function)] = &[
    ("json", |args| Ok(Go::from(as_json(first("json", args)?).to_string()))),
    ("split", |args| Ok(Go::Array(text("split", args, 0)?.split(&text("split", args, 1)?).map(Go::from).collect()))),
    ("join", |args| {
        let Go::Array(items) = first("join", args)? else { return Ok(Go::from("")) };
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

fn first<'a>(name: &str, args: &'a [Go]) -> std::result::Result<&'a Go, FuncError> {
    args.first().ok_or_else(|| FuncError::AtLeastXArgs(name.into(), 1))
}

fn text(name: &str, args: &[Go], index: usize) -> std::result::Result<String, FuncError> {
    args.get(index).map(ToString::to_string).ok_or_else(|| FuncError::ExactlyXArgs(name.into(), index + 1))
}

/// No more than a tag can have.
fn number(name: &str, args: &[Go], index: usize) -> std::result::Result<usize, FuncError> {
    match args.get(index) {
        Some(Go::Number(n)) => Ok(n.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0).min(MOST_TAG)),
        _ => Err(FuncError::Generic(format!("{name}: argument {index} must be a number"))),
    }
}

/// The fields are texts, lists of texts and maps of texts.
fn as_json(value: &Go) -> serde_json::Value {
    match value {
        Go::NoValue | Go::Nil | Go::Function(_) => serde_json::Value::Null,
        Go::Bool(on) => (*on).into(),
        Go::String(text) => text.as_str().into(),
        Go::Number(number) => number.to_string().into(),
        Go::Array(items) => items.iter().map(as_json).collect(),
        Go::Object(entries) | Go::Map(entries) => {
            let sorted: BTreeMap<&String, serde_json::Value> =
                entries.iter().map(|(key, value)| (key, as_json(value))).collect();
            serde_json::json!(sorted)
        }
    }
}

/// The tag that `text`, a Go template over Docker's fields, gives.
///
/// # Errors
/// A template that is none, or is too long when it is filled in.
pub fn render(text: &str, engine: &Engine, record: &Record) -> Result<String> {
    let bad = |err: String| Error::invalid(format!("tag {text:?}: {err}"));
    let limits = Limits::default().with_output_bytes(MOST_TAG);
    let mut template = Template::with_limits(limits);
    template.add_funcs(FUNCTIONS);
    template.parse(text).map_err(|err| bad(err.to_string()))?;
    template.render(&Context::from(fields(engine, record))).map_err(|err| bad(err.to_string()))
}

fn fields(engine: &Engine, record: &Record) -> Go {
    let twelve = |text: &str| text.chars().take(12).collect::<String>();
    let map = |map: &BTreeMap<String, String>| {
        Go::Map(map.iter().map(|(key, value)| (key.clone(), Go::from(value.as_str()))).collect())
    };
    let words = |list: &[String]| Go::Array(list.iter().map(|word| Go::from(word.as_str())).collect());
    let command: Vec<&str> =
        std::iter::once(record.path.as_str()).chain(record.args.iter().map(String::as_str)).collect();
    let texts = [
        ("ID", record.id.short().to_owned()),
        ("FullID", record.id.to_string()),
        ("Name", record.name.clone()),
        ("ImageID", twelve(&record.image_id)),
        ("ImageFullID", record.image_id.clone()),
        ("ImageName", record.config.image.clone()),
        ("DaemonName", "hako".to_owned()),
        ("Hostname", engine.host.hostname.clone()),
        ("Command", command.join(" ")),
        ("ContainerID", record.id.to_string()),
        ("ContainerName", format!("/{}", record.name)),
        ("ContainerEntrypoint", record.path.clone()),
        ("ContainerImageID", record.image_id.clone()),
        ("ContainerImageName", record.config.image.clone()),
        ("ContainerCreated", record.created.clone()),
    ];
    let mut all: HashMap<String, Go> =
        texts.into_iter().map(|(name, text)| (name.to_owned(), Go::from(text.as_str()))).collect();
    all.insert("ContainerArgs".to_owned(), words(&record.args));
    all.insert("ContainerEnv".to_owned(), words(record.config.env.as_deref().unwrap_or_default()));
    all.insert("ContainerLabels".to_owned(), map(&record.config.labels));
    all.insert("Config".to_owned(), map(&record.host.log_config.config));
    Go::Object(all)
}
