//! A Dockerfile's instructions put into their stages.

use crate::{
    Error, Result,
    instruction::{self, Parsed},
    lines::{self, Line},
    types::{Dockerfile, Instruction, Stage, Step},
};

/// So many stages a Dockerfile may have: each may wait for all before it.
const MOST_STAGES: usize = 1000;

/// Reads a Dockerfile.
///
/// # Errors
/// The first thing that is wrong, in Docker's words, with its line.
pub fn parse(text: &[u8]) -> Result<Dockerfile> {
    let (directives, lines) = lines::read(text)?;
    let mut global_args = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    for line in lines {
        let (number, original) = (line.number, line.text.trim().to_owned());
        match instruction::parse(line, directives.escape).map_err(|err| err.on(number))? {
            Parsed::From { .. } if stages.len() == MOST_STAGES => {
                return Err(Error::value(format!("a Dockerfile has at most {MOST_STAGES} stages")).on(number));
            }
            Parsed::From { base, name, platform } => {
                stages.push(Stage { name, base, platform, line: number, original, steps: Vec::new() });
            }
            Parsed::Step(instruction) => {
                let step = Step { line: number, original, instruction };
                match stages.last_mut() {
                    Some(stage) => stage.steps.push(step),
                    None if matches!(step.instruction, Instruction::Arg(_)) => global_args.push(step),
                    None => return Err(Error::value("no build stage in current context")),
                }
            }
        }
    }
    if stages.is_empty() {
        return Err(Error::value("no build stage in current context"));
    }
    Ok(Dockerfile { syntax: directives.syntax, escape: directives.escape, global_args, stages })
}

/// Reads a trigger that an image carries.
///
/// # Errors
/// As [`parse`]; several instructions, or one that no trigger may be.
pub fn parse_onbuild(trigger: &str) -> Result<Step> {
    let wrong = |text: String| Error::value(text);
    let (_, lines) = lines::read(trigger.as_bytes())?;
    let mut lines = lines.into_iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(wrong(format!("a trigger must be one instruction: {trigger:?}")));
    };
    match step(line)? {
        Some(Step { instruction: Instruction::Onbuild(_), .. }) => {
            Err(wrong("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into()))
        }
        Some(Step { instruction: Instruction::Maintainer(_), .. }) => {
            Err(wrong("MAINTAINER isn't allowed as an ONBUILD trigger".into()))
        }
        Some(step) => Ok(step),
        None => Err(wrong("FROM isn't allowed as an ONBUILD trigger".into())),
    }
}

/// `None` for a `FROM`. The line is not told: it is not a file's.
fn step(line: Line) -> Result<Option<Step>> {
    let (number, original) = (line.number, line.text.trim().to_owned());
    match instruction::parse(line, '\\')? {
        Parsed::From { .. } => Ok(None),
        Parsed::Step(instruction) => Ok(Some(Step { line: number, original, instruction })),
    }
}

#[cfg(test)]
mod tests;
