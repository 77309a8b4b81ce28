//! What would make a refused request work: steps that can be applied to the three
//! arguments of `place`, so that a remedy is tried before it is named.

use crate::{
    GuestKernel, Host, HostOs, Image, ImageVersion, KernelVersion, LinuxHost, Manifest, OsVersion, Platform, Product,
    Request, WallState,
    image::Form,
    reason::{Reason, named},
    sizing, tables,
};
use hako_model::Isolation;
use serde::Serialize;
use std::fmt;

/// Steps that together make the request work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Remedy(pub Vec<Step>);

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Step {
    /// Another wall.
    Wall {
        /// `--isolation`.
        isolation: Isolation,
    },
    /// Another of the image's platforms.
    Platform {
        /// `--platform`.
        platform: Platform,
    },
    /// Another host.
    Host {
        /// What it has to run.
        platform: Platform,
        /// Its version of Windows.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<OsVersion>,
        /// Its kernel at least.
        #[serde(skip_serializing_if = "Option::is_none")]
        kernel: Option<KernelVersion>,
    },
    /// An update of this host's Windows.
    UpdateHost {
        /// To this version.
        version: OsVersion,
    },
    /// Another kernel for this host.
    UpgradeKernel {
        /// At least.
        kernel: KernelVersion,
    },
    /// An interpreter, registered with `binfmt_misc`.
    InstallInterpreter {
        /// For this architecture.
        architecture: String,
    },
    /// A guest kernel, and an emulator for it.
    InstallGuest {
        /// Under this name, where one is asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// For this platform.
        platform: Platform,
        /// At least.
        #[serde(skip_serializing_if = "Option::is_none")]
        kernel: Option<KernelVersion>,
    },
    /// What a wall lacks.
    Provide {
        /// The wall.
        isolation: Isolation,
        /// These.
        what: Vec<String>,
    },
    /// Another guest kernel, or none by name.
    Kernel {
        /// `--kernel`.
        name: Option<String>,
    },
    /// The override for images newer than their host.
    AllowNewer,
    /// No options of a virtual machine, or not these.
    WithoutVm {
        /// Their names.
        options: Vec<String>,
    },
    /// A larger virtual machine.
    VmMemory {
        /// `--vm-memory` in MiB, at least.
        mib: u64,
    },
    /// A virtual machine with more processors.
    VmCpus {
        /// `--vm-cpus`, at least.
        cpus: u32,
    },
    /// A smaller limit.
    Memory {
        /// `--memory` in bytes.
        bytes: u64,
    },
    /// Another image.
    Image {
        /// For this platform.
        platform: Platform,
        /// With this `os.version`.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<OsVersion>,
    },
}

/// The three arguments of `place`.
#[derive(Debug, Clone)]
pub struct Situation {
    /// The image.
    pub image: Image,
    /// The host.
    pub host: Host,
    /// The request.
    pub request: Request,
}

impl Remedy {
    /// What the three would be after it.
    #[must_use]
    pub fn follow(&self, mut situation: Situation) -> Situation {
        for step in &self.0 {
            step.follow(&mut situation);
        }
        situation
    }
}

