//! The virtual machine of a container behind the hyperv wall.

use crate::{Engine, accelerator, containers::record::Record, guests::Guest, images::ResolvedImage};
use hako_model::{BootConfig, Disk, Error, Result, Share, Shares, VmConfig};
use hako_platform::{Reason, sizing::Sizing};
use hako_qemu::Accelerator;
use hako_sandbox::microvm::template;
use std::{fs::File, path::Path};

const MIB: u64 = 1 << 20;
/// A boot takes half a second; on a busy, emulated host many times that.
const DEADLINE_MS: u64 = 60_000;
/// An emulated guest of several processors panics now and then while it boots
/// on a busy host.
const ATTEMPTS: u32 = 3;

/// The VM with `guest` and its size, with `shares` of the host; makes the disks
/// that are not there yet.
///
/// # Errors
/// QEMU is missing, a disk cannot be made, or what is asked for of the machine
/// cannot be.
pub async fn config(
    engine: &Engine,
    record: &Record,
    image: &ResolvedImage,
    guest: &Guest,
    shares: &[Share],
) -> Result<(VmConfig, Sizing)> {
    let (probed, host_args) = engine.accelerator.for_guest(guest).await?;
    let refused =
        |reason: Reason| Error::new(reason.kind(), reason.to_string()).context(format!("container {}", record.id));
    let accelerator = chosen(record.vm.accelerator(), record.vm.own.accelerator.is_some(), probed);
    let accelerator = accelerator.map_err(refused)?;
    let size = record.vm.size(engine, &record.host, accelerator::of_platform(accelerator)).map_err(refused)?;
    let rootfs = engine.images.rootfs_erofs(image).await?;
    let templates = engine.templates.serve(accelerator);
    if templates {
        pad(&rootfs);
    }
    let scratch = engine.container_dir(record.id.as_str()).join(super::SCRATCH);
    if !scratch.is_file() {
        let size = record.vm.disk_mib(&record.host)? * MIB;
        engine.images.scratch_disk(size, scratch.clone()).await.map_err(|err| err.context("scratch disk"))?;
    }
    let mut disks = vec![
        Disk { serial: "rootfs".to_owned(), path: rootfs, size: None, read_only: true },
        Disk { serial: "scratch".to_owned(), path: scratch, size: None, read_only: false },
    ];
    disks.extend(super::step::disks(&record.step));
    for disk in &mut disks {
        disk.size = std::fs::metadata(&disk.path).map(|meta| meta.len()).ok();
    }
    let vm = VmConfig {
        boot: BootConfig {
            qemu: guest.qemu.clone(),
            board: guest.board.to_string(),
            kernel: guest.kernel.clone(),
            initramfs: guest.initramfs.clone(),
            accelerator: accelerator::name(accelerator).to_owned(),
            kernel_args: kernel_args(guest, (probed == accelerator).then_some(host_args), record.vm.kernel_args()),
            deadline_ms: DEADLINE_MS,
            attempts: ATTEMPTS,
        },
        memory_mib: if templates { memory_mib(engine, record, &size) } else { size.memory_mib },
        cpus: size.cpus,
        most_cpus: size.most_cpus,
        disks,
        shares: (!shares.is_empty()).then(|| Shares { server: engine.programs.shim.clone(), list: shares.to_vec() }),
        network: None,
        template: None,
    };
    Ok((vm, size))
}

/// Makes the image as long as every template has its disk, or leaves it alone:
/// what is added is a hole, and nothing looks there.
fn pad(image: &Path) {
    let padded = File::options().write(true).open(image).and_then(|file| match file.metadata()?.len() {
        length if length < template::ROOTFS_BYTES => file.set_len(template::ROOTFS_BYTES),
        _ => Ok(()),
    });
    if let Err(err) = padded {
        tracing::debug!("{} cannot be as long as a template's disk: {err}", image.display());
    }
}

/// Who names no amount of memory gets a machine of a size that has templates:
/// its limit is the same, and what it does not touch costs nothing.
fn memory_mib(engine: &Engine, record: &Record, size: &Sizing) -> u64 {
    let named = record.vm.own.memory_mib.is_some() || record.vm.usual.memory_mib.is_some();
    let class = template::memory_class(size.memory_mib);
    let of_host = u64::try_from(engine.host.memory).unwrap_or(0) >> 20;
    if !named && class <= of_host { class } else { size.memory_mib }
}

/// How the machine runs: as it is said, if this host can. KVM that was not seen
/// to work is refused to who asks for it, and left to others.
fn chosen(
    said: hako_platform::Accelerator,
    asked: bool,
    probed: Accelerator,
) -> std::result::Result<Accelerator, Reason> {
    use hako_platform::Accelerator::{Auto, Kvm, Tcg};
    match (said, probed) {
        (Tcg, _) => Ok(Accelerator::Tcg),
        (Kvm, Accelerator::Tcg) if asked => Err(Reason::Accelerator { asked: Kvm }),
        (Auto | Kvm, probed) => Ok(probed),
    }
}

/// The host's arguments, the guest's, and then the container's, which are the last
/// word. Those of an accelerator that was not probed the machine finds by itself.
fn kernel_args(guest: &Guest, of_host: Option<Vec<String>>, own: &[String]) -> Vec<String> {
    [of_host.unwrap_or_default(), guest.kernel_args.clone(), own.to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_platform::Accelerator as Said;
    use hako_qemu::Board;

    #[test]
    fn accelerators() {
        let kvm = Accelerator::Kvm;
        let tcg = Accelerator::Tcg;
        assert_eq!(chosen(Said::Tcg, true, kvm), Ok(tcg));
        assert_eq!(chosen(Said::Auto, true, kvm), Ok(kvm));
        assert_eq!(chosen(Said::Kvm, false, tcg), Ok(tcg));
        assert_eq!(chosen(Said::Kvm, true, tcg), Err(Reason::Accelerator { asked: Said::Kvm }));
    }

    #[test]
    fn arguments_of_the_container_come_last() {
        let guest = Guest {
            name: "own".to_owned(),
            release: "6.1".to_owned(),
            board: Board::Microvm,
            qemu: "qemu".into(),
            kernel: "vmlinux".into(),
            initramfs: "initramfs.cpio".into(),
            init: "hako-init".into(),
            hz: None,
            kernel_args: vec!["init_on_alloc=0".to_owned()],
        };
        let own = ["mitigations=auto".to_owned()];
        let of_host = || vec!["lpj=7".to_owned(), "mitigations=off".to_owned()];
        let args = kernel_args(&guest, Some(of_host()), &own);
        assert_eq!(args, ["lpj=7", "mitigations=off", "init_on_alloc=0", "mitigations=auto"]);
        assert_eq!(kernel_args(&guest, None, &own), ["init_on_alloc=0", "mitigations=auto"]);
    }
}
