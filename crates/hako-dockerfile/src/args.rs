//! `ARG`: which variables a step sees.
//!
//! Rules: a global `ARG` is seen by `FROM` alone, and by a stage that declares it
//! again without a value, whose default is then the global one. A `--build-arg`
//! wins over every default. `ENV` wins over `ARG` of the same name. The proxies are
//! declared without being named, and are in no history and no cache key.

use crate::{Dockerfile, Error, Instruction, Result, Stage, expand};
use std::collections::{BTreeMap, BTreeSet};

/// Names that every stage may be given without declaring them.
pub const PROXIES: &[&str] = &[
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The platforms of a build, whose parts are global arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platforms {
    /// What the image is for: system, architecture, variant.
    pub target: (String, String, String),
    /// Where the build runs.
    pub build: (String, String, String),
}

impl Platforms {
    /// `TARGETPLATFORM` and the others.
    fn arguments(&self) -> Vec<(String, String)> {
        let mut arguments = Vec::new();
        for (prefix, (os, arch, variant)) in [("TARGET", &self.target), ("BUILD", &self.build)] {
            let parts = [os, arch, variant].map(String::as_str);
            let platform: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            arguments.push((format!("{prefix}PLATFORM"), platform.join("/")));
            for (name, value) in [("OS", os), ("ARCH", arch), ("VARIANT", variant)] {
                arguments.push((format!("{prefix}{name}"), value.clone()));
            }
        }
        arguments
    }
}

/// The most bytes that the arguments of a scope may have together.
const MOST: usize = 16 << 20;

/// Arguments that were declared.
#[derive(Debug, Clone, Default)]
struct Declared {
    values: BTreeMap<String, Option<String>>,
    /// All bytes that ever were declared: enough to bound those that are.
    bytes: usize,
}

impl Declared {
    fn insert(&mut self, name: String, value: Option<String>) -> Result<()> {
        self.bytes += name.len() + value.as_ref().map_or(0, String::len);
        if self.bytes > MOST {
            return Err(Error::value(format!("arguments of more than {MOST} bytes")));
        }
        self.values.insert(name, value);
        Ok(())
    }
}

/// What `FROM` sees, and what each stage's scope is made of.
#[derive(Debug, Clone, Default)]
pub struct Global {
    /// What the client gave with `--build-arg`; without a value it unsets a default.
    given: BTreeMap<String, Option<String>>,
    /// The platform's, and those declared before the first `FROM`.
    declared: Declared,
    escape: char,
}

impl Global {
    /// The global scope of `file`.
    ///
    /// # Errors
    /// A default that cannot be expanded.
    pub fn new(file: &Dockerfile, given: BTreeMap<String, Option<String>>, platforms: &Platforms) -> Result<Self> {
        let mut declared = Declared::default();
        for (name, value) in platforms.arguments() {
            let value = given.get(&name).cloned().flatten().unwrap_or(value);
            declared.insert(name, Some(value))?;
        }
        let mut global = Self { given, declared, escape: file.escape };
        for step in &file.global_args {
            if let Instruction::Arg(pairs) = &step.instruction {
                for (name, default) in pairs {
                    global.declare(name, default.as_deref()).map_err(|err| err.on(step.line))?;
                }
            }
        }
        Ok(global)
    }

    fn declare(&mut self, name: &str, default: Option<&str>) -> Result<()> {
        let value = match self.given.get(name) {
            Some(given) => given.clone(),
            None => match default {
                Some(default) => Some(self.expand(default)?),
                // `ARG TARGETARCH` before `FROM` leaves it as it is.
                None => self.get(name),
            },
        };
        self.declared.insert(name.to_owned(), value)
    }

    /// A variable that `FROM` sees.
    pub fn get(&self, name: &str) -> Option<String> {
        self.declared.values.get(name).cloned().flatten()
    }

    /// `word` of a `FROM`, expanded.
    ///
    /// # Errors
    /// As for [`crate::expand`].
    pub fn expand(&self, word: &str) -> Result<String> {
        expand(word, &|name| self.get(name), self.escape)
    }

    /// The base of `stage`, expanded.
    ///
    /// # Errors
    /// A variable that leaves nothing.
    pub fn base(&self, stage: &Stage) -> Result<String> {
        let base = self.expand(&stage.base).map_err(|err| err.on(stage.line))?;
        if base.is_empty() {
            let text = format!("base name ({}) should not be blank", stage.base);
            return Err(Error::value(text).on(stage.line));
        }
        Ok(base)
    }

    /// The scope of a stage, empty but for the proxies that were given.
    pub fn scope(&self) -> Scope<'_> {
        Scope { global: self, declared: Declared::default() }
    }

    /// What was given and that no stage of `file` and no global `ARG` declares:
    /// docker warns of them.
    pub fn unused(&self, file: &Dockerfile) -> Vec<String> {
        let mut known: BTreeSet<&str> = PROXIES.iter().copied().collect();
        known.extend(self.declared.values.keys().map(String::as_str));
        let steps = file.stages.iter().flat_map(|stage| &stage.steps);
        for step in steps {
            if let Instruction::Arg(pairs) = &step.instruction {
                known.extend(pairs.iter().map(|(name, _)| name.as_str()));
            }
        }
        self.given.keys().filter(|name| !known.contains(name.as_str())).cloned().collect()
    }
}

