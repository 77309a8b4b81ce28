//! `--device` and `--device-cgroup-rule`: their forms. The devices themselves
//! are looked up at each start.

use hako_api::types::HostConfig;
use hako_model::{Error, Result, policy::DeviceRule};

/// Docker's words for what is malformed.
pub fn check(host: &HostConfig) -> Result<()> {
    for device in host.devices.iter().flatten() {
        let mode = &device.cgroup_permissions;
        let letters = mode.len() <= 3 && mode.chars().all(|letter| "rwm".contains(letter));
        if !letters || !device.path_in_container.starts_with('/') || device.path_in_container.contains('\0') {
            let (from, to) = (&device.path_on_host, &device.path_in_container);
            return Err(Error::invalid(format!("invalid device specification: {from}:{to}:{mode}")));
        }
        if device.path_in_container.split('/').any(|part| part == "..") {
            return Err(Error::invalid(format!("invalid device specification: {}", device.path_in_container)));
        }
    }
    host.device_cgroup_rules.iter().flatten().try_for_each(|rule| parse_rule(rule).map(drop))
}

/// `c 1:3 rwm`, with `*` for any number.
///
/// # Errors
/// `invalid device cgroup rule format: '…'`.
pub fn parse_rule(rule: &str) -> Result<DeviceRule> {
    let bad = || Error::invalid(format!("invalid device cgroup rule format: '{rule}'"));
    let words: Vec<&str> = rule.split(' ').collect();
    let [kind @ ("a" | "b" | "c"), numbers, access] = words.as_slice() else { return Err(bad()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| bad())
        }
        _ => Err(bad()),
    };
    if !(1..=3).contains(&access.len()) || !access.chars().all(|letter| "rwm".contains(letter)) {
        return Err(bad());
    }
    Ok(DeviceRule {
        allow: true,
        typ: Some((*kind).to_owned()),
        major: number(major)?,
        minor: number(minor)?,
        access: (*access).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::parse_rule;

    #[test]
    fn rules() {
        let rule = parse_rule("c 10:* rw").unwrap();
        assert_eq!(
            (rule.typ.as_deref(), rule.major, rule.minor, rule.access.as_str()),
            (Some("c"), Some(10), None, "rw")
        );
        for bad in ["", "x 1:3 r", "c 1 r", "c 1:3", "c 1:3 rwx", "c -1:3 r", "c 1:3 r extra", "c 1:99999999999 r"] {
            let err = parse_rule(bad).unwrap_err().message;
            assert_eq!(err, format!("invalid device cgroup rule format: '{bad}'"));
        }
    }
}
