//! An image's facts from the JSON that there is of it: an OCI index, an image's
//! config, or the engine's answer to `GET /images/{name}/json`.

use super::{Family, Form, Image, ImageVersion, Manifest, Wish};
use crate::Platform;
use serde_json::Value;

/// JSON that tells of no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Another kind of JSON.
    #[error("no image: an object with \"manifests\", or with \"os\" and \"architecture\", is understood")]
    Unknown,
    /// An image without a platform.
    #[error("image names no {0}")]
    Missing(&'static str),
}

impl Image {
    /// Reads any of the three. Keys are Docker's (`OsVersion`) or OCI's
    /// (`os.version`); a further key `names` gives the names of an index.
    ///
    /// # Errors
    /// JSON that tells of no image.
    pub fn from_json(value: &Value) -> Result<Self, ImageError> {
        // `docker image inspect` has a list of one.
        let value = match value.as_array().map(Vec::as_slice) {
            Some([only]) => only,
            Some(_) => return Err(ImageError::Unknown),
            None => value,
        };
        if !value.is_object() {
            return Err(ImageError::Unknown);
        }
        let mut names = texts(value, &["RepoTags", "names"]);
        let repo_digests = texts(value, &["RepoDigests"]);
        let mut digests = texts(value, &["digests"]);
        digests.extend(repo_digests.iter().filter_map(|name| Some(name.split_once('@')?.1.to_owned())));
        digests.extend(["Id", "digest"].iter().filter_map(|key| value[*key].as_str()).map(str::to_owned));
        names.extend(repo_digests);
        let form = match value["manifests"].as_array() {
            Some(entries) => Form::Index(entries.iter().map(|entry| of_entry(entry, &names)).collect()),
            None => Form::Manifest(of_config(value, &names)?),
        };
        Ok(Self { names, digests, form })
    }
}

fn of_config(value: &Value, names: &[String]) -> Result<Manifest, ImageError> {
    let os = text(value, &["os", "Os"]);
    let architecture = text(value, &["architecture", "Architecture"]);
    match (os, architecture) {
        ("", "") => return Err(ImageError::Unknown),
        ("", _) => return Err(ImageError::Missing("os")),
        (_, "") => return Err(ImageError::Missing("architecture")),
        _ => {}
    }
    let platform = Platform::new(os, architecture, text(value, &["variant", "Variant"]));
    let version = ImageVersion::read(text(value, &["os.version", "OsVersion"]));
    let features = texts(value, &["os.features", "OsFeatures"]);
    let mut wish = Wish::default();
    for labels in [&value["config"]["Labels"], &value["Config"]["Labels"], &value["labels"], &value["annotations"]] {
        ask(&mut wish, labels);
    }
    let family = Family::read(names, &features);
    Ok(Manifest { platform, version, features, family, wish, digest: String::new() })
}

/// An entry of an index.
fn of_entry(entry: &Value, names: &[String]) -> Manifest {
    let platform = &entry["platform"];
    let part = |key: &str| text(platform, &[key]);
    let features = texts(platform, &["os.features"]);
    let mut wish = Wish::default();
    ask(&mut wish, &entry["annotations"]);
    Manifest {
        platform: Platform::new(part("os"), part("architecture"), text(platform, &["variant"])),
        version: ImageVersion::read(text(platform, &["os.version"])),
        family: Family::read(names, &features),
        features,
        wish,
        digest: text(entry, &["digest"]).to_owned(),
    }
}

fn ask(wish: &mut Wish, labels: &Value) {
    for (label, value) in labels.as_object().into_iter().flatten() {
        wish.add(label, value.as_str().unwrap_or_default());
    }
}

fn text<'a>(value: &'a Value, keys: &[&str]) -> &'a str {
    keys.iter().find_map(|key| value[*key].as_str()).unwrap_or_default()
}

fn texts(value: &Value, keys: &[&str]) -> Vec<String> {
    let lists = keys.iter().filter_map(|key| value[*key].as_array());
    lists.flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_model::Isolation;
    use serde_json::json;

    #[test]
    fn an_index() {
        let image = Image::from_json(&json!({"manifests": [
            {"digest": "sha256:aa", "platform": {"os": "windows", "architecture": "amd64",
                "os.version": "10.0.17763.1098", "os.features": ["win32k"]}},
            {"digest": "sha256:bb", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
                "annotations": {"hako.isolation.minimum": "hyperv"}},
            {"digest": "sha256:cc", "platform": {"os": "unknown", "architecture": "unknown"}},
            {"digest": "sha256:dd"},
        ]}))
        .unwrap();
        let shown: Vec<String> = image.manifests().iter().map(Manifest::shown).collect();
        assert_eq!(shown[..2], ["windows(10.0.17763.1098+win32k)/amd64", "linux/arm64/v8"]);
        assert_eq!(image.manifests()[1].wish.wall, Some(Isolation::Hyperv));
        assert!(image.manifests()[2].is_attestation() && image.manifests()[3].is_unnamed());
    }

    #[test]
    fn a_config_and_an_inspected_image() {
        let config = json!({"os": "linux", "architecture": "amd64",
            "config": {"Labels": {"hako.kernel.minimum": "6.6"}}});
        let inspected = json!([{"Id": "sha256:ee", "RepoTags": ["app:1"], "RepoDigests": ["app@sha256:ff"],
            "Os": "linux", "Architecture": "amd64", "Config": {"Labels": {"hako.kernel.minimum": "6.6"}}}]);
        let (config, inspected) = (Image::from_json(&config).unwrap(), Image::from_json(&inspected).unwrap());
        assert_eq!(config.form, inspected.form);
        assert_eq!(inspected.names, ["app:1", "app@sha256:ff"]);
        assert_eq!(inspected.digests, ["sha256:ff", "sha256:ee"]);
    }

    #[test]
    fn what_is_no_image() {
        for value in [json!({}), json!([]), json!(1), json!([{}, {}]), json!({"os": "linux"})] {
            assert!(Image::from_json(&value).is_err(), "{value}");
        }
    }
}
