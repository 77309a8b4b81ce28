//! `COPY`, `ADD` and `WORKDIR`: files into an image that is mounted here.

use super::{
    Done,
    cache::Asked,
    created_by::nop,
    on_thread,
    root::ImageRoot,
    sources::{self, Item, Origin},
    stage::Stage,
};
use hako_api::unsupported;
use hako_dockerfile::{self as dockerfile, Add, Copy, Heredoc, Instruction, Source, config, ignore::Patterns};
use hako_layers::files::{Copy as How, CopySource, owner};
use hako_model::{Digest, Error, Result};
use hako_store::Store;
use std::{path::PathBuf, sync::Arc};

/// A `COPY` or `ADD`, its words expanded.
struct Wanted {
    verb: &'static str,
    sources: Vec<String>,
    heredocs: Vec<(String, String)>,
    /// Absolute; with a slash at its end where it must be a directory.
    dest: String,
    /// As it was written.
    shown_dest: String,
    chown: Option<String>,
    chmod: Option<u32>,
    parents: bool,
    exclude: Vec<String>,
    from: Option<Digest>,
    /// Archives of the context are unpacked.
    unpack: bool,
}

/// Executes `COPY`.
pub async fn copy(stage: &mut Stage<'_>, copy: &Copy) -> Done<()> {
    if copy.sources.iter().any(|source| matches!(source, Source::Path(path) if is_url(path))) {
        return Err(Error::invalid("COPY failed: source can't be a URL for COPY").into());
    }
    let from = match &copy.from {
        Some(name) => {
            let name = stage.expand(name)?;
            Some(stage.origin(&name).await?)
        }
        None => None,
    };
    let mut wanted = read(stage, "COPY", &copy.sources, &copy.dest, &copy.chown, &copy.chmod, &copy.exclude)?;
    (wanted.parents, wanted.from) = (copy.parents, from);
    perform(stage, wanted).await
}

/// Executes `ADD`.
pub async fn add(stage: &mut Stage<'_>, add: &Add) -> Done<()> {
    if add.sources.iter().any(|source| matches!(source, Source::Path(path) if is_url(path))) {
        return Err(unsupported::BUILD_ADD_URL.error().into());
    }
    if add.checksum.is_some() {
        return Err(Error::invalid("checksum can't be specified for non-HTTP(S) & non-Git sources").into());
    }
    let mut wanted = read(stage, "ADD", &add.sources, &add.dest, &add.chown, &add.chmod, &add.exclude)?;
    wanted.unpack = add.unpack.unwrap_or(true);
    perform(stage, wanted).await
}

fn is_url(path: &str) -> bool {
    ["http://", "https://", "git://", "git@", "ssh://"].iter().any(|scheme| path.starts_with(scheme))
}

fn read(
    stage: &Stage<'_>,
    verb: &'static str,
    from: &[Source],
    dest: &str,
    chown: &Option<String>,
    chmod: &Option<String>,
    exclude: &[String],
) -> Result<Wanted> {
    let (mut sources, mut heredocs) = (Vec::new(), Vec::new());
    for source in from {
        match source {
            Source::Path(path) => sources.push(stage.expand(path)?),
            Source::Heredoc(heredoc) => heredocs.push((heredoc.name.clone(), content(stage, heredoc)?)),
        }
    }
    let shown_dest = stage.expand(dest)?;
    let folder = shown_dest.ends_with('/') || shown_dest == "." || shown_dest.ends_with("/.");
    let mut dest = config::join(&stage.config.working_dir, &shown_dest);
    if folder && !dest.ends_with('/') {
        dest.push('/');
    }
    let chmod = match chmod {
        Some(text) => Some(mode(&stage.expand(text)?)?),
        None => None,
    };
    Ok(Wanted {
        verb,
        sources,
        heredocs,
        dest,
        shown_dest,
        chown: chown.as_deref().map(|text| stage.expand(text)).transpose()?,
        chmod,
        parents: false,
        exclude: exclude.iter().map(|text| stage.expand(text)).collect::<Result<_>>()?,
        from: None,
        unpack: false,
    })
}

fn content(stage: &Stage<'_>, heredoc: &Heredoc) -> Result<String> {
    let text = heredoc.content();
    if !heredoc.expand {
        return Ok(text);
    }
    Ok(dockerfile::expand_heredoc(&text, &|name| stage.variable(name), stage.build.file.escape)?)
}

/// As BuildKit: octal digits only.
fn mode(text: &str) -> Result<u32> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777 && !text.starts_with('+'));
    mode.ok_or_else(|| {
        Error::invalid(format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"))
    })
}

