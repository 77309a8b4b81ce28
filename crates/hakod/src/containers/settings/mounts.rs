//! `-v`, `--mount`, `--volumes-from` and image volumes: what they say, in the
//! rules and words of moby's parser. Nothing is looked up or made here but
//! whether the source of a `--mount` is there.

use crate::containers::record::Mounted;
use hako_api::types::{ContainerConfig, HostConfig, Mount, MountPoint, VolumeOptions};
use hako_model::{Error, Result};
use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

const PROPAGATIONS: &[&str] = &["private", "rprivate", "shared", "rshared", "slave", "rslave"];
const DEFAULT_PROPAGATION: &str = "rprivate";

/// A mount as it is asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// What it comes to; of a volume everything but its name and where it is.
    pub mounted: Mounted,
    /// The volume.
    pub volume: Option<WantedVolume>,
}

/// A volume as it is asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WantedVolume {
    /// Empty for an anonymous one.
    pub name: String,
    /// Empty for the usual one.
    pub driver: String,
    /// For one that is made.
    pub options: Option<BTreeMap<String, String>>,
    /// For one that is made.
    pub labels: Option<BTreeMap<String, String>>,
    /// It gets what the image has there, if it is empty.
    pub copy: bool,
}

/// Another container whose mounts are taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// Its name or id.
    pub container: String,
    /// All of them become read-only.
    pub read_only: bool,
}

/// `HostConfig.Binds` and `HostConfig.Mounts`, each destination once.
///
/// # Errors
/// Docker's words for what is wrong.
pub fn wanted(host: &HostConfig) -> Result<Vec<Wanted>> {
    let mut all = Vec::new();
    let mut seen: HashSet<String> = host.tmpfs.keys().map(|target| clean(target)).collect();
    let mut add = |wanted: Wanted, shown: &str| {
        let destination = wanted.mounted.point.destination.clone();
        let shown = if shown.is_empty() { &destination } else { shown };
        if seen.contains(&destination) {
            return Err(Error::invalid(format!("Duplicate mount point: {shown}")));
        }
        seen.insert(destination);
        all.push(wanted);
        Ok(())
    };
    for bind in host.binds.iter().flatten() {
        add(bind_spec(bind, &host.volume_driver)?, "")?;
    }
    for mount in host.mounts.iter().flatten() {
        // Here moby shows it as it was written.
        add(of_mount(mount, true)?, &mount.target)?;
    }
    for target in host.tmpfs.keys() {
        absolute(target).map_err(|err| Error::invalid(format!("invalid tmpfs: {err}")))?;
    }
    Ok(all)
}

/// The destinations of `Config.Volumes`: anonymous volumes, of the request and
/// of the image.
///
/// # Errors
/// Docker's words for what is wrong.
pub fn anonymous(config: &ContainerConfig) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for spec in config.volumes.iter().flatten().map(|(spec, _)| spec) {
        let parsed = bind_spec(spec, "").map_err(|err| err.context(format!("invalid volume spec {spec:?}")))?;
        all.push(parsed.mounted.point.destination);
    }
    Ok(all)
}

/// `HostConfig.VolumesFrom`.
///
/// # Errors
/// Docker's words for what is wrong.
pub fn volumes_from(host: &HostConfig) -> Result<Vec<From>> {
    let mut all = Vec::new();
    for spec in host.volumes_from.iter().flatten() {
        if spec.is_empty() {
            return Err(Error::invalid("volumes-from specification cannot be an empty string"));
        }
        let (container, mode) = spec.split_once(':').unwrap_or((spec, "rw"));
        let modes = Modes::parse(mode)?;
        // Those are the other container's.
        if modes.propagation.is_some() || modes.no_copy {
            return Err(invalid_mode(mode));
        }
        all.push(From { container: container.to_owned(), read_only: modes.read_only });
    }
    Ok(all)
}

/// `path.Clean` of an absolute path.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

fn absolute(target: &str) -> std::result::Result<(), String> {
    match target {
        "" => Err("field Target must not be empty".to_owned()),
        t if !t.starts_with('/') => Err(format!("invalid mount path: '{t}' mount path must be absolute")),
        t if clean(t) == "/" => Err("invalid specification: destination can't be '/'".to_owned()),
        _ => Ok(()),
    }
}

fn invalid_mode(mode: &str) -> Error {
    Error::invalid(format!("invalid mode: {mode}"))
}

/// The words behind the second colon.
#[derive(Debug, Default)]
struct Modes {
    read_only: bool,
    no_copy: bool,
    propagation: Option<String>,
}

