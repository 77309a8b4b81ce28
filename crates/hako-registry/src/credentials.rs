//! Who asks: credentials as Docker's clients send them.

use crate::{Error, Result};
use base64::{Engine, engine::general_purpose};
use serde::Deserialize;
use std::fmt;

/// A user's credentials. Printing them shows the name alone.
#[derive(Clone, Deserialize)]
pub struct Credentials {
    /// The user.
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    password: String,
    /// `docker login` keeps one of these for registries with OAuth.
    #[serde(default, rename = "identitytoken")]
    pub(crate) identity_token: String,
    #[serde(default, rename = "registrytoken")]
    pub(crate) registry_token: String,
    /// `username:password` in base64, instead of the two.
    #[serde(default)]
    auth: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credentials {
    /// A user with a password.
    #[must_use]
    pub fn basic(username: &str, password: &str) -> Self {
        Self {
            username: username.to_owned(),
            password: password.to_owned(),
            identity_token: String::new(),
            registry_token: String::new(),
            auth: String::new(),
        }
    }

    /// Reads `X-Registry-Auth`: base64url (or base64) of JSON. Nothing, an
    /// empty object or no secret in it is nobody.
    ///
    /// # Errors
    /// [`Error::Request`] for what is neither.
    pub fn from_header(header: &str) -> Result<Option<Self>> {
        let bad = || Error::Request("invalid X-Registry-Auth header".into());
        let text = header.trim().trim_end_matches('=');
        if text.is_empty() {
            return Ok(None);
        }
        let json = general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| general_purpose::STANDARD_NO_PAD.decode(text))
            .map_err(|_| bad())?;
        Self::from_json(&json)
    }

    /// Reads the JSON itself, as `POST /auth` has it.
    ///
    /// # Errors
    /// As [`Credentials::from_header`].
    pub fn from_json(json: &[u8]) -> Result<Option<Self>> {
        let bad = || Error::Request("invalid X-Registry-Auth header".into());
        if json.trim_ascii() == b"null" {
            return Ok(None);
        }
        let mut found: Self = serde_json::from_slice(json).map_err(|_| bad())?;
        if found.username.is_empty() && !found.auth.is_empty() {
            let pair = general_purpose::STANDARD.decode(found.auth.trim()).map_err(|_| bad())?;
            let pair = String::from_utf8(pair).map_err(|_| bad())?;
            let (user, password) = pair.split_once(':').ok_or_else(bad)?;
            found.username = user.to_owned();
            found.password = password.trim_end_matches('\0').to_owned();
        }
        let nobody = found.username.is_empty() && found.identity_token.is_empty() && found.registry_token.is_empty();
        Ok(if nobody { None } else { Some(found) })
    }

    /// The header of basic authentication.
    pub(crate) fn basic_header(&self) -> String {
        format!("Basic {}", general_purpose::STANDARD.encode(format!("{}:{}", self.username, self.password)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(json: &str) -> String {
        general_purpose::URL_SAFE.encode(json)
    }

    #[test]
    fn what_clients_send() {
        let creds = Credentials::from_header(&header(r#"{"username":"u","password":"p?>","serveraddress":"x"}"#));
        let creds = creds.unwrap().unwrap();
        assert_eq!(creds.basic_header(), format!("Basic {}", general_purpose::STANDARD.encode("u:p?>")));
        assert!(!format!("{creds:?}").contains("p?>"));
        assert!(Credentials::from_header("").unwrap().is_none());
        assert!(Credentials::from_header(&header("{}")).unwrap().is_none());
        assert!(Credentials::from_header(&header("null")).unwrap().is_none());
        let auth = header(&format!(r#"{{"auth":"{}"}}"#, general_purpose::STANDARD.encode("a:b")));
        assert_eq!(Credentials::from_header(&auth).unwrap().unwrap().username, "a");
        for bad in ["!!", &header("x")] {
            assert!(Credentials::from_header(bad).is_err(), "{bad}");
        }
    }
}
