//! What is known of an image: its manifests, each for a platform, and what they
//! ask for.

mod read;

pub use read::ImageError;

use crate::{KernelVersion, OsVersion, Platform};
use hako_model::Isolation;
use serde::Serialize;

/// A label of the image, or an annotation of its manifest: the thinnest wall
/// that may hold it, `process` or `hyperv`.
pub const LABEL_WALL: &str = "hako.isolation.minimum";
/// The oldest kernel that it works on: `6.6`.
pub const LABEL_KERNEL: &str = "hako.kernel.minimum";

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Every name that is known of it, each with tag or digest.
    pub names: Vec<String>,
    /// Digests of its manifests, of its index, and its id.
    pub digests: Vec<String>,
    /// One manifest, or an index of several.
    pub form: Form,
}

/// How an image is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// For one platform.
    Manifest(Manifest),
    /// For the platforms of an index.
    Index(Vec<Manifest>),
}

/// One manifest of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// What it is for.
    pub platform: Platform,
    /// `os.version`.
    pub version: ImageVersion,
    /// `os.features`.
    pub features: Vec<String>,
    /// The family of base images that it is of.
    pub family: Family,
    /// What it asks for.
    pub wish: Wish,
    /// Its digest; may be empty.
    pub digest: String,
}

/// `os.version` of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ImageVersion {
    /// It has none.
    #[default]
    Unsaid,
    /// It has, and it means nothing.
    Unreadable(String),
    /// It has.
    Known(OsVersion),
}

/// The families of Windows base images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Nothing says which.
    #[default]
    Unknown,
    /// Nano Server.
    NanoServer,
    /// Server Core.
    ServerCore,
    /// The whole of Windows.
    Windows,
    /// The same, since 2022.
    Server,
    /// One with the 32-bit graphics interface, so not Nano Server.
    Win32k,
}

/// What an image asks for by [`LABEL_WALL`] and [`LABEL_KERNEL`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// The thinnest wall.
    pub wall: Option<Isolation>,
    /// The oldest kernel.
    pub kernel: Option<KernelVersion>,
    /// What could not be understood, for the user to read.
    pub unread: Vec<String>,
}

impl ImageVersion {
    /// Reads `os.version`.
    #[must_use]
    pub fn read(text: &str) -> Self {
        match text.trim() {
            "" => Self::Unsaid,
            text => text.parse().map_or_else(|_| Self::Unreadable(text.to_owned()), Self::Known),
        }
    }
    /// The version, if it is known.
    #[must_use]
    pub fn known(&self) -> Option<OsVersion> {
        match self {
            Self::Known(version) => Some(*version),
            Self::Unsaid | Self::Unreadable(_) => None,
        }
    }
}

impl Family {
    /// Reads it from the repository's name and `os.features`: the version does
    /// not tell Nano Server from Server Core.
    #[must_use]
    pub fn read(names: &[String], features: &[String]) -> Self {
        let named = names.iter().find_map(|name| {
            let name = name.split('@').next().unwrap_or_default();
            let last = name.rsplit('/').next().unwrap_or_default();
            match last.split(':').next().unwrap_or_default() {
                "nanoserver" => Some(Self::NanoServer),
                "servercore" => Some(Self::ServerCore),
                "windows" => Some(Self::Windows),
                "server" if name.contains("windows/") => Some(Self::Server),
                _ => None,
            }
        });
        let win32k = features.iter().any(|feature| feature == "win32k");
        named.unwrap_or(if win32k { Self::Win32k } else { Self::Unknown })
    }

    /// Its name in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown | Self::Win32k => "",
            Self::NanoServer => "nanoserver",
            Self::ServerCore => "servercore",
            Self::Windows => "windows",
            Self::Server => "server",
        }
    }
}

impl Wish {
    /// Adds what one set of labels or annotations asks for; of two the stricter
    /// counts, and what cannot be read counts as the strictest.
    pub fn add(&mut self, label: &str, value: &str) {
        match label {
            LABEL_WALL => {
                let wall = match Isolation::from_request(value) {
                    Ok(wall) => wall,
                    Err(_) => {
                        self.unread.push(format!("label {LABEL_WALL} is {value:?}, which no wall is: taken as hyperv"));
                        Some(Isolation::Hyperv)
                    }
                };
                if wall == Some(Isolation::Hyperv) || self.wall.is_none() {
                    self.wall = wall;
                }
            }
            LABEL_KERNEL => match value.trim().parse() {
                Ok(kernel) => self.kernel = self.kernel.max(Some(kernel)),
                Err(_) => self.unread.push(format!("label {LABEL_KERNEL} is {value:?}, which is no version: left out")),
            },
            _ => {}
        }
    }
}

