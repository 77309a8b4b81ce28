//! Who asks: credentials as Docker's clients send them, and the tokens that
//! registries give for them.

use crate::{Error, Result};
use base64::{Engine, engine::general_purpose};
use reqwest::{StatusCode, Url};
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
    identity_token: String,
    #[serde(default, rename = "registrytoken")]
    registry_token: String,
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

    fn basic_header(&self) -> String {
        format!("Basic {}", general_purpose::STANDARD.encode(format!("{}:{}", self.username, self.password)))
    }
}

/// What a registry asks of who wants in.
#[derive(Debug, Clone)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: Url, service: String },
}

impl Challenge {
    /// Reads `WWW-Authenticate`; Bearer goes before Basic.
    pub(crate) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut found = None;
        for header in headers {
            for challenge in http_auth::parse_challenges(header).ok()? {
                let value = |key: &str| {
                    let param = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
                    param.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let realm = value("realm").and_then(|r| Url::parse(&r).ok())?;
                    return Some(Self::Bearer { realm, service: value("service").unwrap_or_default() });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    found = Some(Self::Basic);
                }
            }
        }
        found
    }

    /// The `Authorization` header that answers it.
    pub(crate) async fn answer(
        &self,
        http: &reqwest::Client,
        credentials: Option<&Credentials>,
        scope: &str,
    ) -> Result<String> {
        Ok(self.enter(http, credentials, &[("scope", scope)]).await?.authorization)
    }

    /// The same for who logs in: with no scope, and with a token that can be
    /// kept instead of the password, where the registry gives one.
    pub(crate) async fn log_in(&self, http: &reqwest::Client, credentials: Option<&Credentials>) -> Result<Entry> {
        self.enter(http, credentials, &[("offline_token", "true"), ("client_id", CLIENT)]).await
    }

    async fn enter(
        &self,
        http: &reqwest::Client,
        credentials: Option<&Credentials>,
        query: &[(&str, &str)],
    ) -> Result<Entry> {
        let plain = |authorization: String| Entry { authorization, identity_token: String::new() };
        if let Some(token) = credentials.map(|c| &c.registry_token).filter(|t| !t.is_empty()) {
            return Ok(plain(format!("Bearer {token}")));
        }
        match (self, credentials) {
            (Self::Basic, Some(credentials)) => Ok(plain(credentials.basic_header())),
            (Self::Basic, None) => Err(Error::Unauthorized("no basic auth credentials".into())),
            (Self::Bearer { realm, service }, credentials) => bearer(http, realm, service, credentials, query).await,
        }
    }
}

/// Who we say we are to token servers.
const CLIENT: &str = "hako";

/// The way in that a registry has given.
pub(crate) struct Entry {
    /// The `Authorization` header.
    pub(crate) authorization: String,
    /// What a client may keep instead of the password, or empty.
    pub(crate) identity_token: String,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
}

/// A token is small; a server that sends more is not read to the end.
const MAX_TOKEN: u64 = 1 << 20;

async fn bearer(
    http: &reqwest::Client,
    realm: &Url,
    service: &str,
    credentials: Option<&Credentials>,
    query: &[(&str, &str)],
) -> Result<Entry> {
    let request = match credentials {
        Some(c) if !c.identity_token.is_empty() => {
            let grant = [("grant_type", "refresh_token"), ("refresh_token", c.identity_token.as_str())];
            let mut form: Vec<(&str, &str)> = grant.into_iter().chain([("service", service)]).collect();
            form.extend(query.iter().filter(|(key, _)| *key != "client_id"));
            form.push(("client_id", CLIENT));
            http.post(realm.clone()).form(&form)
        }
        other => {
            let get = http.get(realm.clone()).query(&[("service", service)]).query(query);
            match other {
                Some(c) => get.header("Authorization", c.basic_header()).query(&[("account", &c.username)]),
                None => get,
            }
        }
    };
    let response = request.send().await.map_err(|err| Error::transport(realm, &err))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED if credentials.is_some() => {
            return Err(Error::Unauthorized("unauthorized: incorrect username or password".into()));
        }
        StatusCode::UNAUTHORIZED => return Err(Error::Unauthorized("unauthorized: authentication required".into())),
        status => return Err(Error::Unauthorized(format!("failed to fetch token: unexpected status: {status}"))),
    }
    let body = crate::session::read_limited(response, MAX_TOKEN, "token").await?;
    let token: Token = serde_json::from_slice(&body).map_err(|err| Error::malformed("token", err))?;
    let identity_token = token.refresh_token.unwrap_or_default();
    let token = token.token.or(token.access_token).filter(|t| !t.is_empty());
    let token = token.ok_or_else(|| Error::malformed("token", "it is empty"))?;
    Ok(Entry { authorization: format!("Bearer {token}"), identity_token })
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

    #[test]
    fn bearer_goes_before_basic() {
        let parse = |h: &str| Challenge::parse([h].into_iter());
        let both = r#"Basic realm="x", Bearer realm="https://a/token",service="s",scope="repository:a:pull,push""#;
        assert!(matches!(parse(both), Some(Challenge::Bearer { service, .. }) if service == "s"));
        assert!(matches!(parse(r#"Basic realm="x""#), Some(Challenge::Basic)));
        assert!(parse("").is_none() && parse("Digest realm=\"x\"").is_none());
    }
}
