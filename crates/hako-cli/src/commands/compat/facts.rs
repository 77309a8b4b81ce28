//! Where the facts come from: files, rows of the tables, the engine.

use crate::api::{Client, Host as Address, escape};
use crate::error::{Error, Result, reason};
use hako_model::Isolation;
use hako_platform::{GuestKernel, Host, HostOs, Image, LinuxHost, Platform, Policy, WallState, binfmt};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const BINFMT_MISC: &str = "/proc/sys/fs/binfmt_misc";

/// A host, and the wall that its engine is configured for.
pub(super) struct Known {
    pub(super) host: Host,
    pub(super) default: Option<Isolation>,
}

/// A host by the name of its row, or from a file.
pub(super) fn named_host(name: &str) -> Result<Host> {
    if let Some(host) = Host::named(name) {
        return Ok(host);
    }
    if !is_file(name) {
        return Err(Error::msg(format!("no such host: {name} (neither a file, nor of those that --list lists)")));
    }
    serde_json::from_value(read(name)?).map_err(|err| Error::msg(format!("{name}: {err}")))
}

/// What the engine says of its host, and what this machine does if it is the same.
pub(super) async fn engine_host(client: &Client) -> Result<Known> {
    let info = client.get("/info").await?;
    let here = matches!(client.host(), Address::Unix(_));
    let interpreters = if here { interpreters(Path::new(BINFMT_MISC)) } else { Vec::new() };
    let default = Isolation::from_request(info["Isolation"].as_str().unwrap_or_default())?;
    Ok(Known { host: of_info(&info, interpreters)?, default })
}

fn of_info(info: &Value, interpreters: Vec<String>) -> Result<Host> {
    let text = |key: &str| info[key].as_str().unwrap_or_default();
    let platform = Platform::new(text("OSType"), text("Architecture"), "");
    if platform.os != "linux" {
        // Docker's answer has no revision and no product type in a form to rely on.
        let os = text("OSType");
        return Err(Error::msg(format!("the engine's host runs {os}: name the host with --host, as a row or a file")));
    }
    let kernel = text("KernelVersion").parse().ok();
    let mut host = Host::new(&platform.architecture, HostOs::Linux(LinuxHost { kernel, interpreters }));
    host.name = text("Name").to_owned();
    host.process = WallState::Works;
    host.guests = guests(info, &platform);
    host.cpus = info["NCPU"].as_u64().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(0);
    host.memory = info["MemTotal"].as_u64().unwrap_or(0);
    let status = info["DriverStatus"].as_array().into_iter().flatten();
    let accelerator = status.filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)));
    let accelerator = accelerator.into_iter().find(|(name, _)| *name == "VM accelerator").map_or("", |(_, text)| text);
    host.emulated = accelerator.starts_with("tcg");
    host.hyperv = match accelerator.split(' ').next() {
        Some("kvm" | "tcg") => WallState::Works,
        Some("none") => WallState::Lacks(vec![accelerator.trim_start_matches("none ").to_owned()]),
        _ => WallState::Unprobed,
    };
    Ok(host)
}

/// The guest kernels that the engine has; one that does not say has the usual one.
fn guests(info: &Value, platform: &Platform) -> Vec<GuestKernel> {
    let Some(list) = info["Guests"].as_array() else { return vec![GuestKernel::new("default", platform)] };
    let guest = |guest: &Value| {
        let text = |key: &str| guest[key].as_str().unwrap_or_default();
        let platform = Platform::new("linux", text("Architecture"), "");
        GuestKernel { kernel: text("Release").parse().ok(), ..GuestKernel::new(text("Name"), &platform) }
    };
    list.iter().map(guest).collect()
}

/// The architectures that this machine's `binfmt_misc` runs; none where it is
/// not mounted.
pub(in crate::commands) fn interpreters(folder: &Path) -> Vec<String> {
    if fs::read_to_string(folder.join("status")).is_ok_and(|text| text.trim() == "disabled") {
        return Vec::new();
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    binfmt::architectures(entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()))
}

/// An image: a file, a column of the matrix, what the engine has, or what a
/// registry knows of it.
pub(super) async fn image(client: &Client, name: &str, engine: bool) -> Result<Image> {
    if is_file(name) {
        return understood(name, &read(name)?);
    }
    if let Some(image) = Image::named(name) {
        return Ok(image);
    }
    match client.get(&format!("/images/{}/json", escape(name))).await {
        Ok(inspected) => understood(name, &inspected),
        Err(err) if err.is_not_found() => understood(name, &listed(client, name).await?),
        Err(err @ Error::Connect { .. }) if !engine => Err(Error::msg(format!(
            "{name} is no file and none of the images that --list lists, and no engine can be asked: {err}"
        ))),
        Err(err) => Err(err),
    }
}

