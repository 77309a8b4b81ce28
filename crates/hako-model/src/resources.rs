//! Limits of a container: the parts of OCI's `linux.resources` that Hako sets,
//! for a create and for an update. What is absent is left as it is.

use serde::{Deserialize, Serialize};

/// `linux.resources` without the devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Resources {
    /// Memory.
    #[serde(skip_serializing_if = "Memory::is_empty")]
    pub memory: Memory,
    /// Processor time and placement.
    #[serde(skip_serializing_if = "Cpu::is_empty")]
    pub cpu: Cpu,
    /// Processes.
    #[serde(skip_serializing_if = "Pids::is_empty")]
    pub pids: Pids,
    /// Block devices.
    #[serde(rename = "blockIO", skip_serializing_if = "BlockIo::is_empty")]
    pub block_io: BlockIo,
}

/// `memory`. -1 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Memory {
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Bytes that are left alone when memory is short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<i64>,
    /// Bytes of memory and swap together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<i64>,
    /// 0 to 100, on cgroup version 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swappiness: Option<u64>,
    /// On cgroup version 1: who hits the limit waits and is not killed.
    #[serde(rename = "disableOOMKiller", skip_serializing_if = "Option::is_none")]
    pub disable_oom_killer: Option<bool>,
}

/// `cpu`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cpu {
    /// 2 to 262144: the part among siblings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<u64>,
    /// Microseconds of each period; -1 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<i64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    /// A list such as `0-2,5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    /// Memory nodes, a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mems: Option<String>,
}

/// `pids`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pids {
    /// -1 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// `blockIO`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BlockIo {
    /// 10 to 1000: the part among siblings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// The same for one device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<WeightDevice>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_bps_device: Vec<ThrottleDevice>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_bps_device: Vec<ThrottleDevice>,
    /// Requests a second.
    #[serde(rename = "throttleReadIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_iops_device: Vec<ThrottleDevice>,
    /// Requests a second.
    #[serde(rename = "throttleWriteIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_iops_device: Vec<ThrottleDevice>,
}

/// A device's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightDevice {
    /// Of the device.
    pub major: u64,
    /// Of the device.
    pub minor: u64,
    /// 10 to 1000.
    pub weight: u16,
}

/// A device's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleDevice {
    /// Of the device.
    pub major: u64,
    /// Of the device.
    pub minor: u64,
    /// A second; 0 is no limit.
    pub rate: u64,
}

macro_rules! empty {
    ($($name:ident)*) => {$(
        impl $name {
            /// Whether it says nothing.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }
        }
    )*};
}
empty!(Resources Memory Cpu Pids BlockIo);

impl Resources {
    /// Behind the hyperv wall: what compares containers with each other and
    /// names the host's devices and CPUs is for the VM's process on the host;
    /// what counts exactly is for the container in the guest.
    #[must_use]
    pub fn split(self) -> (Self, Self) {
        let Self { memory, cpu, pids, block_io } = self;
        let host = Cpu { quota: None, period: None, ..cpu.clone() };
        let guest = Cpu { quota: cpu.quota, period: cpu.period, ..Cpu::default() };
        (Self { cpu: host, block_io, ..Self::default() }, Self { memory, cpu: guest, pids, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_oci() {
        let oci = json!({
            "memory": {"limit": 7, "disableOOMKiller": true},
            "cpu": {"shares": 512, "quota": -1, "cpus": "0"},
            "pids": {"limit": -1},
            "blockIO": {"weight": 10, "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 5}]},
        });
        let parsed: Resources = serde_json::from_value(oci.clone()).unwrap();
        assert_eq!(serde_json::to_value(&parsed).unwrap(), oci);
        let (host, guest) = parsed.split();
        assert_eq!(serde_json::to_value(guest).unwrap()["cpu"], json!({"quota": -1}));
        assert_eq!(serde_json::to_value(&host).unwrap()["cpu"], json!({"shares": 512, "cpus": "0"}));
        assert!(host.memory.is_empty() && host.pids.is_empty() && !host.block_io.is_empty());
        assert!(Resources::default().is_empty());
    }
}
