//! What is asked for of a container's virtual machine: by flags, by labels or
//! annotations of the container and its image, by the engine's configuration. The
//! nearer one wins, option by option; what makes no sense is refused before
//! anything starts.

mod image;

pub use image::ImageBounds;

use crate::{reason::Reason, sizing, tables};
use hako_model::Isolation;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// Labels and annotations begin with it: `hako.vm.memory`.
pub const LABEL_PREFIX: &str = "hako.vm.";
/// The options by their names behind [`LABEL_PREFIX`], as flags behind `--vm-`
/// (the kernel's is `--kernel`) and as keys of the configuration.
pub const OPTIONS: [&str; 6] = ["memory", "cpus", "kernel", "kernel-args", "disk", "accelerator"];

/// Whether there is such an option.
#[must_use]
pub fn is_option(name: &str) -> bool {
    OPTIONS.contains(&name)
}

/// The options. In JSON as engines keep them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct VmOptions {
    /// The machine's memory in MiB, its own need included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// Virtual processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// A guest kernel by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// More for its command line, of those that are allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernel_args: Vec<String>,
    /// The container's disk in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u64>,
    /// How it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<Accelerator>,
}

/// The limits of a workload, as far as its machine's size follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// `--memory` in bytes; 0 is none.
    pub memory: u64,
    /// `--cpus` in billionths; 0 is none.
    pub nano_cpus: u64,
}

/// How a virtual machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// What a probe has found.
    Auto,
    /// By the host's processor.
    Kvm,
    /// Emulated.
    Tcg,
}

/// An option that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VmOptionError {
    /// No such option.
    #[error("no such option of a virtual machine: {0:?} ({known})", known = OPTIONS.join(", "))]
    Unknown(String),
    /// A value that it cannot have.
    #[error("invalid {option} of a virtual machine: {value:?} ({expected})")]
    Value {
        /// The option.
        option: String,
        /// The value.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A kernel argument that is not allowed.
    #[error("kernel argument {0:?} is not allowed ({known})", known = allowed_arguments())]
    Argument(String),
}

/// The most that any machine has; beyond it a number is a mistake.
const MOST_MIB: u64 = 16 << 20;
/// The smallest disk on which a filesystem fits.
const LEAST_DISK_MIB: u64 = 16;

impl VmOptions {
    /// Sets one by its name, as flags, labels and the configuration say it.
    ///
    /// # Errors
    /// No such option, or a value that it cannot have.
    pub fn set(&mut self, option: &str, value: &str) -> Result<(), VmOptionError> {
        let error = |expected| VmOptionError::Value { option: option.to_owned(), value: value.to_owned(), expected };
        match option {
            "memory" => self.memory_mib = Some(mebibytes(value).ok_or_else(|| error("a size such as 512m or 2g"))?),
            "disk" => {
                let mib = mebibytes(value).filter(|mib| *mib >= LEAST_DISK_MIB);
                self.disk_mib = Some(mib.ok_or_else(|| error("a size from 16m on, such as 512m or 20g"))?);
            }
            "cpus" => {
                let cpus = value.parse().ok().filter(|cpus| (1..=sizing::MOST_CPUS).contains(cpus));
                self.cpus = Some(cpus.ok_or_else(|| error("a whole number from 1 to 32"))?);
            }
            "kernel" => {
                let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                if value.is_empty() || value.starts_with('.') || !value.chars().all(good) {
                    return Err(error("the name of an installed guest kernel"));
                }
                self.kernel = Some(value.to_owned());
            }
            "kernel-args" => {
                let args: Vec<&str> = value.split_whitespace().collect();
                if let Some(bad) = args.iter().find(|arg| !is_allowed(arg)) {
                    return Err(VmOptionError::Argument((*bad).to_owned()));
                }
                // So the line has a bound as well: the list of names has one.
                let names: BTreeSet<&str> = args.iter().map(|arg| arg.split('=').next().unwrap_or(arg)).collect();
                if names.len() < args.len() {
                    return Err(error("each argument once"));
                }
                self.kernel_args = args.into_iter().map(str::to_owned).collect();
            }
            "accelerator" => {
                self.accelerator = Some(match value {
                    "auto" => Accelerator::Auto,
                    "kvm" => Accelerator::Kvm,
                    "tcg" => Accelerator::Tcg,
                    _ => return Err(error("auto, kvm or tcg")),
                });
            }
            other => return Err(VmOptionError::Unknown(other.to_owned())),
        }
        Ok(())
    }