/// What a registry says of an image that is not here.
async fn listed(client: &Client, name: &str) -> Result<Value> {
    let answer = client.get(&format!("/distribution/{}/json", escape(name))).await?;
    let platforms = answer["Platforms"].as_array().cloned().unwrap_or_default();
    let manifests: Vec<Value> = platforms.into_iter().map(|platform| json!({ "platform": platform })).collect();
    Ok(json!({ "names": [name], "digest": answer["Descriptor"]["digest"], "manifests": manifests }))
}

fn understood(name: &str, value: &Value) -> Result<Image> {
    Image::from_json(value).map_err(|err| Error::msg(format!("{name}: {err}")))
}

/// The rules of a file, TOML or JSON, whatever else it has.
pub(super) fn policy(path: &str) -> Result<Policy> {
    #[derive(serde::Deserialize)]
    struct File {
        policy: Policy,
    }
    let text = fs::read_to_string(path).map_err(|err| Error::msg(format!("{path}: {}", reason(&err))))?;
    let file: std::result::Result<File, String> = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(&text).map_err(|err| err.to_string()),
        false => toml::from_str(&text).map_err(|err| err.to_string()),
    };
    file.map(|file| file.policy).map_err(|err| Error::msg(format!("{path}: {err}")))
}

/// Files are said as such: by a path, or with their ending.
fn is_file(name: &str) -> bool {
    name.starts_with(['/', '.']) || Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("json"))
}

fn read(path: &str) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(|err| Error::msg(format!("{path}: {}", reason(&err))))?;
    serde_json::from_str(&text).map_err(|err| Error::msg(format!("{path}: {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml").display().to_string();
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            policy(&path).map_err(|err| err.to_string())
        };
        let rule = "[[policy]]\nname = 'a'\nwalls = ['hyperv']\n";
        assert_eq!(read(&format!("data-root = '/x'\n{rule}")).unwrap().0[0].name, "a");
        assert_eq!(read(r#"{"policy": [{"name": "b", "walls": ["vm"]}]}"#).unwrap().0[0].name, "b");
        assert!(read("data-root = '/x'").unwrap_err().contains("policy"));
        assert!(read("[[policy]]\nname = 'a'").unwrap_err().contains("names no walls"));
    }

    #[test]
    fn the_engines_host() {
        let info = |accelerator: &str| {
            json!({"OSType": "linux", "Architecture": "x86_64", "KernelVersion": "6.1.0-18-amd64", "NCPU": 2,
                "MemTotal": 1 << 30, "DriverStatus": [["Process wall", "x"], ["VM accelerator", accelerator]]})
        };
        let host = of_info(&info("tcg (no /dev/kvm)"), vec!["arm64".into()]).unwrap();
        assert_eq!((host.platform().to_string().as_str(), host.cpus, host.emulated), ("linux/amd64", 2, true));
        assert_eq!(host.hyperv, WallState::Works);
        let none = of_info(&info("none (QEMU is missing)"), Vec::new()).unwrap();
        assert_eq!(none.hyperv, WallState::Lacks(vec!["(QEMU is missing)".into()]));
        assert_eq!(of_info(&info("being probed"), Vec::new()).unwrap().hyperv, WallState::Unprobed);
        assert!(of_info(&json!({"OSType": "windows", "Architecture": "x86_64"}), Vec::new()).is_err());
        assert_eq!(host.guests, [GuestKernel::new("default", &Platform::new("linux", "amd64", ""))]);
        let mut said = info("tcg");
        said["Guests"] = json!([{"Name": "default", "Architecture": "amd64", "Release": "6.12.117-hako"},
            {"Name": "arm64", "Architecture": "arm64", "Release": ""}]);
        let guests = of_info(&said, Vec::new()).unwrap().guests;
        assert_eq!(guests[0].kernel.unwrap().to_string(), "6.12.117");
        assert_eq!((guests[1].architecture.as_str(), guests[1].kernel), ("arm64", None));
    }

    #[test]
    fn interpreters_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("status", "enabled\n");
        write("register", "");
        write(
            "qemu-aarch64",
            "enabled\ninterpreter /q\nflags: F\noffset 0\nmagic 7f454c460201010000000000000000000200b700\n",
        );
        assert_eq!(interpreters(folder.path()), ["arm64"]);
        write("status", "disabled\n");
        assert!(interpreters(folder.path()).is_empty());
        assert!(interpreters(Path::new("/no/such/folder")).is_empty());
    }

    #[test]
    fn hosts_by_name_and_by_file() {
        assert_eq!(named_host("windows-server-2019").unwrap().name, "Windows Server 2019");
        assert!(named_host("windows-server-2099").unwrap_err().to_string().contains("--list"));
        assert!(named_host("/no/such.json").unwrap_err().to_string().contains("o such file"));
        assert!(is_file("./x") && is_file("index.JSON") && !is_file("busybox:1.json-like"));
    }
}
