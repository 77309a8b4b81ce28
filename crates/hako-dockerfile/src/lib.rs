//! Dockerfiles, `.dockerignore` and what Docker's builder does with their
//! words. Pure: bytes in, values out; nothing here reads a file or runs anything.
//!
//! ```text
//! bytes ─ parse ─► Dockerfile { global_args, stages: [Stage { base, steps: [Step] }] }
//!                     │
//!        stages::plan(target) ─► the stages that are needed, in order, with what each waits for
//!                     │
//!   executor, per step: expand(word, env) with args::Scope's variables,
//!                       config::Changes for what alters the configuration alone
//! ```
//!
//! Every value is as it stands in the file, quotes and variables included, unless
//! its type says otherwise: who executes a step expands it, because the variables
//! are only known then. What is expanded, and how:
//!
//! | instruction | by |
//! |---|---|
//! | `FROM` base and platform | [`expand`] with the global arguments alone ([`args::Scope::global`]) |
//! | `ENV LABEL ARG USER WORKDIR STOPSIGNAL VOLUME EXPOSE` | [`config::Changes::apply`] does it (`ARG`: [`args::Scope::declare`]) |
//! | `COPY ADD` paths, `--chown`, `--chmod`, `--from` | [`expand`] for each |
//! | heredocs of `COPY ADD` | [`expand_heredoc`] if [`Heredoc::expand`] |
//! | `RUN --mount` | [`Run::mounts`] takes the expander |
//! | `RUN CMD ENTRYPOINT HEALTHCHECK ONBUILD SHELL` | never: the shell's own |
//!
//! The instructions are read by the crate `parse-dockerfile`. What it leaves to its
//! caller, or does otherwise than Docker, is done around it: comments and empty
//! lines inside a continued line, heredocs at any place of a `RUN`, quotes in flags
//! (`lines`, `flags`, before it); words of `ENV`, `LABEL` and `ARG`, names of
//! heredocs, the contents of flags (`words`, `mount`, after it). Rules and error
//! texts are BuildKit's parser's, which dockerd's classic builder uses too.
#![warn(missing_docs)]

pub mod args;
pub mod config;
mod error;
mod expand;
mod flags;
pub mod glob;
mod health;
pub mod ignore;
mod instruction;
mod lines;
mod mount;
mod parse;
pub mod stages;
mod suggest;
mod types;
mod words;

pub use error::{Error, Result};
pub use expand::{Lookup, expand, expand_heredoc, expand_words};
pub use mount::{MountKind, RunMount, Sharing};
pub use parse::{parse, parse_onbuild};
pub use types::{
    Add, Command, Copy, Dockerfile, Healthcheck, Heredoc, Instruction, Run, RunProgram, Source, Stage, Step,
};
