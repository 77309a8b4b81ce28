//! The query of `POST /build`.

use super::Build;
use crate::api::Query;
use crate::error::Result;
use crate::flags::{build_args, pairs, size, swap, ulimit};
use clap::Args;
use hako_model::Isolation;
use serde_json::{Value, json};

/// How the steps run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Steps")]
pub(super) struct Steps {
    /// Wall of the steps: process or vm
    #[arg(long, value_name = "WALL")]
    isolation: Option<String>,
    /// Set the networking mode for the RUN instructions during build
    #[arg(long, value_name = "MODE")]
    network: Option<String>,
    /// Add a custom host-to-IP mapping ("host:ip")
    #[arg(long, value_name = "HOST:IP")]
    add_host: Vec<String>,
    /// Memory limit
    #[arg(short = 'm', long, value_name = "SIZE")]
    memory: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    cpu_shares: Option<i64>,
    /// Limit the CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<i64>,
    /// Limit the CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_quota: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Ulimit options
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// Set the parent cgroup for the RUN instructions during build
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// Security options
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
}

/// A list of `key`, if there is anything in it.
fn list(query: Query, key: &str, items: &[Value]) -> Query {
    if items.is_empty() { query } else { query.set(key, &json!(items).to_string()) }
}

fn object(query: Query, key: &str, items: serde_json::Map<String, Value>) -> Query {
    if items.is_empty() { query } else { query.set(key, &Value::Object(items).to_string()) }
}

impl Build {
    /// The request's path, where the Dockerfile has this name in the context.
    pub(super) fn query(&self, dockerfile: &str) -> Result<String> {
        let mut query = Query::default()
            .set("dockerfile", dockerfile)
            .set("rm", if self.rm { "1" } else { "0" })
            .flag("forcerm", self.force_rm)
            .flag("nocache", self.no_cache)
            .flag("pull", self.pull)
            .flag("q", self.quiet)
            .flag("squash", self.squash)
            .opt("platform", self.platform.as_deref())
            .opt("target", self.target.as_deref());
        for tag in &self.tag {
            query = query.set("t", tag);
        }
        query = object(query, "buildargs", build_args(&self.build_arg));
        query = object(query, "labels", pairs(&self.label));
        let images: Vec<Value> = self.cache_from.iter().map(|image| json!(image)).collect();
        query = list(query, "cachefrom", &images);
        Ok(self.steps.add(query)?.on("/build"))
    }
}

impl Steps {
    fn add(&self, query: Query) -> Result<Query> {
        let number = |value: Option<i64>| value.map(|value| value.to_string());
        let bytes = |text: &Option<String>| text.as_deref().map(size).transpose().map(number);
        let swap = self.memory_swap.as_deref().map(swap).transpose()?;
        let ulimits = self.ulimit.iter().map(|text| ulimit(text)).collect::<Result<Vec<_>>>()?;
        let isolation = match &self.isolation {
            // `vm` is this program's word; the API carries Docker's.
            Some(isolation) => Some(Isolation::from_request(isolation)?.map_or("default", Isolation::as_str)),
            None => None,
        };
        let mut query = query
            .opt("isolation", isolation)
            .opt("networkmode", self.network.as_deref())
            .opt("memory", bytes(&self.memory)?.as_deref())
            .opt("memswap", number(swap).as_deref())
            .opt("cpushares", number(self.cpu_shares).as_deref())
            .opt("cpuperiod", number(self.cpu_period).as_deref())
            .opt("cpuquota", number(self.cpu_quota).as_deref())
            .opt("cpusetcpus", self.cpuset_cpus.as_deref())
            .opt("cpusetmems", self.cpuset_mems.as_deref())
            .opt("shmsize", bytes(&self.shm_size)?.as_deref())
            .opt("cgroupparent", self.cgroup_parent.as_deref());
        for host in &self.add_host {
            query = query.set("extrahosts", &host.replacen('=', ":", 1));
        }
        for option in &self.security_opt {
            query = query.set("securityopt", option);
        }
        Ok(list(query, "ulimits", &ulimits))
    }
}
