//! hakod's flags: dockerd's where they mean the same.

use clap::Parser;
use std::path::PathBuf;

/// The engine of Hako: Docker's API, one engine, two walls.
#[derive(Debug, Parser)]
#[command(name = "hakod", version, about, disable_help_subcommand = true)]
pub struct Flags {
    /// Where to listen: unix:///path or tcp://address:port; repeatable [default: unix://<exec-root>/hako.sock]
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Durable data [default: /var/lib/hako]
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// Data of running containers, lost at reboot [default: /run/hako]
    #[arg(long, value_name = "DIR")]
    pub exec_root: Option<PathBuf>,
    /// Settings, TOML or JSON [default: /etc/hako/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// isolation=process|hyperv: the default wall; accelerator=auto|kvm|tcg: for VMs
    #[arg(long = "exec-opt", value_name = "KEY=VALUE")]
    pub exec_opts: Vec<String>,
    /// The same as --log-level debug
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// debug, info, warn, error or fatal [default: info]
    #[arg(short = 'l', long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Use TLS on tcp hosts; implied by --tlsverify
    #[arg(long)]
    pub tls: bool,
    /// Use TLS and verify the client
    #[arg(long)]
    pub tlsverify: bool,
    /// Trust only certificates signed by this CA [default: <config>/ca.pem]
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// The TLS certificate [default: <config>/cert.pem]
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// The TLS key [default: <config>/key.pem]
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
    /// Where the process's id is written [default: <exec-root>/hakod.pid]
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// The parent cgroup of all containers [default: hako]
    #[arg(long, value_name = "NAME")]
    pub cgroup_parent: Option<String>,
    /// Also listen on /var/run/docker.sock
    #[arg(long)]
    pub docker_socket: bool,
    /// A registry to be spoken to by plain HTTP or with any certificate; repeatable
    #[arg(long = "insecure-registry", value_name = "HOST")]
    pub insecure_registries: Vec<String>,
    /// A registry that is asked before Docker Hub: https://HOST[:PORT] or http://…; repeatable
    #[arg(long = "registry-mirror", value_name = "URL")]
    pub registry_mirrors: Vec<String>,
    /// A folder like Docker's certs.d, with CAs and certificates for registries; repeatable [default:
    /// /etc/hako/certs.d and /etc/docker/certs.d]
    #[arg(long = "registry-certs-dir", value_name = "DIR")]
    pub registry_certs_dirs: Vec<PathBuf>,
    /// Layers downloaded at a time [default: 3]
    #[arg(long, value_name = "N")]
    pub max_concurrent_downloads: Option<usize>,
    /// Layers uploaded at a time [default: 5]
    #[arg(long, value_name = "N")]
    pub max_concurrent_uploads: Option<usize>,
    /// The log driver of containers that name none: json-file, local or none [default: json-file]
    #[arg(long, value_name = "NAME")]
    pub log_driver: Option<String>,
    /// Options for the default log driver; repeatable
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    pub log_opts: Vec<String>,
    /// Check everything in the data root, say what is wrong, and end
    #[arg(long)]
    pub check_store: bool,
    /// `none`: there is no network `bridge`, and containers that ask for it have loopback only
    #[arg(short = 'b', long, value_name = "none")]
    pub bridge: Option<String>,
    /// The address of the default bridge, with its prefix: 172.17.0.1/16
    #[arg(long, value_name = "CIDR")]
    pub bip: Option<String>,
    /// From where addresses of the default bridge are taken, a part of its subnet
    #[arg(long, value_name = "CIDR")]
    pub fixed_cidr: Option<String>,
    /// Where subnets of networks come from that name none; repeatable
    #[arg(long = "default-address-pool", value_name = "base=CIDR,size=N")]
    pub default_address_pools: Vec<String>,
    /// The DNS server of containers that name none; repeatable
    #[arg(long, value_name = "IP")]
    pub dns: Vec<String>,
    /// The search domain of containers that name none; repeatable
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// The DNS options of containers that name none; repeatable
    #[arg(long = "dns-opt", value_name = "OPTION")]
    pub dns_opts: Vec<String>,
    /// The largest packet of the default bridge [default: the uplink's]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u32>,
    /// Whether containers on the default bridge reach each other [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub icc: Option<bool>,
    /// The host's address that ports are published on by default [default: all]
    #[arg(long, value_name = "IP")]
    pub ip: Option<String>,
    /// Whether packets of the default bridge leave with the host's address [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ip_masq: Option<bool>,
    /// The group of unix sockets [default: docker]
    #[arg(short = 'G', long, value_name = "NAME")]
    pub group: Option<String>,
}
