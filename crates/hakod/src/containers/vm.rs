//! What is asked for of a container's virtual machine (`hako.vm.*`), and what it
//! comes to. An annotation goes before a label of the container, that before a
//! label of its image, that before the engine's configuration.
//!
//! It is settled when the container is created, so that a restart of the engine
//! with another configuration changes no container that is there.

use super::record::Record;
use crate::{
    Engine,
    accelerator::{self, Status},
    containers::settings::storage_size,
    guests,
    images::ImageConfig,
    shim::ShimDir,
    spec::{self, resources::PERIOD},
    sysinfo::numbers,
};
use hako_api::types::{ContainerConfig, HostConfig, container::VirtualMachine};
use hako_model::{Error, Isolation, Result};
use hako_platform::{
    Accelerator, ImageBounds, LABEL_PREFIX, Limits, OPTIONS, Reason, VmOptions,
    sizing::{self, Sizing},
    vm::sized,
};
use serde::{Deserialize, Serialize};

/// The container's writable disk: sparse, so this is a bound and not a cost.
const DISK_MIB: u64 = 20 << 10;

/// The options of a container's virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// By the container itself: it gets that, or an error.
    pub own: VmOptions,
    /// By its image and the configuration: taken as far as it serves.
    pub usual: VmOptions,
}

impl Machine {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is said of the accelerator, if anything is.
    #[must_use]
    pub fn accelerator(&self) -> Accelerator {
        self.own.accelerator.or(self.usual.accelerator).unwrap_or(Accelerator::Auto)
    }

    /// What is added to the kernel's command line.
    #[must_use]
    pub fn kernel_args(&self) -> &[String] {
        if self.own.kernel_args.is_empty() { &self.usual.kernel_args } else { &self.own.kernel_args }
    }

    /// MiB of the writable disk. `--storage-opt size=` is asked for as well.
    ///
    /// # Errors
    /// A size that is none.
    pub fn disk_mib(&self, host: &HostConfig) -> Result<u64> {
        let size = storage_size(host, Isolation::Hyperv)?.map(|bytes| bytes.div_ceil(1 << 20));
        Ok(size.or(self.own.disk_mib).or(self.usual.disk_mib).unwrap_or(DISK_MIB))
    }

    /// How large the machine is with the limits of `host`, when it runs by
    /// `accelerator` on the engine's host.
    ///
    /// # Errors
    /// What is asked for does not go together, or not with the host.
    pub fn size(
        &self,
        engine: &Engine,
        host: &HostConfig,
        accelerator: Accelerator,
    ) -> std::result::Result<Sizing, Reason> {
        let limits = limits(host);
        let known = sizing::Host {
            memory: u64::try_from(engine.host.memory).unwrap_or(0),
            cpus: cpus(engine, host),
            emulated: accelerator == Accelerator::Tcg,
        };
        let set = |limit: u64| Some(limit).filter(|limit| *limit > 0);
        let usual = sizing::sizing(known, set(limits.memory), set(limits.nano_cpus));
        sized(&self.own, &self.usual, limits, usual, known.memory >> 20)
    }
}

/// The host's CPUs, as far as `--cpuset-cpus` gives them: more virtual ones
/// would only take turns.
fn cpus(engine: &Engine, host: &HostConfig) -> u32 {
    let all = u32::try_from(engine.host.cpus).unwrap_or(1);
    match numbers(&host.cpuset_cpus) {
        Ok(list) if !list.is_empty() => u32::try_from(list.len()).unwrap_or(all).min(all),
        Ok(_) | Err(_) => all,
    }
}

/// The limits that say how large a machine is: `-m`, and `--cpus` or what
/// `--cpu-quota` and `--cpu-period` make of them.
#[must_use]
pub fn limits(host: &HostConfig) -> Limits {
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let by_quota = || {
        let (quota, period) = (positive(host.cpu_quota)?, positive(host.cpu_period).unwrap_or(PERIOD));
        Some(quota.saturating_mul(1_000_000_000) / period)
    };
    Limits {
        memory: positive(host.memory).unwrap_or(0),
        nano_cpus: positive(host.nano_cpus).or_else(by_quota).unwrap_or(0),
    }
}

