//! The bundle's files beside `config.json`.

use crate::{
    containers::record::Record,
    programs::{Programs, present},
};
use hako_model::{Error, Result};
use std::{fmt::Write, fs, os::unix::fs::PermissionsExt, path::Path};

/// Writes `hostname`, `hosts`, `resolv.conf`, and `init` where it is wanted.
///
/// # Errors
/// The kernel's, or a missing `hako-init`.
pub fn write(bundle: &Path, record: &Record, programs: &Programs) -> Result<()> {
    let put = |name: &str, text: String| {
        let path = bundle.join(name);
        fs::write(&path, text).map_err(|err| Error::internal(format!("{}: {err}", path.display())))
    };
    put("hostname", format!("{}\n", record.config.hostname))?;
    put("hosts", hosts(record))?;
    put("resolv.conf", resolv_conf(record, &fs::read_to_string("/etc/resolv.conf").unwrap_or_default()))?;
    if super::process::has_init(&record.host) {
        let (from, to) = (present(&programs.init)?, bundle.join("init"));
        fs::copy(from, &to).map_err(|err| Error::internal(format!("{}: {err}", to.display())))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Docker's `/etc/hosts`; the container's own name leads to the loopback as
/// long as that is its only interface.
fn hosts(record: &Record) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for entry in record.host.extra_hosts.iter().flatten() {
        // `name:address` or `name=address`; an address may have colons, a name has none.
        if let Some((name, address)) = entry.split_once(['=', ':']) {
            let address = address.trim_matches(|c| c == '[' || c == ']');
            let address = if address == "host-gateway" { "127.0.0.1" } else { address };
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    let (host, domain) = (&record.config.hostname, &record.config.domainname);
    let names = if domain.is_empty() { host.clone() } else { format!("{host}.{domain} {host}") };
    let _ = writeln!(text, "127.0.1.1\t{names}");
    text
}

/// What was asked for, and the host's where nothing was.
fn resolv_conf(record: &Record, host: &str) -> String {
    let asked = &record.host;
    let lines = |key: &str| {
        let found = host.lines().filter(|line| line.split_whitespace().next() == Some(key));
        found.map(|line| format!("{line}\n")).collect::<String>()
    };
    let mut text = String::new();
    let words = |list: &'_ Option<Vec<String>>| list.clone().unwrap_or_default();
    let servers = words(&asked.dns);
    if servers.is_empty() {
        text.push_str(&lines("nameserver"));
    }
    for server in &servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    match words(&asked.dns_search).as_slice() {
        [] => text.push_str(&lines("search")),
        // A single dot is Docker's word for none.
        [dot] if dot == "." => {}
        domains => {
            let _ = writeln!(text, "search {}", domains.join(" "));
        }
    }
    match words(&asked.dns_options).as_slice() {
        [] => text.push_str(&lines("options")),
        options => {
            let _ = writeln!(text, "options {}", options.join(" "));
        }
    }
    text
}
