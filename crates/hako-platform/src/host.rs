//! What is known of a host. It is read from JSON (one flat object, unknown keys
//! refused) into types in which a Linux host has no Windows build:
//!
//! ```json
//! {"os": "windows", "architecture": "amd64", "version": "10.0.20348.1006",
//!  "product": "server", "install": "core", "edition": "standard",
//!  "hyperv": {"lacks": ["the Hyper-V role"]}}
//! ```
//! ```json
//! {"os": "linux", "architecture": "amd64", "kernel": "6.1.0", "interpreters": ["arm64"],
//!  "guests": [{"name": "default", "os": "linux", "architecture": "amd64", "kernel": "6.12"}],
//!  "process": "works", "hyperv": "works"}
//! ```

use crate::{KernelVersion, OsVersion, Platform, tables, tables::Row};
use hako_model::Isolation;
use serde::{Deserialize, Serialize};

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Host {
    /// How texts call it; may be empty.
    pub name: String,
    /// Go's name of its architecture.
    pub architecture: String,
    /// Its variant, if it is known.
    pub variant: String,
    /// The operating system, and what is known of it.
    pub os: HostOs,
    /// Kernels that a virtual machine can boot here, the usual one first.
    pub guests: Vec<GuestKernel>,
    /// Whether the process wall works.
    pub process: WallState,
    /// Whether the hyperv wall works.
    pub hyperv: WallState,
    /// Processors; 0 is unknown.
    pub cpus: u32,
    /// Bytes of memory; 0 is unknown.
    pub memory: u64,
    /// Virtual machines are emulated.
    pub emulated: bool,
}

/// The operating system of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostOs {
    /// Linux.
    Linux(LinuxHost),
    /// Windows.
    Windows(WindowsHost),
}

/// A Linux host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinuxHost {
    /// Its kernel, if it is known.
    pub kernel: Option<KernelVersion>,
    /// Other architectures that it runs by a registered interpreter
    /// (`binfmt_misc`), by Go's names.
    pub interpreters: Vec<String>,
}

/// A Windows host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowsHost {
    /// `10.0.20348.1006`.
    pub version: OsVersion,
    /// Client or server.
    pub product: Product,
    /// How it is installed.
    pub install: Install,
    /// `standard`, `datacenter`, `pro`, `enterprise`; may be empty.
    pub edition: String,
}

/// What Windows calls its product type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// Windows 10 and 11.
    Client,
    /// Windows Server.
    Server,
}

/// The installation options of Windows Server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Install {
    /// With a desktop.
    #[default]
    Full,
    /// Server Core.
    Core,
    /// Nano Server.
    Nano,
}

/// Whether a wall works on a host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WallState {
    /// Nobody has looked: the rules take it to work, and say so.
    #[default]
    Unprobed,
    /// It was seen to work.
    Works,
    /// It does not, for want of these.
    Lacks(Vec<String>),
}

/// A kernel that a virtual machine can boot, with an emulator or a hypervisor for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestKernel {
    /// What `--kernel` takes.
    pub name: String,
    /// `linux`.
    pub os: String,
    /// Go's name.
    pub architecture: String,
    /// Of the processor that the guest sees; empty is the host's where the
    /// architecture is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Its release, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelVersion>,
}

/// A host in JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    os: String,
    architecture: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
    /// As /proc/cpuinfo has them: the variant of amd64, where it is not said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpu_features: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<OsVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<Product>,
    #[serde(skip_serializing_if = "Option::is_none")]
    install: Option<Install>,
    #[serde(skip_serializing_if = "String::is_empty")]
    edition: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<KernelVersion>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interpreters: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    guests: Vec<GuestKernel>,
    process: WallState,
    hyperv: WallState,
    #[serde(skip_serializing_if = "is_zero")]
    cpus: u32,
    #[serde(skip_serializing_if = "is_zero")]
    memory: u64,
    #[serde(skip_serializing_if = "is_false")]
    emulated: bool,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

// serde gives a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// JSON that is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Neither of the two.
    #[error("host's os is {0:?}: linux or windows is known")]
    Os(String),
    /// No architecture.
    #[error("host has no architecture")]
    Architecture,
    /// A Windows host without what every rule needs.
    #[error("Windows host has no {0}")]
    Missing(&'static str),
    /// What the other system has.
    #[error("a {os} host has no {key}")]
    Foreign {
        /// The system.
        os: &'static str,
        /// The key.
        key: &'static str,
    },
}

