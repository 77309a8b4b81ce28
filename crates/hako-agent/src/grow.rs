//! More memory and CPUs, of those that the machine has and the kernel was told
//! to leave alone at boot (`mem=`, `maxcpus=`).

use hako_model::{Error, Result};
use hako_task::extra::{GrowReply, GrowRequest};
use std::{
    collections::BTreeSet,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

const MEMORY: &str = "/sys/devices/system/memory";
const MEMORY_MAP: &str = "/sys/firmware/memmap";
const CPUS: &str = "/sys/devices/system/cpu";
const MIB: u64 = 1 << 20;

/// Grows by what is asked for, as far as the machine has it.
pub fn grow(req: GrowRequest) -> Result<GrowReply> {
    let named = |what: &str| {
        let what = what.to_owned();
        move |err: io::Error| Error::internal(format!("{what}: {err}"))
    };
    let memory_mib = add_memory(req.memory_mib).map_err(named("add memory to the guest"))?;
    let cpus = start_cpus(req.cpus).map_err(named("start a CPU of the guest"))?;
    Ok(GrowReply { memory_mib, cpus })
}

fn read(path: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

fn hex(text: &str) -> io::Result<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, text.to_owned()))
}

/// MiB that were added.
fn add_memory(wanted: u64) -> io::Result<u64> {
    if wanted == 0 {
        return Ok(0);
    }
    let block = hex(&read(&Path::new(MEMORY).join("block_size_bytes"))?)?;
    if block < MIB {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("memory blocks of {block} bytes")));
    }
    let mut added = 0;
    for address in free_blocks(&ram()?, &present()?, block) {
        if added >= wanted {
            break;
        }
        // The kernel brings it online itself, for any use.
        fs::write(Path::new(MEMORY).join("probe"), format!("{address:#x}"))?;
        added += block / MIB;
    }
    Ok(added)
}

/// The machine's memory, whatever the kernel uses of it.
fn ram() -> io::Result<Vec<Range<u64>>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(MEMORY_MAP)? {
        let dir: PathBuf = entry?.path();
        if read(&dir.join("type"))? == "System RAM" {
            // The end is the last byte.
            found.push(hex(&read(&dir.join("start"))?)?..hex(&read(&dir.join("end"))?)?.saturating_add(1));
        }
    }
    found.sort_by_key(|range| range.start);
    Ok(found)
}

/// The numbers of the blocks that the kernel knows.
fn present() -> io::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(MEMORY)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("memory") {
            found.insert(hex(&read(&entry.path().join("phys_index"))?)?);
        }
    }
    Ok(found)
}

/// Where whole blocks of memory lie that the kernel does not know, the lowest first.
fn free_blocks(ram: &[Range<u64>], present: &BTreeSet<u64>, block: u64) -> Vec<u64> {
    let blocks = ram.iter().flat_map(|range| {
        let (first, end) = (range.start.div_ceil(block), range.end / block);
        first..end.max(first)
    });
    blocks.filter(|number| !present.contains(number)).map(|number| number * block).collect()
}

/// How many CPUs run, after at least `wanted` were asked to.
fn start_cpus(wanted: u32) -> io::Result<u32> {
    let mut number = 0;
    loop {
        let cpu = Path::new(CPUS).join(format!("cpu{number}"));
        if !cpu.is_dir() {
            return Ok(number);
        }
        // The first one has no such file: it always runs.
        let online = cpu.join("online");
        if read(&online).is_ok_and(|text| text == "0") {
            if number >= wanted {
                return Ok(number);
            }
            fs::write(online, "1")?;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_are_free() {
        let block = 128 * MIB;
        let ram = [0..640 * 1024, MIB..3072 * MIB, 4096 * MIB..5000 * MIB];
        let present = BTreeSet::from([0, 1]);
        let free = free_blocks(&ram, &present, block);
        assert_eq!(free[0], 256 * MIB);
        assert_eq!(free.iter().filter(|address| **address < 3072 * MIB).count(), 22);
        assert_eq!(free.iter().filter(|address| **address >= 4096 * MIB).count(), 7);
    }
}
