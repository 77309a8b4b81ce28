//! `policy/platforms.toml`: the figures of the rules, read once.

use hako_model::Isolation;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

const PLATFORMS: &str = include_str!("../../../policy/platforms.toml");

// The file is part of the program and a test reads it, so a fault in it cannot
// come up at run time; the empty tables are what the type asks for.
static TABLES: LazyLock<Tables> = LazyLock::new(|| toml::from_str(PLATFORMS).unwrap_or_default());

/// All of them.
#[must_use]
pub fn tables() -> &'static Tables {
    &TABLES
}

/// Everything that the file has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tables {
    /// Behind the process wall of Windows.
    pub process: ProcessTable,
    /// Behind its hyperv wall.
    pub hyperv: HypervTable,
    /// Windows 10 and 11.
    pub client: ClientTable,
    /// Nano Server as a host.
    pub nano: NanoTable,
    /// Where revisions have to match.
    pub revision: RevisionTable,
    /// The walls of those who ask for none.
    pub defaults: DefaultsTable,
    /// How large a virtual machine of Windows is.
    pub utility_vm: UtilityVmTable,
    /// Builds with names.
    pub releases: Vec<Release>,
    /// The matrix's rows.
    pub hosts: Vec<Row>,
    /// The matrix's columns.
    pub images: Vec<Row>,
    /// Updates that host and image must both have, or both lack.
    pub baselines: Vec<Baseline>,
    /// Where reports contradict the rules.
    pub disagreements: Vec<Disagreement>,
    /// What editions allow.
    pub licences: Vec<Licence>,
    /// Least memory.
    pub least_memory: Vec<LeastMemory>,
    /// What walls need.
    pub needs: Vec<Need>,
    /// Levels of amd64.
    pub levels: Vec<Level>,
    /// The walls side by side.
    pub comparison: Vec<Comparison>,
    /// What a container may say to its guest kernel.
    pub kernel_arguments: Vec<KernelArgument>,
}

/// One argument of a guest kernel's command line.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KernelArgument {
    /// Its name.
    pub name: String,
    /// What it may be; numbers where nothing is listed.
    #[serde(default)]
    pub values: Vec<String>,
}

/// One aspect in which the walls differ.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Comparison {
    /// `linux` or `windows`.
    pub os: String,
    /// The aspect.
    pub aspect: String,
    /// Of the process wall.
    pub process: String,
    /// Of the hyperv wall.
    pub hyperv: String,
}

/// The rule of the process wall.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProcessTable {
    /// Hosts before this build take their own build only.
    pub stable_from: u32,
    /// Builds that a stable range begins at, ascending.
    pub long_term: Vec<u32>,
    /// Where it comes from.
    pub source: String,
}

/// The rule of the hyperv wall.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HypervTable {
    /// From this host on newer images were seen to run.
    pub newer_from: u32,
    /// Where it comes from.
    pub source: String,
}

/// The rule of client hosts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientTable {
    /// From this build on there is a process wall.
    pub process_from: u32,
    /// Where it comes from.
    pub source: String,
}

/// The rule of Nano Server hosts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NanoTable {
    /// The last build that is a host.
    pub last_host: u32,
    /// Where it comes from.
    pub source: String,
}

/// The rule of revisions.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RevisionTable {
    /// The last build whose revisions have to match.
    pub must_match_until: u32,
    /// Where it comes from.
    pub source: String,
}

/// The walls of those who ask for none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DefaultsTable {
    /// On Linux.
    pub linux: Isolation,
    /// On Windows Server.
    pub windows_server: Isolation,
    /// On Windows 10 and 11.
    pub windows_client: Isolation,
    /// Where it comes from.
    pub source: String,
}

impl Default for DefaultsTable {
    fn default() -> Self {
        let thick = Isolation::Hyperv;
        Self { linux: thick, windows_server: thick, windows_client: thick, source: String::new() }
    }
}

/// How large a virtual machine of Windows is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UtilityVmTable {
    /// On top of the workload.
    pub overhead_mib: u64,
    /// Sizes are multiples of it.
    pub round_to_mib: u64,
    /// Without a limit.
    pub default_mib: u64,
    /// Processors without a limit.
    pub default_cpus: u32,
    /// Where it comes from.
    pub source: String,
}

/// A build with a name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Release {
    /// The build.
    pub build: u32,
    /// Its name.
    pub name: String,
    /// The tag of its base images; empty where there are none.
    #[serde(default)]
    pub tag: String,
    /// Where it comes from.
    pub source: String,
}

