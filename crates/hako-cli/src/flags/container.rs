//! The flags that `run` and `create` share, in Docker's words.

use clap::Args;
use std::path::PathBuf;

/// What a container is made of.
#[derive(Debug, Default, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct ContainerFlags {
    /// What stands between the container and the host: default, process, hyperv (or vm)
    #[arg(long, value_name = "WALL", help_heading = "Wall")]
    pub(crate) isolation: Option<String>,

    /// Keep STDIN open even if not attached
    #[arg(short = 'i', long, help_heading = "Streams")]
    pub(crate) interactive: bool,
    /// Allocate a pseudo-TTY
    #[arg(short = 't', long, help_heading = "Streams")]
    pub(crate) tty: bool,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short = 'a', long, value_name = "STREAM", help_heading = "Streams")]
    pub(crate) attach: Vec<String>,
    /// Logging driver for the container
    #[arg(long, value_name = "DRIVER", help_heading = "Streams")]
    pub(crate) log_driver: Option<String>,
    /// Log driver options
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Streams")]
    pub(crate) log_opt: Vec<String>,

    /// Assign a name to the container
    #[arg(long, help_heading = "Identity")]
    pub(crate) name: Option<String>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "NAME", help_heading = "Identity")]
    pub(crate) hostname: Option<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "NAME", help_heading = "Identity")]
    pub(crate) domainname: Option<String>,
    /// Set meta data on the container
    #[arg(short = 'l', long, value_name = "KEY=VALUE", help_heading = "Identity")]
    pub(crate) label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "FILE", help_heading = "Identity")]
    pub(crate) label_file: Vec<PathBuf>,
    /// Add an annotation to the container
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Identity")]
    pub(crate) annotation: Vec<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "FILE", help_heading = "Identity")]
    pub(crate) cidfile: Option<PathBuf>,

    /// Set environment variables
    #[arg(short = 'e', long, value_name = "NAME=VALUE", help_heading = "Process")]
    pub(crate) env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE", help_heading = "Process")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Working directory inside the container
    #[arg(short = 'w', long, value_name = "PATH", help_heading = "Process")]
    pub(crate) workdir: Option<String>,
    /// User name or UID: NAME|UID[:GROUP|GID]
    #[arg(short = 'u', long, help_heading = "Process")]
    pub(crate) user: Option<String>,
    /// Add additional groups to join
    #[arg(long, value_name = "GROUP", help_heading = "Process")]
    pub(crate) group_add: Vec<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "COMMAND", help_heading = "Process")]
    pub(crate) entrypoint: Option<String>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long, help_heading = "Process")]
    pub(crate) init: bool,
    /// Ulimit options
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Process")]
    pub(crate) ulimit: Vec<String>,
    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL", help_heading = "Process")]
    pub(crate) stop_signal: Option<String>,
    /// Timeout (in seconds) to stop the container
    #[arg(long, value_name = "SECONDS", help_heading = "Process")]
    pub(crate) stop_timeout: Option<i64>,

    /// Automatically remove the container when it exits
    #[arg(long, help_heading = "Life")]
    pub(crate) rm: bool,
    /// Restart policy to apply when the container exits
    #[arg(long, value_name = "POLICY", help_heading = "Life")]
    pub(crate) restart: Option<String>,
    /// Pull image before creating: always, missing, never
    #[arg(long, value_name = "WHEN", default_value = "missing", value_parser = ["always", "missing", "never"], hide_possible_values = true, help_heading = "Life")]
    pub(crate) pull: String,
    /// Set platform if the engine is multi-platform capable
    #[arg(long, value_name = "OS/ARCH", help_heading = "Life")]
    pub(crate) platform: Option<String>,
    /// Suppress the pull output
    #[arg(short = 'q', long, help_heading = "Life")]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) machine: Machine,
    #[command(flatten)]
    pub(crate) health: Health,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) network: Network,
    #[command(flatten)]
    pub(crate) security: Security,

    /// Print this help
    #[arg(long, action = clap::ArgAction::Help, help_heading = "Help")]
    pub(crate) help: Option<bool>,

    /// The image, then the command and its arguments
    #[arg(value_name = "IMAGE [COMMAND] [ARG...]", required = true, trailing_var_arg = true, hide = true)]
    pub(crate) words: Vec<String>,
}

/// What its virtual machine is like, behind the hyperv wall: hako-platform's options.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Virtual machine")]
pub(crate) struct Machine {
    /// Guest kernel, by the name of an installed one
    #[arg(long, value_name = "NAME")]
    pub(crate) kernel: Option<String>,
    /// Memory of the machine, its own need included
    #[arg(long, value_name = "SIZE")]
    pub(crate) vm_memory: Option<String>,
    /// Virtual processors
    #[arg(long, value_name = "NUMBER")]
    pub(crate) vm_cpus: Option<String>,
    /// Arguments for the guest kernel, of those that are allowed
    #[arg(long, value_name = "ARGS")]
    pub(crate) vm_kernel_args: Vec<String>,
    /// Size of the writable disk
    #[arg(long, value_name = "SIZE")]
    pub(crate) vm_disk: Option<String>,
    /// How the machine runs: auto, kvm, tcg
    #[arg(long, value_name = "NAME")]
    pub(crate) vm_accelerator: Option<String>,
}

