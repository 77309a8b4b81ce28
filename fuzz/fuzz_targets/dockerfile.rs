//! A Dockerfile is read, and all of it that needs no image is done; the same
//! bytes as a `.dockerignore`, a pattern and a change of a commit.
#![no_main]

use hako_api::types::ContainerConfig;
use hako_dockerfile::{args::Global, args::Platforms, config, glob, ignore::Patterns, parse, parse_onbuild, stages};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fn build(bytes: &[u8]) {
    let Ok(file) = parse(bytes) else { return };
    assert!(!file.stages.is_empty());
    let linux = || ("linux".to_owned(), "amd64".to_owned(), String::new());
    let Ok(global) = Global::new(&file, BTreeMap::new(), &Platforms { target: linux(), build: linux() }) else {
        return;
    };
    let Ok(needed) = stages::plan(&file, None, &global) else { return };
    assert!(needed.len() <= file.stages.len());
    let _ = global.unused(&file);
    for stage in &file.stages {
        let _ = global.base(stage);
        let mut scope = global.scope();
        let mut image = ContainerConfig::default();
        let mut changes = config::Changes::default();
        for step in &stage.steps {
            let env = image.env.clone().unwrap_or_default();
            if let hako_dockerfile::Instruction::Arg(pairs) = &step.instruction {
                for (name, value) in pairs {
                    let _ = scope.declare(name, value.as_deref(), &env);
                }
            }
            let lookup = |name: &str| scope.lookup(name, &env);
            let _ = changes.apply(&mut image, &step.instruction, &lookup, file.escape);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    build(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = parse_onbuild(text);
    let _ = config::apply_changes(&mut ContainerConfig::default(), &[text]);
    let half = text.len() / 2;
    let half = (half..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let _ = glob::matches(&text[..half], &text[half..]);
    if let Ok(patterns) = Patterns::parse(bytes) {
        let _ = (patterns.matches(&text[half..]), patterns.prunes(&text[half..]));
    }
});
