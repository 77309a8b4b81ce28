//! The boards that guests are made for: what QEMU is told of one, and what the
//! kernel on it must be told.

use crate::{Accelerator, tsc_khz};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A board: a QEMU machine with its options, and the kind of kernel that boots on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Board {
    /// `microvm` without ACPI, PIT and PIC, for the kernel of guest/kernel.
    #[default]
    Microvm,
    /// `microvm` with all three, for a distribution's kernel of amd64: it finds
    /// its devices by ACPI, and its timer by the others.
    MicrovmAcpi,
    /// `virt` of arm64, for any kernel.
    Virt,
}

/// Loops of the delay timer in a tick; the timer is the TSC.
const DELAY_ARG: &str = "lpj=";
const TSC_ARG: &str = "tsc_early_khz=";
/// `CONFIG_HZ` of guest/kernel/config.
const OWN_HZ: u64 = 100;

/// For every kernel.
const COMMON: &[&str] = &[
    "console=hvc0",
    "quiet",
    "panic=-1",
    "cgroup_no_v1=all",
    // A container shares the guest's network namespace: no interface but its own.
    "dummy.numdummies=0",
    // Mounts and namespaces wait for RCU; at 100 Hz that is tens of milliseconds each.
    "rcupdate.rcu_expedited=1",
    // Spares an emulated boot a twentieth of a second: no accounting of the initramfs.
    "rootfstype=ramfs",
];

/// For every kernel of amd64.
const AMD64: &[&str] = &[
    // The machine has no power button: the guest ends by a triple fault.
    "reboot=t",
    "tsc=reliable",
    // Another twentieth of a second: no patching of locks for one CPU.
    "noreplace-smp",
];

impl Board {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Microvm => "microvm",
            Self::MicrovmAcpi => "microvm-acpi",
            Self::Virt => "virt",
        }
    }

    /// Go's name of its processors.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Microvm | Self::MicrovmAcpi => "amd64",
            Self::Virt => "arm64",
        }
    }

    /// The QEMU program that has it.
    #[must_use]
    pub fn qemu(self) -> &'static str {
        match self {
            Self::Microvm | Self::MicrovmAcpi => "qemu-system-x86_64",
            Self::Virt => "qemu-system-aarch64",
        }
    }

    /// What the guest's kernel must be told of this host, and how often it
    /// ticks (`CONFIG_HZ`), if that is known. Measures the TSC's frequency, which
    /// takes a tenth of a second: the engine does it once.
    #[must_use]
    pub fn host_args(self, accelerator: Accelerator, hz: Option<u64>) -> Vec<String> {
        let hz = match self {
            Self::Virt => return Vec::new(),
            Self::Microvm => Some(OWN_HZ),
            Self::MicrovmAcpi => hz.filter(|hz| *hz > 0),
        };
        let khz = tsc_khz();
        // Spares the further CPUs a calibration of several ticks each.
        let mut args: Vec<String> = hz.iter().map(|hz| format!("{DELAY_ARG}{}", khz * 1000 / hz)).collect();
        if accelerator == Accelerator::Tcg || self == Self::MicrovmAcpi {
            // The emulated TSC is the host's, and there is nothing in the
            // machine to calibrate it against.
            args.push(format!("{TSC_ARG}{khz}"));
        }
        if accelerator == Accelerator::Tcg {
            // An emulated CPU does not speculate.
            args.push("mitigations=off".to_owned());
        }
        args
    }

    /// Whether `args` lack [`Self::host_args`].
    pub(crate) fn lacks_host_args(self, args: &[String]) -> bool {
        let given = args.iter().any(|arg| arg.starts_with(DELAY_ARG) || arg.starts_with(TSC_ARG));
        self != Self::Virt && !given
    }

    /// What its kernel is always told.
    pub(crate) fn kernel_args(self) -> impl Iterator<Item = &'static str> {
        let (architecture, own): (&[&str], &[&str]) = match self {
            // QEMU's and KVM's APIC timer runs at 1 GHz (guest/kernel/lapic_timer_khz.patch).
            Self::Microvm => (AMD64, &["lapic_timer_khz=1000000"]),
            // On a busy host the emulated timers are late, and a kernel that
            // checks one against another gives up.
            Self::MicrovmAcpi => (AMD64, &["no_timer_check"]),
            Self::Virt => (&[], &[]),
        };
        COMMON.iter().chain(architecture).chain(own).copied()
    }

    /// For `-M`. Found by trial, each with its reason in
    /// docs/decisions/0001-guest-kernel.md and 0026-guests.md.
    pub(crate) fn machine(self) -> &'static str {
        match self {
            Self::Microvm => "microvm,acpi=off,x-option-roms=off,isa-serial=off,rtc=on,pit=off,pic=off",
            // On the second I/O APIC no interrupt arrives.
            Self::MicrovmAcpi => "microvm,acpi=on,ioapic2=off,x-option-roms=off,isa-serial=off,rtc=on,pit=on,pic=on",
            Self::Virt => "virt,gic-version=3",
        }
    }

    /// For `-cpu`.
    pub(crate) fn cpu(self, accelerator: Accelerator) -> &'static str {
        match (accelerator, self) {
            (Accelerator::Kvm, _) => "host",
            // Without `erms` the guest's kernel clears and copies by words: emulated,
            // a `rep stosb` goes byte by byte, and a start takes a seventh longer.
            (Accelerator::Tcg, Self::Microvm | Self::MicrovmAcpi) => "max,-erms",
            // What clouds have. `max` boots more slowly, for features that few programs use.
            (Accelerator::Tcg, Self::Virt) => "neoverse-n1",
        }
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Board {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Microvm, Self::MicrovmAcpi, Self::Virt];
        let known = all.into_iter().find(|board| board.as_str() == text);
        known.ok_or_else(|| format!("unknown board {text:?}: microvm, microvm-acpi or virt"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_both_ways() {
        for board in [Board::Microvm, Board::MicrovmAcpi, Board::Virt] {
            assert_eq!(board.as_str().parse(), Ok(board));
            assert_eq!(serde_json::to_value(board).unwrap(), board.as_str());
        }
        assert!("q35".parse::<Board>().is_err());
    }

    #[test]
    fn only_amd64_has_its_words() {
        let words = |board: Board, accelerator, hz| {
            let fixed = board.kernel_args().map(str::to_owned);
            fixed.chain(board.host_args(accelerator, hz)).collect::<Vec<_>>().join(" ")
        };
        let arm = words(Board::Virt, Accelerator::Tcg, Some(250));
        assert!(!["tsc", "lapic", "lpj", "reboot=t", "noreplace"].iter().any(|word| arm.contains(word)), "{arm}");
        let own = words(Board::Microvm, Accelerator::Tcg, None);
        assert!(own.contains("lapic_timer_khz=") && own.contains("lpj=") && own.contains(TSC_ARG), "{own}");
        let other = words(Board::MicrovmAcpi, Accelerator::Kvm, None);
        assert!(!other.contains("lapic_timer_khz=") && !other.contains("lpj=") && other.contains(TSC_ARG), "{other}");
    }
}
