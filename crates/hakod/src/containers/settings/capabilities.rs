//! `--cap-add`, `--cap-drop` and what `--privileged` makes of them.

use crate::host::{CAPABILITIES, HostInfo};
use hako_api::types::HostConfig;
use hako_model::{Error, Isolation, Result, policy};

/// The capabilities of a container by Docker's rules.
///
/// # Errors
/// `invalid CapAdd: unknown capability: "CAP_X"`.
pub fn capabilities(host: &HostConfig, info: &HostInfo, isolation: Isolation) -> Result<Vec<String>> {
    let (add, add_all) = normalise("CapAdd", host.cap_add.as_deref().unwrap_or_default())?;
    let (drop, drop_all) = normalise("CapDrop", host.cap_drop.as_deref().unwrap_or_default())?;
    // All that this process may hand out; a guest has them all.
    let all = || match isolation {
        Isolation::Process => info.bounding.clone(),
        Isolation::Hyperv => CAPABILITIES.iter().map(|c| (*c).to_owned()).collect(),
    };
    if host.privileged {
        return Ok(all());
    }
    let mut base = if add_all {
        all()
    } else if drop_all {
        Vec::new()
    } else {
        policy::default_capabilities()
    };
    if !drop_all {
        base.retain(|cap| !drop.contains(cap));
    }
    if !add_all {
        let new: Vec<String> = add.into_iter().filter(|cap| !base.contains(cap)).collect();
        base.extend(new);
    }
    Ok(base)
}

fn normalise(field: &str, names: &[String]) -> Result<(Vec<String>, bool)> {
    let mut found = Vec::new();
    let mut all = false;
    for name in names {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if full == "CAP_ALL" {
            all = true;
        } else if CAPABILITIES.contains(&full.as_str()) {
            found.push(full);
        } else {
            return Err(Error::invalid(format!("invalid {field}: unknown capability: \"{full}\"")));
        }
    }
    Ok((found, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let info =
            HostInfo { cpus: 2, bounding: vec!["CAP_CHOWN".into(), "CAP_SYS_ADMIN".into()], ..HostInfo::default() };
        let caps = |add: &[&str], drop: &[&str]| {
            let list = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect());
            let host = HostConfig { cap_add: list(add), cap_drop: list(drop), ..HostConfig::default() };
            capabilities(&host, &info, Isolation::Process)
        };
        assert_eq!(caps(&[], &["ALL"]).unwrap(), Vec::<String>::new());
        assert_eq!(caps(&["net_admin"], &["all"]).unwrap(), ["CAP_NET_ADMIN"]);
        assert_eq!(caps(&["ALL"], &["CAP_CHOWN"]).unwrap(), ["CAP_SYS_ADMIN"]);
        assert!(!caps(&[], &["CHOWN"]).unwrap().contains(&"CAP_CHOWN".to_owned()));
        assert_eq!(caps(&["XX"], &[]).unwrap_err().message, "invalid CapAdd: unknown capability: \"CAP_XX\"");
    }
}
