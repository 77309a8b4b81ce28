//! `RUN --mount`: what a step sees besides its image, and what of it lasts.
//!
//! | kind | process wall | hyperv wall |
//! |---|---|---|
//! | `tmpfs` | a tmpfs | the same, in the guest |
//! | `secret` | a file of the bundle | the same; the shim sends it to the guest |
//! | `cache` | a folder of `build-cache/`, bound | a disk of `build-cache/`, that only guests mount |
//! | `bind` | the context or an overlay of the image's layers, bound | an EROFS disk of it |
//!
//! What is written to a `bind` mount goes with the step. A cache is the wall's
//! own: a disk that a guest has written is never mounted on the host.

mod caches;

pub use caches::caches;

use super::{sources, stage::Stage};
use crate::containers::step::{self, StepContainer, StepMount, StepSource};
use caches::Held;
use hako_api::{
    types::{ContainerConfig, HostConfig},
    unsupported,
};
use hako_dockerfile::{MountKind, Run, RunMount, RunProgram, config};
use hako_layers::files::{CopySource, Root};
use hako_model::{Error, Isolation, Result};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Where a script that stands in the Dockerfile is mounted, as BuildKit has it.
const SCRIPTS: &str = "/dev/pipes";
/// Virtual machines have so many disks to spare.
const MOST_DISKS: usize = 2;

/// The mounts of a step.
#[derive(Default)]
pub struct Wanted {
    /// What of them decides what the step comes to.
    pub key: Vec<String>,
    mounts: Vec<RunMount>,
    script: Option<(String, String)>,
    /// What the container is given, once it was prepared.
    step: Vec<StepMount>,
    tmpfs: Vec<String>,
    /// Removed with this.
    folders: Vec<TempDir>,
    held: Vec<Held>,
}

/// Reads the mounts of a `RUN`.
///
/// # Errors
/// BuildKit's words; the table's answers.
pub async fn read(stage: &Stage<'_>, run: &Run) -> Result<Wanted> {
    let expand = |word: &str| hako_dockerfile::expand(word, &|name| stage.variable(name), stage.build.file.escape);
    let mut wanted = Wanted { mounts: run.mounts(&expand)?, ..Wanted::default() };
    if wanted.mounts.iter().any(|mount| mount.kind == MountKind::Ssh) {
        return Err(unsupported::BUILD_SSH.error());
    }
    for mount in &mut wanted.mounts {
        let name = mount.id.clone().or_else(|| mount.source.clone());
        mount.target = Some(match (&mount.target, mount.kind) {
            (Some(target), _) => config::join(&stage.config.working_dir, target),
            (None, MountKind::Secret) => {
                let name = name.unwrap_or_default();
                format!("/run/secrets/{}", name.rsplit('/').next().unwrap_or(&name))
            }
            (None, _) => return Err(Error::invalid("no target specified for mount")),
        });
        if mount.target.as_deref() == Some("/") {
            return Err(Error::invalid("invalid mount target \"/\""));
        }
        if mount.kind == MountKind::Cache && mount.from.is_some() {
            return Err(unsupported::BUILD_CACHE_FROM.error());
        }
    }
    for mount in &wanted.mounts {
        // Secrets are no part of what a step comes to, as in BuildKit.
        wanted.key.push(format!("mount={:?} {:?} {:?}", mount.kind, mount.target, mount.readonly));
        if mount.kind == MountKind::Bind {
            wanted.key.push(bound(stage, mount).await?.digest(stage).await?);
        }
    }
    if let RunProgram::Script { name, content } = run.program(&config::shell(&stage.config)) {
        wanted.key.push(format!("script={content}"));
        wanted.script = Some((name, content));
    }
    Ok(wanted)
}

/// What a `bind` mount is of.
struct Bound {
    /// `None`: the context.
    image: Option<(hako_model::Digest, Vec<PathBuf>)>,
    path: String,
}

async fn bound(stage: &Stage<'_>, mount: &RunMount) -> Result<Bound> {
    let image = match &mount.from {
        Some(name) => {
            let image = stage.origin(name).await?;
            let layers = sources::layers(stage.build, &image).await?;
            Some((image, layers))
        }
        None => None,
    };
    let path = config::join("/", mount.source.as_deref().unwrap_or("/"));
    Ok(Bound { image, path })
}

impl Bound {
    /// The digest of what is mounted; of an image, which never changes, its id.
    async fn digest(&self, stage: &Stage<'_>) -> Result<String> {
        if let Some((image, _)) = &self.image {
            return Ok(format!("{image} {}", self.path));
        }
        let (build, path) = (stage.build.clone(), self.path.clone());
        let digest = move || CopySource::find(build.context.root(), path.as_bytes())?.digest();
        Ok(super::on_thread("checksum", digest).await?.to_string())
    }

    /// The path without links, relative to its root.
    fn inside(&self, root: &Root) -> Result<String> {
        CopySource::find(root, self.path.as_bytes())
            .map_err(|err| Error::new(err.kind, format!("bind mount of {}: {}", self.path, err.message)))?;
        let real = root.real(self.path.as_bytes())?;
        let real = String::from_utf8(real).map_err(|_| Error::invalid("a bind mount's path is no UTF-8"))?;
        Ok(real.trim_start_matches('/').to_owned())
    }
}

impl Wanted {
    /// What is executed.
    pub fn argv(&self, run: &Run, shell: &[String]) -> Vec<String> {
        match run.program(shell) {
            RunProgram::Argv(argv) => argv,
            RunProgram::Script { name, .. } => vec![format!("{SCRIPTS}/{name}")],
        }
    }

