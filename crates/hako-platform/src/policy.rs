//! What an administrator allows: rules that name walls for images, users and
//! sockets.
//!
//! A rule can only make a wall thicker, by construction: it says which wall is
//! the thinnest for what it matches, of all rules that match the thickest counts,
//! and no rule takes back what another says. Where something is not known (an
//! image without a name, a user who cannot be told) the rule applies.
//!
//! ```toml
//! [[policy]]
//! name = "foreign-images"
//! images = ["*"]
//! except-images = ["registry.example.com/*"]
//! walls = ["hyperv"]
//! ```

use crate::{Image, request::Caller};
use hako_model::{Isolation, Reference};
use serde::{Deserialize, Serialize};

/// All rules.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Policy(pub Vec<PolicyRule>);

/// One rule: what is matched by all of its lists, and is no exception of one, is
/// held by its walls. An empty list matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Entry", into = "Entry")]
pub struct PolicyRule {
    /// Said to whom it refuses.
    pub name: String,
    /// Patterns of references (`registry.example.com/team/*`, in full:
    /// `docker.io/library/busybox:*`) and of digests (`sha256:…`).
    pub images: Vec<String>,
    /// Images that the rule leaves alone: with a digest of these, or of whose
    /// names every one is of these.
    pub except_images: Vec<String>,
    /// Users, by name or number.
    pub users: Vec<String>,
    /// Users whom the rule leaves alone.
    pub except_users: Vec<String>,
    /// Sockets and addresses.
    pub sockets: Vec<String>,
    /// Sockets that the rule leaves alone.
    pub except_sockets: Vec<String>,
    /// The thinnest wall.
    pub least: Isolation,
}

/// A rule as it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: String,
    images: Vec<String>,
    except_images: Vec<String>,
    users: Vec<String>,
    except_users: Vec<String>,
    sockets: Vec<String>,
    except_sockets: Vec<String>,
    walls: Vec<String>,
}

/// A rule that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be named to those whom it refuses.
    #[error("policy rule has no name")]
    Name,
    /// Not a wall.
    #[error("policy rule {rule:?}: {text:?} is no wall: process or hyperv")]
    Wall {
        /// The rule.
        rule: String,
        /// What it says.
        text: String,
    },
    /// It would forbid everything.
    #[error("policy rule {0:?} names no walls")]
    NoWalls(String),
    /// It would make a wall thinner.
    #[error("policy rule {0:?} forbids the hyperv wall: a policy can only ask for a thicker wall")]
    Thinner(String),
}

impl TryFrom<Entry> for PolicyRule {
    type Error = PolicyError;
    fn try_from(entry: Entry) -> Result<Self, PolicyError> {
        if entry.name.trim().is_empty() {
            return Err(PolicyError::Name);
        }
        let mut walls = Vec::new();
        for text in &entry.walls {
            let error = || PolicyError::Wall { rule: entry.name.clone(), text: text.clone() };
            walls.push(text.parse::<Isolation>().map_err(|_| error())?);
        }
        if walls.is_empty() {
            return Err(PolicyError::NoWalls(entry.name));
        }
        if !walls.contains(&Isolation::Hyperv) {
            return Err(PolicyError::Thinner(entry.name));
        }
        let least = if walls.contains(&Isolation::Process) { Isolation::Process } else { Isolation::Hyperv };
        Ok(Self {
            name: entry.name,
            images: entry.images,
            except_images: entry.except_images,
            users: entry.users,
            except_users: entry.except_users,
            sockets: entry.sockets,
            except_sockets: entry.except_sockets,
            least,
        })
    }
}

impl From<PolicyRule> for Entry {
    fn from(rule: PolicyRule) -> Self {
        let walls: &[&str] = match rule.least {
            Isolation::Process => &["process", "hyperv"],
            Isolation::Hyperv => &["hyperv"],
        };
        Self {
            name: rule.name,
            images: rule.images,
            except_images: rule.except_images,
            users: rule.users,
            except_users: rule.except_users,
            sockets: rule.sockets,
            except_sockets: rule.except_sockets,
            walls: walls.iter().map(|wall| (*wall).to_owned()).collect(),
        }
    }
}

