//! Whether a registry lets somebody in: the one request that `docker login` makes.

use crate::{Client, Credentials, Error, Result, auth::Challenge, endpoint::Patience};
use hako_model::reference::DEFAULT_REGISTRY;
use reqwest::{Response, StatusCode, Url, header};

impl Client {
    /// Presents `credentials` to the registry at `address` (a host, or a URL, or
    /// empty for Docker's own). Answers what the client may keep instead of the
    /// password, if the registry gives such a token, or empty text.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where they are refused, else why there is no answer.
    pub async fn log_in(&self, address: &str, credentials: Option<&Credentials>) -> Result<String> {
        let (http, bases) = self.reach(&registry_of(address)?, Patience::Answers)?;
        let mut last = Error::Registry("registry has no address".into());
        for base in bases {
            match present(&http, &base, credentials).await {
                // A password that was refused is not sent again over another kind of connection.
                Ok(token) => return Ok(token),
                Err(err @ Error::Unauthorized(_)) => return Err(err),
                Err(err) => last = err,
            }
        }
        Err(last)
    }
}

async fn present(http: &reqwest::Client, base: &Url, credentials: Option<&Credentials>) -> Result<String> {
    let ask = |authorization: Option<String>| async {
        let mut request = http.get(base.clone());
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        request.send().await.map_err(|err| Error::transport("Get", base, &err))
    };
    let first = ask(None).await?;
    let Some(challenge) = Challenge::of(&first, base)? else { return judge(base, &first).map(|()| String::new()) };
    let entry = challenge.log_in(http, credentials).await.map_err(|err| match err {
        Error::Unauthorized(why) => Error::Unauthorized(format!("Get \"{base}\": {why}")),
        other => other,
    })?;
    judge(base, &ask(Some(entry.authorization)).await?)?;
    Ok(entry.identity_token)
}

fn judge(base: &Url, response: &Response) -> Result<()> {
    let status = response.status();
    let failed = || format!("login attempt to {base} failed with status: {status}");
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Unauthorized(failed())),
        _ => Err(Error::Registry(failed())),
    }
}

/// The registry's host and port.
fn registry_of(address: &str) -> Result<String> {
    let bare = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")).unwrap_or(address);
    let host = bare.split('/').next().unwrap_or_default();
    match host {
        "" if address.is_empty() => Ok(DEFAULT_REGISTRY.to_owned()),
        "index.docker.io" | "registry-1.docker.io" | DEFAULT_REGISTRY => Ok(DEFAULT_REGISTRY.to_owned()),
        "" => Err(Error::Request(format!("unable to parse server address: {address:?}"))),
        host => Ok(host.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::registry_of;

    #[test]
    fn addresses() {
        for (address, registry) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://reg.lan:5000/v2/", "reg.lan:5000"),
        ] {
            assert_eq!(registry_of(address).unwrap(), registry, "{address}");
        }
        assert!(registry_of("https:///x").is_err());
    }
}