/// The arguments that a stage has declared so far.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    global: &'a Global,
    declared: Declared,
}

impl Scope<'_> {
    /// `ARG name[=default]`: `default` is expanded with `env` and what was declared before.
    ///
    /// # Errors
    /// As for [`crate::expand`].
    pub fn declare(&mut self, name: &str, default: Option<&str>, env: &[String]) -> Result<()> {
        let name = expand(name, &|name| self.lookup(name, env), self.global.escape)?;
        let value = match (self.global.given.get(&name), default) {
            (Some(given), _) => given.clone(),
            (None, Some(default)) => Some(expand(default, &|name| self.lookup(name, env), self.global.escape)?),
            (None, None) => self.global.get(&name),
        };
        self.declared.insert(name, value)
    }

    /// The value of `name` where the image's environment is `env`.
    pub fn lookup(&self, name: &str, env: &[String]) -> Option<String> {
        let of_env = env.iter().rev().find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name));
        if let Some((_, value)) = of_env {
            return Some(value.to_owned());
        }
        match self.declared.values.get(name) {
            Some(value) => value.clone(),
            None => self.proxy(name),
        }
    }

    fn proxy(&self, name: &str) -> Option<String> {
        let proxy = PROXIES.contains(&name);
        proxy.then(|| self.global.given.get(name).cloned().flatten()).flatten()
    }

    /// `name=value` of all that a `RUN` gets beside `env`, sorted: what was declared
    /// and has a value, and the proxies.
    pub fn environment(&self, env: &[String]) -> Vec<String> {
        let free = |name: &&&str| !self.declared.values.contains_key(**name) && !is_set(env, name);
        let proxies = PROXIES.iter().filter(free);
        let proxies = proxies.filter_map(|name| Some(format!("{name}={}", self.proxy(name)?)));
        let mut found: Vec<String> = self.pairs(env).chain(proxies).collect();
        found.sort();
        found
    }

    /// The same for the cache and the history: without the proxies that no `ARG` names.
    pub fn visible(&self, env: &[String]) -> Vec<String> {
        self.pairs(env).collect()
    }

    fn pairs<'a>(&'a self, env: &'a [String]) -> impl Iterator<Item = String> + 'a {
        let set = self.declared.values.iter().filter(move |(name, _)| !is_set(env, name));
        set.filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)))
    }
}

fn is_set(env: &[String], name: &str) -> bool {
    env.iter().any(|entry| entry.split('=').next() == Some(name))
}

#[cfg(test)]
mod tests;