impl Policy {
    /// The first rule that asks for the thickest wall of all that match, if any
    /// asks for more than the thinnest there is.
    #[must_use]
    pub fn applying(&self, image: &Image, caller: &Caller) -> Option<&PolicyRule> {
        let names: Vec<String> = image.names.iter().map(|name| canonical(name)).collect();
        self.0.iter().find(|rule| rule.least == Isolation::Hyperv && rule.matches(&names, &image.digests, caller))
    }
}

impl PolicyRule {
    /// A rule without exceptions for these images.
    #[must_use]
    pub fn new(name: &str, images: &[&str], least: Isolation) -> Self {
        Self {
            name: name.to_owned(),
            images: images.iter().map(|text| (*text).to_owned()).collect(),
            except_images: Vec::new(),
            users: Vec::new(),
            except_users: Vec::new(),
            sockets: Vec::new(),
            except_sockets: Vec::new(),
            least,
        }
    }

    fn matches(&self, names: &[String], digests: &[String], caller: &Caller) -> bool {
        of_images(&self.images, names, digests)
            && !spares(&self.except_images, names, digests)
            && of_users(&self.users, &caller.users)
            && !spares_users(&self.except_users, &caller.users)
            && of_one(&self.sockets, caller.socket.as_deref())
            && !spares_one(&self.except_sockets, caller.socket.as_deref())
    }
}

/// Whether a rule for `patterns` is for an image: by one of its names or
/// digests, or because it has no name that would tell.
fn of_images(patterns: &[String], names: &[String], digests: &[String]) -> bool {
    let (by_digest, by_name): (Vec<&String>, Vec<&String>) = patterns.iter().partition(|text| is_digest(text));
    patterns.is_empty()
        || by_digest.iter().any(|pattern| digests.is_empty() || digests.iter().any(|digest| glob(pattern, digest)))
        || by_name.iter().any(|pattern| names.is_empty() || names.iter().any(|name| concerns(pattern, name, names)))
}

/// Whether a pattern is for a name. Which tags lead to a digest is not known: where
/// there is no tag of its repository beside it, it may be any of them.
fn concerns(pattern: &str, name: &str, names: &[String]) -> bool {
    if glob(pattern, name) {
        return true;
    }
    let Some((repository, _)) = name.split_once('@') else { return false };
    let is_tag = |other: &String| other.strip_prefix(repository).is_some_and(|rest| rest.starts_with(':'));
    !names.iter().any(is_tag) && glob(of_repository(pattern), repository)
}

/// A pattern without its tag.
fn of_repository(pattern: &str) -> &str {
    match pattern.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => pattern,
    }
}

/// Whether a name is of an exception: one for every tag of a repository is for
/// its digests as well.
fn excepts(pattern: &str, name: &str) -> bool {
    let any_tag = || pattern.strip_suffix(":*").zip(name.split_once('@'));
    glob(pattern, name) || any_tag().is_some_and(|(pattern, (repository, _))| glob(pattern, repository))
}

/// A digest is its content. A name is what somebody has called it, so that all
/// of them must be of the exceptions: who tags an image as one of these has not
/// made it one.
fn spares(patterns: &[String], names: &[String], digests: &[String]) -> bool {
    let (by_digest, by_name): (Vec<&String>, Vec<&String>) = patterns.iter().partition(|text| is_digest(text));
    let any = |patterns: &[&String], text: &String| patterns.iter().any(|pattern| glob(pattern, text));
    digests.iter().any(|digest| any(&by_digest, digest))
        || (!names.is_empty() && names.iter().all(|name| by_name.iter().any(|pattern| excepts(pattern, name))))
}

