//! `hako update`.

use super::many::for_each;
use crate::api::{Client, escape};
use crate::error::{Error, Result};
use crate::flags::{Limits, limits, restart};
use clap::Args;
use serde_json::Value;

/// Change the limits and the restart policy of containers
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Memory limit
    #[arg(short = 'm', long, value_name = "SIZE")]
    memory: Option<String>,
    /// Memory soft limit
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "SIZE")]
    memory_swap: Option<String>,
    /// Number of CPUs
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    cpu_shares: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_quota: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "NUMBER")]
    pids_limit: Option<i64>,
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Update {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let mut body = limits(&Limits {
            memory: self.memory,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
            cpus: self.cpus,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpuset_cpus: self.cpuset_cpus,
            cpuset_mems: self.cpuset_mems,
            pids_limit: self.pids_limit,
            blkio_weight: self.blkio_weight,
            ..Limits::default()
        })?;
        if let Some(policy) = &self.restart {
            body.insert("RestartPolicy".to_owned(), restart(policy)?);
        }
        if body.is_empty() {
            return Err(Error::msg("you must provide one or more flags when using this command"));
        }
        let body = &Value::Object(body);
        for_each(&self.containers, |name| async move {
            let answer = client.post_json(&format!("/containers/{}/update", escape(name)), body.clone()).await?;
            for warning in answer["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                eprintln!("WARNING: {warning}");
            }
            Ok(name.to_owned())
        })
        .await
    }
}
