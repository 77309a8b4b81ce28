//! Images as hako-platform takes them: what a registry offers, and what is here.

use super::{Candidate, Document, platform::Wanted};
use hako_model::{Digest, Reference};
use hako_platform::{Family, Image, ImageVersion, Manifest, Wish};
use hako_registry::{IndexEntry, Offered, Platform, Resolved};

/// An index, and for each of its manifests the place in `entries`: those of
/// another `os.version` than was asked for are left out.
pub(super) fn index(
    reference: &Reference,
    target: &Digest,
    entries: &[IndexEntry],
    wanted: Option<&Wanted>,
) -> (Image, Vec<usize>) {
    let names = vec![reference.to_string()];
    let admitted = |entry: &IndexEntry| {
        let version = entry.platform.as_ref().and_then(|offered| offered.os_version.as_deref());
        wanted.is_none_or(|wanted| wanted.admits(version.unwrap_or_default()))
    };
    let kept = || entries.iter().enumerate().filter(|(_, entry)| admitted(entry));
    let manifests = kept().map(|(_, entry)| of_entry(entry, &names)).collect();
    let image = Image { names, digests: vec![target.to_string()], ..Image::index(manifests) };
    (image, kept().map(|(place, _)| place).collect())
}

/// The one image that a pull has come to.
pub(super) fn image(reference: &Reference, resolved: &Resolved, document: &Document) -> Image {
    let names = vec![reference.to_string()];
    let platform = document.platform();
    let mut manifest = manifest(&platform, &document.os_version, &document.os_features, &names);
    labels(&mut manifest.wish, &document.config.labels);
    let digests =
        vec![resolved.target.to_string(), resolved.digest.to_string(), resolved.manifest.config.digest.to_string()];
    Image { names, digests, ..Image::of(manifest) }
}

fn of_entry(entry: &IndexEntry, names: &[String]) -> Manifest {
    let nothing = Offered::default();
    let offered = entry.platform.as_ref().unwrap_or(&nothing);
    let version = offered.os_version.as_deref().unwrap_or_default();
    let features = offered.os_features.as_deref().unwrap_or_default();
    let mut manifest = manifest(&offered.platform, version, features, names);
    labels(&mut manifest.wish, entry.annotations.iter().flatten());
    manifest.digest = entry.descriptor.digest.to_string();
    manifest
}

fn manifest(platform: &Platform, version: &str, features: &[String], names: &[String]) -> Manifest {
    Manifest {
        version: ImageVersion::read(version),
        features: features.to_vec(),
        family: Family::read(names, features),
        ..Manifest::new(Platform::new(&platform.os, &platform.architecture, &platform.variant))
    }
}

fn labels<'a>(wish: &mut Wish, labels: impl IntoIterator<Item = (&'a String, &'a String)>) {
    labels.into_iter().for_each(|(label, value)| wish.add(label, value));
}

impl Candidate {
    /// Its digests: of its manifests, of their indexes, and its id.
    #[must_use]
    pub fn all_digests(&self) -> Vec<String> {
        self.digests.iter().chain([&self.image.id]).map(ToString::to_string).collect()
    }

    /// What it is for, and what it asks for.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let image = &self.image;
        let platform = Platform::new(&image.os, &image.architecture, &image.variant);
        let mut manifest = manifest(&platform, &image.os_version, &image.os_features, &self.names);
        labels(&mut manifest.wish, &image.config.labels);
        labels(&mut manifest.wish, self.annotations.iter().map(|(label, value)| (label, value)));
        manifest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_places() {
        let digest = |n: u8| format!("sha256:{}", hex::encode([n; 32]));
        let entry = |n: u8, platform: &str| format!(r#"{{"digest":"{}","size":1,"platform":{platform}}}"#, digest(n));
        let windows = |version: &str| {
            format!(r#"{{"os":"windows","architecture":"amd64","os.version":"{version}","os.features":["win32k"]}}"#)
        };
        let text = format!(
            r#"{{"manifests":[{},{},{}]}}"#,
            entry(1, &windows("10.0.17763.1")),
            entry(2, r#"{"os":"linux","architecture":"x86_64"}"#),
            entry(3, &windows("10.0.20348.1"))
        );
        let entries = hako_registry::parse_index(text.as_bytes(), "").unwrap().unwrap();
        let reference = Reference::parse("windows/servercore:1").unwrap();
        let read = |wanted: &str| {
            let wanted = Wanted::read(wanted).unwrap();
            index(&reference, &digest(9).parse().unwrap(), &entries, wanted.as_ref())
        };
        let (image, places) = read("");
        let shown: Vec<String> = image.manifests().iter().map(Manifest::shown).collect();
        assert_eq!(shown, ["windows(10.0.17763.1+win32k)/amd64", "linux/amd64", "windows(10.0.20348.1+win32k)/amd64"]);
        assert_eq!((places, image.manifests()[0].family), (vec![0, 1, 2], Family::ServerCore));
        assert_eq!(image.manifests()[2].digest, digest(3));
        assert_eq!(image.digests, [digest(9)]);
        // The version of another system is none that was asked for.
        assert_eq!(read("windows(10.0.20348)/amd64").1, [1, 2]);
    }
}
