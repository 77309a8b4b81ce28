//! Why not: each reason with Docker's words for it, where Docker has any, and
//! what they mean.

use crate::{Accelerator, Family, KernelVersion, OsVersion, Platform, tables};
use hako_model::{ErrorKind, Isolation};
use serde::Serialize;
use std::fmt;

/// Why an image may not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Reason {
    /// The administrator's rule asks for a thicker wall than was asked for.
    Policy {
        /// Its name.
        rule: String,
        /// The wall that was asked for.
        asked: Isolation,
        /// The thinnest that it allows.
        least: Isolation,
    },
    /// The image asks for a thicker wall than was asked for.
    ImageWall {
        /// The wall that was asked for.
        asked: Isolation,
        /// What the image wants at least.
        least: Isolation,
    },
    /// The image asks for a newer kernel.
    ImageKernel {
        /// The wall.
        wall: Isolation,
        /// What the image wants at least.
        least: KernelVersion,
        /// What there is; `None` where it is not known.
        has: Option<KernelVersion>,
    },
    /// No manifest of an index serves.
    NoManifest {
        /// As Docker names what was looked for.
        wanted: String,
        /// What the index has.
        offered: Vec<String>,
        /// Why those for the right platform do not serve.
        but: Vec<Reason>,
    },
    /// The one manifest is for another platform than was asked for.
    Platform {
        /// What was asked for.
        wanted: Box<Platform>,
        /// What it is for.
        actual: Box<Platform>,
    },
    /// Another operating system.
    OperatingSystem {
        /// The image's.
        image: String,
        /// The host's.
        host: String,
    },
    /// Another architecture, or a higher variant.
    Architecture {
        /// The wall.
        wall: Isolation,
        /// The image's platform.
        image: Box<Platform>,
        /// The host's.
        host: Box<Platform>,
    },
    /// A Windows image that the host's Windows does not take.
    Version {
        /// The wall.
        wall: Isolation,
        /// The image's.
        image: OsVersion,
        /// The host's.
        host: OsVersion,
    },
    /// `os.version` of the image cannot be read.
    UnreadableVersion {
        /// What it says.
        text: String,
    },
    /// Host and image are on different sides of an update.
    Baseline {
        /// The image's version.
        image: OsVersion,
        /// The host's.
        host: OsVersion,
        /// Whether it is the image that lacks the update.
        image_is_older: bool,
    },
    /// Windows 10 before it had a process wall.
    Client {
        /// The host's version.
        host: OsVersion,
    },
    /// Nano Server as a host, which it no longer is.
    NanoHost {
        /// The host's version.
        host: OsVersion,
    },
    /// Another family than Nano Server runs.
    NanoFamily {
        /// The image's.
        image: Family,
    },
    /// The wall does not work on the host.
    WallLacks {
        /// The wall.
        wall: Isolation,
        /// For want of these.
        lacks: Vec<String>,
    },
    /// No guest kernel of this name.
    NoKernel {
        /// The name.
        name: String,
        /// Those that there are.
        installed: Vec<String>,
    },
    /// Options of a virtual machine for a container that has none.
    VmOfProcess {
        /// Their names.
        options: Vec<String>,
    },
    /// A virtual machine in which the workload has no room.
    VmTooSmall {
        /// MiB that were asked for.
        memory_mib: u64,
        /// MiB that it needs.
        needs_mib: u64,
    },
    /// A virtual machine with fewer processors than the workload may use.
    VmTooFew {
        /// As many were asked for.
        cpus: u32,
        /// As many the workload's limit needs.
        needs: u32,
    },
    /// The host has no such accelerator.
    Accelerator {
        /// What was asked for.
        asked: Accelerator,
    },
    /// The virtual machine would not fit the host.
    Memory {
        /// MiB that it needs.
        needs_mib: u64,
        /// MiB that the host has.
        has_mib: u64,
    },
}

