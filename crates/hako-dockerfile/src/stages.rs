//! Which stages a target needs, and what each waits for.

use crate::{Dockerfile, Error, Instruction, Result, Run, Stage, Step, args::Global};
use std::collections::BTreeSet;

/// Where a stage begins or files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing: `FROM scratch`.
    Scratch,
    /// An earlier stage, by its index in [`Dockerfile::stages`].
    Stage(usize),
    /// An image, by its reference.
    Image(String),
}

/// A stage that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Its index in [`Dockerfile::stages`].
    pub stage: usize,
    /// What it begins with.
    pub base: Origin,
    /// The stages that must be done first, sorted: the base, and those that files
    /// are taken from. Stages of which none needs the other can run at once.
    pub after: Vec<usize>,
}

/// The index of the stage `name`: its name in any case, or its number.
pub fn find(file: &Dockerfile, name: &str) -> Option<usize> {
    called(&file.stages, name).or_else(|| number(name).filter(|index| *index < file.stages.len()))
}

/// Go's `Atoi`, of what no stage can be named.
fn number(text: &str) -> Option<usize> {
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

/// Where the stage at `index` takes files from by `name`, expanded.
///
/// # Errors
/// A number that is no earlier stage.
pub fn origin(file: &Dockerfile, index: usize, name: &str) -> Result<Origin> {
    if let Some(found) = earlier(file, index, name) {
        return Ok(Origin::Stage(found));
    }
    if let Some(number) = number(name) {
        let text = if number == index {
            format!("invalid from flag value {name}: refers to current build stage")
        } else {
            format!("invalid from flag value {name}: index out of bounds")
        };
        return Err(Error::value(text));
    }
    if file.stages.get(index).is_some_and(|stage| called(std::slice::from_ref(stage), name).is_some()) {
        return Err(Error::value(format!("invalid from flag value {name}: refers to current build stage")));
    }
    Ok(Origin::Image(name.to_owned()))
}

/// The latest stage before `index` of that name or number.
fn earlier(file: &Dockerfile, index: usize, name: &str) -> Option<usize> {
    let before = file.stages.get(..index)?;
    called(before, name).or_else(|| number(name).filter(|number| *number < index))
}

/// The stages that `target` needs, in the file's order: each after all that it waits
/// for. Without a target it is the last stage.
///
/// # Errors
/// No such target; a stage that is unknown or the stage itself; a base without a name.
pub fn plan(file: &Dockerfile, target: Option<&str>, global: &Global) -> Result<Vec<Needed>> {
    let target = match target.filter(|target| !target.is_empty()) {
        None => file.stages.len().checked_sub(1).ok_or_else(|| Error::value("no build stage in current context"))?,
        Some(target) => {
            find(file, target).ok_or_else(|| Error::value(format!("target stage {target:?} could not be found")))?
        }
    };
    let mut needed: Vec<Option<Needed>> = vec![None; target + 1];
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        if needed[index].is_none() {
            let stage = needs(file, index, global)?;
            open.extend(&stage.after);
            needed[index] = Some(stage);
        }
    }
    // A stage only ever needs earlier ones, so there is no cycle and this order holds.
    Ok(needed.into_iter().flatten().collect())
}

/// Adds the earlier stages that `step` of the stage at `index` takes files from.
fn of_step(file: &Dockerfile, index: usize, step: &Step, found: &mut BTreeSet<usize>) -> Result<()> {
    for name in froms(&step.instruction) {
        // With a variable it is known when the step runs: all that it may be is waited for.
        if name.contains('$') {
            if found.len() < index {
                found.extend(0..index);
            }
        } else if let Origin::Stage(stage) = origin(file, index, &name).map_err(|err| err.on(step.line))? {
            found.insert(stage);
        }
    }
    Ok(())
}

fn needs(file: &Dockerfile, index: usize, global: &Global) -> Result<Needed> {
    let stage = &file.stages[index];
    let name = global.base(stage)?;
    let base = match earlier_named(file, index, &name) {
        Some(found) => Origin::Stage(found),
        None if name == "scratch" => Origin::Scratch,
        None => Origin::Image(name),
    };
    let mut after = BTreeSet::new();
    if let Origin::Stage(found) = base {
        after.insert(found);
    }
    for step in &stage.steps {
        of_step(file, index, step, &mut after)?;
    }
    Ok(Needed { stage: index, base, after: after.into_iter().collect() })
}

/// A base is a stage by its name alone: `FROM 0` is an image.
fn earlier_named(file: &Dockerfile, index: usize, name: &str) -> Option<usize> {
    called(&file.stages[..index], name)
}

/// The latest of the stages of that name, in any case.
fn called(stages: &[Stage], name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    stages.iter().rposition(|stage| stage.name.as_deref() == Some(&name))
}

/// What an instruction takes files from, unexpanded.
fn froms(instruction: &Instruction) -> Vec<String> {
    match instruction {
        Instruction::Copy(copy) => copy.from.iter().cloned().collect(),
        Instruction::Run(run) => Run::mounted_from(run),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