async fn perform(stage: &mut Stage<'_>, wanted: Wanted) -> Done<()> {
    let wanted = Arc::new(wanted);
    let (build, store) = (stage.build.clone(), stage.build.engine.store.clone());
    let layers = match &wanted.from {
        Some(image) => Some(sources::layers(&build, image).await?),
        None => None,
    };
    // The same image has the same files: they are looked at once.
    let known = wanted.from.as_ref().filter(|_| wanted.heredocs.is_empty());
    let known = known.map(|image| format!("{image} {:?}", (wanted.verb, wanted.parents, &wanted.sources)));
    let remembered = known.as_ref().and_then(|key| build.engine.builds.remembered(key));
    let (mut found, hash) = match remembered {
        Some(hash) => (None, hash),
        None => {
            let (found, hash) = look(&store, &build, &wanted, layers.clone()).await?;
            if let Some(key) = known {
                build.engine.builds.remember(key, hash.clone());
            }
            (Some(found), hash)
        }
    };
    let chown = wanted.chown.as_ref().map(|text| format!("--chown={text} ")).unwrap_or_default();
    let chmod = wanted.chmod.map(|mode| format!("--chmod={mode:o} ")).unwrap_or_default();
    let comment = format!("{} {chown}{chmod}{hash} in {} ", wanted.verb, wanted.shown_dest);
    let (image, config) = (stage.image.clone(), stage.config.clone());
    let mut more = wanted.exclude.clone();
    more.extend([wanted.parents.to_string(), wanted.unpack.to_string()]);
    let asked = Asked {
        parent: image.as_ref(),
        command: nop(&config::shell(&config), &comment, true),
        more,
        config: &config,
        author: &stage.author.clone(),
        kind: "source.local",
    };
    if stage.cached(&asked).await? {
        return Ok(());
    }
    if found.is_none() {
        found = Some(look(&store, &build, &wanted, layers).await?.0);
    }
    let below = stage.layers().await?;
    let layer = on_thread("copy", move || {
        let (origins, items) = found.unwrap_or_default();
        let dest = ImageRoot::mount(&store, &below)?;
        let owner = wanted.chown.as_deref().map(|text| chown_of(&dest, text)).transpose()?;
        for item in &items {
            let source = CopySource::find(origins[item.origin].root(), &item.path)?;
            place(&wanted, &origins[item.origin], &source, item, &dest, owner)
                .map_err(|err| Error::new(err.kind, format!("failed to copy files: {}", err.message)))?;
        }
        dest.layer(&store)
    })
    .await?;
    stage.commit(&asked, Some(layer), "").await
}

type Found = (Vec<Origin>, Vec<Item>);

/// Finds what is to be copied, and its digest.
async fn look(
    store: &Store,
    build: &Arc<super::Build>,
    wanted: &Arc<Wanted>,
    layers: Option<Vec<PathBuf>>,
) -> Result<(Found, String)> {
    let (store, build, wanted) = (store.clone(), build.clone(), wanted.clone());
    on_thread("checksum", move || {
        let mut origins = vec![match layers {
            Some(layers) => Origin::image(&store, &layers)?,
            None => Origin::Context(build),
        }];
        let mut items = Vec::new();
        for pattern in &wanted.sources {
            let paths = origins[0].find(pattern, wanted.verb)?;
            items.extend(paths.into_iter().map(|path| Item { origin: 0, path }));
        }
        if !wanted.heredocs.is_empty() {
            origins.push(Origin::heredocs(&store, &wanted.heredocs)?);
            let files = wanted.heredocs.iter();
            items.extend(files.map(|(name, _)| Item { origin: 1, path: format!("/{name}").into_bytes() }));
        }
        if items.len() > 1 && !wanted.dest.ends_with('/') {
            return Err(Error::invalid(format!(
                "When using {} with more than one source file, the destination must be a directory and end with a /",
                wanted.verb
            )));
        }
        let mut hash = sources::digest(&origins, &items)?;
        if wanted.parents {
            // Their paths are part of what comes out.
            hash = sources::with_paths(&hash, &items);
        }
        Ok(((origins, items), hash))
    })
    .await
}

/// `user` alone is also the group, as in Docker.
fn chown_of(dest: &ImageRoot, text: &str) -> Result<(u32, u32)> {
    let whole = if text.contains(':') { text.to_owned() } else { format!("{text}:{text}") };
    owner(dest.root(), &whole).map_err(|err| {
        let why = err.message;
        Error::new(err.kind, format!("unable to convert uid/gid chown string to host mapping: {why}"))
    })
}

fn place(
    wanted: &Wanted,
    origin: &Origin,
    source: &CopySource<'_>,
    item: &Item,
    dest: &ImageRoot,
    owner: Option<(u32, u32)>,
) -> Result<()> {
    let of_context = matches!(origin, Origin::Context(_));
    if wanted.unpack && of_context && source.is_archive()? {
        return source.unpack(dest.root(), wanted.dest.as_bytes());
    }
    // Files of an image stay whose they are.
    let owner = owner.or((!matches!(origin, Origin::Image(_))).then_some((0, 0)));
    let mut to = wanted.dest.clone().into_bytes();
    if wanted.parents {
        let inside = item.path.strip_prefix(b"/").unwrap_or(&item.path);
        let kept = if source.is_dir() { inside } else { inside.rsplitn(2, |b| *b == b'/').nth(1).unwrap_or_default() };
        to = [to.as_slice(), b"/", kept, b"/"].concat();
    }
    let exclude = Patterns::new(&wanted.exclude)?;
    let keep = |path: &[u8]| !exclude.matches(String::from_utf8_lossy(path).trim_matches('/'));
    source.copy(dest.root(), &to, How { owner, mode: wanted.chmod }, &keep)
}

/// Executes `WORKDIR`: the directory is there from now on, root's.
pub async fn workdir(stage: &mut Stage<'_>, instruction: &Instruction) -> Done<()> {
    stage.apply(instruction)?;
    let (image, config) = (stage.image.clone(), stage.config.clone());
    let comment = format!("WORKDIR {}", config.working_dir);
    let asked = Asked {
        parent: image.as_ref(),
        command: nop(&config::shell(&config), &comment, true),
        more: Vec::new(),
        config: &config,
        author: &stage.author.clone(),
        kind: "regular",
    };
    if stage.cached(&asked).await? {
        return Ok(());
    }
    let (store, below) = (stage.build.engine.store.clone(), stage.layers().await?);
    let path = config.working_dir.clone().into_bytes();
    let layer = on_thread("workdir", move || {
        let dest = ImageRoot::mount(&store, &below)?;
        let path = dest.root().real(&path)?;
        drop(dest.root().make_dirs(&path)?);
        dest.layer(&store)
    })
    .await?;
    stage.commit(&asked, Some(layer), "").await
}