    /// Makes ready what is mounted.
    ///
    /// # Errors
    /// A secret that is not there; the host's.
    pub async fn prepare(&mut self, stage: &Stage<'_>, host: &mut HostConfig, isolation: Isolation) -> Result<()> {
        if let Some((name, content)) = self.script.take() {
            let source = self.file(stage, content.as_bytes(), 0o755, None)?;
            let destination = format!("{SCRIPTS}/{name}");
            self.step.push(StepMount { destination, read_only: true, source });
        }
        let mounts = std::mem::take(&mut self.mounts);
        let of_disk = |mount: &&RunMount| matches!(mount.kind, MountKind::Cache | MountKind::Bind);
        if isolation == Isolation::Hyperv && mounts.iter().filter(of_disk).count() > MOST_DISKS {
            return Err(Error::invalid(format!(
                "a RUN behind the hyperv wall has at most {MOST_DISKS} cache and bind mounts"
            )));
        }
        self.held = caches::hold(&stage.build.engine, &mounts, isolation).await?;
        let mut caches = self.held.iter().map(Held::source).collect::<Vec<_>>().into_iter();
        for mount in mounts {
            let destination = mount.target.clone().unwrap_or_default();
            let source = match mount.kind {
                MountKind::Tmpfs => {
                    let size = mount.size.map(|size| format!(",size={size}")).unwrap_or_default();
                    host.tmpfs.insert(destination.clone(), format!("rw,exec{size}"));
                    self.tmpfs.push(destination);
                    continue;
                }
                MountKind::Secret => match self.secret(stage, &mount, &destination)? {
                    Some(source) => source,
                    None => continue,
                },
                MountKind::Cache => caches.next().ok_or_else(|| Error::internal("a cache mount without a cache"))?,
                MountKind::Bind => self.bind(stage, &mount, isolation).await?,
                MountKind::Ssh => return Err(unsupported::BUILD_SSH.error()),
            };
            self.step.push(StepMount { destination, read_only: mount.readonly, source });
        }
        Ok(())
    }

    fn secret(&mut self, stage: &Stage<'_>, mount: &RunMount, destination: &str) -> Result<Option<StepSource>> {
        let base = destination.rsplit('/').next().unwrap_or(destination);
        let id = mount.id.as_deref().or(mount.source.as_deref()).unwrap_or(base);
        let secrets = stage.build.options.secrets.clone();
        match secrets.get(id) {
            Some(content) => {
                let owner = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
                self.file(stage, content, mount.mode.unwrap_or(0o400), Some(owner)).map(Some)
            }
            None if mount.required => Err(Error::invalid(format!("secret {id}: not found"))),
            None => Ok(None),
        }
    }

    /// A file that lies outside of what lasts, until the container starts.
    fn file(&mut self, stage: &Stage<'_>, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<StepSource> {
        let folder = tempfile::Builder::new().prefix(FILES).tempdir_in(&stage.build.engine.config.exec_root)?;
        let path = folder.path().join("file");
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        if let Some((uid, gid)) = owner {
            chown(&path, Some(uid), Some(gid))?;
        }
        self.folders.push(folder);
        Ok(StepSource::File { path })
    }

    async fn bind(&mut self, stage: &Stage<'_>, mount: &RunMount, isolation: Isolation) -> Result<StepSource> {
        let bound = bound(stage, mount).await?;
        let store = stage.build.engine.store.clone();
        let context = stage.build.context.folder();
        let lowers: Vec<PathBuf> = match &bound.image {
            Some((_, layers)) => layers.iter().rev().cloned().collect(),
            None => vec![context.clone()],
        };
        let inside = {
            let (store, lowers) = (store.clone(), lowers.clone());
            let find = move || match &bound.image {
                None => bound.inside(&Root::open(&lowers[0])?),
                Some((_, layers)) => bound.inside(super::root::ImageRoot::mount(&store, layers)?.root()),
            };
            super::on_thread("bind", find).await?
        };
        if isolation == Isolation::Hyperv {
            let path = match &mount.from {
                Some(name) => {
                    let image = stage.build.engine.images.resolve(stage.origin(name).await?.as_str()).await?;
                    stage.build.engine.images.rootfs_erofs(&image).await?
                }
                None => {
                    let folder = store.temp_dir()?;
                    let (out, scratch) = (folder.path().join("context.erofs"), folder.path().to_owned());
                    let made = out.clone();
                    super::on_thread("erofs", move || Ok(hako_layers::build_erofs(&[context], &made, &scratch)?))
                        .await?;
                    self.folders.push(folder);
                    out
                }
            };
            return Ok(StepSource::Disk { path, filesystem: "erofs".to_owned(), inside });
        }
        if mount.from.is_none() && mount.readonly {
            return Ok(StepSource::Host { path: context.join(inside) });
        }
        let scratch = store.temp_dir()?;
        let path = scratch.path().to_owned();
        self.folders.push(scratch);
        Ok(StepSource::Overlay { lowers, scratch: path, inside })
    }

    /// Makes the container that has them.
    ///
    /// # Errors
    /// As a client's create.
    pub async fn container(
        self,
        stage: &Stage<'_>,
        config: ContainerConfig,
        host: HostConfig,
        platform: String,
    ) -> Result<(StepContainer, Vec<String>)> {
        let Self { step, tmpfs, folders, held, .. } = self;
        let (build, held) = (stage.build, Box::new((folders, held)));
        let (peer, sources) = (build.options.peer.clone(), stage.sources());
        let wanted = step::Wanted { config, host, platform, peer, sources, mounts: step, tmpfs, held };
        StepContainer::create(&build.engine, wanted).await
    }
}

/// In the exec root: folders with files of steps, until their container starts.
const FILES: &str = "build-";

/// Removes what a killed engine has left of them.
///
/// # Errors
/// The kernel's.
pub fn clean(exec_root: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(exec_root)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(FILES) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
