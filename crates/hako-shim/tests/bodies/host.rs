//! What only the process wall has: layers on this kernel, processes of this
//! kernel, and runs so quick that a hundred are few.

use crate::{
    bundle::{Mode, Options},
    harness::{Shim, cgroups, demux, runtime},
};
use std::{
    process::Command,
    time::{Duration, Instant},
};

impl Shim {
    /// Ends the shim as an accident would, and then its container as hakod would.
    pub(crate) fn accident(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let root = self.dir.path().join("runtime");
        let deleted = Command::new(runtime()).arg("--root").arg(root).args(["delete", "--force", &self.id]).status();
        assert!(deleted.unwrap().success());
        assert!(cgroups().iter().all(|dir| !dir.to_string_lossy().contains(&self.id)));
    }
}

#[tokio::test]
async fn a_hundred_and_twenty_layers_are_mounted() {
    let mut options = Options::sh("echo /layer-* | wc -w");
    options.mode = Mode::ManyLayers;
    let shim = Shim::create(options).await;
    shim.run("").await.unwrap();
    assert_eq!(shim.wait("").await, 0);
    assert_eq!(shim.log(), [("stdout".to_owned(), "119\n".to_owned())]);
    shim.finish().await;
}

#[tokio::test]
async fn a_killed_shims_container_can_be_deleted() {
    let shim = Shim::create(Options::args(&["sleep", "60"])).await;
    let pid = shim.run("").await.unwrap();
    shim.accident();
    // A zombie has no program: its new parent may not have collected it yet.
    assert!(std::fs::read_link(format!("/proc/{pid}/exe")).is_err(), "the container's process is gone");
}

/// Where the time of a run goes, in the order in which it is spent.
const STEPS: [&str; 6] = ["shim", "create", "start", "wait", "delete", "shutdown"];

#[tokio::test]
async fn a_hundred_runs_in_a_row_leave_nothing() {
    let mut times: [Vec<Duration>; 6] = Default::default();
    for _ in 0..100 {
        let mut last = Instant::now();
        let mut step = 0;
        let mut lap = || {
            times[step].push(last.elapsed());
            (step, last) = (step + 1, Instant::now());
        };
        let options = Options::args(&["true"]);
        let mut shim = Shim::start(&options).await;
        lap();
        shim.try_create(&options).await.unwrap();
        lap();
        let mut client = shim.attach("", false).await;
        shim.run("").await.unwrap();
        lap();
        assert_eq!(shim.wait("").await, 0);
        assert_eq!(demux(&mut client).await.0, b"");
        lap();
        shim.delete("").await.unwrap();
        lap();
        shim.shutdown(false).await.unwrap();
        shim.gone();
        lap();
        shim.check_clean();
    }
    for (step, times) in STEPS.iter().zip(&mut times) {
        times.sort();
        eprintln!("{step:9} median {:?}, worst {:?}", times[50], times[99]);
    }
}