impl Image {
    /// An image of one manifest.
    #[must_use]
    pub fn of(manifest: Manifest) -> Self {
        Self { names: Vec::new(), digests: Vec::new(), form: Form::Manifest(manifest) }
    }
    /// An image of an index.
    #[must_use]
    pub fn index(manifests: Vec<Manifest>) -> Self {
        Self { names: Vec::new(), digests: Vec::new(), form: Form::Index(manifests) }
    }
    /// Its manifests. Those for no platform (attestations) are among them.
    #[must_use]
    pub fn manifests(&self) -> &[Manifest] {
        match &self.form {
            Form::Manifest(manifest) => std::slice::from_ref(manifest),
            Form::Index(manifests) => manifests,
        }
    }
}

impl Manifest {
    /// For a platform, and asking for nothing.
    #[must_use]
    pub fn new(platform: Platform) -> Self {
        Self { platform, ..Self::default() }
    }
    /// For Windows on amd64.
    #[must_use]
    pub fn windows(version: OsVersion) -> Self {
        let version = ImageVersion::Known(version);
        Self { version, ..Self::new(Platform::new("windows", "amd64", "")) }
    }
    /// Whether it is something beside the images: `unknown/unknown`.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.platform.os == "unknown" || self.platform.architecture == "unknown"
    }
    /// Whether nothing says what it is for.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.platform.os.is_empty() || self.platform.architecture.is_empty()
    }
    /// Whether it is an image for a platform that has a name.
    pub(crate) fn is_named(&self) -> bool {
        !self.is_attestation() && !self.is_unnamed()
    }
    /// As containerd writes it: `windows(10.0.17763.1098+win32k)/amd64`.
    #[must_use]
    pub fn shown(&self) -> String {
        let version = match &self.version {
            ImageVersion::Unsaid => String::new(),
            ImageVersion::Unreadable(text) => text.clone(),
            ImageVersion::Known(version) => version.to_string(),
        };
        let features: String = self.features.iter().map(|feature| format!("+{feature}")).collect();
        if self.is_unnamed() {
            return "unnamed".to_owned();
        }
        if version.is_empty() && features.is_empty() {
            return self.platform.to_string();
        }
        let rest = self.platform.to_string();
        let rest = rest.strip_prefix(&self.platform.os).unwrap_or_default();
        format!("{}({version}{features}){rest}", self.platform.os)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_by_name_and_features() {
        let read = |name: &str, features: &[&str]| {
            Family::read(&[name.to_owned()], &features.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(read("mcr.microsoft.com/windows/nanoserver:1809", &[]), Family::NanoServer);
        assert_eq!(read("mcr.microsoft.com/windows/servercore@sha256:ab", &["win32k"]), Family::ServerCore);
        assert_eq!(read("mcr.microsoft.com/windows:1809", &[]), Family::Windows);
        assert_eq!(read("mcr.microsoft.com/windows/server:ltsc2022", &[]), Family::Server);
        assert_eq!(read("localhost:5000/app:1", &["win32k"]), Family::Win32k);
        assert_eq!(read("localhost:5000/server:1", &[]), Family::Unknown);
    }

    #[test]
    fn of_two_wishes_the_stricter_counts() {
        let wish = |labels: &[(&str, &str)]| {
            let mut wish = Wish::default();
            labels.iter().for_each(|(label, value)| wish.add(label, value));
            wish
        };
        for order in [["process", "hyperv"], ["hyperv", "process"], ["hyperv", "default"]] {
            assert_eq!(wish(&order.map(|value| (LABEL_WALL, value))).wall, Some(Isolation::Hyperv), "{order:?}");
        }
        let odd = wish(&[(LABEL_WALL, "jail"), (LABEL_KERNEL, "new"), (LABEL_KERNEL, "6.6"), (LABEL_KERNEL, "5.10")]);
        assert_eq!((odd.wall, odd.kernel), (Some(Isolation::Hyperv), Some(KernelVersion(6, 6, 0))));
        assert_eq!(odd.unread.len(), 2);
    }

    #[test]
    fn platforms_as_containerd_writes_them() {
        let mut manifest = Manifest::windows("10.0.17763.1098".parse().unwrap());
        manifest.features.push("win32k".to_owned());
        assert_eq!(manifest.shown(), "windows(10.0.17763.1098+win32k)/amd64");
        assert_eq!(Manifest::new(Platform::new("linux", "arm", "v6")).shown(), "linux/arm/v6");
    }
}
