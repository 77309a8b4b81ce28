//! `RUN --mount`: what it says, as BuildKit reads it.

use crate::{Error, Result};

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MountKind {
    /// Files of the context, or of the stage or image `from`.
    #[default]
    Bind,
    /// A folder that outlives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret, as a file.
    Secret,
    /// The socket of an SSH agent.
    Ssh,
}

/// How builds share a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// All at once.
    #[default]
    Shared,
    /// Each its own.
    Private,
    /// One after another.
    Locked,
}

/// One `--mount`, expanded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunMount {
    /// `type`; `bind` where it is not said.
    pub kind: MountKind,
    /// `target`
    pub target: Option<String>,
    /// `source`
    pub source: Option<String>,
    /// `from`
    pub from: Option<String>,
    /// `id`
    pub id: Option<String>,
    /// `sharing`
    pub sharing: Sharing,
    /// Whether it cannot be written to: as given, else for all but `cache` and `tmpfs`.
    pub readonly: bool,
    /// Whether a secret or agent that is not there is an error.
    pub required: bool,
    /// `size` of a `tmpfs`, in bytes.
    pub size: Option<u64>,
    /// `mode`
    pub mode: Option<u32>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
}

/// The fields of `text`, parted at commas as a line of CSV is.
fn fields(text: &str) -> Result<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(char) = chars.next() {
        let begun = fields.last().is_some_and(|field| !field.is_empty());
        match char {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => push(&mut fields, '"'),
            '"' if quoted => quoted = false,
            '"' if !begun => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            char => push(&mut fields, char),
        }
    }
    if quoted {
        return Err(Error::value("failed to parse csv mounts: parse error: extraneous or missing \" in quoted-field"));
    }
    Ok(fields)
}

fn push(fields: &mut [String], char: char) {
    if let Some(field) = fields.last_mut() {
        field.push(char);
    }
}

/// What can be known of `text` before its variables are.
///
/// # Errors
/// No CSV, or a `from` with a variable.
pub(crate) fn check(text: &str) -> Result<()> {
    for field in fields(text)? {
        if let Some((key, value)) = field.split_once('=')
            && key.eq_ignore_ascii_case("from")
            && value.find('$').is_some_and(|at| at + 1 < value.len())
        {
            return Err(Error::value("'from' doesn't support variable expansion, define alias stage instead"));
        }
    }
    Ok(())
}

/// The stage or image that `text` takes files from.
pub(crate) fn from(text: &str) -> Option<String> {
    let fields = fields(text).ok()?;
    let pair = |field: &String| field.split_once('=').map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned()));
    let found = fields.iter().filter_map(pair).rfind(|(key, _)| key == "from");
    found.map(|(_, value)| value).filter(|value| !value.is_empty())
}

/// Reads a `--mount`, its values expanded.
///
/// # Errors
/// BuildKit's words.
pub(crate) fn parse(text: &str, expand: &dyn Fn(&str) -> Result<String>) -> Result<RunMount> {
    let mut mount = RunMount::default();
    let mut readonly = None;
    let mut sharing = None;
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(expand(value)?)),
            None => (field.to_ascii_lowercase(), None),
        };
        match (key.as_str(), &value) {
            ("readonly" | "ro", None) => readonly = Some(true),
            ("readwrite" | "rw", None) => readonly = Some(false),
            ("required", None) => mount.required = allowed(&key, &mount, &[MountKind::Secret, MountKind::Ssh])?,
            (_, None) => return Err(Error::value(format!("invalid field '{field}' must be a key=value pair"))),
            ("readonly" | "ro", Some(value)) => readonly = Some(boolean(&key, value)?),
            ("readwrite" | "rw", Some(value)) => readonly = Some(!boolean(&key, value)?),
            ("sharing", Some(value)) => sharing = Some(sharing_of(value)?),
            (key, Some(value)) => set(&mut mount, key, value, &field)?,
        }
    }
    mount.readonly = readonly.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
    valid(&mount, sharing)?;
    mount.sharing = sharing.unwrap_or_default();
    Ok(mount)
}

fn set(mount: &mut RunMount, key: &str, value: &str, field: &str) -> Result<()> {
    let some = || Some(value.to_owned()).filter(|value| !value.is_empty());
    match key {
        "type" => mount.kind = kind(value)?,
        "from" => mount.from = some(),
        "source" | "src" => mount.source = some(),
        "target" | "dst" | "destination" => mount.target = some(),
        "id" => mount.id = some(),
        "required" => {
            allowed(key, mount, &[MountKind::Secret, MountKind::Ssh])?;
            mount.required = boolean(key, value)?;
        }
        "size" => {
            allowed(key, mount, &[MountKind::Tmpfs])?;
            mount.size = Some(bytes(value).ok_or_else(|| Error::value(format!("invalid value for size: {value}")))?);
        }
        "mode" => mount.mode = Some(number(key, value, 8)?),
        "uid" => mount.uid = Some(number(key, value, 10)?),
        "gid" => mount.gid = Some(number(key, value, 10)?),
        _ => return Err(Error::value(format!("unexpected key '{key}' in '{field}'"))),
    }
    Ok(())
}

fn allowed(key: &str, mount: &RunMount, kinds: &[MountKind]) -> Result<bool> {
    if kinds.contains(&mount.kind) {
        return Ok(true);
    }
    Err(Error::value(format!("unexpected key '{key}' for mount type '{}'", mount.kind.name())))
}

impl MountKind {
    /// The word that `type=` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

fn kind(value: &str) -> Result<MountKind> {
    let kinds = [MountKind::Bind, MountKind::Cache, MountKind::Tmpfs, MountKind::Secret, MountKind::Ssh];
    let found = kinds.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(value));
    found.ok_or_else(|| Error::value(format!("unsupported mount type {value:?}")))
}

fn sharing_of(value: &str) -> Result<Sharing> {
    match value.to_ascii_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        _ => Err(Error::value(format!("unsupported sharing value {value:?}"))),
    }
}

/// Go's `strconv.ParseBool`.
fn boolean(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(Error::value(format!("invalid value for {key}: {value}"))),
    }
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32> {
    let digits = !value.starts_with('+');
    let found = if digits { u32::from_str_radix(value, radix).ok() } else { None };
    found.ok_or_else(|| Error::value(format!("invalid value {value} for {key}")))
}

/// A size as docker's clients read it: `64m`, `1.5GB`, `512`.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let unit = text[end..].trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    (bytes.is_finite() && bytes < 9e18).then_some(bytes as u64)
}

fn valid(mount: &RunMount, sharing: Option<Sharing>) -> Result<()> {
    let kind = mount.kind;
    if matches!(kind, MountKind::Bind | MountKind::Tmpfs) {
        let given = [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)];
        if let Some((name, _)) = given.iter().find(|(_, value)| value.is_some()) {
            return Err(Error::value(format!("{name} not allowed for {:?} type mounts", kind.name())));
        }
    }
    if kind == MountKind::Secret {
        let wrong = if mount.from.is_some() {
            "secret mount should not have a from"
        } else if sharing.is_some() {
            "secret mount should not define sharing"
        } else if mount.source.is_none() && mount.target.is_none() && mount.id.is_none() {
            "invalid secret mount. one of source, target required"
        } else if mount.source.is_some() && mount.id.is_some() {
            "both source and id can't be set"
        } else {
            return Ok(());
        };
        return Err(Error::value(wrong));
    }
    if sharing.is_some() && kind != MountKind::Cache {
        return Err(Error::value(format!("invalid cache sharing set for {} mount", kind.name())));
    }
    Ok(())
}
