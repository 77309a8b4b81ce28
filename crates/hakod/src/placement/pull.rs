//! Which manifest of an index is pulled. A pull names no wall: what is chosen is
//! what would run by default. What can run here in some way is pulled, whatever it
//! takes to run it; what is of another system is not.

use super::{host, request};
use crate::{
    Engine,
    http::Peer,
    images::{Choose, Wanted},
};
use hako_model::Result;
use hako_platform::{Host, Image, Reason, Request, WallState, place};

/// The choice for a client's pull.
pub fn for_pull(engine: &Engine, peer: &Peer) -> Choose {
    // A wall that works not now may work when the image is run.
    let host = Host { process: WallState::Works, hyperv: WallState::Works, ..host::facts(engine) };
    let request = request(engine, peer);
    Box::new(move |image, wanted| choose(image, &host, &request, wanted))
}

fn choose(image: &Image, host: &Host, request: &Request, wanted: Option<&Wanted>) -> Result<usize> {
    let request = Request { platform: wanted.map(|wanted| wanted.platform.clone()), ..request.clone() };
    let refusal = match place(image, host, &request) {
        Ok(placed) => return Ok(placed.manifest),
        Err(refusal) => *refusal,
    };
    if matches!(refusal.reason, Reason::NoManifest { .. } | Reason::OperatingSystem { .. }) {
        return Err(refusal.into());
    }
    let platform = request.platform.unwrap_or_else(|| host.platform());
    let rated = image.manifests().iter().enumerate().map(|(place, one)| (platform.accepts(&one.platform), place));
    // Of equals the first, as Docker takes it.
    let best = rated.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, place)| place).ok_or_else(|| refusal.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_platform::{Manifest, OsVersion, Platform};

    fn index(platforms: &[&str]) -> Image {
        Image::index(platforms.iter().map(|text| Manifest::new(Platform::parse(text).unwrap())).collect())
    }

    fn pulled(image: &Image, wanted: &str) -> std::result::Result<usize, String> {
        let wanted = Wanted::read(wanted).unwrap();
        choose(image, &Host::linux("amd64"), &Request::default(), wanted.as_ref()).map_err(|err| err.message)
    }

    #[test]
    fn what_may_run_some_day_is_pulled() {
        let image = index(&["unknown/unknown", "linux/s390x", "linux/amd64", "linux/arm64", "linux/amd64"]);
        assert_eq!(pulled(&image, ""), Ok(2));
        assert_eq!(pulled(&image, "linux/arm64"), Ok(3));
        assert_eq!(pulled(&image, "linux/s390x"), Ok(1));
        let why = pulled(&image, "linux/riscv64").unwrap_err();
        let begins = "no matching manifest for linux/riscv64 in the manifest list entries (the index has linux/s390x, ";
        assert!(why.starts_with(begins), "{why}");
        // The one image of no index: of whatever architecture.
        assert_eq!(pulled(&Image::of(Manifest::new(Platform::parse("linux/arm64").unwrap())), ""), Ok(0));
    }

    #[test]
    fn what_is_of_another_system_is_not() {
        let windows = Manifest::windows(OsVersion::of_build(17763));
        let mixed = Image::index(vec![windows.clone(), Manifest::new(Platform::parse("linux/amd64").unwrap())]);
        assert_eq!(pulled(&mixed, ""), Ok(1));
        let system = "image operating system \"windows\" cannot be used on this platform";
        assert!(pulled(&mixed, "windows/amd64").unwrap_err().starts_with(system));
        assert!(pulled(&Image::of(windows.clone()), "").unwrap_err().starts_with(system));
        let why = pulled(&Image::index(vec![windows]), "").unwrap_err();
        let begins = "no matching manifest for linux/amd64 in the manifest list entries (the index has windows(10.0.17763)/amd64)";
        assert!(why.starts_with(begins), "{why}");
    }
}