/// Whether a rule for these users is for who asks, who may have several names. Of
/// one who has none that is known here, any name may be.
fn of_users(patterns: &[String], known: &[String]) -> bool {
    let is_number = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let nameless = known.iter().all(is_number);
    let is_for = |pattern: &String| {
        known.iter().any(|user| glob(pattern, user)) || (nameless && (known.is_empty() || !is_number(pattern)))
    };
    patterns.is_empty() || patterns.iter().any(is_for)
}

fn spares_users(patterns: &[String], known: &[String]) -> bool {
    patterns.iter().any(|pattern| known.iter().any(|user| glob(pattern, user)))
}

fn of_one(patterns: &[String], known: Option<&str>) -> bool {
    patterns.is_empty() || known.is_none_or(|known| patterns.iter().any(|pattern| glob(pattern, known)))
}

fn spares_one(patterns: &[String], known: Option<&str>) -> bool {
    known.is_some_and(|known| patterns.iter().any(|pattern| glob(pattern, known)))
}

fn is_digest(pattern: &str) -> bool {
    pattern.starts_with("sha256:") || pattern.starts_with("sha512:")
}

/// A name in full: `docker.io/library/busybox:latest`.
fn canonical(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.with_default_tag().to_string())
}

/// Whether `text` is as `pattern`, in which `*` stands for any text and `?` for
/// any character.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // The last star, and how far its text went: taken up again on a mismatch, so
    // that no pattern costs more than their product.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Manifest, Platform};

    fn image(names: &[&str], digests: &[&str]) -> Image {
        let mut image = Image::of(Manifest::new(Platform::new("linux", "amd64", "")));
        image.names = names.iter().map(|text| (*text).to_owned()).collect();
        image.digests = digests.iter().map(|text| (*text).to_owned()).collect();
        image
    }

    fn policy(toml: &str) -> Result<Policy, String> {
        #[derive(Deserialize)]
        struct File {
            policy: Policy,
        }
        toml::from_str::<File>(toml).map(|file| file.policy).map_err(|err| err.to_string())
    }

    #[test]
    fn patterns() {
        for (pattern, text, whether) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "acb", false),
            ("r.example/*", "r.example/a/b:1", true),
            ("r.example/*", "r.example.evil/a", false),
            ("docker.io/library/busybox:?", "docker.io/library/busybox:1", true),
            ("**x", "aax", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, text), whether, "{pattern} {text}");
        }
        // Would take years if stars were tried in all ways.
        assert!(!glob(&"*a".repeat(40), &"a".repeat(39)));
    }

    #[test]
    fn whatever_is_not_from_our_registry() {
        let policy = policy(
            r#"[[policy]]
            name = "foreign"
            except-images = ["r.example/*", "sha256:11*"]
            walls = ["hyperv"]"#,
        )
        .unwrap();
        let applies = |names: &[&str], digests: &[&str]| {
            policy.applying(&image(names, digests), &Caller::default()).map(|rule| rule.name.clone())
        };
        assert_eq!(applies(&["r.example/app:1"], &[]), None);
        assert_eq!(applies(&["busybox"], &[]).as_deref(), Some("foreign"));
        // Tagged as ours, and not only ours.
        assert!(applies(&["r.example/app:1", "evil/app:1"], &[]).is_some());
        assert!(applies(&[], &[]).is_some());
        assert!(applies(&[], &["sha256:1199"]).is_none());
        assert!(applies(&["evil/app"], &["sha256:22"]).is_some());
    }

    #[test]
    fn users_and_sockets_that_are_not_known_are_not_spared() {
        let rule = PolicyRule {
            users: vec!["guest*".to_owned()],
            except_sockets: vec!["/run/hako/admin.sock".to_owned()],
            ..PolicyRule::new("guests", &[], Isolation::Hyperv)
        };
        let policy = Policy(vec![rule]);
        let applies = |user: Option<&str>, socket: Option<&str>| {
            let caller =
                Caller { users: user.map(str::to_owned).into_iter().collect(), socket: socket.map(str::to_owned) };
            policy.applying(&image(&["a"], &[]), &caller).is_some()
        };
        assert!(applies(Some("guest1"), Some("/run/hako/hako.sock")));
        assert!(applies(None, None));
        assert!(!applies(Some("root"), None));
        assert!(!applies(Some("guest1"), Some("/run/hako/admin.sock")));
    }

    #[test]
    fn rules_that_mean_nothing() {
        for (toml, said) in [
            ("[[policy]]\nwalls = [\"hyperv\"]", "no name"),
            ("[[policy]]\nname = \"a\"", "names no walls"),
            ("[[policy]]\nname = \"a\"\nwalls = [\"process\"]", "can only ask for a thicker wall"),
            ("[[policy]]\nname = \"a\"\nwalls = [\"glass\"]", "\"glass\" is no wall"),
            ("[[policy]]\nname = \"a\"\nwalls = [\"hyperv\"]\nimage = [\"x\"]", "image"),
        ] {
            let err = policy(toml).unwrap_err();
            assert!(err.contains(said), "{toml}: {err}");
        }
        assert_eq!(
            policy("[[policy]]\nname = \"a\"\nwalls = [\"process\", \"vm\"]").unwrap().0[0].least,
            Isolation::Process
        );
    }

    /// A pull by digest has no tag, and whoever pulls by tag has both names.
    #[test]
    fn digests_are_of_every_tag_of_their_repository() {
        let held = |images: &[&str], except: &[&str], names: &[&str]| {
            let mut rule = PolicyRule::new("a", images, Isolation::Hyperv);
            rule.except_images = except.iter().map(|text| (*text).to_owned()).collect();
            Policy(vec![rule]).applying(&image(names, &[]), &Caller::default()).is_some()
        };
        let digest = format!("docker.io/library/busybox@sha256:{}", "a".repeat(64));
        let (tag, other) = ("docker.io/library/busybox:1", "docker.io/library/busybox:2");
        assert!(held(&["docker.io/library/busybox:*"], &[], &[&digest]));
        assert!(held(&["docker.io/library/busybox:1"], &[], &[&digest]));
        assert!(held(&["docker.io/library/busybox:1"], &[], &[tag, &digest]));
        assert!(!held(&["docker.io/library/busybox:1"], &[], &[other, &digest]));
        assert!(!held(&["docker.io/library/busy:*"], &[], &[&digest]));
        assert!(!held(&[], &["docker.io/library/busybox:*"], &[tag, &digest]));
        assert!(held(&[], &["docker.io/library/busybox:1"], &[tag, &digest]));
        assert!(held(&[], &["docker.io/library/busy:*"], &[&digest]));
    }

    /// The port of a registry is no tag.
    #[test]
    fn repositories_of_patterns() {
        let of = of_repository;
        assert_eq!((of("r:5000/a:1"), of("r:5000/a"), of("a:*"), of("*")), ("r:5000/a", "r:5000/a", "a", "*"));
    }

    #[test]
    fn users_by_every_name_and_by_number() {
        let held = |users: &[&str], except: &[&str], known: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            let mut rule = PolicyRule::new("a", &[], Isolation::Hyperv);
            (rule.users, rule.except_users) = (owned(users), owned(except));
            let caller = Caller { users: owned(known), socket: None };
            Policy(vec![rule]).applying(&image(&[], &[]), &caller).is_some()
        };
        assert!(held(&["ci"], &[], &["1001", "ci"]) && held(&["1001"], &[], &["1001", "ci"]));
        assert!(held(&["toor"], &[], &["0", "toor", "root"]) && !held(&["ci"], &[], &["0", "root"]));
        // Who has no name here may be called anything, but has a number.
        assert!(held(&["alice"], &[], &["70001"]) && !held(&["1001"], &[], &["70001"]));
        assert!(held(&["alice"], &[], &[]) && held(&["1001"], &[], &[]));
        assert!(!held(&[], &["1001"], &["1001", "ci"]) && held(&[], &["alice"], &["70001"]));
    }
}
