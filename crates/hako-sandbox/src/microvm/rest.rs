//! A paused VM: its workload is frozen in the guest, and its CPUs are halted.
//!
//! ```text
//!            pause: freeze, halt                   request: run ─┐
//!   running ─────────────────────► paused, nobody busy ◄─────────┴─► paused, busy
//!      ▲    resume: run, thaw         │                     halt
//!      └──────────────────────────────┴── SIGKILL, the VM's end: run
//! ```
//!
//! What needs the agent meanwhile wakes the machine for as long as it takes, and
//! what needed it before keeps it awake; the workload stays frozen.

use super::guest::Guest;
use hako_model::{Error, Result};

/// Whether the VM's CPUs run: unless it is paused and nobody is busy.
#[derive(Debug, Default)]
pub(super) struct Rest {
    paused: bool,
    /// How many requests are under way, of before a pause or within it.
    busy: u32,
}

impl Rest {
    fn is_halted(&self) -> bool {
        self.paused && self.busy == 0
    }
}

impl Guest {
    /// Freezes the workload and halts the machine.
    pub async fn pause(&self) -> Result<()> {
        let mut rest = self.rest.lock().await;
        if rest.paused {
            return Err(Error::conflict("the virtual machine is paused already"));
        }
        self.freeze().await?;
        if rest.busy == 0
            && let Err(err) = self.halt().await
        {
            // A workload that stands still in a machine that runs is neither.
            let _ = self.thaw().await;
            return Err(err);
        }
        rest.paused = true;
        Ok(())
    }

    /// Lets the machine run and thaws the workload.
    pub async fn resume(&self) -> Result<()> {
        self.stay_awake().await?;
        self.thaw().await
    }

    /// Runs `work`, which needs the agent.
    pub(super) async fn awake<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.wake().await?;
        let done = work.await;
        self.rest_again().await;
        done
    }

    async fn wake(&self) -> Result<()> {
        let mut rest = self.rest.lock().await;
        if rest.is_halted() {
            self.run().await?;
        }
        rest.busy += 1;
        Ok(())
    }

    async fn rest_again(&self) {
        let mut rest = self.rest.lock().await;
        rest.busy = rest.busy.saturating_sub(1);
        if rest.is_halted()
            && let Err(err) = self.halt().await
        {
            // The workload is frozen all the same.
            tracing::warn!("the paused virtual machine runs on: {}", err.message);
        }
    }

    /// Ends a pause of the machine; the workload is as it was.
    pub(super) async fn stay_awake(&self) -> Result<()> {
        let mut rest = self.rest.lock().await;
        if rest.is_halted() {
            self.run().await?;
        }
        rest.paused = false;
        Ok(())
    }

    /// Runs the machine. Its clocks stood still: the agent sets the one that counts.
    async fn run(&self) -> Result<()> {
        let vm = self.vm.lock().await;
        vm.qmp().lock().await.cont().await.map_err(|err| Error::internal(err.to_string()))?;
        drop(vm);
        self.tell_time().await;
        Ok(())
    }

    async fn halt(&self) -> Result<()> {
        let vm = self.vm.lock().await;
        let halted = vm.qmp().lock().await.stop().await;
        halted.map_err(|err| Error::internal(err.to_string()))
    }
}