    /// Those of labels or annotations; all others are somebody else's.
    ///
    /// # Errors
    /// One that begins as ours and means nothing.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, VmOptionError> {
        let mut options = Self::default();
        for (label, value) in labels {
            if let Some(option) = label.strip_prefix(LABEL_PREFIX) {
                options.set(option, value)?;
            }
        }
        Ok(options)
    }

    /// These, and for what they do not say `farther`'s.
    #[must_use]
    pub fn or(self, farther: Self) -> Self {
        Self {
            memory_mib: self.memory_mib.or(farther.memory_mib),
            cpus: self.cpus.or(farther.cpus),
            kernel: self.kernel.or(farther.kernel),
            kernel_args: if self.kernel_args.is_empty() { farther.kernel_args } else { self.kernel_args },
            disk_mib: self.disk_mib.or(farther.disk_mib),
            accelerator: self.accelerator.or(farther.accelerator),
        }
    }

    /// The names of those that are set.
    #[must_use]
    pub fn given(&self) -> Vec<&'static str> {
        let set = [
            self.memory_mib.is_some(),
            self.cpus.is_some(),
            self.kernel.is_some(),
            !self.kernel_args.is_empty(),
            self.disk_mib.is_some(),
            self.accelerator.is_some(),
        ];
        OPTIONS.into_iter().zip(set).filter(|(_, set)| *set).map(|(name, _)| name).collect()
    }
}

/// The machine in the size that is `asked` for, in which the workload must have
/// room, or in the `default` one of its image and engine as far as that serves, or
/// in the `usual` one. `host_mib` is 0 where the host's memory is not known.
///
/// # Errors
/// [`Reason::VmTooSmall`], [`Reason::VmTooFew`], [`Reason::Memory`].
pub fn sized(
    asked: &VmOptions,
    default: &VmOptions,
    limits: Limits,
    usual: sizing::Sizing,
    host_mib: u64,
) -> Result<sizing::Sizing, Reason> {
    let limit = Some(limits.memory).filter(|limit| *limit > 0);
    let needs_mib = limit.map_or(LEAST_MIB, sizing::memory_mib);
    let mut sized = usual;
    match (asked.cpus, default.cpus) {
        // Who says how many means that many: an update of `--cpus` brings no others.
        (Some(cpus), _) => {
            let needs = u32::try_from(limits.nano_cpus.div_ceil(NANO)).unwrap_or(u32::MAX);
            if needs > cpus {
                return Err(Reason::VmTooFew { cpus, needs });
            }
            (sized.cpus, sized.most_cpus) = (cpus, cpus);
        }
        // `--cpus` says more of this container than a default.
        (None, Some(cpus)) if limits.nano_cpus == 0 => {
            (sized.cpus, sized.most_cpus) = (cpus, sized.most_cpus.max(cpus));
        }
        (None, _) => {}
    }
    let memory_mib = match (asked.memory_mib, default.memory_mib) {
        (Some(memory_mib), _) if memory_mib < needs_mib => return Err(Reason::VmTooSmall { memory_mib, needs_mib }),
        (Some(memory_mib), _) => Some(memory_mib),
        (None, default) => default.filter(|mib| *mib >= needs_mib && (host_mib == 0 || *mib <= host_mib)),
    };
    if let Some(memory_mib) = memory_mib {
        sized.memory_mib = memory_mib;
        sized.workload_limit = limit.unwrap_or_else(|| sizing::most_limit(memory_mib));
    }
    if host_mib > 0 && sized.memory_mib > host_mib {
        return Err(Reason::Memory { needs_mib: sized.memory_mib, has_mib: host_mib });
    }
    Ok(sized)
}

const NANO: u64 = 1_000_000_000;

/// A guest boots, and a small workload has room.
const LEAST_MIB: u64 = 96;

/// Options of a virtual machine behind a wall that has none.
pub(crate) fn check(options: &VmOptions, wall: Isolation) -> Result<(), Reason> {
    let given = options.given();
    match wall {
        Isolation::Process if !given.is_empty() => {
            Err(Reason::VmOfProcess { options: given.into_iter().map(str::to_owned).collect() })
        }
        Isolation::Process | Isolation::Hyperv => Ok(()),
    }
}

fn is_allowed(argument: &str) -> bool {
    let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
    let row = tables().kernel_arguments.iter().find(|row| row.name == name);
    row.is_some_and(|row| match row.values.as_slice() {
        [] => !value.is_empty() && value.len() < 10 && value.bytes().all(|byte| byte.is_ascii_digit()),
        values => values.iter().any(|allowed| allowed == value),
    })
}

fn allowed_arguments() -> String {
    let names: Vec<&str> = tables().kernel_arguments.iter().map(|row| row.name.as_str()).collect();
    names.join(", ")
}

