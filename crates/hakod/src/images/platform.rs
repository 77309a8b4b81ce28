//! `platform` of a request: OCI's object as JSON (API 1.48 on), or
//! `os[/architecture[/variant]]`.

use hako_model::{Error, Result};
use hako_registry::Platform;

/// Reads it; `None` where it is empty.
pub(super) fn read(text: &str) -> Result<Option<Platform>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if !text.starts_with('{') {
        return Ok(Some(Platform::parse(text)?));
    }
    let wrong = |why: String| Error::invalid(format!("failed to parse platform: {why}"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(|err| wrong(err.to_string()))?;
    let field = |name: &str| value[name].as_str().unwrap_or_default();
    let (os, architecture) = (field("os"), field("architecture"));
    if os.is_empty() || architecture.is_empty() {
        return Err(wrong("both os and architecture must be there".into()));
    }
    let variant = field("variant");
    let slash = if variant.is_empty() { "" } else { "/" };
    Ok(Some(Platform::parse(&format!("{os}/{architecture}{slash}{variant}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        assert!(read("").unwrap().is_none());
        let object = read(r#"{"architecture":"arm64","os":"linux","variant":"v8"}"#).unwrap().unwrap();
        assert_eq!(object.to_string(), read("linux/arm64/v8").unwrap().unwrap().to_string());
        assert!(read(r#"{"os":"linux"}"#).is_err() && read("{").is_err());
    }
}
