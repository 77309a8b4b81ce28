//! `--security-opt`.

use hako_api::types::HostConfig;
use hako_model::{Error, Result};

/// How annotations of the engine's own begin.
const OWN: &str = "hako.";

/// What the options say together; the last of a kind wins.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Security<'a> {
    /// execve gives no privileges.
    pub no_new_privileges: bool,
    /// `seccomp=`: `unconfined`, `builtin`, or a profile's text.
    pub seccomp: Option<&'a str>,
    /// `apparmor=`: a profile's name.
    pub apparmor: Option<&'a str>,
    /// The container may change its own cgroup.
    pub writable_cgroups: bool,
}

/// Reads the options. (`systempaths` is the client's own: it sends other
/// masked and read-only paths.)
///
/// # Errors
/// Docker's words.
pub fn parse(host: &HostConfig) -> Result<Security<'_>> {
    let mut found = Security::default();
    for opt in host.security_opt.iter().flatten() {
        match opt.as_str() {
            "no-new-privileges" => found.no_new_privileges = true,
            "writable-cgroups" => found.writable_cgroups = true,
            // Labels are SELinux's, which does not label here.
            "disable" => {}
            _ => pair(opt, &mut found)?,
        }
    }
    Ok(found)
}

/// Checks `--annotation`: what the engine tells its runtime about devices and
/// filters goes the same way, and is not the user's to say.
///
/// # Errors
/// Docker's words, or which annotation it is.
pub fn check_annotations(host: &HostConfig) -> Result<()> {
    for key in host.annotations.keys() {
        if key.is_empty() {
            let text = "invalid Annotations: the empty string is not permitted as an annotation key";
            return Err(Error::invalid(text));
        }
        if key.starts_with(OWN) {
            return Err(Error::invalid(format!("invalid Annotations: {key}: names beginning with {OWN} are the engine's")));
        }
    }
    Ok(())
}

fn pair<'a>(opt: &'a str, found: &mut Security<'a>) -> Result<()> {
    let cut = opt.split_once('=').or_else(|| opt.split_once(':'));
    let Some((key, value)) = cut else {
        return Err(Error::invalid(format!("invalid --security-opt 1: {opt:?}")));
    };
    let bad = || Error::invalid(format!("invalid --security-opt 2: {opt:?}"));
    match key {
        "label" => {}
        "apparmor" => found.apparmor = Some(value),
        "seccomp" => found.seccomp = Some(value),
        "no-new-privileges" => found.no_new_privileges = boolean(value).ok_or_else(bad)?,
        "writable-cgroups" => found.writable_cgroups = boolean(value).ok_or_else(bad)?,
        _ => return Err(bad()),
    }
    Ok(())
}

/// Go's words for a boolean.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> HostConfig {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        HostConfig { security_opt: Some(words), ..HostConfig::default() }
    }

    #[test]
    fn forms() {
        let host = options(&["no-new-privileges:true", "seccomp=unconfined", "label=disable", "writable-cgroups=0"]);
        let found = parse(&host).unwrap();
        let expected = Security { no_new_privileges: true, seccomp: Some("unconfined"), ..Security::default() };
        assert_eq!(found, expected);
        let refused = |word: &str| parse(&options(&[word])).unwrap_err().message;
        assert_eq!(refused("nonsense"), "invalid --security-opt 1: \"nonsense\"");
        assert_eq!(refused("no-new-privileges=maybe"), "invalid --security-opt 2: \"no-new-privileges=maybe\"");
        assert_eq!(refused("systempaths=unconfined"), "invalid --security-opt 2: \"systempaths=unconfined\"");
    }
}
