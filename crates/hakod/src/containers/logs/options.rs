//! `--log-driver` and `--log-opt`, with Docker's rules and words: which options
//! there are is asked when a container is created, what they mean when it starts.

use super::tag;
use crate::{Engine, containers::record::Record};
use hako_api::{
    types::LogConfig,
    units::{binary_size, decimal_size},
};
use hako_model::{Error, LogConfig as ShimLog, LogDriver, Result};
use regex_lite::Regex;
use std::{collections::BTreeMap, path::PathBuf};

/// The drivers that there are.
pub const DRIVERS: &[&str] = &["json-file", "local", "none"];

const OPTIONS: &[&str] = &["max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"];
/// `local`'s, where nothing is said.
const LOCAL_SIZE: u64 = 20 << 20;
const LOCAL_FILES: u32 = 5;
/// Docker's room for output that waits in mode `non-blocking`.
const BUFFER: u64 = 1_000_000;

/// Takes the engine's default where the request says nothing, and says what is wrong.
///
/// # Errors
/// `InvalidParameter` in Docker's words.
pub fn merge(config: &mut LogConfig, default: &LogConfig) -> Result<()> {
    if config.r#type.is_empty() {
        config.r#type.clone_from(&default.r#type);
    }
    if config.r#type == default.r#type {
        for (key, value) in &default.config {
            config.config.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    validate(&config.r#type, &config.config)
}

/// Whether there are such a driver and such options.
///
/// # Errors
/// As [`merge`].
pub fn validate(driver: &str, options: &BTreeMap<String, String>) -> Result<()> {
    if driver == "none" {
        return Ok(());
    }
    let bad = |text: String| Err(Error::invalid(text));
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return bad(format!("logger: logging mode not supported: {mode}"));
    }
    if let Some(size) = options.get("max-buffer-size") {
        if mode != "non-blocking" {
            return bad("logger: max-buffer-size option is only supported with 'mode=non-blocking'".to_owned());
        }
        binary_size(size).map_err(|err| err.context("error parsing option max-buffer-size"))?;
    }
    if !DRIVERS.contains(&driver) {
        return bad(format!("logger: no log driver named '{driver}' is registered"));
    }
    let known = |key: &&String| OPTIONS.contains(&key.as_str()) || ["mode", "max-buffer-size"].contains(&key.as_str());
    match options.keys().find(|key| !known(key)) {
        Some(key) if driver == "local" => bad(format!("unknown log opt '{key}' for log driver local")),
        Some(key) => bad(format!("unknown log opt '{key}' for {driver} log driver")),
        None => Ok(()),
    }
}

/// The log of a container, as its shim is told.
///
/// # Errors
/// Docker's words for an option that means nothing.
pub fn for_shim(engine: &Engine, record: &Record) -> Result<ShimLog> {
    let made = resolve(engine, record);
    made.map_err(|err| err.context("failed to create task for container: failed to initialize logging driver"))
}

fn resolve(engine: &Engine, record: &Record) -> Result<ShimLog> {
    let LogConfig { r#type, config } = &record.host.log_config;
    let Some(path) = path(engine, record) else { return Ok(ShimLog::plain(LogDriver::None, None)) };
    let local = r#type == "local";
    if let Some(parent) = path.parent().filter(|_| local) {
        std::fs::create_dir_all(parent)?;
    }
    let (max_size, max_files, compress) = if local { local_files(config)? } else { json_files(config)? };
    let buffer = match (config.get("mode").map(String::as_str), config.get("max-buffer-size")) {
        (Some("non-blocking"), Some(size)) => Some(u64::try_from(binary_size(size)?).unwrap_or(0)),
        (Some("non-blocking"), None) => Some(BUFFER),
        _ => None,
    };
    Ok(ShimLog {
        driver: if local { LogDriver::Local } else { LogDriver::JsonFile },
        path: Some(path),
        max_size,
        max_files,
        compress,
        attributes: attributes(engine, record)?,
        buffer,
    })
}

/// Where a container's log is; `None` where there is none.
pub fn path(engine: &Engine, record: &Record) -> Option<PathBuf> {
    let dir = engine.container_dir(record.id.as_str());
    match record.host.log_config.r#type.as_str() {
        "json-file" => Some(dir.join(format!("{}-json.log", record.id))),
        "local" => Some(dir.join("local-logs").join("container.log")),
        _ => None,
    }
}

type Files = (Option<u64>, u32, bool);

fn json_files(options: &BTreeMap<String, String>) -> Result<Files> {
    let bad = |text: &str| Err(Error::invalid(text));
    let size = options.get("max-size").map(|size| decimal_size(size)).transpose()?;
    if size.is_some_and(|size| size <= 0) {
        return bad("max-size must be a positive number");
    }
    let files = options.get("max-file").map(|files| go_int(files)).transpose()?.unwrap_or(1);
    if files < 1 {
        return bad("max-file cannot be less than 1");
    }
    let compress = options.get("compress").map(|on| go_bool(on)).transpose()?.unwrap_or(false);
    if compress && (files == 1 || size.is_none()) {
        return bad("compress cannot be true when max-file is less than 2 or max-size is not set");
    }
    Ok((size.and_then(|size| u64::try_from(size).ok()), u32::try_from(files).unwrap_or(u32::MAX), compress))
}

