//! The wall and the image of one container.

use super::{host, refused, request, source::Source};
use crate::{
    Engine,
    containers::vm::{self, Machine},
    http::Peer,
    images::{Candidate, ResolvedImage, Wanted},
};
use hako_api::types::{ContainerConfig, HostConfig};
use hako_model::{Error, Isolation, Result};
use hako_platform::{Host, Image, Manifest, Placement, Platform, Policy, Refusal, Request, place};

/// What a container asks for.
pub struct Ask<'a> {
    /// Its image, as the client calls it.
    pub name: &'a str,
    /// Its platform, where the client names one.
    pub platform: Option<&'a Wanted>,
    /// As of create's body.
    pub config: &'a ContainerConfig,
    /// As of create's body.
    pub host: &'a HostConfig,
    /// Who asks.
    pub peer: &'a Peer,
    /// A build's step: what it is made of.
    pub sources: Option<&'a [Source]>,
}

/// Where a container runs.
#[derive(Debug)]
pub struct Choice {
    /// Its image.
    pub image: ResolvedImage,
    /// Its wall.
    pub wall: Isolation,
    /// What its virtual machine boots, by name.
    pub kernel: Option<String>,
    /// What is said of that machine.
    pub machine: Machine,
    /// What the client should know.
    pub warnings: Vec<String>,
}

/// Chooses from `candidates`, of which the first is what the name means alone.
///
/// # Errors
/// Why it may not run, with what would work.
pub fn choose(engine: &Engine, mut candidates: Vec<Candidate>, ask: &Ask<'_>) -> Result<Choice> {
    let isolation = Isolation::from_request(&ask.host.isolation).map_err(|err| Error::invalid(err.to_string()))?;
    let limits = vm::limits(ask.host);
    let request = Request {
        isolation,
        platform: ask.platform.map(|wanted| wanted.platform.clone()),
        memory: limits.memory,
        nano_cpus: limits.nano_cpus,
        ..request(engine, ask.peer)
    };
    let host = host::facts(engine);
    let said = |refusal: Refusal| refused::told(engine, ask, &request, &refusal);
    let machine =
        |candidate: &Candidate| vm::read(engine, ask.config, ask.host, &candidate.image.config, ask.sources.is_some());
    let at = match several(&candidates, &host, ask.platform) {
        None => 0,
        Some(image) => {
            let own = candidates.first().map(machine).transpose()?.unwrap_or_default().0.own;
            // Rules, and what an image says of its machine, are about the one that is
            // chosen; behind the wall that they ask for it is to be chosen, too.
            let is_held = |one: &Candidate| {
                let image = Source::of(one).named(Image::of(one.manifest()));
                request.policy.applying(&image, &request.caller).is_some()
            };
            let engine_default =
                if candidates.iter().any(is_held) { Some(Isolation::Hyperv) } else { request.engine_default };
            let bare = Request { policy: Policy::default(), vm: own, engine_default, ..request.clone() };
            place(&image, &host, &bare).map_err(|refusal| said(*refusal))?.manifest
        }
    };
    if at >= candidates.len() {
        return Err(Error::internal("the chosen image is gone"));
    }
    let candidate = candidates.swap_remove(at);
    if let Some(wanted) = ask.platform.filter(|wanted| !wanted.admits(&candidate.image.os_version)) {
        return Err(refused::mismatch(ask.name, wanted, &candidate));
    }
    let (machine, notes) = machine(&candidate)?;
    let request = Request { vm: machine.own.clone(), vm_default: machine.usual.clone(), ..request.clone() };
    let placed = placed(&candidate, &host, &request, ask.sources).map_err(said)?;
    let mut warnings: Vec<String> = placed.notes.into_iter().map(|note| note.text).collect();
    if placed.wall == Isolation::Hyperv {
        warnings.extend(notes);
    }
    let kernel = placed.kernel.map(|kernel| kernel.name);
    Ok(Choice { image: candidate.image, wall: placed.wall, kernel, machine, warnings })
}

/// All of them as an index, if any is for what is asked for. If none is, the
/// name means the first, and that is said of it.
fn several(candidates: &[Candidate], host: &Host, wanted: Option<&Wanted>) -> Option<Image> {
    let platform = wanted.map_or_else(|| host.platform(), |wanted| wanted.platform.clone());
    let admitted = |candidate: &Candidate| wanted.is_none_or(|wanted| wanted.admits(&candidate.image.os_version));
    let mut manifests: Vec<Manifest> = candidates.iter().map(Candidate::manifest).collect();
    for (manifest, candidate) in manifests.iter_mut().zip(candidates) {
        if !admitted(candidate) {
            // Keeps its place, and is for nobody.
            manifest.platform = Platform::new("unknown", "unknown", "");
        }
    }
    let serves = manifests.iter().any(|manifest| platform.accepts(&manifest.platform).is_some());
    (candidates.len() > 1 && serves).then(|| Image::index(manifests))
}