impl Modes {
    fn parse(text: &str) -> Result<Self> {
        let mut modes = Self::default();
        if text.is_empty() {
            return Ok(modes);
        }
        // One word of each kind.
        let mut kinds = HashSet::new();
        for word in text.split(',') {
            let kind = match word {
                "rw" | "ro" => {
                    modes.read_only = word == "ro";
                    "access"
                }
                // Nothing to relabel and nothing cached: both are true already.
                "z" | "Z" => "label",
                "consistent" | "cached" | "delegated" | "default" => "consistency",
                "nocopy" => {
                    modes.no_copy = true;
                    "copy"
                }
                other if PROPAGATIONS.contains(&other) => {
                    modes.propagation = Some(other.to_owned());
                    "propagation"
                }
                _ => return Err(invalid_mode(text)),
            };
            if !kinds.insert(kind) {
                return Err(invalid_mode(text));
            }
        }
        Ok(modes)
    }
}

/// `[source:]target[:modes]`.
fn bind_spec(spec: &str, driver: &str) -> Result<Wanted> {
    let wrong = || format!("invalid volume specification: '{spec}'");
    let parts: Vec<&str> = spec.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] if !target.is_empty() => ("", *target, ""),
        [source, target] if !source.is_empty() && Modes::parse(target).is_err() => (*source, *target, ""),
        [source, target, mode] if !source.is_empty() => (*source, *target, *mode),
        _ => return Err(Error::invalid(wrong())),
    };
    let modes = Modes::parse(mode)?;
    let is_bind = source.starts_with('/');
    let mut mount = Mount {
        r#type: if is_bind { "bind" } else { "volume" }.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        read_only: modes.read_only,
        ..Mount::default()
    };
    if let Some(propagation) = modes.propagation {
        mount.bind_options.get_or_insert_default().propagation = propagation;
    }
    if !is_bind && (modes.no_copy || !driver.is_empty()) {
        let options = mount.volume_options.get_or_insert_default();
        options.no_copy = modes.no_copy;
        if !driver.is_empty() {
            options.driver_config.get_or_insert_default().name = driver.to_owned();
        }
    } else if modes.no_copy {
        mount.volume_options = Some(VolumeOptions { no_copy: true, ..VolumeOptions::default() });
    }
    let mut wanted = of_mount(&mount, false).map_err(|err| err.context(wrong()))?;
    mode.clone_into(&mut wanted.mounted.point.mode);
    wanted.mounted.make_source = is_bind;
    Ok(wanted)
}

/// One of `HostConfig.Mounts`.
fn of_mount(mount: &Mount, source_must_exist: bool) -> Result<Wanted> {
    let wrong = |why: String| Error::invalid(format!("invalid mount config for type \"{}\": {why}", mount.r#type));
    absolute(&mount.target).map_err(wrong)?;
    let extra = |field: &str| wrong(format!("field {field} must not be specified"));
    let point = MountPoint {
        r#type: mount.r#type.clone(),
        destination: clean(&mount.target),
        rw: !mount.read_only,
        ..MountPoint::default()
    };
    match mount.r#type.as_str() {
        "bind" if mount.volume_options.is_some() => Err(extra("VolumeOptions")),
        "bind" => of_bind(mount, point, source_must_exist).map_err(wrong),
        "volume" if mount.bind_options.is_some() => Err(extra("BindOptions")),
        "volume" => of_volume(mount, point).map_err(wrong),
        "tmpfs" if mount.bind_options.is_some() => Err(extra("BindOptions")),
        "tmpfs" if mount.volume_options.is_some() => Err(extra("VolumeOptions")),
        "tmpfs" if !mount.source.is_empty() => Err(extra("Source")),
        "tmpfs" => Ok(Wanted { mounted: Mounted { point, ..Mounted::default() }, volume: None }),
        _ => Err(wrong("mount type unknown".to_owned())),
    }
}

fn of_bind(mount: &Mount, point: MountPoint, source_must_exist: bool) -> std::result::Result<Wanted, String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    if !options.propagation.is_empty() && !PROPAGATIONS.contains(&options.propagation.as_str()) {
        return Err(format!("invalid propagation mode: {}", options.propagation));
    }
    if !mount.source.starts_with('/') {
        return Err(format!("invalid mount path: '{}' mount path must be absolute", mount.source));
    }
    if options.read_only_non_recursive && options.read_only_force_recursive {
        return Err("mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive".to_owned());
    }
    if source_must_exist && !options.create_mountpoint && !Path::new(&mount.source).exists() {
        return Err(format!("bind source path does not exist: {}", mount.source));
    }
    let propagation = if options.propagation.is_empty() { DEFAULT_PROPAGATION.to_owned() } else { options.propagation };
    let mounted = Mounted {
        point: MountPoint { source: clean(&mount.source), propagation, ..point },
        make_source: options.create_mountpoint,
        non_recursive: options.non_recursive,
        writable_below: options.read_only_non_recursive,
        ..Mounted::default()
    };
    Ok(Wanted { mounted, volume: None })
}