impl TryFrom<Document> for Host {
    type Error = HostError;
    fn try_from(document: Document) -> Result<Self, HostError> {
        if document.architecture.is_empty() {
            return Err(HostError::Architecture);
        }
        let platform = Platform::new(&document.os, &document.architecture, &document.variant);
        let level = tables().level(&document.cpu_features);
        let variant = if platform.variant.is_empty() && platform.architecture == "amd64" {
            level.to_owned()
        } else {
            platform.variant
        };
        let foreign = |os, keys: &[(&'static str, bool)]| {
            let wrong = keys.iter().find(|(_, present)| *present);
            wrong.map_or(Ok(()), |(key, _)| Err(HostError::Foreign { os, key }))
        };
        let os = match platform.os.as_str() {
            "linux" => {
                foreign(
                    "Linux",
                    &[
                        ("version", document.version.is_some()),
                        ("product", document.product.is_some()),
                        ("install", document.install.is_some()),
                        ("edition", !document.edition.is_empty()),
                    ],
                )?;
                let names = document.interpreters.iter().map(|name| Platform::new("linux", name, "").architecture);
                HostOs::Linux(LinuxHost { kernel: document.kernel, interpreters: names.collect() })
            }
            "windows" => {
                foreign(
                    "Windows",
                    &[("kernel", document.kernel.is_some()), ("interpreters", !document.interpreters.is_empty())],
                )?;
                HostOs::Windows(WindowsHost {
                    version: document.version.ok_or(HostError::Missing("version"))?,
                    product: document.product.ok_or(HostError::Missing("product"))?,
                    install: document.install.unwrap_or_default(),
                    edition: document.edition,
                })
            }
            _ => return Err(HostError::Os(document.os)),
        };
        Ok(Self {
            name: document.name,
            architecture: platform.architecture,
            variant,
            os,
            guests: document.guests,
            process: document.process,
            hyperv: document.hyperv,
            cpus: document.cpus,
            memory: document.memory,
            emulated: document.emulated,
        })
    }
}

impl From<Host> for Document {
    fn from(host: Host) -> Self {
        let mut document = Self {
            name: host.name,
            architecture: host.architecture,
            variant: host.variant,
            guests: host.guests,
            process: host.process,
            hyperv: host.hyperv,
            cpus: host.cpus,
            memory: host.memory,
            emulated: host.emulated,
            ..Self::default()
        };
        match host.os {
            HostOs::Linux(linux) => {
                "linux".clone_into(&mut document.os);
                document.kernel = linux.kernel;
                document.interpreters = linux.interpreters;
            }
            HostOs::Windows(windows) => {
                "windows".clone_into(&mut document.os);
                document.version = Some(windows.version);
                document.product = Some(windows.product);
                document.install = Some(windows.install);
                document.edition = windows.edition;
            }
        }
        document
    }
}

impl Host {
    /// A host of which only this is known.
    #[must_use]
    pub fn new(architecture: &str, os: HostOs) -> Self {
        Self {
            name: String::new(),
            architecture: architecture.to_owned(),
            variant: String::new(),
            os,
            guests: Vec::new(),
            process: WallState::default(),
            hyperv: WallState::default(),
            cpus: 0,
            memory: 0,
            emulated: false,
        }
    }

    /// A Linux host with a guest kernel of its own architecture.
    #[must_use]
    pub fn linux(architecture: &str) -> Self {
        let guest = GuestKernel::new("default", &Platform::new("linux", architecture, ""));
        Self { guests: vec![guest], ..Self::new(architecture, HostOs::Linux(LinuxHost::default())) }
    }

    /// A Windows host on amd64.
    #[must_use]
    pub fn windows(version: OsVersion, product: Product) -> Self {
        let os = WindowsHost { version, product, install: Install::Full, edition: String::new() };
        Self::new("amd64", HostOs::Windows(os))
    }

    /// A row of the matrix, by its name.
    #[must_use]
    pub fn named(id: &str) -> Option<Self> {
        tables().hosts.iter().find(|row| row.id.eq_ignore_ascii_case(id)).map(Self::of_row)
    }

    pub(crate) fn of_row(row: &Row) -> Self {
        let architecture = if row.architecture.is_empty() { "amd64" } else { &row.architecture };
        let mut host = match row.os.as_str() {
            "windows" => {
                let product = if row.product == "client" { Product::Client } else { Product::Server };
                let mut host = Self::windows(OsVersion::of_build(row.build), product);
                architecture.clone_into(&mut host.architecture);
                host
            }
            _ => Self::linux(architecture),
        };
        host.name.clone_from(&row.title);
        host
    }

    /// What it runs itself.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform::new(self.os_name(), &self.architecture, &self.variant)
    }

