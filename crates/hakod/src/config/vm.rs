//! The table `[vm]`: what virtual machines are like whose containers do not say
//! it, and how much the labels of an image may say.

use anyhow::Context;
use hako_platform::{ImageBounds, VmOptions, vm::is_option};
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};

/// The table as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Table {
    #[serde(default)]
    templates: Option<bool>,
    #[serde(default)]
    template_dir: Option<PathBuf>,
    #[serde(default)]
    pool: Option<usize>,
    #[serde(default)]
    images: Images,
    /// The options, by the names that `hako-platform` knows.
    #[serde(flatten)]
    options: BTreeMap<String, Value>,
}

/// `[vm.images]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Images {
    memory: Option<Value>,
    cpus: Option<Value>,
    disk: Option<Value>,
    allow: Vec<String>,
}

/// `2`, `"2g"`, `["loglevel=7", "slab_nomerge"]`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Number(u64),
    Text(String),
    List(Vec<String>),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
            Self::List(list) => list.join(" "),
        }
    }
}

/// Machines that wait for a container, where the configuration does not say it.
const POOL: usize = 1;
/// More would only wait.
const MOST_POOL: usize = 64;

/// What the configuration says of virtual machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmDefaults {
    /// Whether machines are copies of templates, where there is one.
    pub templates: bool,
    /// The same under KVM, where it is not tried enough to be the default.
    pub templates_under_kvm: bool,
    /// The folder that templates are in; without it they are in the data root.
    pub template_dir: Option<PathBuf>,
    /// How many copies wait for a container, rehearsed.
    pub pool: usize,
    /// The options that containers get which say nothing else.
    pub options: VmOptions,
    /// The most that an image's labels get; without an amount what a container
    /// gets that asks for nothing.
    pub most: VmOptions,
    /// The other options that an image's labels may set.
    pub allow: Vec<String>,
}

impl Default for VmDefaults {
    fn default() -> Self {
        Self {
            templates: true,
            templates_under_kvm: false,
            template_dir: None,
            pool: POOL,
            options: VmOptions::default(),
            most: VmOptions::default(),
            allow: Vec::new(),
        }
    }
}

impl VmDefaults {
    pub(super) fn resolve(table: &Table) -> anyhow::Result<Self> {
        let mut defaults = Self::default();
        defaults.templates = table.templates.unwrap_or(defaults.templates);
        defaults.templates_under_kvm = table.templates == Some(true);
        defaults.template_dir.clone_from(&table.template_dir);
        if let Some(dir) = defaults.template_dir.as_ref().filter(|dir| !dir.is_absolute()) {
            anyhow::bail!("[vm] template-dir: {} is no absolute path", dir.display());
        }
        defaults.pool = table.pool.unwrap_or(defaults.pool);
        anyhow::ensure!(defaults.pool <= MOST_POOL, "[vm] pool: {} is more than {MOST_POOL}", defaults.pool);
        if !defaults.templates {
            anyhow::ensure!(
                table.pool.unwrap_or(0) == 0,
                "[vm] pool: what waits are copies of templates, and those are off"
            );
            defaults.pool = 0;
        }
        for (option, value) in &table.options {
            defaults.options.set(option, &value.text()).with_context(|| format!("[vm] {option}"))?;
        }
        let Images { memory, cpus, disk, allow } = &table.images;
        for (option, value) in [("memory", memory), ("cpus", cpus), ("disk", disk)] {
            if let Some(value) = value {
                defaults.most.set(option, &value.text()).with_context(|| format!("[vm.images] {option}"))?;
            }
        }
        for option in allow {
            anyhow::ensure!(
                is_option(option) && !ImageBounds::AMOUNTS.contains(&option.as_str()),
                "[vm.images] allow: {option:?} is none of kernel, kernel-args and accelerator"
            );
        }
        defaults.allow.clone_from(allow);
        Ok(defaults)
    }

    /// The bounds of an image where a container that asks for nothing gets `usual`.
    #[must_use]
    pub fn bounds(&self, usual: &VmOptions) -> ImageBounds {
        let most = self.most.clone().or(self.options.clone()).or(usual.clone());
        ImageBounds {
            memory_mib: most.memory_mib.unwrap_or(0),
            cpus: most.cpus.unwrap_or(1),
            disk_mib: most.disk_mib.unwrap_or(0),
            allow: self.allow.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<VmDefaults> {
        VmDefaults::resolve(&toml::from_str::<Table>(text)?)
    }

    #[test]
    fn the_table() {
        let text = "memory = '2g'\ncpus = 2\nkernel-args = ['slab_nomerge', 'loglevel=7']\n\
                    [images]\nmemory = '8g'\nallow = ['accelerator']";
        let vm = read(text).unwrap();
        assert_eq!((vm.options.memory_mib, vm.options.cpus), (Some(2048), Some(2)));
        assert_eq!(vm.options.kernel_args, ["slab_nomerge", "loglevel=7"]);
        let usual =
            VmOptions { memory_mib: Some(512), cpus: Some(4), disk_mib: Some(20 << 10), ..VmOptions::default() };
        let bounds = vm.bounds(&usual);
        // Its own bound, the configured default, the usual amount.
        assert_eq!((bounds.memory_mib, bounds.cpus, bounds.disk_mib), (8192, 2, 20 << 10));
        assert_eq!(bounds.allow, ["accelerator"]);
    }

    #[test]
    fn templates() {
        let usual = read("").unwrap();
        assert!(usual.templates && !usual.templates_under_kvm && usual.template_dir.is_none() && usual.pool == POOL);
        let off = read("templates = false").unwrap();
        assert_eq!((off.templates, off.pool), (false, 0));
        let said = read("template-dir = '/dev/shm/x'\npool = 3").unwrap();
        assert_eq!((said.template_dir, said.pool), (Some("/dev/shm/x".into()), 3));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let says = |text: &str| format!("{:#}", read(text).unwrap_err());
        assert!(says("memory = 'lots'").starts_with("[vm] memory: invalid memory"), "{}", says("memory = 'lots'"));
        assert!(says("bios = 'x'").contains("no such option"));
        assert!(says("kernel-args = 'init=/bin/sh'").contains("is not allowed"));
        assert!(says("[images]\nallow = ['memory']").contains("none of kernel, kernel-args and accelerator"));
        assert!(says("[images]\nkernel = 'x'").contains("unknown field"));
        assert!(says("pool = 1000").contains("more than 64"));
        assert!(says("templates = false\npool = 1").contains("those are off"));
        assert!(says("template-dir = 'x'").contains("no absolute path"));
        assert!(read("").unwrap() == VmDefaults::default());
    }
}
