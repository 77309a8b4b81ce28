//! Capability sets: what a process shall have, and what the runtime keeps until
//! the last moment to do its own work.

use caps::{CapSet, Capability, CapsHashSet};
use serde_json::Value;
use std::str::FromStr;
use std::sync::OnceLock;

/// The five sets of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sets {
    /// What it may ever have.
    pub bounding: CapsHashSet,
    /// What it has.
    pub effective: CapsHashSet,
    /// What it may take.
    pub permitted: CapsHashSet,
    /// What survives an execve with file capabilities.
    pub inheritable: CapsHashSet,
    /// What survives any execve.
    pub ambient: CapsHashSet,
}

/// What the executor needs after everything else is dropped:
/// loading a filter (`SYS_ADMIN`), making the working directory as root would
/// (`DAC_*`, `CHOWN`, `FOWNER`). Gone before the container's program runs.
const WORKING: [Capability; 5] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_CHOWN,
    Capability::CAP_FOWNER,
];

/// Read before they are asked for: nothing here changes its own before it acts as a
/// container.
static READ: OnceLock<Own> = OnceLock::new();

/// What this process itself has.
#[derive(Clone)]
pub struct Own {
    bounding: CapsHashSet,
    permitted: CapsHashSet,
}

impl Own {
    /// Reads it from the kernel.
    pub fn read() -> Result<Self, caps::errors::CapsError> {
        if let Some(own) = READ.get() {
            return Ok(own.clone());
        }
        let own =
            Self { bounding: caps::read(None, CapSet::Bounding)?, permitted: caps::read(None, CapSet::Permitted)? };
        _ = READ.set(own.clone());
        Ok(own)
    }

    /// Whether this process may use `cap`.
    pub fn has(&self, cap: Capability) -> bool {
        self.permitted.contains(&cap)
    }

    /// The sets of an OCI `process.capabilities`, without what this process
    /// cannot give (names are unknown, or outside the host's bounding set).
    /// Without any, none.
    pub fn grant(&self, oci: Option<&Value>) -> Sets {
        let set = |name: &str, limit: &CapsHashSet| -> CapsHashSet {
            let names = oci.and_then(|caps| caps.get(name)).and_then(Value::as_array);
            let wanted = names.into_iter().flatten().filter_map(Value::as_str);
            wanted.filter_map(|name| Capability::from_str(name).ok()).filter(|cap| limit.contains(cap)).collect()
        };
        let bounding = set("bounding", &self.bounding);
        let permitted = set("permitted", &self.permitted);
        let effective = &set("effective", &self.permitted) & &permitted;
        let inheritable = set("inheritable", &self.bounding);
        let ambient = &(&set("ambient", &self.permitted) & &permitted) & &inheritable;
        Sets { bounding, effective, permitted, inheritable, ambient }
    }

    /// `sets`, and what the executor still needs.
    pub fn with_working(&self, sets: &Sets) -> Sets {
        let working: CapsHashSet = WORKING.into_iter().filter(|cap| self.permitted.contains(cap)).collect();
        Sets { effective: &sets.effective | &working, permitted: &sets.permitted | &working, ..sets.clone() }
    }
}

impl Sets {
    /// Gives this process just these.
    pub fn take(&self) -> Result<(), caps::errors::CapsError> {
        // Another user than root has none in use, and the next needs CAP_SETPCAP.
        act_as_runtime()?;
        for cap in caps::read(None, CapSet::Bounding)?.difference(&self.bounding) {
            caps::drop(None, CapSet::Bounding, *cap)?;
        }
        // In this order each is allowed by the one before.
        caps::set(None, CapSet::Inheritable, &self.inheritable)?;
        caps::set(None, CapSet::Effective, &self.effective)?;
        caps::set(None, CapSet::Permitted, &self.permitted)?;
        caps::set(None, CapSet::Ambient, &self.ambient)
    }
}

/// Uses only what the container's program will have.
pub fn act_as(sets: &Sets) -> Result<(), caps::errors::CapsError> {
    caps::set(None, CapSet::Effective, &sets.effective)
}

/// Takes up again what is needed to load a filter.
pub fn act_as_runtime() -> Result<(), caps::errors::CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    caps::set(None, CapSet::Effective, &permitted)
}

/// Keeps exactly `sets`. The bounding and ambient sets are right already.
pub fn become_final(sets: &Sets) -> Result<(), caps::errors::CapsError> {
    caps::set(None, CapSet::Effective, &sets.effective)?;
    caps::set(None, CapSet::Permitted, &sets.permitted)?;
    caps::set(None, CapSet::Inheritable, &sets.inheritable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Capability::*;
    use serde_json::json;

    fn own() -> Own {
        let all: CapsHashSet = [CAP_CHOWN, CAP_KILL, CAP_SYS_ADMIN].into();
        Own { bounding: all.clone(), permitted: all }
    }

    #[test]
    fn only_what_the_host_has_is_given() {
        let oci = json!({"bounding": ["CAP_CHOWN", "CAP_SYS_TIME", "CAP_NEW"], "permitted": ["CAP_CHOWN"],
            "effective": ["CAP_CHOWN", "CAP_KILL"], "ambient": ["CAP_CHOWN"]});
        let sets = own().grant(Some(&oci));
        assert_eq!(sets.bounding, [CAP_CHOWN].into());
        assert_eq!(sets.effective, [CAP_CHOWN].into());
        assert!(sets.ambient.is_empty(), "ambient needs inheritable");
        assert_eq!(own().grant(None), Sets::default());
    }

    #[test]
    fn working_capabilities_stay_out_of_the_bounding_set() {
        let sets = own().with_working(&own().grant(None));
        assert!(sets.bounding.is_empty());
        assert!(sets.permitted.contains(&CAP_SYS_ADMIN) && sets.permitted.contains(&CAP_CHOWN));
        assert!(!sets.permitted.contains(&CAP_DAC_OVERRIDE));
    }
}