/// Annotations that begin as the engine's own and are none that it takes.
///
/// # Errors
/// One of them, by name.
pub fn check_annotations(host: &HostConfig) -> Result<()> {
    let own = |key: &&String| key.starts_with("hako.") && !key.starts_with(LABEL_PREFIX);
    if let Some(key) = host.annotations.keys().find(own) {
        let known = OPTIONS.map(|option| format!("{LABEL_PREFIX}{option}")).join(", ");
        return Err(Error::invalid(format!("invalid annotation {key}: hako.* is the engine's own (it takes {known})")));
    }
    options(host.annotations.iter(), "annotation").map(drop)
}

fn options<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>, what: &str) -> Result<VmOptions> {
    let pairs = pairs.map(|(key, value)| (key.as_str(), value.as_str()));
    VmOptions::from_labels(pairs).map_err(|err| Error::invalid(format!("{what} {LABEL_PREFIX}*: {err}")))
}

/// Reads what `config` and `host` of a request ask for, before the image is
/// merged into them, and what the image and the configuration say. Answers also
/// what of the image's labels is not taken.
///
/// # Errors
/// An option that means nothing, or two that contradict each other.
pub fn read(
    engine: &Engine,
    config: &ContainerConfig,
    host: &HostConfig,
    image: &ImageConfig,
    is_step: bool,
) -> Result<(Machine, Vec<String>)> {
    let annotated = options(host.annotations.iter(), "annotation")?;
    // A step of a build has the labels of the image so far, and nobody has asked.
    let labelled = if is_step { VmOptions::default() } else { options(config.labels.iter(), "label")? };
    let asked = annotated.or(labelled);
    agree(&asked, host)?;
    let labels = image.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let (of_image, notes) = bounds(engine).options(labels);
    let usual = of_image.or(engine.config.vm.options.clone());
    Ok((Machine { own: asked, usual }, notes))
}

/// `--storage-opt size=` and the option `disk` are one thing.
fn agree(asked: &VmOptions, host: &HostConfig) -> Result<()> {
    let Some(disk) = asked.disk_mib else { return Ok(()) };
    let size = storage_size(host, Isolation::Hyperv)?.map_or(disk, |bytes| bytes.div_ceil(1 << 20));
    if disk == size {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "conflicting options: --storage-opt size= asks for a disk of {size} MiB, and {LABEL_PREFIX}disk (--vm-disk) \
         for one of {disk} MiB: leave out one of them"
    )))
}

/// What an image's labels get: no more than who asks for nothing, unless the
/// configuration says otherwise.
fn bounds(engine: &Engine) -> ImageBounds {
    let cpus = u32::try_from(engine.host.cpus).unwrap_or(1).clamp(1, sizing::MOST_CPUS);
    let host = sizing::Host { memory: u64::try_from(engine.host.memory).unwrap_or(0), cpus, emulated: false };
    let usual = sizing::sizing(host, None, None);
    let usual = VmOptions {
        memory_mib: Some(usual.memory_mib),
        cpus: Some(usual.cpus),
        disk_mib: Some(DISK_MIB),
        ..VmOptions::default()
    };
    engine.config.vm.bounds(&usual)
}

/// Whether limits that are to be changed fit what a container has asked for of
/// its machine, which no update changes.
///
/// # Errors
/// They do not; what would.
pub fn check_update(engine: &Engine, record: &Record, host: &HostConfig) -> Result<()> {
    if record.isolation != Isolation::Hyperv || limits(&record.host) == limits(host) {
        return Ok(());
    }
    // How it runs changes the usual number of processors, which is no error.
    let Err(reason) = record.vm.size(engine, host, Accelerator::Auto) else { return Ok(()) };
    let remedy = match &reason {
        Reason::VmTooSmall { memory_mib, .. } => {
            let most = sizing::most_limit(*memory_mib) >> 20;
            format!("; its machine's memory was fixed when it was created: use --memory={most}m or less")
        }
        Reason::VmTooFew { cpus, .. } => {
            format!("; its machine's processors were fixed when it was created: use --cpus={cpus} or less")
        }
        _ => String::new(),
    };
    Err(Error::new(reason.kind(), format!("{reason}{remedy}")))
}