impl Step {
    pub(crate) fn follow(&self, situation: &mut Situation) {
        let Situation { image, host, request } = situation;
        match self {
            Self::Wall { isolation } => request.isolation = Some(*isolation),
            Self::Platform { platform } => request.platform = Some(platform.clone()),
            Self::Host { platform, version, kernel } => *host = other_host(platform, *version, *kernel, request),
            Self::UpdateHost { version } => {
                if let HostOs::Windows(windows) = &mut host.os {
                    windows.version = *version;
                }
            }
            Self::UpgradeKernel { kernel } => {
                if let HostOs::Linux(linux) = &mut host.os {
                    linux.kernel = Some(*kernel);
                }
            }
            Self::InstallInterpreter { architecture } => {
                if let HostOs::Linux(linux) = &mut host.os {
                    linux.interpreters.push(architecture.clone());
                }
            }
            Self::InstallGuest { name, platform, kernel } => {
                let name = name.clone().or_else(|| request.vm.kernel.clone()).unwrap_or_else(|| "added".to_owned());
                host.guests.push(GuestKernel { kernel: *kernel, ..GuestKernel::new(&name, platform) });
            }
            Self::Provide { isolation: Isolation::Process, .. } => host.process = WallState::Works,
            Self::Provide { isolation: Isolation::Hyperv, .. } => host.hyperv = WallState::Works,
            Self::Kernel { name } => request.vm.kernel.clone_from(name),
            Self::AllowNewer => request.allow_newer = true,
            Self::WithoutVm { options } => {
                let vm = &mut request.vm;
                for option in options {
                    match option.as_str() {
                        "memory" => vm.memory_mib = None,
                        "cpus" => vm.cpus = None,
                        "kernel" => vm.kernel = None,
                        "kernel-args" => vm.kernel_args.clear(),
                        "disk" => vm.disk_mib = None,
                        _ => vm.accelerator = None,
                    }
                }
            }
            Self::VmMemory { mib } => request.vm.memory_mib = Some(*mib),
            Self::VmCpus { cpus } => request.vm.cpus = Some(*cpus),
            Self::Memory { bytes } => request.memory = *bytes,
            Self::Image { platform, version } => {
                let version = version.map_or(ImageVersion::Unsaid, ImageVersion::Known);
                image.form = Form::Manifest(Manifest { version, ..Manifest::new(platform.clone()) });
            }
        }
    }
}

/// A host made for a platform: both walls work on it, and it has a guest kernel.
fn other_host(
    platform: &Platform,
    version: Option<OsVersion>,
    kernel: Option<KernelVersion>,
    request: &Request,
) -> Host {
    let mut host = if platform.os == "windows" {
        let newest = tables().process.long_term.last().copied().unwrap_or_default();
        let mut host = Host::windows(version.unwrap_or_else(|| OsVersion::of_build(newest)), Product::Server);
        host.architecture.clone_from(&platform.architecture);
        host
    } else {
        let name = request.vm.kernel.as_deref().unwrap_or("default");
        let guest = GuestKernel { kernel, ..GuestKernel::new(name, platform) };
        let os = HostOs::Linux(LinuxHost { kernel, interpreters: Vec::new() });
        Host { guests: vec![guest], ..Host::new(&platform.architecture, os) }
    };
    host.variant.clone_from(&platform.variant);
    host.process = WallState::Works;
    host.hyperv = WallState::Works;
    host
}

/// What may help against `reason`, the most likely first. Not all of it does.
pub(crate) fn candidates(reason: &Reason, situation: &Situation) -> Vec<Step> {
    let mut steps = Vec::new();
    against(reason, situation, &mut steps);
    if matches!(reason, Reason::NoManifest { .. } | Reason::Platform { .. }) {
        let named = situation.image.manifests().iter().filter(|manifest| manifest.is_named());
        let mut platforms: Vec<&Platform> = Vec::new();
        for manifest in named {
            if platforms.len() < MOST_PLATFORMS && !platforms.contains(&&manifest.platform) {
                platforms.push(&manifest.platform);
            }
        }
        steps.extend(platforms.into_iter().map(|platform| Step::Platform { platform: platform.clone() }));
    }
    steps.extend(fitting_host(situation));
    let mut unique: Vec<Step> = Vec::new();
    for step in steps {
        if !unique.contains(&step) {
            unique.push(step);
        }
    }
    unique
}

/// Everything at once, for who asks for many things that cannot be: on a host for
/// the image, or else with an image for the host's platform, of which there are many.
pub(crate) fn last_resorts(situation: &Situation) -> Vec<Vec<Step>> {
    let Situation { host, request, .. } = situation;
    let own = host.platform();
    let version = host_version(host);
    let image = Step::Image { platform: own.clone(), version };
    let alike = Step::Host { platform: own.clone(), version, kernel: None };
    let mut resorts = vec![(own, vec![image, alike])];
    if let (Some(manifest), Some(fitting)) = (meant(situation), fitting_host(situation)) {
        resorts.insert(0, (manifest.platform.clone(), vec![fitting]));
    }
    let whole = |(platform, mut steps): (Platform, Vec<Step>)| {
        if request.platform.is_some() {
            steps.push(Step::Platform { platform });
        }
        steps.push(Step::Wall { isolation: Isolation::Hyperv });
        let options: Vec<String> = request.vm.given().into_iter().map(str::to_owned).collect();
        if !options.is_empty() {
            steps.push(Step::WithoutVm { options });
        }
        steps
    };
    resorts.into_iter().map(whole).collect()
}