impl Machine {
    /// The options that are given, by hako-platform's names.
    pub(crate) fn given(&self) -> Vec<(&'static str, String)> {
        let kernel_args = (!self.vm_kernel_args.is_empty()).then(|| self.vm_kernel_args.join(" "));
        let all = [
            ("memory", self.vm_memory.clone()),
            ("cpus", self.vm_cpus.clone()),
            ("kernel", self.kernel.clone()),
            ("kernel-args", kernel_args),
            ("disk", self.vm_disk.clone()),
            ("accelerator", self.vm_accelerator.clone()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// How the engine finds out whether it is well.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Health")]
pub(crate) struct Health {
    /// Command to run to check health
    #[arg(long, value_name = "COMMAND")]
    pub(crate) health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_interval: Option<String>,
    /// Maximum time to allow one check to run (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_timeout: Option<String>,
    /// Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_start_period: Option<String>,
    /// Time between running the check during the start period (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_start_interval: Option<String>,
    /// Consecutive failures needed to report unhealthy
    #[arg(long, value_name = "NUMBER")]
    pub(crate) health_retries: Option<i64>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
}

/// How much it may use.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Memory limit
    #[arg(short = 'm', long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Memory soft limit
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_swap: Option<String>,
    /// Tune container memory swappiness (0 to 100)
    #[arg(long, value_name = "PERCENT")]
    pub(crate) memory_swappiness: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<String>,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    pub(crate) cpu_shares: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_quota: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "NUMBER")]
    pub(crate) pids_limit: Option<i64>,
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) blkio_weight: Option<u16>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    pub(crate) shm_size: Option<String>,
    /// Disable OOM Killer
    #[arg(long)]
    pub(crate) oom_kill_disable: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "SCORE")]
    pub(crate) oom_score_adj: Option<i64>,
    /// Optional parent cgroup for the container
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_parent: Option<String>,
}

/// What it sees of files.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct Files {
    /// Bind mount a volume
    #[arg(short = 'v', long, value_name = "[SOURCE:]PATH[:OPTIONS]")]
    pub(crate) volume: Vec<String>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub(crate) mount: Vec<String>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    pub(crate) tmpfs: Vec<String>,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Mount volumes from the specified containers
    #[arg(long, value_name = "CONTAINER")]
    pub(crate) volumes_from: Vec<String>,
    /// Optional volume driver for the container
    #[arg(long, value_name = "DRIVER")]
    pub(crate) volume_driver: Option<String>,
    /// Storage driver options for the container
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) storage_opt: Vec<String>,
    /// Add a host device to the container
    #[arg(long, value_name = "HOST[:PATH[:RIGHTS]]")]
    pub(crate) device: Vec<String>,
}

/// What it sees of networks.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct Network {
    /// Connect the container to a network: its name, or name=NAME,alias=NAME,ip=IP,...
    #[arg(long, visible_alias = "net")]
    pub(crate) network: Vec<String>,
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(long, value_name = "IP")]
    pub(crate) ip: Option<String>,
    /// IPv6 address (e.g., 2001:db8::33)
    #[arg(long, value_name = "IP")]
    pub(crate) ip6: Option<String>,
    /// Container IPv4/IPv6 link-local addresses
    #[arg(long, value_name = "IP")]
    pub(crate) link_local_ip: Vec<String>,
    /// Container MAC address (e.g., 92:d0:c6:0a:29:33)
    #[arg(long, value_name = "MAC")]
    pub(crate) mac_address: Option<String>,
    /// Add link to another container
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    pub(crate) link: Vec<String>,
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "NAME")]
    pub(crate) network_alias: Vec<String>,
    /// Publish the container's ports to the host
    #[arg(short = 'p', long, value_name = "[[IP:]HOST:]PORT[/PROTO]")]
    pub(crate) publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "PORT[/PROTO]")]
    pub(crate) expose: Vec<String>,
    /// Add a custom host-to-IP mapping
    #[arg(long, value_name = "HOST:IP")]
    pub(crate) add_host: Vec<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "IP")]
    pub(crate) dns: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// Set DNS options
    #[arg(long, value_name = "OPTION", visible_alias = "dns-opt")]
    pub(crate) dns_option: Vec<String>,
}

/// What it may do.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct Security {
    /// Add Linux capabilities
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_drop: Vec<String>,
    /// Give extended privileges to the container
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Security Options
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// Sysctl options
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) sysctl: Vec<String>,
    /// Cgroup namespace to use (host|private)
    #[arg(long, value_name = "MODE")]
    pub(crate) cgroupns: Option<String>,
    /// IPC mode to use
    #[arg(long, value_name = "MODE")]
    pub(crate) ipc: Option<String>,
    /// PID namespace to use
    #[arg(long, value_name = "MODE")]
    pub(crate) pid: Option<String>,
    /// UTS namespace to use
    #[arg(long, value_name = "MODE")]
    pub(crate) uts: Option<String>,
    /// User namespace to use
    #[arg(long, value_name = "MODE")]
    pub(crate) userns: Option<String>,
    /// Runtime to use for the container
    #[arg(long, value_name = "NAME")]
    pub(crate) runtime: Option<String>,
}
