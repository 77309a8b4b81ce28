//! What `login` has kept: Docker's `config.json`, and the helpers that it names.
//!
//! ```text
//! config.json  auths.<registry>.auth           user:password in base64
//!              auths.<registry>.identitytoken  instead of the password
//!              credHelpers.<registry> = X ┐    program docker-credential-X, which is
//!              credsStore = X             ┘    asked over its standard streams
//! ```

use crate::error::{Error, Result, reason};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use hako_model::{Reference, reference::DEFAULT_REGISTRY};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Docker Hub's name in `config.json`.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";
/// The user's name for which a helper keeps an identity token.
const TOKEN: &str = "<token>";

/// Who somebody is to a registry. Printing it shows the name alone.
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) identity_token: String,
}

/// `config.json`.
pub(crate) struct Config {
    path: PathBuf,
    content: Value,
}

impl Config {
    /// Reads it; one that is not there is empty.
    ///
    /// # Errors
    /// Where it is unreadable or no JSON object: nothing of it may be lost.
    pub(crate) fn read() -> Result<Self> {
        // Only by HOME: a static program must not ask the system's user database.
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let dir = var("DOCKER_CONFIG").or_else(|| Some(var("HOME")?.join(".docker")));
        let path = dir.ok_or_else(|| Error::msg("neither DOCKER_CONFIG nor HOME says where config.json is"))?;
        Self::at(path.join("config.json"))
    }

    fn at(path: PathBuf) -> Result<Self> {
        let wrong = |why: String| Error::msg(format!("{}: {why}", path.display()));
        let content = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|err| wrong(err.to_string()))?,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => json!({}),
            Err(err) => return Err(wrong(reason(&err))),
        };
        match content {
            Value::Object(_) => Ok(Self { path, content }),
            _ => Err(wrong("it is no JSON object".into())),
        }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The helper that keeps credentials for `registry`.
    fn helper(&self, registry: &str) -> Option<Helper> {
        let own = self.content.pointer("/credHelpers").and_then(|helpers| helpers.get(registry));
        let name = own.or_else(|| self.content.get("credsStore"))?.as_str()?;
        (!name.is_empty()).then(|| Helper(format!("docker-credential-{name}")))
    }

    /// What is kept for `registry`.
    ///
    /// # Errors
    /// Where a helper fails.
    pub(crate) fn login(&self, registry: &str) -> Result<Option<Login>> {
        match self.helper(registry) {
            Some(helper) => helper.get(registry),
            None => Ok(self.entry(registry).and_then(read_entry)),
        }
    }

    fn entry(&self, registry: &str) -> Option<&Value> {
        let auths = self.content.get("auths")?;
        let names = [registry.to_owned(), format!("https://{registry}"), format!("https://{registry}/v1/")];
        names.iter().find_map(|name| auths.get(name))
    }

    /// Keeps `login` for `registry`; whether the password lies in the file as it is.
    ///
    /// # Errors
    /// Where the file or a helper cannot be written.
    pub(crate) fn keep(&mut self, registry: &str, login: &Login) -> Result<bool> {
        let helper = self.helper(registry);
        let entry = match &helper {
            // Which tells other clients that there is something.
            Some(helper) => {
                helper.store(registry, login)?;
                json!({})
            }
            None => {
                let secret = if login.identity_token.is_empty() { login.password.as_str() } else { "" };
                let auth = STANDARD.encode(format!("{}:{secret}", login.username));
                match login.identity_token.as_str() {
                    "" => json!({ "auth": auth }),
                    token => json!({ "auth": auth, "identitytoken": token }),
                }
            }
        };
        self.auths()?.insert(registry.to_owned(), entry);
        self.write()?;
        Ok(helper.is_none())
    }

    /// Forgets `registry`; whether there was something.
    ///
    /// # Errors
    /// As [`Config::keep`].
    pub(crate) fn forget(&mut self, registry: &str) -> Result<bool> {
        let mut known = false;
        if let Some(helper) = self.helper(registry) {
            known |= helper.erase(registry)?;
        }
        for name in [registry.to_owned(), format!("https://{registry}"), format!("https://{registry}/v1/")] {
            known |= self.auths()?.shift_remove(&name).is_some();
        }
        if known {
            self.write()?;
        }
        Ok(known)
    }

    fn auths(&mut self) -> Result<&mut Map<String, Value>> {
        let path = self.path.clone();
        let auths = &mut self.content["auths"];
        if auths.is_null() {
            *auths = json!({});
        }
        auths.as_object_mut().ok_or_else(|| Error::msg(format!("{}: auths is no JSON object", path.display())))
    }

    /// For this user's eyes alone, and whole at any moment.
    fn write(&self) -> Result<()> {
        let failed = |err: std::io::Error| Error::msg(format!("{}: {}", self.path.display(), reason(&err)));
        // A link to the file elsewhere stays one.
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(failed)?;
        let part = dir.join(format!("config.json.{}.part", std::process::id()));
        let mut text = serde_json::to_vec_pretty(&self.content)?;
        text.push(b'\n');
        let written =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).and_then(|mut file| {
                file.write_all(&text)?;
                file.sync_all()
            });
        written.and_then(|()| std::fs::rename(&part, &path)).map_err(|err| {
            let _ = std::fs::remove_file(&part);
            failed(err)
        })
    }
}

