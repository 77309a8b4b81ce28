//! The tokens and passwords that let somebody in.

use crate::{Credentials, Error, Result};
use reqwest::{Response, StatusCode, Url, header};
use serde::Deserialize;
use std::time::{Duration, Instant};

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

    /// What the refusal of the registry at `base` asks for.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where it sends us to a place that must not be told who we are.
    pub(crate) fn of(response: &Response, base: &Url) -> Result<Option<Self>> {
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
        match Self::parse(headers.iter().filter_map(|value| value.to_str().ok())) {
            Some(asked) => asked.from(response.url(), base),
            None => Ok(None),
        }
    }

    /// The challenge if it comes from the registry at `base` itself. Where the
    /// registry has redirected us to has no say in who gets the password (the
    /// mistake of CVE-2020-15157), and what is asked over TLS is not answered
    /// without it.
    fn from(self, sender: &Url, base: &Url) -> Result<Option<Self>> {
        if sender.origin() != base.origin() {
            return Ok(None);
        }
        match &self {
            Self::Bearer { realm, .. } if base.scheme() == "https" && realm.scheme() != "https" => {
                Err(Error::Unauthorized(format!("the token server {realm} of {base} is not asked: it has no TLS")))
            }
            _ => Ok(Some(self)),
        }
    }

    /// What answers it, good for `scopes`.
    pub(crate) async fn answer(
        &self,
        http: &reqwest::Client,
        credentials: Option<&Credentials>,
        scopes: &[String],
    ) -> Result<Entry> {
        self.enter(http, credentials, &Wish { scopes, keep: false }).await
    }

    /// The same for who logs in: with no scope, and with a token that can be
    /// kept instead of the password, where the registry gives one.
    pub(crate) async fn log_in(&self, http: &reqwest::Client, credentials: Option<&Credentials>) -> Result<Entry> {
        self.enter(http, credentials, &Wish { scopes: &[], keep: true }).await
    }

    async fn enter(&self, http: &reqwest::Client, credentials: Option<&Credentials>, wish: &Wish<'_>) -> Result<Entry> {
        if let Some(token) = credentials.map(|c| &c.registry_token).filter(|t| !t.is_empty()) {
            return Ok(Entry::lasting(format!("Bearer {token}")));
        }
        match (self, credentials) {
            (Self::Basic, Some(credentials)) => Ok(Entry::lasting(credentials.basic_header())),
            (Self::Basic, None) => Err(Error::Unauthorized("no basic auth credentials".into())),
            (Self::Bearer { realm, service }, credentials) => bearer(http, realm, service, credentials, wish).await,
        }
    }
}

/// Who we say we are to token servers.
const CLIENT: &str = "hako";

/// What a token shall be good for.
struct Wish<'a> {
    /// `repository:NAME:ACTIONS`.
    scopes: &'a [String],
    /// A token to keep is wanted too.
    keep: bool,
}

/// The way in that a registry has given.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The `Authorization` header.
    pub(crate) authorization: String,
    /// What a client may keep instead of the password, or empty.
    pub(crate) identity_token: String,
    /// When it is no longer good, if ever.
    ends: Option<Instant>,
}

impl Entry {
    fn lasting(authorization: String) -> Self {
        Self { authorization, identity_token: String::new(), ends: None }
    }

    /// Whether a request that begins now may use it.
    pub(crate) fn is_fresh(&self) -> bool {
        self.ends.is_none_or(|ends| Instant::now() < ends)
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

/// A token is small; a server that sends more is not read to the end.
const MAX_TOKEN: u64 = 1 << 20;
/// How long a token lasts at least, whatever its server says, as with Docker's clients.
const SHORTEST: u64 = 60;
/// How long before its end a token is no longer used.
const SPARE: u64 = 10;

async fn bearer(
    http: &reqwest::Client,
    realm: &Url,
    service: &str,
    credentials: Option<&Credentials>,
    wish: &Wish<'_>,
) -> Result<Entry> {
    let request = match credentials {
        Some(c) if !c.identity_token.is_empty() => {
            let scope = wish.scopes.join(" ");
            let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", c.identity_token.as_str())];
            form.extend([("service", service), ("client_id", CLIENT)]);
            if !scope.is_empty() {
                form.push(("scope", &scope));
            }
            if wish.keep {
                form.push(("access_type", "offline"));
            }
            http.post(realm.clone()).form(&form)
        }
        other => {
            let scopes: Vec<(&str, &str)> = wish.scopes.iter().map(|scope| ("scope", scope.as_str())).collect();
            let mut get = http.get(realm.clone()).query(&[("service", service)]).query(&scopes);
            if wish.keep {
                get = get.query(&[("offline_token", "true"), ("client_id", CLIENT)]);
            }
            match other {
                Some(c) => get.header(header::AUTHORIZATION, c.basic_header()).query(&[("account", &c.username)]),
                None => get,
            }
        }
    };
    let begun = Instant::now();
    let response = request.send().await.map_err(|err| Error::transport("Get", realm, &err))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED if credentials.is_some() => {
            return Err(Error::Unauthorized("unauthorized: incorrect username or password".into()));
        }
        StatusCode::UNAUTHORIZED => return Err(Error::Unauthorized("unauthorized: authentication required".into())),
        status => return Err(Error::Unauthorized(format!("failed to fetch token: unexpected status: {status}"))),
    }
    let body = crate::answer::read_limited(response, MAX_TOKEN, "token").await?;
    let token: Token = serde_json::from_slice(&body).map_err(|err| Error::malformed("token", err))?;
    let identity_token = token.refresh_token.unwrap_or_default();
    let lasts = Duration::from_secs(token.expires_in.unwrap_or(SHORTEST).max(SHORTEST) - SPARE);
    let token = token.token.or(token.access_token).filter(|t| !t.is_empty());
    let token = token.ok_or_else(|| Error::malformed("token", "it is empty"))?;
    // A server that promises centuries promises for ever.
    Ok(Entry { authorization: format!("Bearer {token}"), identity_token, ends: begun.checked_add(lasts) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_registry_itself_says_who_gets_the_password() {
        let url = |text: &str| Url::parse(text).unwrap();
        let bearer = |realm: &str| Challenge::Bearer { realm: url(realm), service: String::new() };
        let base = url("https://r.example/v2/");
        let ask = |realm: &str, sender: &str| bearer(realm).from(&url(sender), &base);
        assert!(ask("https://auth.example/token", "https://r.example/v2/a/manifests/1").unwrap().is_some());
        for sender in ["https://evil.example/v2/", "https://r.example:444/v2/", "http://r.example/v2/"] {
            assert!(ask("https://auth.example/token", sender).unwrap().is_none(), "{sender}");
            assert!(Challenge::Basic.from(&url(sender), &base).unwrap().is_none(), "{sender}");
        }
        let plain = ask("http://r.example/token", "https://r.example/v2/");
        assert!(matches!(plain, Err(Error::Unauthorized(why)) if why.contains("http://r.example/token")));
        let base = url("http://127.0.0.1:5000/v2/");
        assert!(bearer("http://127.0.0.1:5001/token").from(&base, &base).unwrap().is_some());
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
