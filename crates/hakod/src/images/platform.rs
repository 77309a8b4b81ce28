//! `platform` of a request: OCI's object as JSON (API 1.48 on), or
//! `os[(version)][/architecture[/variant]]`.

use super::names;
use hako_model::{Error, Result};
use hako_platform::{ImageVersion, OsVersion};
use hako_registry::Platform;
use hako_store::{ImageRow, Store};
use std::fmt;

/// A platform that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// System, architecture and variant.
    pub platform: Platform,
    /// `os.version`: of which an image is to be, where it says one.
    pub version: Option<OsVersion>,
}

impl From<Platform> for Wanted {
    fn from(platform: Platform) -> Self {
        Self { platform, version: None }
    }
}

impl Wanted {
    /// Reads it; `None` where it is empty.
    ///
    /// # Errors
    /// `InvalidParameter` for what is no platform.
    pub fn read(text: &str) -> Result<Option<Self>> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if text.starts_with('{') { object(text).map(Some) } else { specifier(text).map(Some) }
    }

    /// Whether it can be an image with this `os.version`: of the same build, and
    /// of the revision if one is asked for.
    pub fn admits(&self, version: &str) -> bool {
        let Some(wanted) = self.version else { return true };
        match ImageVersion::read(version) {
            ImageVersion::Unsaid => true,
            ImageVersion::Unreadable(_) => false,
            ImageVersion::Known(has) if wanted.revision.is_none() => has.release() == wanted,
            ImageVersion::Known(has) => has == wanted,
        }
    }

    /// How well an image of the store serves: higher is better, `None` not at all.
    pub(super) fn rate(&self, store: &Store, image: &ImageRow) -> Result<Option<u32>> {
        let Some(rate) = self.platform.accepts(&names::platform_of(image)) else { return Ok(None) };
        let fits = self.version.is_none() || self.admits(&names::document(store, &image.id)?.os_version);
        Ok(fits.then_some(rate))
    }
}

/// `{"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1"}`.
fn object(text: &str) -> Result<Wanted> {
    let wrong = |why: String| Error::invalid(format!("failed to parse platform: {why}"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(|err| wrong(err.to_string()))?;
    let field = |name: &str| value[name].as_str().unwrap_or_default();
    let (os, architecture) = (field("os"), field("architecture"));
    if os.is_empty() || architecture.is_empty() {
        return Err(wrong("both os and architecture must be there".into()));
    }
    let variant = field("variant");
    let slash = if variant.is_empty() { "" } else { "/" };
    let platform = Platform::parse(&format!("{os}/{architecture}{slash}{variant}"))?;
    let version = match field("os.version") {
        "" => None,
        version => Some(version.parse().map_err(|err| wrong(format!("os.version: {err}")))?),
    };
    Ok(Wanted { platform, version })
}

/// As containerd writes it: `windows(10.0.17763+win32k)/amd64`.
fn specifier(text: &str) -> Result<Wanted> {
    let wrong = || Error::invalid(format!("\"{text}\" is an invalid platform specifier"));
    let Some((os, rest)) = text.split_once('(') else { return Ok(Platform::parse(text)?.into()) };
    let (inside, rest) = rest.split_once(')').ok_or_else(wrong)?;
    let version = inside.split('+').next().unwrap_or_default();
    let version = if version.is_empty() { None } else { Some(version.parse().map_err(|_| wrong())?) };
    Ok(Wanted { platform: Platform::parse(&format!("{os}{rest}"))?, version })
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.platform.to_string();
        match self.version {
            Some(version) => {
                let rest = whole.strip_prefix(&self.platform.os).unwrap_or_default();
                write!(f, "{}({version}){rest}", self.platform.os)
            }
            None => f.write_str(&whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Wanted>> {
        Wanted::read(text)
    }

    #[test]
    fn both_forms() {
        assert!(read("").unwrap().is_none());
        let object = read(r#"{"architecture":"arm64","os":"linux","variant":"v8"}"#).unwrap().unwrap();
        assert_eq!(object, read("linux/arm64/v8").unwrap().unwrap());
        assert!(read(r#"{"os":"linux"}"#).is_err() && read("{").is_err());
        let object = read(r#"{"os":"windows","architecture":"amd64","os.version":"10.0.17763"}"#).unwrap().unwrap();
        assert_eq!(object, read("windows(10.0.17763+win32k)/amd64").unwrap().unwrap());
        assert_eq!(object.to_string(), "windows(10.0.17763)/amd64");
        assert!(read(r#"{"os":"windows","architecture":"amd64","os.version":"new"}"#).is_err());
        assert!(read("windows(10.0").is_err() && read("windows(x)/amd64").is_err() && read("windows()").is_ok());
    }

    #[test]
    fn a_version_is_a_build_or_a_revision() {
        let admits = |wanted: &str, has: &str| read(wanted).unwrap().unwrap().admits(has);
        assert!(admits("windows(10.0.17763)/amd64", "10.0.17763.1098") && admits("windows/amd64", "anything"));
        assert!(!admits("windows(10.0.17763)/amd64", "10.0.20348.1") && admits("windows(10.0.17763)/amd64", ""));
        assert!(!admits("windows(10.0.17763.1)/amd64", "10.0.17763.2"));
        assert!(!admits("windows(10.0.17763.1)/amd64", "ten"));
    }
}
