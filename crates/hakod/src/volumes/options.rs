//! What a volume may be called and made of, in the words of moby's driver `local`.

use hako_api::units;
use hako_model::{Error, Result};
use std::collections::BTreeMap;

/// The options that there are.
const KNOWN: &[&str] = &["device", "o", "size", "type"];
/// What each of them needs besides.
const NEEDS: &[(&str, &[&str])] = &[("device", &["type"]), ("o", &["device", "type"]), ("type", &["device"])];

/// There is one driver, and no plugin that could be another.
pub fn check_driver(driver: &str) -> Result<()> {
    match driver {
        "" | super::DRIVER => Ok(()),
        other => Err(Error::not_found(format!("error looking up volume plugin {other}: plugin {other:?} not found"))),
    }
}

/// One part of a path, and of the right letters.
pub fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::invalid("volume name is too short, names should be at least two alphanumeric characters"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric();
    if name.starts_with(plain) && name.chars().all(|c| plain(c) || matches!(c, '_' | '.' | '-')) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )))
}

/// The options of a new volume.
pub fn check(options: Option<&BTreeMap<String, String>>) -> Result<()> {
    let Some(options) = options else { return Ok(()) };
    if let Some(odd) = options.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(Error::invalid(format!("invalid option: {odd:?}")));
    }
    for (key, needs) in NEEDS {
        if options.contains_key(*key)
            && let Some(missing) = needs.iter().find(|need| !options.contains_key(**need))
        {
            return Err(Error::invalid(format!("missing required option: {missing:?}")));
        }
    }
    if let Some(size) = options.get("size")
        && units::binary_size(size)? > 0
    {
        return Err(Error::invalid("quota size requested but no quota support"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(check_name("a.b-c_D0").is_ok());
        for bad in ["a", "", "a/b", "..", "-a", "a b", "é1", "a\0b"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn options() {
        let said = |pairs: &[(&str, &str)]| {
            let options = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            check(Some(&options)).map_err(|err| err.message)
        };
        assert_eq!(said(&[]), Ok(()));
        assert_eq!(said(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")]), Ok(()));
        assert_eq!(said(&[("color", "red")]), Err("invalid option: \"color\"".into()));
        assert_eq!(said(&[("device", "/x")]), Err("missing required option: \"type\"".into()));
        assert_eq!(said(&[("o", "bind")]), Err("missing required option: \"device\"".into()));
        assert_eq!(said(&[("size", "1g")]), Err("quota size requested but no quota support".into()));
        assert_eq!(said(&[("size", "much")]), Err("invalid size: 'much'".into()));
    }
}