/// An index may have dozens; each is tried.
const MOST_PLATFORMS: usize = 3;

fn host_version(host: &Host) -> Option<OsVersion> {
    match &host.os {
        HostOs::Windows(windows) => Some(windows.version),
        HostOs::Linux(_) => None,
    }
}

fn against(reason: &Reason, situation: &Situation, steps: &mut Vec<Step>) {
    let Situation { host, request, .. } = situation;
    let wall = |isolation| Step::Wall { isolation };
    match reason {
        Reason::Policy { least, .. } | Reason::ImageWall { least, .. } => steps.push(wall(*least)),
        Reason::ImageKernel { wall: Isolation::Process, least, .. } => {
            steps.extend([wall(Isolation::Hyperv), Step::UpgradeKernel { kernel: *least }]);
        }
        Reason::ImageKernel { wall: Isolation::Hyperv, least, .. } => {
            let other = host.guests.iter().find(|guest| guest.kernel.is_some_and(|kernel| kernel >= *least));
            if let Some(guest) = other.filter(|_| request.vm.kernel.is_some()) {
                steps.push(Step::Kernel { name: Some(guest.name.clone()) });
            }
            steps.extend(guest_for(situation, Some(*least)));
            steps.push(Step::Kernel { name: None });
        }
        Reason::NoManifest { but, .. } => {
            for reason in but.iter().take(3) {
                against(reason, situation, steps);
            }
        }
        // A host or an image for them, as for all.
        Reason::Platform { .. }
        | Reason::OperatingSystem { .. }
        | Reason::UnreadableVersion { .. }
        | Reason::NanoHost { .. } => {}
        Reason::Architecture { wall: Isolation::Process, image, host } => {
            steps.push(wall(Isolation::Hyperv));
            if image.os == "linux" && host.os == "linux" && image.architecture != host.architecture {
                steps.push(Step::InstallInterpreter { architecture: image.architecture.clone() });
            }
        }
        Reason::Architecture { wall: Isolation::Hyperv, image, .. } => {
            if image.os == "linux" {
                steps.extend(guest_for(situation, None));
            }
            steps.push(wall(Isolation::Process));
        }
        Reason::Version { wall: Isolation::Process, .. } | Reason::Client { .. } | Reason::NanoFamily { .. } => {
            steps.push(wall(Isolation::Hyperv));
        }
        Reason::Version { wall: Isolation::Hyperv, image, host } => {
            if image > host {
                steps.push(Step::AllowNewer);
            }
            steps.push(wall(Isolation::Process));
        }
        Reason::Baseline { image, host, image_is_older } => {
            steps.push(wall(Isolation::Hyperv));
            if *image_is_older {
                let version = Some(*host);
                steps.push(Step::Image { platform: situation.host.platform(), version });
            } else {
                steps.push(Step::UpdateHost { version: *image });
            }
        }
        Reason::WallLacks { wall: lacking, lacks } => {
            steps.push(Step::Provide { isolation: *lacking, what: lacks.clone() });
            steps.push(wall(match lacking {
                Isolation::Process => Isolation::Hyperv,
                Isolation::Hyperv => Isolation::Process,
            }));
        }
        Reason::NoKernel { installed, .. } => {
            if let Some(first) = installed.first() {
                steps.push(Step::Kernel { name: Some(first.clone()) });
            }
            steps.push(Step::Kernel { name: None });
            steps.extend(guest_for(situation, None));
        }
        Reason::VmOfProcess { options } => {
            steps.extend([wall(Isolation::Hyperv), Step::WithoutVm { options: options.clone() }]);
        }
        Reason::VmTooSmall { needs_mib, .. } => {
            steps.push(Step::VmMemory { mib: *needs_mib });
            steps.push(Step::WithoutVm { options: vec!["memory".to_owned()] });
        }
        Reason::VmTooFew { needs, .. } => {
            if *needs <= sizing::MOST_CPUS {
                steps.push(Step::VmCpus { cpus: *needs });
            }
            steps.push(Step::WithoutVm { options: vec!["cpus".to_owned()] });
        }
        Reason::Accelerator { .. } => steps.push(Step::WithoutVm { options: vec!["accelerator".to_owned()] }),
        Reason::Memory { has_mib, .. } => {
            let bytes = sizing::most_limit(*has_mib);
            if request.vm.memory_mib.is_some() {
                steps.push(Step::WithoutVm { options: vec!["memory".to_owned()] });
            }
            if bytes > 0 {
                steps.push(Step::Memory { bytes });
            }
            steps.push(wall(Isolation::Process));
        }
    }
}

