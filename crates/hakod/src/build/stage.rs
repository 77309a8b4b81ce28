//! One stage: from its base, step by step.

use super::{Build, Done, cache::Asked, copy, created_by, lock, output::StageOutput, run, sources};
use crate::{
    images::Wanted,
    placement::{self, Ask, Source},
};
use hako_api::{
    decode,
    types::{ContainerConfig, HostConfig},
};
use hako_dockerfile::{
    self as dockerfile, Instruction,
    args::Scope,
    config::{self, Changes},
    stages::{self, Needed, Origin},
};
use hako_model::{Digest, Error, Isolation, Result, policy};
use hako_registry::Platform;
use hako_store::Blob;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// A stage to be built.
pub struct Task {
    pub needed: Needed,
    /// The number of its `FROM`.
    pub first: usize,
    /// How many steps the build has.
    pub total: usize,
    pub out: StageOutput,
}

/// A stage that is being built.
pub struct Stage<'a> {
    pub build: &'a Arc<Build>,
    index: usize,
    pub out: StageOutput,
    /// What it has come to; none before the first step on nothing.
    pub image: Option<Digest>,
    pub config: ContainerConfig,
    /// `MAINTAINER`.
    pub author: String,
    pub scope: Scope<'a>,
    changes: Changes,
    /// What it is for if it begins with nothing; none for the host's.
    platform: Option<Platform>,
    /// The stages that it has waited for.
    after: Vec<usize>,
    /// The images that it has begun with or has taken files from.
    sources: Mutex<Vec<Source>>,
}

/// Builds a stage; what it has come to.
pub async fn run(build: &Arc<Build>, task: Task) -> Done<Option<Digest>> {
    let Task { needed, first, total, out } = task;
    let source = &build.file.stages[needed.stage];
    out.text(&format!("Step {first}/{total} : {}\n", source.original)).await?;
    let platform = source.platform.as_deref().map(|text| build.global.expand(text)).transpose()?.unwrap_or_default();
    let (image, sources) = match &needed.base {
        Origin::Scratch => (None, Vec::new()),
        Origin::Stage(index) => (lock(&build.results).get(index).cloned().flatten(), build.sources_of(*index)),
        Origin::Image(name) => {
            let image = build.image(name, &platform, &out).await?;
            let source = build.source(&image).await?;
            (Some(image), vec![source])
        }
    };
    let mut stage = Stage {
        build,
        index: needed.stage,
        out,
        config: base_config(build, image.as_ref()).await?,
        image,
        author: String::new(),
        scope: build.global.scope(),
        changes: Changes::default(),
        platform: asked_for(build, &platform)?,
        after: needed.after,
        sources: Mutex::new(sources),
    };
    stage.triggers().await?;
    stage.tell_image().await?;
    for (n, step) in source.steps.iter().enumerate() {
        stage.out.text(&format!("Step {}/{total} : {}\n", first + 1 + n, step.original)).await?;
        stage.step(&step.instruction).await?;
        stage.tell_image().await?;
    }
    if let Some(image) = &stage.image {
        stage.out.value(&serde_json::json!({ "aux": { "ID": image } })).await?;
    }
    lock(&build.sources).insert(stage.index, stage.sources());
    Ok(stage.image)
}

impl Build {
    /// What a stage that has ended is made of.
    fn sources_of(&self, stage: usize) -> Vec<Source> {
        lock(&self.sources).get(&stage).cloned().unwrap_or_default()
    }

    /// An image as a source of others.
    async fn source(&self, image: &Digest) -> Result<Source> {
        let candidates = self.engine.images.candidates(image.as_str()).await?;
        Ok(candidates.first().map_or_else(Source::nothing, Source::of))
    }
}

/// The platform that is asked for, by the stage or by the client; none for the host's.
fn asked_for(build: &Build, platform: &str) -> Result<Option<Platform>> {
    let platform = if platform.is_empty() { &build.options.platform } else { platform };
    let platform = Platform::parse(platform)?;
    Ok((platform != Platform::host()).then_some(platform))
}

