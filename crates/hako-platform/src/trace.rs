//! What was looked at on the way to an answer, for `--explain`, and what the
//! user is told beside it.

use serde::Serialize;

/// One rule that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Applied {
    /// The rule's name.
    pub rule: &'static str,
    /// Which manifest of an index it was about, as that is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why.
    pub says: String,
    /// Where the rule comes from, for those of Windows.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub source: &'static str,
}

/// What came of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing against it.
    Passed,
    /// Allowed, with something to know.
    Noted,
    /// It decided between several.
    Chose,
    /// Refused.
    Refused,
}

/// What the user should know beside the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The rule that says it.
    pub rule: &'static str,
    /// The text.
    pub text: String,
}

/// The rules applied so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Trace {
    pub applied: Vec<Applied>,
    pub notes: Vec<Note>,
    manifest: Option<String>,
}

impl Trace {
    /// What follows is about this manifest.
    pub(crate) fn about(&mut self, manifest: Option<String>) {
        self.manifest = manifest;
    }
    pub(crate) fn passed(&mut self, rule: &'static str, source: &'static str, says: impl Into<String>) {
        self.push(rule, Outcome::Passed, source, says.into());
    }
    pub(crate) fn noted(&mut self, rule: &'static str, source: &'static str, says: impl Into<String>) {
        let text = says.into();
        self.notes.push(Note { rule, text: text.clone() });
        self.push(rule, Outcome::Noted, source, text);
    }
    pub(crate) fn chose(&mut self, rule: &'static str, says: impl Into<String>) {
        self.push(rule, Outcome::Chose, "", says.into());
    }
    pub(crate) fn refused(&mut self, rule: &'static str, source: &'static str, says: impl Into<String>) {
        self.push(rule, Outcome::Refused, source, says.into());
    }
    /// Takes over what was found apart.
    pub(crate) fn join(&mut self, other: Self) {
        self.applied.extend(other.applied);
        self.notes.extend(other.notes);
    }
    fn push(&mut self, rule: &'static str, outcome: Outcome, source: &'static str, says: String) {
        self.applied.push(Applied { rule, manifest: self.manifest.clone(), outcome, says, source });
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Noted => "noted",
            Self::Chose => "chose",
            Self::Refused => "refused",
        })
    }
}