impl Reason {
    /// What the protocols make of it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Policy { .. } => ErrorKind::Forbidden,
            Self::NoManifest { .. } | Self::Platform { .. } => ErrorKind::NotFound,
            Self::OperatingSystem { .. } | Self::Architecture { .. } | Self::WallLacks { .. } => ErrorKind::Unsupported,
            Self::ImageWall { .. }
            | Self::ImageKernel { .. }
            | Self::Version { .. }
            | Self::UnreadableVersion { .. }
            | Self::Baseline { .. }
            | Self::Client { .. }
            | Self::NanoHost { .. }
            | Self::NanoFamily { .. }
            | Self::NoKernel { .. }
            | Self::VmOfProcess { .. }
            | Self::VmTooSmall { .. }
            | Self::VmTooFew { .. }
            | Self::Accelerator { .. }
            | Self::Memory { .. } => ErrorKind::InvalidParameter,
        }
    }

    /// Whether the image asks for more than the wall gives: who left the choice
    /// of the wall to the engine gets a thicker one.
    pub(crate) fn is_wish(&self) -> bool {
        matches!(
            self,
            Self::ImageWall { asked: Isolation::Process, .. } | Self::ImageKernel { wall: Isolation::Process, .. }
        )
    }

    /// The name of the rule that says so.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Policy { .. } => "policy",
            Self::ImageWall { .. } => "image.wall",
            Self::ImageKernel { .. } => "image.kernel",
            Self::NoManifest { .. } => "index",
            Self::Platform { .. } => "platform",
            Self::OperatingSystem { .. } => "os",
            Self::Architecture { .. } => "architecture",
            Self::Version { wall: Isolation::Process, .. } => "windows.process.build",
            Self::Version { wall: Isolation::Hyperv, .. } => "windows.hyperv.build",
            Self::UnreadableVersion { .. } => "windows.version",
            Self::Baseline { .. } => "windows.process.baseline",
            Self::Client { .. } => "windows.client",
            Self::NanoHost { .. } | Self::NanoFamily { .. } => "windows.nano",
            Self::WallLacks { .. } => "wall",
            Self::NoKernel { .. } => "kernel",
            Self::VmOfProcess { .. } | Self::VmTooSmall { .. } | Self::VmTooFew { .. } | Self::Accelerator { .. } => {
                "vm"
            }
            Self::Memory { .. } => "memory",
        }
    }

    /// Where the rule comes from.
    #[must_use]
    pub(crate) fn source(&self) -> &'static str {
        match self {
            Self::Version { wall: Isolation::Process, .. } => &tables().process.source,
            Self::Version { wall: Isolation::Hyperv, .. } => &tables().hyperv.source,
            Self::Client { .. } => &tables().client.source,
            Self::NanoHost { .. } | Self::NanoFamily { .. } => &tables().nano.source,
            _ => "",
        }
    }
}