    /// `linux` or `windows`.
    #[must_use]
    pub fn os_name(&self) -> &'static str {
        match self.os {
            HostOs::Linux(_) => "linux",
            HostOs::Windows(_) => "windows",
        }
    }

    /// Whether a wall works here.
    #[must_use]
    pub fn wall(&self, wall: Isolation) -> &WallState {
        match wall {
            Isolation::Process => &self.process,
            Isolation::Hyperv => &self.hyperv,
        }
    }

    /// The wall of those who ask for none, where nobody has configured another.
    #[must_use]
    pub fn default_wall(&self) -> Isolation {
        let defaults = &tables().defaults;
        match &self.os {
            HostOs::Linux(_) => defaults.linux,
            HostOs::Windows(windows) if windows.product == Product::Client => defaults.windows_client,
            HostOs::Windows(_) => defaults.windows_server,
        }
    }

    /// As Docker's texts name it: `windows(10.0.17763)/amd64`.
    #[must_use]
    pub fn docker_platform(&self) -> String {
        self.docker_form(&self.platform())
    }

    /// `wanted`, with this host's version where it is of its system.
    pub(crate) fn docker_form(&self, wanted: &Platform) -> String {
        match &self.os {
            HostOs::Windows(windows) if wanted.os == "windows" => {
                format!("windows({})/{}", windows.version.release(), wanted.architecture)
            }
            HostOs::Windows(_) | HostOs::Linux(_) => wanted.to_string(),
        }
    }
}

impl GuestKernel {
    /// A kernel of unknown release.
    #[must_use]
    pub fn new(name: &str, platform: &Platform) -> Self {
        Self {
            name: name.to_owned(),
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            kernel: None,
        }
    }

    /// What it runs on `host`.
    #[must_use]
    pub fn platform(&self, host: &Host) -> Platform {
        let own = Platform::new(&self.os, &self.architecture, &self.variant);
        if self.variant.is_empty() && own.architecture == host.architecture {
            return Platform::new(&self.os, &self.architecture, &host.variant);
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_both_ways() {
        for text in [
            r#"{"os":"windows","architecture":"amd64","version":"10.0.20348.1006","product":"server","install":"core",
                "edition":"standard","process":"unprobed","hyperv":{"lacks":["the Hyper-V role"]}}"#,
            r#"{"os":"linux","architecture":"x86_64","kernel":"6.1.0-18-amd64","interpreters":["aarch64"],"cpus":2,
                "guests":[{"name":"default","os":"linux","architecture":"amd64","kernel":"6.12"}],"process":"works"}"#,
        ] {
            let host: Host = serde_json::from_str(text).unwrap();
            let again: Host = serde_json::from_str(&serde_json::to_string(&host).unwrap()).unwrap();
            assert_eq!(host, again);
        }
        let linux: Host =
            serde_json::from_str(r#"{"os":"linux","architecture":"x86_64","interpreters":["aarch64"]}"#).unwrap();
        assert_eq!(linux.architecture, "amd64");
        assert!(matches!(linux.os, HostOs::Linux(LinuxHost { interpreters, .. }) if interpreters == ["arm64"]));
    }

    #[test]
    fn what_is_no_host_is_refused_by_name() {
        for (text, said) in [
            (r#"{"os":"linux"}"#, "no architecture"),
            (r#"{"os":"beos","architecture":"ppc"}"#, "\"beos\""),
            (r#"{"os":"windows","architecture":"amd64","product":"server"}"#, "no version"),
            (r#"{"os":"windows","architecture":"amd64","version":"10.0.17763"}"#, "no product"),
            (r#"{"os":"windows","architecture":"amd64","version":"ten","product":"server"}"#, "\"ten\" is no version"),
            (r#"{"os":"linux","architecture":"amd64","product":"server"}"#, "a Linux host has no product"),
            (r#"{"os":"linux","architecture":"amd64","kernle":"6.1"}"#, "kernle"),
        ] {
            let err = serde_json::from_str::<Host>(text).unwrap_err().to_string();
            assert!(err.contains(said), "{text}: {err}");
        }
    }

    #[test]
    fn cpu_features_make_the_variant() {
        let features = r#"["cx16","lahf_lm","popcnt","sse4_1","sse4_2","ssse3","sse2"]"#;
        let text = format!(r#"{{"os":"linux","architecture":"amd64","cpu-features":{features}}}"#);
        assert_eq!(serde_json::from_str::<Host>(&text).unwrap().platform().to_string(), "linux/amd64/v2");
    }

    #[test]
    fn every_row_is_a_host() {
        for row in &tables().hosts {
            assert_eq!(Host::named(&row.id).unwrap().name, row.title);
        }
        assert_eq!(Host::named("windows-11-24h2").unwrap().default_wall(), Isolation::Hyperv);
        assert!(Host::named("windows-12").is_none());
    }
}
