//! Version 1's rules for devices. Version 2's are a program of the runtime's.

use oci_spec::runtime::LinuxResources;
use std::{fs, io, path::Path};

/// What every container may use, as runc gives it: making any node, the
/// standard devices, the console and terminals, tun.
const ALWAYS: [&str; 12] = [
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 1:9 rwm",
    "c 1:8 rwm",
    "c *:* m",
    "b *:* m",
    "c 5:1 rwm",
    "c 136:* rwm",
    "c 5:2 rwm",
    "c 10:200 rwm",
];

/// Writes the rules in their order, and then what is always allowed.
pub(crate) fn apply(dir: &Path, resources: &LinuxResources) -> io::Result<()> {
    let put = |file: &str, rule: &str| {
        let path = dir.join(file);
        fs::write(&path, rule)
            .map_err(|err| io::Error::new(err.kind(), format!("write {rule:?} to {}: {err}", path.display())))
    };
    for rule in resources.devices().iter().flatten() {
        put(if rule.allow() { "devices.allow" } else { "devices.deny" }, &rule.to_string())?;
    }
    ALWAYS.iter().try_for_each(|rule| put("devices.allow", rule))
}