/// `10.0.17763 (Windows Server 2019, Windows 10 1809)`.
pub(crate) fn named(version: OsVersion) -> String {
    match tables().release(version.build) {
        Some(release) => format!("{version} ({})", release.name),
        None => version.to_string(),
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { rule, asked, least } => {
                write!(f, "policy rule {rule:?} allows this image only behind the {least} wall, not behind {asked}")
            }
            Self::ImageWall { asked, least } => {
                write!(f, "the image asks for the {least} wall at least (label {}), not {asked}", crate::LABEL_WALL)
            }
            Self::ImageKernel { wall, least, has } => image_kernel(f, *wall, *least, *has),
            Self::NoManifest { wanted, offered, but } => no_manifest(f, wanted, offered, but),
            Self::Platform { wanted, actual } => write!(
                f,
                "image was found but does not match the specified platform: wanted {wanted}, actual: {actual}"
            ),
            Self::OperatingSystem { image, host } => write!(
                f,
                "image operating system \"{image}\" cannot be used on this platform: operating system is not supported \
                 (this host runs {host})"
            ),
            Self::Architecture { wall, image, host } => architecture(f, *wall, image, host),
            Self::Version { wall, image, host } => version(f, *wall, *image, *host),
            Self::UnreadableVersion { text } => {
                write!(f, "the image's os.version {text:?} is no version, so that no host can be matched with it")
            }
            Self::Baseline { image, host, image_is_older } => {
                let (older, newer) = if *image_is_older { ("image", "host") } else { ("host", "image") };
                write!(
                    f,
                    "the {older} is from before the security update of February 2020 and the {newer} is not \
                     (image {image}, host {host}): behind the process wall such a container fails, mostly without a word"
                )
            }
            Self::Client { host } => write!(
                f,
                "Windows client operating systems earlier than version 1809 can only run Hyper-V containers \
                 (this host is {})",
                named(*host)
            ),
            Self::NanoHost { host } => write!(
                f,
                "Nano Server is no host for containers since Windows Server 1709 (this host is {})",
                named(*host)
            ),
            Self::NanoFamily { image } => {
                let image = if image.as_str().is_empty() { "with 32-bit graphics" } else { image.as_str() };
                write!(f, "a Nano Server host runs only images of Nano Server behind the process wall, not {image}")
            }
            Self::WallLacks { wall, lacks } => {
                write!(f, "the {wall} wall does not work on this host: it lacks {}", lacks.join(", "))
            }
            Self::NoKernel { name, installed } => {
                let installed = if installed.is_empty() { "none".to_owned() } else { installed.join(", ") };
                write!(f, "no guest kernel {name:?} is installed for this image (installed: {installed})")
            }
            Self::VmOfProcess { options } => write!(
                f,
                "options of a virtual machine ({}) are for the hyperv wall: behind process a container has none",
                options.join(", ")
            ),
            Self::VmTooSmall { memory_mib, needs_mib } => write!(
                f,
                "a virtual machine of {memory_mib} MiB has no room for the workload: it needs {needs_mib} MiB"
            ),
            Self::VmTooFew { cpus, needs } => write!(
                f,
                "a virtual machine with {cpus} processor{} cannot give its workload what --cpus allows it: that takes {needs}",
                if *cpus == 1 { "" } else { "s" }
            ),
            Self::Accelerator { asked } => {
                write!(f, "virtual machines of this host do not run by {asked}: they are emulated (tcg)")
            }
            Self::Memory { needs_mib, has_mib } => {
                write!(f, "the virtual machine needs {needs_mib} MiB of memory, and this host has {has_mib} MiB")
            }
        }
    }
}

fn image_kernel(
    f: &mut fmt::Formatter<'_>,
    wall: Isolation,
    least: KernelVersion,
    has: Option<KernelVersion>,
) -> fmt::Result {
    let has = has.map_or_else(|| "is of unknown release".to_owned(), |kernel| format!("is {kernel}"));
    let whose = match wall {
        Isolation::Process => "this host's kernel",
        Isolation::Hyperv => "the newest guest kernel",
    };
    write!(f, "the image asks for kernel {least} or newer (label {}), and {whose} {has}", crate::LABEL_KERNEL)
}

fn no_manifest(f: &mut fmt::Formatter<'_>, wanted: &str, offered: &[String], but: &[Reason]) -> fmt::Result {
    write!(f, "no matching manifest for {wanted} in the manifest list entries")?;
    for reason in but.iter().take(2) {
        write!(f, ": {reason}")?;
    }
    match offered {
        [] => write!(f, " (the index has none)"),
        some => write!(f, " (the index has {})", some.join(", ")),
    }
}

fn architecture(f: &mut fmt::Formatter<'_>, wall: Isolation, image: &Platform, host: &Platform) -> fmt::Result {
    write!(
        f,
        "The requested image's platform ({image}) does not match the detected host platform ({host}), and {}",
        match wall {
            Isolation::Process if host.os == "windows" => "Windows has no interpreter for it",
            Isolation::Process => "no interpreter for it is registered (binfmt_misc)",
            Isolation::Hyperv => "no guest kernel with an emulator for it is installed",
        }
    )
}

fn version(f: &mut fmt::Formatter<'_>, wall: Isolation, image: OsVersion, host: OsVersion) -> fmt::Result {
    if image.release() > host.release() {
        let (image, host) = (image.release(), host.release());
        return write!(f, "a Windows version {image}-based image is incompatible with a {host} host");
    }
    write!(f, "The operating system of the container does not match the operating system of the host. (0xc0370101)")?;
    let floor = tables().process_floor(host.build);
    match wall {
        Isolation::Process if floor == host.build => {
            write!(f, ": behind the process wall host {host} runs only images of build {floor}, not {}", named(image))
        }
        Isolation::Process => write!(
            f,
            ": behind the process wall host {host} runs images from build {floor} to {}, not {}",
            host.build,
            named(image)
        ),
        Isolation::Hyperv => write!(f, ": image {}, host {}", named(image), named(host)),
    }
}
