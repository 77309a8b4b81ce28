//! `--log-opt tag=`: a Go template with moby's functions (`daemon/logger/templates`).

use crate::{Engine, containers::record::Record};
use gtmpl_ng::{Context, Limits, Template, Value as Go};
use hako_api::template::FUNCTIONS;
use hako_model::{Error, Result};
use std::collections::{BTreeMap, HashMap};

/// A tag is for every record of a log.
const MOST_TAG: usize = 4096;

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