/// The image behind the thickest wall that any of its sources asks for.
fn placed(
    candidate: &Candidate,
    host: &Host,
    request: &Request,
    sources: Option<&[Source]>,
) -> std::result::Result<Placement, Refusal> {
    let image = Image::of(candidate.manifest());
    let (first, rest) = match sources {
        None => (Source::of(candidate), &[][..]),
        Some([]) => (Source::nothing(), &[][..]),
        Some([first, rest @ ..]) => (first.clone(), rest),
    };
    let behind = |source: &Source| place(&source.named(image.clone()), host, request).map_err(|refusal| *refusal);
    let mut thickest = behind(&first)?;
    for source in rest {
        // None of them may be refused, whatever another allows.
        let placed = behind(source)?;
        if thickest.wall == Isolation::Process {
            thickest = placed;
        }
    }
    Ok(thickest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::ImageConfig;
    use hako_model::Digest;
    use hako_platform::PolicyRule;

    fn digest(n: u8) -> Digest {
        format!("sha256:{}", hex::encode([n; 32])).parse().unwrap()
    }

    fn candidate(n: u8, platform: &str, names: &[&str]) -> Candidate {
        let wanted = Wanted::read(platform).unwrap().unwrap();
        let image = ResolvedImage {
            id: digest(n),
            config: ImageConfig::default(),
            os: wanted.platform.os,
            architecture: wanted.platform.architecture,
            variant: wanted.platform.variant,
            os_version: wanted.version.map(|version| version.to_string()).unwrap_or_default(),
            os_features: Vec::new(),
            layers: Vec::new(),
            chain: digest(n),
            repo_tags: Vec::new(),
            repo_digests: Vec::new(),
        };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Candidate { image, names, digests: Vec::new(), annotations: Vec::new() }
    }

    fn wanted(text: &str) -> Option<Wanted> {
        Wanted::read(text).unwrap()
    }

    #[test]
    fn a_name_alone_means_the_hosts_image_or_else_the_first() {
        let host = Host::linux("amd64");
        let both = [candidate(1, "linux/arm64", &[]), candidate(2, "linux/amd64", &[])];
        let image = several(&both, &host, None).unwrap();
        assert_eq!(place(&image, &host, &Request::default()).unwrap().manifest, 1);
        assert!(several(&both[..1], &host, None).is_none());
        let foreign = [candidate(1, "linux/arm64", &[]), candidate(2, "linux/s390x", &[])];
        assert!(several(&foreign, &host, None).is_none());
        assert!(several(&foreign, &host, wanted("linux/s390x").as_ref()).is_some());
    }

    #[test]
    fn a_version_that_is_asked_for_leaves_out_others() {
        let host = Host::named("windows-server-2022").unwrap();
        let both = [candidate(1, "windows(10.0.20348.1)/amd64", &[]), candidate(2, "windows(10.0.20348.2)/amd64", &[])];
        let at = |text: &str| {
            let wanted = wanted(text);
            let request = Request { platform: wanted.clone().map(|wanted| wanted.platform), ..Request::default() };
            place(&several(&both, &host, wanted.as_ref()).unwrap(), &host, &request).unwrap().manifest
        };
        assert_eq!((at("windows/amd64"), at("windows(10.0.20348.1)/amd64")), (1, 0));
    }

    /// What a step is made of: one foreign image among ours is one too many.
    #[test]
    fn a_step_is_held_by_all_that_it_is_made_of() {
        let host = Host::linux("amd64");
        let mut rule = PolicyRule::new("foreign", &[], Isolation::Hyperv);
        rule.except_images = vec!["r.example/*".to_owned()];
        let request = Request { policy: Policy(vec![rule]), ..Request::default() };
        let (ours, theirs) =
            (candidate(1, "linux", &["r.example/a:1"]), candidate(2, "linux", &["docker.io/library/busybox:latest"]));
        let step = candidate(3, "linux", &[]);
        let [ours, theirs] = [&ours, &theirs].map(Source::of);
        let wall = |sources: &[Source]| placed(&step, &host, &request, Some(sources)).unwrap().wall;
        assert_eq!(wall(std::slice::from_ref(&ours)), Isolation::Process);
        assert_eq!(wall(&[ours.clone(), theirs.clone()]), Isolation::Hyperv);
        assert_eq!(wall(&[theirs.clone(), ours.clone()]), Isolation::Hyperv);
        assert_eq!(wall(&[]), Isolation::Hyperv);
        let asked = Request { isolation: Some(Isolation::Process), ..request.clone() };
        assert!(placed(&step, &host, &asked, Some(&[ours, theirs])).is_err());
    }
}