fn of_volume(mount: &Mount, point: MountPoint) -> std::result::Result<Wanted, String> {
    let options = mount.volume_options.clone().unwrap_or_default();
    let driver = options.driver_config.unwrap_or_default();
    let is_anonymous = mount.source.is_empty();
    if !options.subpath.is_empty() {
        if is_anonymous {
            return Err("must not set Subpath when using anonymous volumes".to_owned());
        }
        if !is_local(&options.subpath) {
            return Err("subpath must be a relative path within the volume".to_owned());
        }
    }
    if mount.read_only && is_anonymous {
        return Err("must not set ReadOnly mode when using anonymous volumes".to_owned());
    }
    let mounted = Mounted { point, anonymous: is_anonymous, subpath: options.subpath, ..Mounted::default() };
    let volume = WantedVolume {
        name: mount.source.clone(),
        driver: driver.name,
        options: driver.options,
        labels: options.labels,
        copy: !options.no_copy,
    };
    Ok(Wanted { mounted, volume: Some(volume) })
}

/// Go's `filepath.IsLocal`: by its text it does not lead out.
fn is_local(path: &str) -> bool {
    let mut depth = 0_i32;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return false;
        }
    }
    !path.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(spec: &str) -> String {
        bind_spec(spec, "").unwrap_err().message
    }

    #[test]
    fn binds() {
        let bind = bind_spec("/etc/../etc:/x/:ro,rslave", "").unwrap();
        let point = &bind.mounted.point;
        assert_eq!((point.rw, point.propagation.as_str(), point.mode.as_str()), (false, "rslave", "ro,rslave"));
        assert_eq!((point.source.as_str(), point.destination.as_str()), ("/etc", "/x"));
        assert!(bind.mounted.make_source && bind.volume.is_none());
        let prefix = "invalid volume specification: '/etc:x': invalid mount config for type \"bind\": ";
        assert_eq!(said("/etc:x"), format!("{prefix}invalid mount path: 'x' mount path must be absolute"));
        assert_eq!(said("/etc:/x:bogus"), "invalid mode: bogus");
        assert_eq!(said("/etc:/x:ro,rw"), "invalid mode: ro,rw");
        assert!(said("/etc:/").ends_with("destination can't be '/'"));
        for bad in ["", ":", ":/x", "/a:/b:/c:/d", "/x:ro"] {
            assert_eq!(said(bad), format!("invalid volume specification: '{bad}'"));
        }
    }

    #[test]
    fn volumes() {
        let named = bind_spec("data:/x:nocopy", "local").unwrap();
        let volume = named.volume.unwrap();
        assert_eq!((volume.name.as_str(), volume.driver.as_str(), volume.copy), ("data", "local", false));
        assert!(!named.mounted.anonymous && !named.mounted.make_source);
        let odd = said("data:/x:rshared");
        assert!(
            odd.ends_with("invalid mount config for type \"volume\": field BindOptions must not be specified"),
            "{odd}"
        );
        let mount = |json: serde_json::Value| of_mount(&serde_json::from_value(json).unwrap(), true);
        let anonymous = mount(serde_json::json!({"Type": "volume", "Target": "/x"})).unwrap();
        assert!(anonymous.mounted.anonymous && anonymous.volume.is_some_and(|volume| volume.copy));
        let refused = |json| mount(json).unwrap_err().message.rsplit_once(": ").unwrap().1.to_owned();
        let volume = |options: serde_json::Value| serde_json::json!({"Type": "volume", "Source": "v", "Target": "/x", "VolumeOptions": options});
        assert_eq!(
            refused(volume(serde_json::json!({"Subpath": "../y"}))),
            "subpath must be a relative path within the volume"
        );
        assert!(mount(volume(serde_json::json!({"Subpath": "a/../b"}))).is_ok());
        let read_only = serde_json::json!({"Type": "volume", "Target": "/x", "ReadOnly": true});
        assert_eq!(refused(read_only), "must not set ReadOnly mode when using anonymous volumes");
        let missing = serde_json::json!({"Type": "bind", "Source": "/x-none", "Target": "/y"});
        assert_eq!(
            mount(missing).unwrap_err().message,
            "invalid mount config for type \"bind\": bind source path does not exist: /x-none"
        );
    }

    #[test]
    fn others() {
        let from = |text: &str| {
            volumes_from(&HostConfig { volumes_from: Some(vec![text.to_owned()]), ..HostConfig::default() })
        };
        assert_eq!(from("box:ro").unwrap(), [From { container: "box".into(), read_only: true }]);
        assert_eq!(from("box").unwrap(), [From { container: "box".into(), read_only: false }]);
        for bad in ["box:rslave", "box:nocopy", "box:odd"] {
            assert!(from(bad).unwrap_err().message.starts_with("invalid mode: "));
        }
        let twice = HostConfig { binds: Some(vec!["/etc:/x".into(), "v:/x/".into()]), ..HostConfig::default() };
        assert_eq!(wanted(&twice).unwrap_err().message, "Duplicate mount point: /x");
    }
}
