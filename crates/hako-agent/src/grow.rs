//! More CPUs, of those that the machine has and the kernel was told to leave
//! alone at boot (`maxcpus=`).

use hako_model::{Error, Result};
use hako_task::extra::{GrowReply, GrowRequest};
use std::{fs, io, path::Path};

const CPUS: &str = "/sys/devices/system/cpu";

/// Starts as many as are asked for, as far as the machine has them.
pub fn grow(req: GrowRequest) -> Result<GrowReply> {
    let cpus = start_cpus(req.cpus).map_err(|err| Error::internal(format!("start a CPU of the guest: {err}")))?;
    Ok(GrowReply { cpus })
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
        if fs::read_to_string(&online).is_ok_and(|text| text.trim() == "0") {
            if number >= wanted {
                return Ok(number);
            }
            fs::write(online, "1")?;
        }
        number += 1;
    }
}
