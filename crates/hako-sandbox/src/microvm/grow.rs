//! Limits of a running VM's workload: more CPUs for the guest where the new ones
//! need them, then the guest's cgroup, then the host's. Memory is what it booted with.

use super::{guest::Guest, sizing};
use hako_model::{Error, ErrorKind, Result, VmConfig, resources::Resources};
use hako_task::extra::GrowRequest;

/// How large a guest is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    memory_mib: u64,
    cpus: u32,
    most_cpus: u32,
}

impl Size {
    /// As it boots.
    pub fn of(vm: &VmConfig) -> Self {
        Self { memory_mib: vm.memory_mib, cpus: vm.cpus, most_cpus: vm.most_cpus.max(vm.cpus) }
    }

    /// What it lacks for a workload with these limits.
    fn lacks(&self, limits: &Resources) -> Result<GrowRequest> {
        let mut lacks = GrowRequest { cpus: self.cpus };
        if let Some(limit) = limits.memory.limit.and_then(|limit| u64::try_from(limit).ok())
            && limit > sizing::most_limit(self.memory_mib)
        {
            return Err(self.too_much(limit));
        }
        if let (Some(quota), Some(period)) = (limits.cpu.quota, limits.cpu.period)
            && let Ok(quota) = u64::try_from(quota)
        {
            let needed = u32::try_from(quota.div_ceil(period.max(1))).unwrap_or(u32::MAX);
            lacks.cpus = needed.clamp(self.cpus, self.most_cpus);
        }
        Ok(lacks)
    }

    fn too_much(&self, limit: u64) -> Error {
        Error::new(
            ErrorKind::InvalidParameter,
            format!(
                "memory limit of {} MiB: this container's virtual machine can give its workload at most {} MiB; \
                 stop it first for more",
                limit >> 20,
                sizing::most_limit(self.memory_mib) >> 20
            ),
        )
    }
}

impl Guest {
    /// Changes the limits of the workload.
    pub async fn update(&self, resources: &[u8]) -> Result<()> {
        let asked: Resources =
            serde_json::from_slice(resources).map_err(|err| Error::invalid(format!("malformed resources: {err}")))?;
        let (host, mut guest) = asked.split();
        let mut size = self.size.lock().await;
        if guest.memory.limit.is_some_and(|limit| limit <= 0) {
            // No limit is the machine's: an out-of-memory must be the cgroup's.
            guest.memory.limit = i64::try_from(sizing::most_limit(size.memory_mib)).ok();
        }
        // There is no swap in a guest.
        guest.memory.swap = None;
        if !guest.is_empty() {
            let lacks = size.lacks(&guest)?;
            self.awake(async {
                self.grow(&mut size, lacks).await?;
                self.set_limits(&guest).await
            })
            .await?;
        }
        self.group.apply(&host)
    }

    async fn grow(&self, size: &mut Size, lacks: GrowRequest) -> Result<()> {
        if lacks.cpus <= size.cpus {
            return Ok(());
        }
        let grown = self.ask_to_grow(lacks).await?;
        // The guest is not believed to have more than the machine has.
        size.cpus = grown.cpus.clamp(size.cpus, size.most_cpus);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_model::resources::{Cpu, Memory};

    #[test]
    fn what_is_lacking() {
        let size = Size { memory_mib: 2000, cpus: 1, most_cpus: 4 };
        let limits = |limit: i64, quota| Resources {
            memory: Memory { limit: Some(limit << 20), ..Memory::default() },
            cpu: Cpu { quota: Some(quota), period: Some(100_000), ..Cpu::default() },
            ..Resources::default()
        };
        let lacks = size.lacks(&limits(64, 50_000)).unwrap();
        assert_eq!(lacks.cpus, 1);
        let lacks = size.lacks(&limits(1000, 250_000)).unwrap();
        assert_eq!(lacks.cpus, 3);
        let err = size.lacks(&limits(4000, 1)).unwrap_err().message;
        assert!(err.contains("4000 MiB") && err.contains("at most 1803 MiB"), "{err}");
        assert_eq!(size.lacks(&limits(64, -1)).unwrap().cpus, 1);
    }
}
