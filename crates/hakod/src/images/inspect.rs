//! `GET /images/{name}/json`.

use super::{Document, ImageConfig, names, platform::Wanted};
use chrono::{DateTime, SecondsFormat, Utc};
use hako_model::Result;
use hako_store::{LayerRow, Store};
use serde_json::{Map, Value, json};

/// The image as Docker describes it.
pub(super) fn inspect(store: &Store, name: &str, platform: Option<&Wanted>, api_minor: u32) -> Result<Value> {
    let image = match platform {
        None => names::find(store, name)?.image,
        Some(platform) => names::find_for(store, name, platform)?,
    };
    let document = names::document(store, &image.id)?;
    let (tags, digests) = names::tags_and_digests(&store.references(Some(&image.id))?);
    let layers = store.image_layers(&image.id)?;
    let tagged = image.last_tagged.and_then(|t| DateTime::<Utc>::from_timestamp(t, 0));
    let tagged =
        tagged.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_rfc3339_opts(SecondsFormat::Secs, true));
    let mut answer = json!({
        "Id": image.id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": comment(&document),
        "Created": document.created,
        "DockerVersion": document.docker_version,
        "Author": document.author,
        "Config": config(&document.config, api_minor),
        "Architecture": document.architecture,
        "Os": document.os,
        "Size": image.size,
        "GraphDriver": graph_driver(&layers),
        "RootFS": { "Type": "layers", "Layers": document.rootfs.diff_ids },
        "Metadata": { "LastTagTime": tagged },
    });
    if let Some(fields) = answer.as_object_mut() {
        let mut add = |key: &str, value: Value| {
            fields.insert(key.to_owned(), value);
        };
        if !document.variant.is_empty() {
            add("Variant", json!(document.variant));
        }
        if !document.os_version.is_empty() {
            add("OsVersion", json!(document.os_version));
        }
        if document.created.is_none() {
            add("Created", json!(if api_minor < 44 { "0001-01-01T00:00:00Z" } else { "" }));
        }
        if api_minor < 44 {
            add("VirtualSize", json!(image.size));
        }
        if api_minor < 45 {
            add("Container", json!(""));
            add("ContainerConfig", config(&ImageConfig::default(), api_minor));
        }
    }
    Ok(answer)
}

/// The comment of the last step, where the image itself has none.
fn comment(document: &Document) -> &str {
    if !document.comment.is_empty() {
        return &document.comment;
    }
    document.history.last().map_or("", |step| &step.comment)
}

fn graph_driver(layers: &[LayerRow]) -> Value {
    let path = |layer: &LayerRow| layer.dir.display().to_string();
    let mut data = Map::new();
    if let Some((top, below)) = layers.split_last() {
        if !below.is_empty() {
            let below: Vec<String> = below.iter().rev().map(path).collect();
            data.insert("LowerDir".into(), json!(below.join(":")));
        }
        data.insert("UpperDir".into(), json!(path(top)));
    }
    json!({ "Name": "overlay2", "Data": data })
}

/// Before API 1.50 a container's whole config; since then the image's fields alone.
fn config(config: &ImageConfig, api_minor: u32) -> Value {
    let or_null = |empty: bool, value: Value| if empty { Value::Null } else { value };
    let mut fields = Map::new();
    let mut add = |key: &str, value: Value| {
        fields.insert(key.to_owned(), value);
    };
    if api_minor < 50 {
        add("Hostname", json!(""));
        add("Domainname", json!(""));
        add("User", json!(config.user));
        for key in ["AttachStdin", "AttachStdout", "AttachStderr"] {
            add(key, json!(false));
        }
        if !config.exposed_ports.is_empty() {
            add("ExposedPorts", json!(config.exposed_ports));
        }
        for key in ["Tty", "OpenStdin", "StdinOnce"] {
            add(key, json!(false));
        }
        add("Env", or_null(config.env.is_empty(), json!(config.env)));
        add("Cmd", json!(config.cmd));
        add("Image", json!(""));
        add("Volumes", or_null(config.volumes.is_empty(), json!(config.volumes)));
        add("WorkingDir", json!(config.working_dir));
        add("Entrypoint", json!(config.entrypoint));
        add("OnBuild", or_null(config.on_build.is_empty(), json!(config.on_build)));
        add("Labels", or_null(config.labels.is_empty(), json!(config.labels)));
    } else {
        let present: [(&str, bool, Value); 9] = [
            ("User", !config.user.is_empty(), json!(config.user)),
            ("ExposedPorts", !config.exposed_ports.is_empty(), json!(config.exposed_ports)),
            ("Env", !config.env.is_empty(), json!(config.env)),
            ("Entrypoint", config.entrypoint.is_some(), json!(config.entrypoint)),
            ("Cmd", config.cmd.is_some(), json!(config.cmd)),
            ("Volumes", !config.volumes.is_empty(), json!(config.volumes)),
            ("WorkingDir", !config.working_dir.is_empty(), json!(config.working_dir)),
            ("OnBuild", !config.on_build.is_empty(), json!(config.on_build)),
            ("Labels", !config.labels.is_empty(), json!(config.labels)),
        ];
        for (key, _, value) in present.into_iter().filter(|(_, there, _)| *there) {
            add(key, value);
        }
    }
    let optional: [(&str, bool, Value); 5] = [
        ("StopSignal", !config.stop_signal.is_empty(), json!(config.stop_signal)),
        ("StopTimeout", config.stop_timeout.is_some() && api_minor < 50, json!(config.stop_timeout)),
        ("Healthcheck", config.healthcheck.is_some(), json!(config.healthcheck)),
        ("Shell", config.shell.is_some(), json!(config.shell)),
        ("ArgsEscaped", config.args_escaped, json!(config.args_escaped)),
    ];
    for (key, _, value) in optional.into_iter().filter(|(_, there, _)| *there) {
        add(key, value);
    }
    Value::Object(fields)
}
