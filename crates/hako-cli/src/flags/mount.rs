//! `-v`, `--mount` and `--tmpfs`.

use super::parse::{csv, size};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// What `-v` and `--tmpfs` and `--mount` come to.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    /// `HostConfig.Binds`.
    pub(crate) binds: Vec<String>,
    /// `Config.Volumes`: anonymous ones.
    pub(crate) volumes: Map<String, Value>,
    /// `HostConfig.Tmpfs`.
    pub(crate) tmpfs: Map<String, Value>,
    /// `HostConfig.Mounts`.
    pub(crate) mounts: Vec<Value>,
}

impl Mounts {
    /// Reads the flags.
    pub(crate) fn parse(volumes: &[String], tmpfs: &[String], mounts: &[String]) -> Result<Self> {
        let mut all = Self::default();
        for volume in volumes {
            match volume.split_once(':') {
                None => _ = all.volumes.insert(volume.clone(), json!({})),
                Some((source, rest)) if source.starts_with('.') => {
                    all.binds.push(format!("{}:{rest}", absolute(source)?))
                }
                Some(_) => all.binds.push(volume.clone()),
            }
        }
        for entry in tmpfs {
            let (path, options) = entry.split_once(':').unwrap_or((entry, ""));
            all.tmpfs.insert(path.to_owned(), options.into());
        }
        all.mounts = mounts.iter().map(|text| mount(text)).collect::<Result<_>>()?;
        Ok(all)
    }
}

fn absolute(path: &str) -> Result<String> {
    let joined = std::path::absolute(path)?;
    // `absolute` keeps `..`, which only the file system can resolve.
    let resolved = joined.canonicalize().unwrap_or(joined);
    Ok(resolved.to_string_lossy().into_owned())
}

/// One `--mount`.
fn mount(text: &str) -> Result<Value> {
    let mut mount = json!({"Type": "volume"});
    for field in csv(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        set(&mut mount, &key, value, &field, text)?;
    }
    if mount.get("Target").is_none() {
        return Err(wrong(text, "target is required"));
    }
    if mount["Type"] == "bind" && mount.get("Source").is_none() {
        return Err(wrong(text, "source is required for bind mounts"));
    }
    Ok(mount)
}

fn wrong(text: &str, why: &str) -> Error {
    Error::msg(format!("invalid argument {text:?} for \"--mount\" flag: {why}"))
}

fn set(mount: &mut Value, key: &str, value: Option<&str>, field: &str, text: &str) -> Result<()> {
    let switch = || match value {
        None | Some("1" | "true") => Ok(Value::Bool(true)),
        Some("0" | "false") => Ok(Value::Bool(false)),
        Some(other) => Err(wrong(text, &format!("invalid value for {key}: {other}"))),
    };
    let needed = || value.ok_or_else(|| wrong(text, &format!("invalid field '{field}' must be a key=value pair")));
    match key {
        "type" => mount["Type"] = needed()?.to_ascii_lowercase().into(),
        "source" | "src" => {
            let source = needed()?;
            mount["Source"] = if source.starts_with('.') { absolute(source)?.into() } else { source.into() };
        }
        "target" | "dst" | "destination" => mount["Target"] = needed()?.into(),
        "readonly" | "ro" => mount["ReadOnly"] = switch()?,
        "consistency" => mount["Consistency"] = needed()?.into(),
        "bind-propagation" => mount["BindOptions"]["Propagation"] = needed()?.into(),
        "bind-create-src" => mount["BindOptions"]["CreateMountpoint"] = switch()?,
        "bind-nonrecursive" => mount["BindOptions"]["NonRecursive"] = switch()?,
        "bind-recursive" => match needed()? {
            "enabled" => {}
            "disabled" => mount["BindOptions"]["NonRecursive"] = true.into(),
            "writable" => mount["BindOptions"]["ReadOnlyNonRecursive"] = true.into(),
            "readonly" => mount["BindOptions"]["ReadOnlyForceRecursive"] = true.into(),
            other => return Err(wrong(text, &format!("invalid value for bind-recursive: {other}"))),
        },
        "volume-driver" => mount["VolumeOptions"]["DriverConfig"]["Name"] = needed()?.into(),
        "volume-nocopy" => mount["VolumeOptions"]["NoCopy"] = switch()?,
        "volume-subpath" => mount["VolumeOptions"]["Subpath"] = needed()?.into(),
        "volume-label" => {
            let (name, content) = needed()?.split_once('=').unwrap_or((value.unwrap_or_default(), ""));
            mount["VolumeOptions"]["Labels"][name] = content.into();
        }
        "volume-opt" => {
            let (name, content) = needed()?.split_once('=').ok_or_else(|| wrong(text, "volume-opt needs KEY=VALUE"))?;
            mount["VolumeOptions"]["DriverConfig"]["Options"][name] = content.into();
        }
        "tmpfs-size" => mount["TmpfsOptions"]["SizeBytes"] = size(needed()?)?.into(),
        "tmpfs-mode" => {
            let mode = u32::from_str_radix(needed()?, 8).map_err(|_| wrong(text, "invalid value for tmpfs-mode"))?;
            mount["TmpfsOptions"]["Mode"] = mode.into();
        }
        other => return Err(wrong(text, &format!("unexpected key '{other}' in '{field}'"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_flags() {
        let all = Mounts::parse(
            &["/anon".into(), "/a:/b:ro".into(), "vol:/c".into()],
            &["/t:size=1m".into()],
            &["type=bind,src=/x,dst=/y,readonly".into(), "type=tmpfs,target=/z,tmpfs-size=1m,tmpfs-mode=1777".into()],
        )
        .unwrap_or_default();
        assert_eq!(all.binds, ["/a:/b:ro", "vol:/c"]);
        assert_eq!(Value::Object(all.volumes), json!({"/anon": {}}));
        assert_eq!(Value::Object(all.tmpfs), json!({"/t": "size=1m"}));
        assert_eq!(all.mounts[0], json!({"Type": "bind", "Source": "/x", "Target": "/y", "ReadOnly": true}));
        assert_eq!(all.mounts[1]["TmpfsOptions"], json!({"SizeBytes": 1 << 20, "Mode": 0o1777}));
    }

    #[test]
    fn mistakes() {
        for bad in ["type=bind,dst=/x", "type=volume", "type=bind,src=/a,dst=/b,color=red", "src"] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }
}