fn local_files(options: &BTreeMap<String, String>) -> Result<Files> {
    let named = |key: &str, value: &str, err: Error| err.context(format!("invalid value for {key}: {value}"));
    let mut size = LOCAL_SIZE;
    if let Some(text) = options.get("max-size") {
        let asked = decimal_size(text).map_err(|err| named("max-size", text, err))?;
        size = u64::try_from(asked).map_err(|_| Error::invalid("max-size must not be negative"))?;
    }
    let mut files = LOCAL_FILES;
    if let Some(text) = options.get("max-file") {
        let asked = go_int(text).map_err(|err| named("max-file", text, err))?;
        files = u32::try_from(asked).map_err(|_| Error::invalid("max-file must not be negative"))?;
    }
    let compress = match options.get("compress") {
        Some(text) => go_bool(text).map_err(|err| err.context("invalid boolean value for compress"))?,
        None => true,
    };
    if compress && files <= 1 {
        return Err(Error::invalid("compression cannot be enabled when max file count is 1"));
    }
    Ok((Some(size), files.max(1), compress))
}

/// Go's `strconv.Atoi`.
fn go_int(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
}

/// Go's `strconv.ParseBool`.
fn go_bool(text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))),
    }
}

/// Labels and variables that were asked for, and a tag.
fn attributes(engine: &Engine, record: &Record) -> Result<BTreeMap<String, String>> {
    let options = &record.host.log_config.config;
    let variables: BTreeMap<String, String> = record.config.env.iter().flatten().filter_map(|e| pair(e)).collect();
    let mut found = BTreeMap::new();
    for (key, source) in [("labels", &record.config.labels), ("env", &variables)] {
        let names: Vec<&str> = options.get(key).map(|list| list.split(',').collect()).unwrap_or_default();
        let regex = match options.get(&format!("{key}-regex")).filter(|text| !text.is_empty()) {
            Some(text) => {
                Some(Regex::new(text).map_err(|err| Error::invalid(format!("error parsing regexp: {text}: {err}")))?)
            }
            None => None,
        };
        let wanted = |name: &str| names.contains(&name) || regex.as_ref().is_some_and(|regex| regex.is_match(name));
        found.extend(source.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| (name.clone(), value.clone())));
    }
    if let Some(tag) = options.get("tag").filter(|tag| !tag.is_empty()) {
        let tag = tag::render(tag, engine, record)?;
        if !tag.is_empty() {
            found.insert("tag".to_owned(), tag);
        }
    }
    Ok(found)
}

fn pair(variable: &str) -> Option<(String, String)> {
    variable.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn words_are_dockers() {
        let says = |driver: &str, pairs: &[(&str, &str)]| validate(driver, &options(pairs)).unwrap_err().message;
        assert_eq!(says("syslog", &[]), "logger: no log driver named 'syslog' is registered");
        assert_eq!(says("json-file", &[("x", "1")]), "unknown log opt 'x' for json-file log driver");
        assert_eq!(says("local", &[("x", "1")]), "unknown log opt 'x' for log driver local");
        assert_eq!(says("local", &[("mode", "fast")]), "logger: logging mode not supported: fast");
        let buffer = says("json-file", &[("max-buffer-size", "1m")]);
        assert_eq!(buffer, "logger: max-buffer-size option is only supported with 'mode=non-blocking'");
        assert!(validate("none", &options(&[("x", "1")])).is_ok());
        let says = |pairs: &[(&str, &str)]| json_files(&options(pairs)).unwrap_err().message;
        assert_eq!(says(&[("max-file", "0")]), "max-file cannot be less than 1");
        assert_eq!(says(&[("max-file", "x")]), "strconv.Atoi: parsing \"x\": invalid syntax");
        assert_eq!(says(&[("max-size", "0")]), "max-size must be a positive number");
        assert_eq!(
            says(&[("compress", "true"), ("max-file", "2")]),
            "compress cannot be true when max-file is less than 2 or max-size is not set"
        );
    }

    #[test]
    fn defaults() {
        assert_eq!(json_files(&options(&[])).unwrap(), (None, 1, false));
        assert_eq!(json_files(&options(&[("max-size", "10k"), ("max-file", "3")])).unwrap(), (Some(10_000), 3, false));
        assert_eq!(local_files(&options(&[])).unwrap(), (Some(20 << 20), 5, true));
        assert!(local_files(&options(&[("max-file", "1")])).is_err());
        let default = LogConfig { r#type: "local".to_owned(), config: options(&[("max-size", "1m")]) };
        let mut asked = LogConfig::default();
        merge(&mut asked, &default).unwrap();
        assert_eq!(asked, default);
        let mut other = LogConfig { r#type: "json-file".to_owned(), config: options(&[]) };
        merge(&mut other, &default).unwrap();
        assert!(other.config.is_empty());
    }
}