/// The machine as inspect shows it: the one that runs, or the next one.
pub async fn shown(engine: &Engine, record: &Record) -> Option<VirtualMachine> {
    if record.isolation != Isolation::Hyperv {
        return None;
    }
    let running = record.state.run().and_then(|_| ShimDir::new(engine.shim_dir(record.id.as_str())).config()?.vm);
    // A record of before placement has none; the usual one is what it boots.
    let kernel = record.kernel.as_deref().or(record.vm.own.kernel.as_deref()).unwrap_or(guests::DEFAULT);
    let foreign = kernel != guests::DEFAULT && engine.guests.named(kernel).is_ok_and(|guest| !guest.is_native());
    let said = if foreign { Accelerator::Tcg } else { record.vm.accelerator() };
    let (memory_mib, cpus, accelerator) = match running {
        Some(vm) => (vm.memory_mib, vm.cpus, vm.boot.accelerator),
        None => {
            let known = match engine.accelerator.status() {
                Status::Known(probe) if said != Accelerator::Tcg => accelerator::of_platform(probe.accelerator),
                Status::Known(_) | Status::Unknown | Status::Probing | Status::Failed(_) => said,
            };
            // What does not go together any more, the next start says.
            let size = record.vm.size(engine, &record.host, known).ok();
            (size.map_or(0, |size| size.memory_mib), size.map_or(0, |size| size.cpus), known.to_string())
        }
    };
    let disk = tokio::fs::metadata(engine.container_dir(record.id.as_str()).join(spec::SCRATCH)).await;
    let disk = match disk {
        Ok(made) => made.len(),
        Err(_) => record.vm.disk_mib(&record.host).map_or(0, |mib| mib << 20),
    };
    Some(VirtualMachine {
        memory: memory_mib << 20,
        cpus,
        disk,
        kernel: kernel.to_owned(),
        kernel_args: record.vm.kernel_args().to_vec(),
        accelerator,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(annotations: &[(&str, &str)], size: Option<&str>) -> HostConfig {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        HostConfig {
            annotations: annotations.iter().map(own).collect(),
            storage_opt: size.map(|size| ("size".to_owned(), size.to_owned())).into_iter().collect(),
            ..HostConfig::default()
        }
    }

    #[test]
    fn annotations_of_ours() {
        let says = |key: &str, value: &str| check_annotations(&host(&[(key, value)], None)).map_err(|err| err.message);
        assert_eq!(says("hako.vm.memory", "1g"), Ok(()));
        assert_eq!(says("com.example", "1g"), Ok(()));
        let err = says("hako.join", "1=2").unwrap_err();
        assert!(err.contains("invalid annotation hako.join: ") && err.contains("hako.vm.kernel-args"), "{err}");
        assert!(says("hako.vm.bios", "x").unwrap_err().contains("no such option of a virtual machine: \"bios\""));
        assert!(says("hako.vm.cpus", "half").unwrap_err().contains("invalid cpus"));
    }

    #[test]
    fn a_disk_is_said_once_or_the_same_twice() {
        let asked = VmOptions { disk_mib: Some(1024), ..VmOptions::default() };
        assert!(agree(&asked, &host(&[], None)).is_ok() && agree(&asked, &host(&[], Some("1g"))).is_ok());
        let err = agree(&asked, &host(&[], Some("2g"))).unwrap_err().message;
        assert!(err.contains("2048 MiB") && err.contains("1024 MiB"), "{err}");
        let machine = Machine { own: VmOptions::default(), usual: asked };
        assert_eq!(machine.disk_mib(&host(&[], Some("2g"))).unwrap(), 2048);
        assert_eq!(machine.disk_mib(&host(&[], None)).unwrap(), 1024);
        assert_eq!(Machine::default().disk_mib(&host(&[], None)).unwrap(), DISK_MIB);
    }

    #[test]
    fn limits_by_number_or_by_quota() {
        let quota = HostConfig { cpu_quota: 150_000, cpu_period: 100_000, memory: -1, ..HostConfig::default() };
        assert_eq!(limits(&quota), Limits { memory: 0, nano_cpus: 1_500_000_000 });
        let plain = HostConfig { nano_cpus: 5, memory: 7, ..HostConfig::default() };
        assert_eq!(limits(&plain), Limits { memory: 7, nano_cpus: 5 });
    }
}
