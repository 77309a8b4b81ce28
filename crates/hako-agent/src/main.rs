//! PID 1 and agent of the guest.
//!
//! ```text
//! kernel ─► PID 1: mounts, forks, reaps; reboots when its child ends
//!             └─► agent: virtio port ─ mux ─ ttrpc (Task, Extra), stdio streams
//!                   └─► hako-runtime ─► the container
//! ```
//!
//! The fork comes before any thread and any runtime. The machine's end is a
//! reboot, which QEMU takes for an end.

mod clock;
mod grow;
mod init;
mod modules;
mod mounts;
mod network;
mod port;
mod serve;
mod service;
mod shares;
mod streams;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("hako-agent runs as PID 1 of Hako's guest");
        return ExitCode::from(2);
    }
    init::run()
}