fn read_entry(entry: &Value) -> Option<Login> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let decoded = String::from_utf8(STANDARD.decode(text("auth")).ok()?).ok()?;
    let (user, secret) = decoded.split_once(':').unwrap_or_default();
    let password = secret.trim_end_matches('\0').to_owned();
    let login = Login { username: user.to_owned(), password, identity_token: text("identitytoken") };
    let empty = login.username.is_empty() && login.identity_token.is_empty();
    (!empty).then_some(login)
}

/// A credential helper: a program with one verb and something on its standard input.
struct Helper(String);

impl Helper {
    fn call(&self, verb: &str, input: &str) -> Result<std::result::Result<Vec<u8>, String>> {
        let failed = |why: String| Error::msg(format!("credential helper {}: {why}", self.0));
        let started =
            Command::new(&self.0).arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.map_err(|err| failed(reason(&err)))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that fails at once reads nothing.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(|err| failed(reason(&err)))?;
        if output.status.success() {
            return Ok(Ok(output.stdout));
        }
        // Helpers say on stdout why they fail.
        let said = [output.stdout, output.stderr].concat();
        Ok(Err(String::from_utf8_lossy(&said).trim().to_owned()))
    }

    fn get(&self, registry: &str) -> Result<Option<Login>> {
        let answer = match self.call("get", registry)? {
            Ok(answer) => answer,
            Err(why) if why.contains("credentials not found") => return Ok(None),
            Err(why) => return Err(Error::msg(format!("credential helper {}: {why}", self.0))),
        };
        let value: Value = serde_json::from_slice(&answer)
            .map_err(|err| Error::msg(format!("credential helper {}: {err}", self.0)))?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (username, secret) = (text("Username"), text("Secret"));
        Ok(Some(match username.as_str() {
            TOKEN => Login { username: String::new(), password: String::new(), identity_token: secret },
            _ => Login { username, password: secret, identity_token: String::new() },
        }))
    }

    fn store(&self, registry: &str, login: &Login) -> Result<()> {
        let (user, secret) = match login.identity_token.as_str() {
            "" => (login.username.as_str(), login.password.as_str()),
            token => (TOKEN, token),
        };
        let input = json!({ "ServerURL": registry, "Username": user, "Secret": secret }).to_string();
        let failed = |why| Error::msg(format!("credential helper {}: {why}", self.0));
        self.call("store", &input)?.map(drop).map_err(failed)
    }

    /// Whether there was something.
    fn erase(&self, registry: &str) -> Result<bool> {
        match self.call("erase", registry)? {
            Ok(_) => Ok(true),
            Err(why) if why.contains("credentials not found") => Ok(false),
            Err(why) => Err(Error::msg(format!("credential helper {}: {why}", self.0))),
        }
    }
}

/// `X-Registry-Auth` for the registry of `reference`, if credentials are kept for it.
///
/// # Errors
/// Where a helper fails. A `config.json` that cannot be read is as none.
pub(crate) fn registry_auth(reference: &str) -> Result<Option<String>> {
    let Ok(config) = Config::read() else { return Ok(None) };
    let Some(registry) = registry_of(reference) else { return Ok(None) };
    Ok(config.login(&registry)?.map(|login| header(&registry, &login)))
}