/// The configuration that a stage begins with.
async fn base_config(build: &Build, image: Option<&Digest>) -> Result<ContainerConfig> {
    let mut config = match image {
        Some(image) => {
            let image = build.engine.images.resolve(image.as_str()).await?;
            let value = serde_json::to_value(&image.config).map_err(|err| Error::internal(err.to_string()))?;
            decode::decode(value)?
        }
        None => ContainerConfig::default(),
    };
    let env = config.env.get_or_insert_default();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.push(format!("PATH={}", policy::default_path()));
    }
    Ok(config)
}

impl Stage<'_> {
    async fn tell_image(&self) -> Result<()> {
        let id = self.image.as_ref().map_or("", Digest::short);
        self.out.text(&format!(" ---> {id}\n")).await
    }

    /// What the base wants done to every image on top of it.
    async fn triggers(&mut self) -> Done<()> {
        let triggers = self.config.on_build.take().unwrap_or_default();
        if triggers.is_empty() {
            return Ok(());
        }
        let plural = if triggers.len() > 1 { "s" } else { "" };
        self.out.text(&format!("# Executing {} build trigger{plural}\n", triggers.len())).await?;
        for trigger in &triggers {
            let step = dockerfile::parse_onbuild(trigger)?;
            self.step(&step.instruction).await?;
        }
        Ok(())
    }

    async fn step(&mut self, instruction: &Instruction) -> Done<()> {
        match instruction {
            Instruction::Run(step) => run::run(self, step).await,
            Instruction::Copy(step) => copy::copy(self, step).await,
            Instruction::Add(step) => copy::add(self, step).await,
            Instruction::Workdir(_) => copy::workdir(self, instruction).await,
            _ => self.alter(instruction).await,
        }
    }

    /// A step that alters the configuration alone.
    async fn alter(&mut self, instruction: &Instruction) -> Done<()> {
        if let (Instruction::Healthcheck(_), Some(old)) = (instruction, &self.config.healthcheck) {
            let test = old.test.as_deref().unwrap_or_default();
            if test.first().is_some_and(|word| word != "NONE") {
                let text = format!("Note: overriding previous HEALTHCHECK: [{}]\n", test.join(" "));
                self.out.text(&text).await?;
            }
        }
        let comment = self.apply(instruction)?;
        let (image, config, author) = (self.image.clone(), self.config.clone(), self.author.clone());
        let asked = Asked {
            parent: image.as_ref(),
            command: created_by::nop(&config::shell(&config), &comment, false),
            more: Vec::new(),
            config: &config,
            author: &author,
            kind: "regular",
        };
        if self.cached(&asked).await? {
            return Ok(());
        }
        self.commit(&asked, None, "").await
    }

    /// Alters the configuration, or the arguments; the comment for the history.
    pub fn apply(&mut self, instruction: &Instruction) -> Result<String> {
        let mut config = self.config.clone();
        let env = config.env.clone().unwrap_or_default();
        let escape = self.build.file.escape;
        let scope = &self.scope;
        let lookup = |name: &str| scope.lookup(name, &env);
        let expand = |word: &str| dockerfile::expand(word, &lookup, escape);
        if !self.changes.apply(&mut config, instruction, &lookup, escape)?
            && let Instruction::Maintainer(name) = instruction
        {
            self.author.clone_from(name);
        }
        let comment = created_by::comment(instruction, &config, &expand)?;
        if let Instruction::Arg(pairs) = instruction {
            for (name, default) in pairs {
                self.scope.declare(name, default.as_deref(), &env)?;
            }
        }
        self.config = config;
        Ok(comment)
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.scope.lookup(name, self.config.env.as_deref().unwrap_or_default())
    }

    /// A word without its quotes and with its variables replaced.
    ///
    /// # Errors
    /// Docker's words.
    pub fn expand(&self, word: &str) -> Result<String> {
        Ok(dockerfile::expand(word, &|name| self.variable(name), self.build.file.escape)?)
    }

    /// The image of an earlier stage, or of that name.
    ///
    /// # Errors
    /// There is none.
    pub async fn origin(&self, name: &str) -> Result<Digest> {
        let nothing = || Error::invalid(format!("invalid from flag value {name}: that stage has no files"));
        match stages::origin(&self.build.file, self.index, name)? {
            Origin::Scratch => Err(nothing()),
            // Only a trigger may name one: it is not known before its stage runs.
            Origin::Stage(index) if !self.after.contains(&index) => Err(Error::invalid(format!(
                "an ONBUILD trigger cannot take files from the stage {name}, which nothing else of this stage needs"
            ))),
            Origin::Stage(index) => {
                let image = lock(&self.build.results).get(&index).cloned().flatten().ok_or_else(nothing)?;
                self.made_of(self.build.sources_of(index));
                Ok(image)
            }
            Origin::Image(name) => {
                let image = self.build.image(&name, "", &self.out).await?;
                self.made_of(vec![self.build.source(&image).await?]);
                Ok(image)
            }
        }
    }

    fn made_of(&self, more: Vec<Source>) {
        let mut sources = lock(&self.sources);
        for source in more {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
    }

    /// The images that it has begun with or has taken files from.
    pub fn sources(&self) -> Vec<Source> {
        lock(&self.sources).clone()
    }

    /// The wall of a container of this stage, and the platform that it is asked for by.
    ///
    /// # Errors
    /// Why it may not run.
    pub async fn wall(&self, config: &ContainerConfig, host: &HostConfig) -> Result<(Isolation, String)> {
        let candidates = self.build.engine.images.candidates(&config.image).await?;
        // A stage on another stage is for what that one is for.
        let fits = |platform: &Platform| {
            candidates.iter().any(|candidate| platform.accepts(&candidate.manifest().platform).is_some())
        };
        let platform = self.platform.clone().filter(fits).map(Wanted::from);
        let sources = self.sources();
        let ask = Ask {
            name: &config.image,
            platform: platform.as_ref(),
            config,
            host,
            peer: &self.build.options.peer,
            sources: Some(&sources),
        };
        let choice = placement::choose(&self.build.engine, candidates, &ask)?;
        Ok((choice.wall, platform.map(|platform| platform.to_string()).unwrap_or_default()))
    }

    /// The folders of the layers so far, bottom first.
    ///
    /// # Errors
    /// The store's.
    pub async fn layers(&self) -> Result<Vec<PathBuf>> {
        match &self.image {
            Some(image) => sources::layers(self.build, image).await,
            None => Ok(Vec::new()),
        }
    }

    /// Takes what the cache has for a step; whether it has anything.
    ///
    /// # Errors
    /// The store's; the client has gone.
    pub async fn cached(&mut self, asked: &Asked<'_>) -> Result<bool> {
        let Some(image) = self.build.cached(asked, self.platform.as_ref()).await? else { return Ok(false) };
        self.out.text(" ---> Using cache\n").await?;
        self.image = Some(image);
        Ok(true)
    }

    /// Takes what a step has come to.
    ///
    /// # Errors
    /// The store's.
    pub async fn commit(&mut self, asked: &Asked<'_>, layer: Option<Blob>, container: &str) -> Done<()> {
        self.image = Some(self.build.commit(asked, self.platform.as_ref(), layer, container).await?);
        Ok(())
    }

    /// An image to run a container of, also where there is no step yet.
    ///
    /// # Errors
    /// The store's.
    pub async fn standing(&mut self) -> Result<Digest> {
        if let Some(image) = &self.image {
            return Ok(image.clone());
        }
        let config = self.config.clone();
        let asked = Asked {
            parent: None,
            command: vec!["FROM scratch".to_owned()],
            more: Vec::new(),
            config: &config,
            author: "",
            kind: "regular",
        };
        let platform = self.platform.as_ref();
        let image = match self.build.cached(&asked, platform).await? {
            Some(image) => image,
            None => self.build.commit(&asked, platform, None, "").await?,
        };
        self.image = Some(image.clone());
        Ok(image)
    }
}