/// The manifest that the request is about: the first for its platform, or the
/// first that there is.
fn meant(situation: &Situation) -> Option<&Manifest> {
    let wanted = situation.request.platform.clone().unwrap_or_else(|| situation.host.platform());
    let real = |manifest: &&Manifest| manifest.is_named();
    let all = situation.image.manifests();
    let serving = all.iter().filter(real).filter(|manifest| wanted.accepts(&manifest.platform).is_some());
    // The newest of them: its host is one that is still there.
    serving.max_by_key(|manifest| manifest.version.known()).or_else(|| all.iter().find(real))
}

fn guest_for(situation: &Situation, kernel: Option<KernelVersion>) -> Option<Step> {
    let manifest = meant(situation).filter(|manifest| manifest.platform.os == "linux")?;
    Some(Step::InstallGuest {
        name: situation.request.vm.kernel.clone(),
        platform: manifest.platform.clone(),
        kernel: kernel.max(manifest.wish.kernel),
    })
}

/// A host that the image is made for.
fn fitting_host(situation: &Situation) -> Option<Step> {
    let manifest = meant(situation)?;
    let version = match (manifest.platform.os.as_str(), &manifest.version) {
        ("linux", _) => None,
        ("windows", ImageVersion::Known(version)) => Some(*version),
        ("windows", _) => None,
        _ => return None,
    };
    Some(Step::Host { platform: manifest.platform.clone(), version, kernel: manifest.wish.kernel })
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wall { isolation } => write!(f, "use --isolation={isolation}"),
            Self::Platform { platform } => write!(f, "use --platform={platform}"),
            Self::Host { platform, version: Some(version), .. } => {
                write!(f, "use a host with Windows {} on {}", named(*version), platform.architecture)
            }
            Self::Host { platform, version: None, kernel } => {
                write!(f, "use a {platform} host")?;
                kernel.map_or(Ok(()), |kernel| write!(f, " with kernel {kernel} or newer"))
            }
            Self::UpdateHost { version } => write!(f, "update this host to {version}"),
            Self::UpgradeKernel { kernel } => write!(f, "give this host kernel {kernel} or newer"),
            Self::InstallInterpreter { architecture } => {
                write!(f, "register an interpreter for {architecture} (binfmt_misc; Debian: qemu-user-static)")
            }
            Self::InstallGuest { name, platform, kernel } => {
                write!(f, "install a guest kernel")?;
                name.as_ref().map_or(Ok(()), |name| write!(f, " {name:?}"))?;
                write!(f, " for {platform} and an emulator for it")?;
                kernel.map_or(Ok(()), |kernel| write!(f, ", release {kernel} or newer"))
            }
            Self::Provide { isolation, what } => {
                write!(f, "provide what the {isolation} wall lacks: {}", what.join(", "))
            }
            Self::Kernel { name: Some(name) } => write!(f, "use --kernel={name}"),
            Self::Kernel { name: None } => write!(f, "leave out --kernel"),
            Self::AllowNewer => write!(f, "allow images newer than the host (an override, not supported by Microsoft)"),
            Self::WithoutVm { options } => {
                let flag =
                    |name: &String| if name == "kernel" { "--kernel".to_owned() } else { format!("--vm-{name}") };
                write!(f, "leave out {}", options.iter().map(flag).collect::<Vec<_>>().join(", "))
            }
            Self::VmMemory { mib } => write!(f, "use --vm-memory={mib}m or more"),
            Self::VmCpus { cpus } => write!(f, "use --vm-cpus={cpus} or more"),
            Self::Memory { bytes } => write!(f, "use --memory={}m or less", bytes >> 20),
            Self::Image { platform, version } => {
                write!(f, "use an image for {platform}")?;
                version.map_or(Ok(()), |version| write!(f, " of Windows {version}"))
            }
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            let before = if at == 0 { "" } else { " and " };
            write!(f, "{before}{step}")?;
        }
        Ok(())
    }
}
