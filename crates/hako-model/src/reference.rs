//! Image references: `[registry[:port]/]repository[:tag][@digest]`, with Docker's
//! defaults and Docker's short ("familiar") names.

use crate::{Digest, Error, Result};
use std::fmt;

/// The registry of a name that names none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of a name that has none.
pub const DEFAULT_TAG: &str = "latest";
const OFFICIAL: &str = "library/";

/// A repository: registry and path, both always present.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    path: String,
}

/// A repository with a tag, a digest, both, or (only before [`Reference::with_default_tag`]) neither.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The tag, if one was written.
    pub tag: Option<String>,
    /// The digest, if one was written. Where both are present the digest decides.
    pub digest: Option<Digest>,
}

/// What a client's name for an image may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageName {
    /// A whole image id.
    Id(Digest),
    /// A reference, or hexadecimal digits that may also be the start of an id.
    Reference {
        /// Read as a reference, with the default tag.
        reference: Option<Reference>,
        /// Read as the beginning of an id's hexadecimal digits.
        id_prefix: Option<String>,
    },
}

impl Repository {
    /// The registry's host and port: `docker.io`, `localhost:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }
    /// The path in the registry: `library/busybox`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
    /// As Docker shows it: `busybox`, `user/app`, `localhost:5000/app`.
    #[must_use]
    pub fn familiar(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.to_string();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.path.clone(),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl Reference {
    /// Reads a reference as a user writes it.
    ///
    /// # Errors
    /// `InvalidParameter` in Docker's words.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::invalid("invalid reference format");
        if text.is_empty() || text.len() > 1024 {
            return Err(invalid());
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|_| invalid())?)),
        };
        let name_start = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match rest[name_start..].split_once(':') {
            None => (rest, None),
            Some((last, tag)) => (&rest[..name_start + last.len()], Some(tag)),
        };
        if tag.is_some_and(|tag| !valid_tag(tag)) {
            return Err(invalid());
        }
        let repository = parse_repository(name)?;
        Ok(Self { repository, tag: tag.map(str::to_owned), digest })
    }

    /// The same with the tag `latest` where it has neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// A tag of a repository.
    ///
    /// # Errors
    /// `InvalidParameter` where the tag is malformed.
    pub fn tagged(repository: Repository, tag: &str) -> Result<Self> {
        if !valid_tag(tag) {
            return Err(Error::invalid(format!("invalid tag format: {tag:?}")));
        }
        Ok(Self { repository, tag: Some(tag.to_owned()), digest: None })
    }

    /// A digest in a repository.
    #[must_use]
    pub fn by_digest(repository: Repository, digest: Digest) -> Self {
        Self { repository, tag: None, digest: Some(digest) }
    }

    /// As Docker shows it: `busybox:1.36`, `busybox@sha256:…`.
    #[must_use]
    pub fn familiar(&self) -> String {
        self.suffixed(self.repository.familiar())
    }

    /// The key under which the store keeps it: canonical, and with the digest
    /// instead of the tag where both are written.
    #[must_use]
    pub fn key(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.repository),
            None => format!("{}:{}", self.repository, self.tag.as_deref().unwrap_or(DEFAULT_TAG)),
        }
    }

    /// What the registry is asked for: the digest, or else the tag.
    #[must_use]
    pub fn target(&self) -> &str {
        match &self.digest {
            Some(digest) => digest.as_str(),
            None => self.tag.as_deref().unwrap_or(DEFAULT_TAG),
        }
    }

    fn suffixed(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest.as_str());
        }
        name
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(self.repository.to_string()))
    }
}

