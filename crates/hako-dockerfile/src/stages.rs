//! Which stages a target needs, and what each waits for.

use crate::{Dockerfile, Error, Instruction, Result, Run, Step, args::Global};

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
    let named = file.stages.iter().rposition(|stage| stage.name.as_deref() == Some(&name.to_lowercase()));
    named.or_else(|| number(name).filter(|index| *index < file.stages.len()))
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
    if file.stages.get(index).and_then(|stage| stage.name.as_deref()) == Some(&name.to_lowercase()) {
        return Err(Error::value(format!("invalid from flag value {name}: refers to current build stage")));
    }
    Ok(Origin::Image(name.to_owned()))
}

/// The latest stage before `index` of that name or number.
fn earlier(file: &Dockerfile, index: usize, name: &str) -> Option<usize> {
    let before = file.stages.get(..index)?;
    let named = before.iter().rposition(|stage| stage.name.as_deref() == Some(&name.to_lowercase()));
    named.or_else(|| number(name).filter(|number| *number < index))
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

/// The earlier stages that `step` of the stage at `index` takes files from: also of a
/// trigger, which [`plan`] does not know because it comes with an image.
///
/// # Errors
/// A stage that is unknown or the stage itself.
pub fn of_step(file: &Dockerfile, index: usize, step: &Step) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    for name in froms(&step.instruction) {
        // With a variable it is known when the step runs: all that it may be is waited for.
        if name.contains('$') {
            found.extend(0..index);
        } else if let Origin::Stage(stage) = origin(file, index, &name).map_err(|err| err.on(step.line))? {
            found.push(stage);
        }
    }
    Ok(found)
}

fn needs(file: &Dockerfile, index: usize, global: &Global) -> Result<Needed> {
    let stage = &file.stages[index];
    let name = global.base(stage)?;
    let base = match earlier_named(file, index, &name) {
        Some(found) => Origin::Stage(found),
        None if name == "scratch" => Origin::Scratch,
        None => Origin::Image(name),
    };
    let mut after: Vec<usize> = match base {
        Origin::Stage(found) => vec![found],
        _ => Vec::new(),
    };
    for step in &stage.steps {
        after.extend(of_step(file, index, step)?);
    }
    after.sort_unstable();
    after.dedup();
    Ok(Needed { stage: index, base, after })
}

/// A base is a stage by its name alone: `FROM 0` is an image.
fn earlier_named(file: &Dockerfile, index: usize, name: &str) -> Option<usize> {
    file.stages[..index].iter().rposition(|stage| stage.name.as_deref() == Some(&name.to_lowercase()))
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