/// A row or a column of the matrix.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Row {
    /// Its name for commands.
    pub id: String,
    /// Its headline.
    pub title: String,
    /// `linux` or `windows`.
    pub os: String,
    /// Of Windows.
    #[serde(default)]
    pub build: u32,
    /// `client` or `server`.
    #[serde(default)]
    pub product: String,
    /// Go's name; empty is amd64.
    #[serde(default)]
    pub architecture: String,
    /// What a reader should know of it.
    #[serde(default)]
    pub note: String,
    /// Where it comes from, unless the releases say it.
    #[serde(default)]
    pub source: String,
}

/// An update that host and image must both have, or both lack.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Baseline {
    /// The build.
    pub build: u32,
    /// The first revision of a host that has it.
    pub host: u32,
    /// The first revision of an image that has it.
    pub image: u32,
    /// Where it comes from.
    pub source: String,
}

/// Where reports contradict the rules.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Disagreement {
    /// The host's build.
    pub host: u32,
    /// The image's.
    pub image: u32,
    /// What a user is told.
    pub note: String,
    /// What holds behind the process wall instead of the rule, once it is known.
    #[serde(default)]
    pub process: Option<bool>,
    /// The same behind the hyperv wall.
    #[serde(default)]
    pub hyperv: Option<bool>,
    /// Where it comes from.
    pub source: String,
}

/// What an edition allows.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Licence {
    /// The host's edition, or `client` for all of those.
    pub edition: String,
    /// What a user is told.
    pub note: String,
    /// Where it comes from.
    pub source: String,
}

/// Least memory of a container, in MiB.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LeastMemory {
    /// The image's build.
    pub build: u32,
    /// Its family.
    pub family: String,
    /// Behind the process wall.
    pub process: u64,
    /// Behind the hyperv wall.
    pub hyperv: u64,
    /// Where it comes from.
    pub source: String,
}

/// What a wall needs of its host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Need {
    /// `linux` or `windows`.
    pub os: String,
    /// Which wall.
    pub wall: Isolation,
    /// Its name for programs.
    pub id: String,
    /// What it is.
    pub what: String,
    /// What to do where it is missing.
    pub remedy: String,
    /// The wall works without it, worse.
    #[serde(default)]
    pub optional: bool,
    /// Where it comes from, if not from this program.
    #[serde(default)]
    pub source: String,
}

/// CPU features of a level of amd64.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Level {
    /// `v2`.
    pub variant: String,
    /// Those that it adds.
    pub features: Vec<String>,
    /// Where it comes from.
    pub source: String,
}

impl Tables {
    /// The release of a build.
    #[must_use]
    pub fn release(&self, build: u32) -> Option<&Release> {
        self.releases.iter().find(|release| release.build == build)
    }
    /// The oldest image that a host takes behind the process wall.
    #[must_use]
    pub fn process_floor(&self, host: u32) -> u32 {
        if host < self.process.stable_from {
            return host;
        }
        let before = self.process.long_term.iter().rev().find(|build| host > **build);
        before.copied().unwrap_or(self.process.stable_from)
    }
    /// Where reports contradict the rules for this pair.
    #[must_use]
    pub fn disagreement(&self, host: u32, image: u32) -> Option<&Disagreement> {
        self.disagreements.iter().find(|row| (row.host, row.image) == (host, image))
    }
    /// The variant of amd64 that a CPU with these features is; empty where that
    /// cannot be said.
    #[must_use]
    pub fn level(&self, features: &[String]) -> &str {
        let has = |level: &&Level| level.features.iter().all(|feature| features.contains(feature));
        self.levels.iter().take_while(has).last().map_or("", |level| &level.variant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_sound() {
        let tables: Tables = toml::from_str(PLATFORMS).unwrap();
        assert!(tables.process.long_term.is_sorted() && tables.process.long_term[0] == tables.process.stable_from);
        assert!(tables.releases.iter().all(|row| !row.source.is_empty() && !row.name.is_empty()));
        let named = |row: &&Row| row.os == "windows";
        for row in tables.hosts.iter().chain(&tables.images).filter(named) {
            assert!(tables.release(row.build).is_some(), "{} has no release", row.id);
        }
        assert!(tables.disagreements.iter().all(|row| tables.release(row.host).is_some()));
        for list in [&tables.hosts, &tables.images] {
            let mut ids: Vec<&str> = list.iter().map(|row| row.id.as_str()).collect();
            ids.sort_unstable();
            assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
        }
        assert!(tables.utility_vm.round_to_mib > 0);
    }

    #[test]
    fn levels_build_on_one_another() {
        let features = |names: &str| names.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let two = "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3";
        assert_eq!(tables().level(&features("")), "");
        assert_eq!(tables().level(&features(two)), "v2");
        assert_eq!(tables().level(&features(&format!("{two} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"))), "v3");
        assert_eq!(tables().level(&features("avx avx2 bmi1 bmi2 f16c fma abm movbe xsave")), "");
    }
}