impl ImageName {
    /// Reads what a client calls an image: an id, the start of one, or a reference.
    ///
    /// # Errors
    /// `InvalidParameter` for what can be neither.
    pub fn parse(text: &str) -> Result<Self> {
        if let Ok(id) = text.parse::<Digest>() {
            return Ok(Self::Id(id));
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let hex =
            !prefix.is_empty() && prefix.len() <= 64 && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if prefix.len() == 64 && hex {
            return Ok(Self::Id(format!("sha256:{prefix}").parse().map_err(|_| Error::invalid("invalid id"))?));
        }
        let reference = Reference::parse(text).map(Reference::with_default_tag);
        if hex {
            return Ok(Self::Reference { reference: reference.ok(), id_prefix: Some(prefix.to_owned()) });
        }
        Ok(Self::Reference { reference: Some(reference?), id_prefix: None })
    }
}

fn parse_repository(name: &str) -> Result<Repository> {
    let invalid = || Error::invalid("invalid reference format");
    if name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Error::invalid(format!(
            "invalid repository name ({name}), cannot specify 64-byte hexadecimal strings"
        )));
    }
    let (registry, path) = match name.split_once('/') {
        Some((host, path)) if is_registry(host) => (host, path),
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    if !valid_registry(registry) {
        return Err(invalid());
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(Error::invalid("invalid reference format: repository name must be lowercase"));
    }
    if path.is_empty() || !path.split('/').all(valid_component) {
        return Err(invalid());
    }
    let path =
        if registry == DEFAULT_REGISTRY && !path.contains('/') { format!("{OFFICIAL}{path}") } else { path.to_owned() };
    if registry.len() + 1 + path.len() > 255 {
        return Err(Error::invalid("invalid reference format: repository name must not be more than 255 characters"));
    }
    Ok(Repository { registry: registry.to_owned(), path })
}

/// Docker's rule for the first component: a registry has a dot, a port, an
/// upper-case letter, or is `localhost`.
fn is_registry(host: &str) -> bool {
    host.contains(['.', ':']) || host == "localhost" || host.bytes().any(|b| b.is_ascii_uppercase())
}

fn valid_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((v6, port)) => {
                let ok = !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                return ok && (port.is_empty() || port.strip_prefix(':').is_some_and(valid_port));
            }
            None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(valid_port)
}

fn valid_port(text: &str) -> bool {
    text.parse::<u16>().is_ok() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Lower-case letters and digits, parted by `.`, `_`, `__` or any number of `-`.
fn valid_component(text: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|b| alnum(*b)) && bytes.last().is_some_and(|b| alnum(*b));
    ends && text
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|sep| matches!(sep, "" | "." | "_" | "__") || sep.bytes().all(|b| b == b'-'))
}

fn valid_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len()) && word(bytes[0]) && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        Reference::parse(text).unwrap().with_default_tag().key()
    }

    #[test]
    fn dockers_defaults() {
        for (text, canonical, familiar) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a:latest"),
            ("localhost/a:b", "localhost/a:b", "localhost/a:b"),
            ("127.0.0.1:5000/a/b__c:v1", "127.0.0.1:5000/a/b__c:v1", "127.0.0.1:5000/a/b__c:v1"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            ("quay.io/x/y-z.1", "quay.io/x/y-z.1:latest", "quay.io/x/y-z.1:latest"),
        ] {
            let reference = Reference::parse(text).unwrap().with_default_tag();
            assert_eq!(reference.key(), canonical, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
        }
    }

    #[test]
    fn a_digest_decides() {
        let d = format!("sha256:{}", "0".repeat(64));
        assert_eq!(key(&format!("a:b@{d}")), format!("docker.io/library/a@{d}"));
        assert_eq!(Reference::parse(&format!("a@{d}")).unwrap().familiar(), format!("a@{d}"));
    }

    #[test]
    fn malformed_names() {
        let long = "a/".repeat(200) + "a";
        let hex = "a".repeat(64);
        for bad in [
            "",
            ":",
            "a:",
            "a:-x",
            "Busybox",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a@sha256:1",
            "../a",
            "a b",
            "a\n",
            "é",
            "localhost:x/a",
            "localhost:99999999/a",
            &long,
            &hex,
            "a@@b",
            "a:b:c",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_may_be_ids() {
        let id = "a".repeat(64);
        assert!(matches!(ImageName::parse(&id).unwrap(), ImageName::Id(_)));
        assert!(matches!(ImageName::parse(&format!("sha256:{id}")).unwrap(), ImageName::Id(_)));
        let ImageName::Reference { reference, id_prefix } = ImageName::parse("abc").unwrap() else { panic!() };
        assert!(reference.is_some());
        assert_eq!(id_prefix.as_deref(), Some("abc"));
        let ImageName::Reference { reference, id_prefix } = ImageName::parse("hello").unwrap() else { panic!() };
        assert!(reference.is_some() && id_prefix.is_none());
        assert!(ImageName::parse("A B").is_err());
    }
}