/// `X-Registry-Config`: the credentials of all registries, of which a build takes
/// those that its Dockerfile's images need.
///
/// # Errors
/// Where a helper fails. A `config.json` that cannot be read is as none.
pub(crate) fn registry_config() -> Result<Option<String>> {
    let Ok(config) = Config::read() else { return Ok(None) };
    let mut all = Map::new();
    for registry in ["auths", "credHelpers"].iter().filter_map(|key| config.content.get(*key)?.as_object()).flatten() {
        if let Some(login) = config.login(registry.0)? {
            all.insert(registry.0.clone(), described(registry.0, &login));
        }
    }
    Ok((!all.is_empty()).then(|| URL_SAFE.encode(Value::Object(all).to_string())))
}

/// The registry that a reference names, as `config.json` calls it, by the rule of
/// the engine: it sends what it gets to the registry that it reads there. None
/// where it is no reference.
fn registry_of(reference: &str) -> Option<String> {
    let reference = Reference::parse(reference).ok()?;
    Some(match reference.repository.registry() {
        DEFAULT_REGISTRY => HUB.to_owned(),
        other => other.to_owned(),
    })
}

fn header(registry: &str, login: &Login) -> String {
    URL_SAFE.encode(described(registry, login).to_string())
}

fn described(registry: &str, login: &Login) -> Value {
    match login.identity_token.as_str() {
        "" => json!({"username": login.username, "password": login.password, "serveraddress": registry}),
        token => json!({"username": login.username, "identitytoken": token, "serveraddress": registry}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn me(password: &str, token: &str) -> Login {
        Login { username: "me".into(), password: password.into(), identity_token: token.into() }
    }

    #[test]
    fn registry_names() {
        for (reference, registry) in [
            ("busybox", HUB),
            ("user/app:1", HUB),
            ("docker.io/library/busybox", HUB),
            ("index.docker.io/user/app", HUB),
            ("localhost/app", "localhost"),
            ("r.example:5000/app", "r.example:5000"),
            // The engine goes to a host of that name.
            ("MyUser/app", "MyUser"),
        ] {
            assert_eq!(registry_of(reference).as_deref(), Some(registry), "{reference}");
        }
        assert!(registry_of("user/App").is_none() && registry_of("").is_none());
    }

    #[test]
    fn what_is_kept_is_found_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/config.json");
        let mut config = Config::at(path.clone()).unwrap();
        assert!(config.login("r.example").unwrap().is_none());
        assert!(config.keep("r.example", &me("pw:x", "")).unwrap());
        config.keep("t.example", &me("pw", "token")).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut again = Config::at(path.clone()).unwrap();
        assert_eq!(again.login("r.example").unwrap().unwrap().password, "pw:x");
        let token = again.login("t.example").unwrap().unwrap();
        assert_eq!((token.identity_token.as_str(), token.password.as_str()), ("token", ""));
        let sent = URL_SAFE.decode(header("t.example", &token)).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap()["identitytoken"], "token");
        assert!(again.forget("r.example").unwrap() && !again.forget("r.example").unwrap());
        assert!(Config::at(path).unwrap().login("r.example").unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_understood_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        for content in ["[]", "{", "{\"auths\": 1}"] {
            std::fs::write(&path, content).unwrap();
            let kept = Config::at(path.clone()).and_then(|mut config| config.keep("r", &me("p", "")));
            assert!(kept.is_err(), "{content}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn helpers_go_before_the_file() {
        let with = |json: Value| Config { path: PathBuf::new(), content: json };
        let config = with(json!({"credsStore": "all", "credHelpers": {"r.example": "own"}}));
        assert_eq!(config.helper("r.example").unwrap().0, "docker-credential-own");
        assert_eq!(config.helper("other").unwrap().0, "docker-credential-all");
        assert!(with(json!({"auths": {}})).helper("r").is_none());
        let missing = with(json!({"credsStore": "no-such-helper"})).login("r").err().unwrap().to_string();
        assert!(missing.contains("docker-credential-no-such-helper"), "{missing}");
    }
}