/// `512m`, `2g`, `1073741824`: whole MiB, rounded up, of which there is one at least.
fn mebibytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix("ib").or_else(|| text.strip_suffix('b')).unwrap_or(&text);
    let (number, shift) = match text.char_indices().last()? {
        (at, 'k') => (&text[..at], 10),
        (at, 'm') => (&text[..at], 20),
        (at, 'g') => (&text[..at], 30),
        (at, 't') => (&text[..at], 40),
        _ => (text, 0),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bytes = number.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    Some(bytes.div_ceil(1 << 20)).filter(|mib| (1..=MOST_MIB).contains(mib))
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(option: &str, value: &str) -> Result<VmOptions, String> {
        let mut options = VmOptions::default();
        options.set(option, value).map_err(|err| err.to_string())?;
        Ok(options)
    }

    #[test]
    fn sizes() {
        for (text, mib) in [("512m", 512), ("2g", 2048), ("1GiB", 1024), ("1", 1), ("1048577", 2), ("2048k", 2)] {
            assert_eq!(set("memory", text).unwrap().memory_mib, Some(mib), "{text}");
        }
        for bad in ["", "0", "-1", "m", "1.5g", "1e3", "99999999999999999999", "9999999t", "١m", "15m"] {
            assert!(set("disk", bad).is_err(), "{bad}");
        }
        assert_eq!(set("disk", "16m").unwrap().disk_mib, Some(16));
    }

    #[test]
    fn kernel_arguments_are_of_a_list() {
        let args = set("kernel-args", " transparent_hugepage=never  loglevel=7 slab_nomerge ").unwrap().kernel_args;
        assert_eq!(args, ["transparent_hugepage=never", "loglevel=7", "slab_nomerge"]);
        for bad in [
            "init=/bin/sh",
            "transparent_hugepage=x",
            "loglevel=",
            "loglevel=1e9",
            "loglevel",
            "hugepages=64",
            "slab_nomerge=1",
            "hako.probe=1",
            "mitigations=off,nosmt",
            "rdinit=/x",
        ] {
            let err = set("kernel-args", bad).unwrap_err();
            assert!(err.contains("is not allowed (transparent_hugepage, "), "{err}");
        }
    }

    #[test]
    fn kernel_arguments_are_said_once() {
        assert!(set("kernel-args", &"slab_nomerge ".repeat(200)).unwrap_err().contains("each argument once"));
        assert!(set("kernel-args", "loglevel=1 loglevel=2").is_err());
    }

    #[test]
    fn names_and_values() {
        assert_eq!(set("accelerator", "kvm").unwrap().accelerator, Some(Accelerator::Kvm));
        assert!(set("accelerator", "xen").unwrap_err().contains("auto, kvm or tcg"));
        assert!(set("cpus", "0").is_err() && set("cpus", "1.5").is_err() && set("cpus", "32").is_ok());
        assert!(set("cpus", "33").unwrap_err().contains("from 1 to 32"));
        for bad in ["", "../vmlinux", ".hidden", "a b", "a/b"] {
            assert!(set("kernel", bad).is_err(), "{bad}");
        }
        assert!(set("bios", "x").unwrap_err().contains("memory, cpus, kernel"));
    }

    #[test]
    fn the_nearer_wins_option_by_option() {
        let label = VmOptions::from_labels([("hako.vm.memory", "1g"), ("hako.vm.cpus", "2"), ("a", "b")]).unwrap();
        let flag = VmOptions { cpus: Some(1), ..VmOptions::default() };
        let config = VmOptions { cpus: Some(8), kernel: Some("debian".into()), ..VmOptions::default() };
        let all = flag.or(label).or(config);
        assert_eq!((all.memory_mib, all.cpus, all.kernel.as_deref()), (Some(1024), Some(1), Some("debian")));
        assert_eq!(all.given(), ["memory", "cpus", "kernel"]);
        assert!(VmOptions::from_labels([("hako.vm.memry", "1g")]).is_err());
    }

    /// An engine that comes back reads what it has written, also of one before it.
    #[test]
    fn what_is_kept_is_read() {
        let all = VmOptions::from_labels([
            ("hako.vm.memory", "1g"),
            ("hako.vm.cpus", "3"),
            ("hako.vm.kernel", "debian"),
            ("hako.vm.kernel-args", "slab_nomerge loglevel=7"),
            ("hako.vm.disk", "30g"),
            ("hako.vm.accelerator", "tcg"),
        ]);
        for options in [all.unwrap(), VmOptions::default()] {
            let text = serde_json::to_string(&options).unwrap();
            assert_eq!(serde_json::from_str::<VmOptions>(&text).unwrap(), options, "{text}");
        }
    }
}
