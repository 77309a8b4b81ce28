//! Which stages are built, in which order, and what the build ends with.

use super::{Build, Done, Options, lock, output::Output, stage};
use hako_dockerfile::{
    Dockerfile, Instruction, Step,
    args::{Global, Platforms},
    stages::{self, Needed},
};
use hako_model::{Digest, Error, Result, policy};
use std::{collections::BTreeSet, sync::Arc};
use tokio::task::JoinSet;

/// So many stages of one build run at once.
const AT_ONCE: usize = 2;

/// Reads what the target needs. `--label` is one more step of it.
///
/// # Errors
/// In Docker's words.
pub fn plan(mut file: Dockerfile, options: &Options) -> Result<(Dockerfile, Global, Vec<Needed>)> {
    let own = ("linux".to_owned(), policy::native_arch().to_owned(), String::new());
    let target = match options.platform.as_str() {
        "" => own.clone(),
        text => {
            let platform = hako_registry::Platform::parse(text)?;
            // What every arm64 is is not said, as in BuildKit.
            let plain = (platform.architecture.as_str(), platform.variant.as_str()) == ("arm64", "v8");
            let variant = if plain { String::new() } else { platform.variant };
            (platform.os, platform.architecture, variant)
        }
    };
    let global = Global::new(&file, options.args.clone(), &Platforms { target, build: own })?;
    let needed = stages::plan(&file, Some(&options.target), &global)?;
    let last = needed.last().ok_or_else(|| Error::invalid("file with no instructions"))?.stage;
    for (key, value) in &options.labels {
        // Quoted, so that nothing in them is expanded.
        let quote = |text: &str| format!("'{}'", text.replace('\'', r#"'"'"'"#));
        let instruction = Instruction::Label(vec![(quote(key), quote(value))]);
        let original = format!("LABEL {key}={value}");
        file.stages[last].steps.push(Step { line: 0, original, instruction });
    }
    Ok((file, global, needed))
}

/// Runs the stages, names the image.
pub async fn run(build: &Arc<Build>, needed: &[Needed], output: &Output) -> Done<()> {
    let total = build.file.global_args.len()
        + needed.iter().map(|needed| 1 + build.file.stages[needed.stage].steps.len()).sum::<usize>();
    let mut number = 1;
    for step in &build.file.global_args {
        output.text(&format!("Step {number}/{total} : {}\n", step.original)).await?;
        number += 1;
    }
    let mut waiting: Vec<(usize, &Needed, usize)> = Vec::new();
    for (place, needed) in needed.iter().enumerate() {
        waiting.push((place, needed, number));
        number += 1 + build.file.stages[needed.stage].steps.len();
    }
    let mut running = JoinSet::new();
    let mut done = BTreeSet::new();
    loop {
        // The first that can: what speaks last to the client never holds up what speaks first.
        let ready = waiting.iter().position(|(_, needed, _)| needed.after.iter().all(|stage| done.contains(stage)));
        match ready {
            Some(ready) if running.len() < AT_ONCE => {
                let (place, needed, first) = waiting.remove(ready);
                let task = stage::Task { needed: needed.clone(), first, total, out: output.stage(place) };
                let build = build.clone();
                running.spawn(async move {
                    let stage = task.needed.stage;
                    let out = task.out.clone();
                    let image = stage::run(&build, task).await?;
                    lock(&build.results).insert(stage, image);
                    out.end().await?;
                    Done::Ok(stage)
                });
            }
            _ => match running.join_next().await {
                Some(ended) => {
                    // Those that still run end with the set.
                    done.insert(ended.map_err(|err| Error::internal(format!("a stage broke off: {err}")))??);
                }
                None => break,
            },
        }
    }
    finish(build, needed, output).await
}

async fn finish(build: &Arc<Build>, needed: &[Needed], output: &Output) -> Done<()> {
    let last = needed.last().map(|needed| needed.stage);
    let image = last.and_then(|last| lock(&build.results).get(&last).cloned().flatten());
    let image: Digest = image.ok_or_else(|| Error::internal("No image was generated. Is your Dockerfile empty?"))?;
    let unused = build.global.unused(&build.file);
    if !unused.is_empty() {
        let text = format!("[Warning] One or more build-args {unused:?} were not consumed\n");
        output.text(&text.replace("\", \"", " ").replace("[\"", "[").replace("\"]", "]")).await?;
    }
    build.engine.images.publish(&image, &build.options.tags).await?;
    output.text(&format!("Successfully built {}\n", image.short())).await?;
    for tag in &build.options.tags {
        output.text(&format!("Successfully tagged {}\n", tag.familiar())).await?;
    }
    if build.options.quiet {
        output.only(&format!("{image}\n")).await?;
    }
    Ok(())
}
