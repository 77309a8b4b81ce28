//! From flags and the config file to settings. A flag wins over the file.

mod network;
mod vm;

pub use network::NetworkDefaults;
pub use vm::VmDefaults;

use crate::{containers::logs::options, flags::Flags, http::Host};
use anyhow::{Context, bail};
use hako_api::types::LogConfig;
use hako_model::{Isolation, reference::DEFAULT_REGISTRY};
use hako_platform::Policy;
use hako_registry::Mirror;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

const DEFAULT_FILE: &str = "/etc/hako/config.toml";
/// What registries' certificates are looked for in: ours, and Docker's.
const CERTS_DIRS: [&str; 2] = ["/etc/hako/certs.d", "/etc/docker/certs.d"];
/// Where certificates are looked for without flags.
const CONFIG_DIR: &str = "/etc/hako";

/// The config file, with dockerd's names.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    hosts: Vec<String>,
    data_root: Option<PathBuf>,
    exec_root: Option<PathBuf>,
    exec_opts: Vec<String>,
    debug: bool,
    log_level: Option<String>,
    tls: bool,
    tlsverify: bool,
    tlscacert: Option<PathBuf>,
    tlscert: Option<PathBuf>,
    tlskey: Option<PathBuf>,
    pidfile: Option<PathBuf>,
    cgroup_parent: Option<String>,
    docker_socket: bool,
    insecure_registries: Vec<String>,
    group: Option<String>,
    log_driver: Option<String>,
    log_opts: BTreeMap<String, String>,
    max_concurrent_downloads: Option<usize>,
    max_concurrent_uploads: Option<usize>,
    registry_mirrors: Vec<String>,
    registry_certs_dirs: Vec<PathBuf>,
    registries: BTreeMap<String, Registry>,
    bridge: Option<String>,
    bip: Option<String>,
    fixed_cidr: Option<String>,
    default_address_pools: Vec<network::PoolEntry>,
    dns: Vec<String>,
    dns_search: Vec<String>,
    dns_opts: Vec<String>,
    mtu: Option<u32>,
    icc: Option<bool>,
    ip: Option<String>,
    ip_masq: Option<bool>,
    vm: vm::Table,
    policy: Policy,
}

/// What the file says of one registry, by its name: `host[:port]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Registry {
    /// Asked first, as `registry-mirrors` for Docker Hub.
    mirrors: Vec<String>,
    insecure: bool,
}

/// TLS for tcp hosts.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Whether clients must show a certificate.
    pub verify: bool,
    /// The CA.
    pub ca: PathBuf,
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Which accelerator VMs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceleratorChoice {
    /// What a probe guest finds.
    Auto,
    /// KVM, unproved.
    Kvm,
    /// Emulation.
    Tcg,
}

/// Settings, resolved once.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub hosts: Vec<Host>,
    /// Durable data.
    pub data_root: PathBuf,
    /// Lost at reboot.
    pub exec_root: PathBuf,
    /// The wall of containers that name none.
    pub isolation: Isolation,
    /// The accelerator of VMs.
    pub accelerator: AcceleratorChoice,
    /// Debug logging.
    pub debug: bool,
    /// For `tracing`.
    pub log_level: String,
    /// TLS, if asked for.
    pub tls: Option<Tls>,
    /// Where the pid goes.
    pub pidfile: PathBuf,
    /// Without slashes at its ends.
    pub cgroup_parent: String,
    /// Registries without (proper) TLS.
    pub insecure_registries: Vec<String>,
    /// The group of unix sockets.
    pub group: String,
    /// The log of containers that name no driver.
    pub log: LogConfig,
    /// Layers downloaded at a time.
    pub max_concurrent_downloads: usize,
    /// Layers uploaded at a time.
    pub max_concurrent_uploads: usize,
    /// What is asked before a registry.
    pub mirrors: HashMap<String, Vec<Mirror>>,
    /// Folders like Docker's `certs.d`.
    pub certs_dirs: Vec<PathBuf>,
    /// What networks are like that do not say it themselves.
    pub network: NetworkDefaults,
    /// What virtual machines are like that do not say it themselves.
    pub vm: VmDefaults,
    /// Which walls hold which images, for whom, when the engine starts.
    pub policy: Policy,
    /// The config file that was named.
    pub file: Option<PathBuf>,
}

impl Config {
    /// Resolves `flags` with the config file that they name.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, a value that means nothing.
    pub fn resolve(flags: Flags) -> anyhow::Result<Self> {
        let file = read_file(flags.config_file.as_deref())?;
        let network = NetworkDefaults::resolve(&flags, &file)?;
        let vm = VmDefaults::resolve(&file.vm)?;
        let exec_root = absolute(flags.exec_root.or(file.exec_root).unwrap_or_else(|| "/run/hako".into()))?;
        let data_root = absolute(flags.data_root.or(file.data_root).unwrap_or_else(|| "/var/lib/hako".into()))?;
        let mut hosts = if flags.hosts.is_empty() { file.hosts } else { flags.hosts };
        if hosts.is_empty() {
            hosts.push(format!("unix://{}", exec_root.join("hako.sock").display()));
        }
        if flags.docker_socket || file.docker_socket {
            hosts.push("unix:///var/run/docker.sock".to_owned());
        }
        let hosts = hosts.iter().map(|host| host.parse()).collect::<anyhow::Result<Vec<Host>>>()?;
        check_sockets(&file.policy, &hosts)?;
        let (isolation, accelerator) = exec_opts(file.exec_opts.iter().chain(&flags.exec_opts))?;
        let debug = flags.debug || file.debug;
        let level = flags.log_level.or(file.log_level).unwrap_or_else(|| "info".to_owned());
        let verify = flags.tlsverify || file.tlsverify;
        let pem = |flag: Option<PathBuf>, file: Option<PathBuf>, name: &str| {
            flag.or(file).unwrap_or_else(|| Path::new(CONFIG_DIR).join(name))
        };
        let tls = (verify || flags.tls || file.tls).then(|| Tls {
            verify,
            ca: pem(flags.tlscacert, file.tlscacert, "ca.pem"),
            cert: pem(flags.tlscert, file.tlscert, "cert.pem"),
            key: pem(flags.tlskey, file.tlskey, "key.pem"),
        });
        let parent = flags.cgroup_parent.or(file.cgroup_parent).unwrap_or_else(|| "hako".to_owned());
        let mut insecure_registries = file.insecure_registries;
        insecure_registries.extend(flags.insecure_registries);
        let insecure = file.registries.iter().filter(|(_, registry)| registry.insecure);
        insecure_registries.extend(insecure.map(|(name, _)| name.clone()));
        let hub = file.registry_mirrors.into_iter().chain(flags.registry_mirrors).collect();
        let certs_dirs = [flags.registry_certs_dirs, file.registry_certs_dirs];
        let certs_dirs = certs_dirs.into_iter().find(|dirs| !dirs.is_empty());
        Ok(Self {
            hosts,
            pidfile: flags.pidfile.or(file.pidfile).unwrap_or_else(|| exec_root.join("hakod.pid")),
            data_root,
            exec_root,
            isolation,
            accelerator,
            debug,
            log_level: log_level(if debug { "debug" } else { &level })?,
            tls,
            cgroup_parent: parent.trim_matches('/').to_owned(),
            insecure_registries,
            log: log(flags.log_driver.or(file.log_driver), file.log_opts, flags.log_opts)?,
            group: flags.group.or(file.group).unwrap_or_else(|| "docker".to_owned()),
            max_concurrent_downloads: flags.max_concurrent_downloads.or(file.max_concurrent_downloads).unwrap_or(3),
            max_concurrent_uploads: flags.max_concurrent_uploads.or(file.max_concurrent_uploads).unwrap_or(5),
            mirrors: mirrors(hub, file.registries)?,
            certs_dirs: certs_dirs.unwrap_or_else(|| CERTS_DIRS.map(PathBuf::from).into()),
            network,
            vm,
            policy: file.policy,
            file: flags.config_file,
        })
    }
}

/// The policy that the config file has now, for an engine that listens on `hosts`.
///
/// # Errors
/// A file that cannot be read, or means nothing.
pub fn policy(named: Option<&Path>, hosts: &[Host]) -> anyhow::Result<Policy> {
    let policy = read_file(named)?.policy;
    check_sockets(&policy, hosts)?;
    Ok(policy)
}

/// A rule for a socket that there is not would hold nobody, and nobody would know.
fn check_sockets(policy: &Policy, hosts: &[Host]) -> anyhow::Result<()> {
    let own: Vec<String> = hosts.iter().map(Host::socket).collect();
    for rule in &policy.0 {
        for pattern in rule.sockets.iter().chain(&rule.except_sockets) {
            if !own.iter().any(|socket| hako_platform::glob(pattern, socket)) {
                bail!("policy rule {:?}: {pattern:?} is none of this engine's sockets ({})", rule.name, own.join(", "));
            }
        }
    }
    Ok(())
}

/// Mirrors by the registry that they stand for.
fn mirrors(hub: Vec<String>, others: BTreeMap<String, Registry>) -> anyhow::Result<HashMap<String, Vec<Mirror>>> {
    let parse = |list: Vec<String>| list.iter().map(|url| Ok(url.parse()?)).collect::<anyhow::Result<Vec<Mirror>>>();
    let mut all = HashMap::from([(DEFAULT_REGISTRY.to_owned(), parse(hub)?)]);
    for (name, registry) in others {
        let mirrors = parse(registry.mirrors).with_context(|| format!("registry {name:?}"))?;
        all.entry(name).or_default().extend(mirrors);
    }
    Ok(all)
}

fn absolute(path: PathBuf) -> anyhow::Result<PathBuf> {
    std::path::absolute(&path).with_context(|| format!("path {}", path.display()))
}

fn read_file(named: Option<&Path>) -> anyhow::Result<File> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(err) if named.is_none() && err.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(err) => return Err(err).with_context(|| format!("config file {}", path.display())),
    };
    parse_file(&text).with_context(|| format!("config file {}", path.display()))
}

fn parse_file(text: &str) -> anyhow::Result<File> {
    if text.trim_start().starts_with('{') { Ok(serde_json::from_str(text)?) } else { Ok(toml::from_str(text)?) }
}

fn exec_opts<'a>(opts: impl Iterator<Item = &'a String>) -> anyhow::Result<(Isolation, AcceleratorChoice)> {
    let mut isolation = Isolation::Process;
    let mut accelerator = AcceleratorChoice::Auto;
    for opt in opts {
        match opt.split_once('=') {
            Some(("isolation", value)) => {
                isolation = Isolation::from_request(value)?.unwrap_or(Isolation::Process);
            }
            Some(("accelerator", "auto")) => accelerator = AcceleratorChoice::Auto,
            Some(("accelerator", "kvm")) => accelerator = AcceleratorChoice::Kvm,
            Some(("accelerator", "tcg")) => accelerator = AcceleratorChoice::Tcg,
            // The only driver there is.
            Some(("native.cgroupdriver", "cgroupfs")) => {}
            _ => bail!("unknown exec-opt {opt:?}"),
        }
    }
    Ok((isolation, accelerator))
}

fn log(driver: Option<String>, file: BTreeMap<String, String>, flags: Vec<String>) -> anyhow::Result<LogConfig> {
    let r#type = driver.unwrap_or_else(|| "json-file".to_owned());
    let mut config = file;
    for option in flags {
        let (key, value) = option.split_once('=').with_context(|| format!("log-opt {option:?} is not KEY=VALUE"))?;
        config.insert(key.to_owned(), value.to_owned());
    }
    options::validate(&r#type, &config).context("failed to set log opts")?;
    Ok(LogConfig { r#type, config })
}

fn log_level(level: &str) -> anyhow::Result<String> {
    match level {
        "trace" | "debug" | "info" | "warn" | "error" => Ok(level.to_owned()),
        "fatal" | "panic" => Ok("error".to_owned()),
        other => bail!("unknown log level {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats() {
        let toml = parse_file("data-root = '/x'\nexec-opts = ['isolation=hyperv']").unwrap();
        let json = parse_file(r#"{"data-root": "/x", "exec-opts": ["isolation=VM"]}"#).unwrap();
        assert_eq!(toml.data_root, json.data_root);
        for file in [toml, json] {
            assert_eq!(exec_opts(file.exec_opts.iter()).unwrap().0, Isolation::Hyperv);
        }
        assert!(parse_file("data-rot = '/x'").is_err());
        let registries =
            "registry-mirrors = ['http://a']\n[registries.'r:5000']\nmirrors = ['https://b']\ninsecure = true";
        let file = parse_file(registries).unwrap();
        let mirrors = mirrors(file.registry_mirrors, file.registries).unwrap();
        assert_eq!((mirrors["docker.io"].len(), mirrors["r:5000"].len()), (1, 1));
        assert!(parse_file("[registries.r]\nmirror = 'x'").is_err());
        assert!(super::mirrors(vec!["http://a/path".into()], BTreeMap::new()).is_err());
        assert!(exec_opts(["isolation=moon".to_owned()].iter()).is_err());
        let rule = "[[policy]]\nname = 'a'\nexcept-images = ['r.example/*']\nwalls = ['hyperv']";
        let json = r#"{"policy": [{"name": "a", "except-images": ["r.example/*"], "walls": ["hyperv"]}]}"#;
        assert_eq!(parse_file(rule).unwrap().policy, parse_file(json).unwrap().policy);
        let why = parse_file(&rule.replace("hyperv", "process")).unwrap_err().to_string();
        assert!(why.contains("a policy can only ask for a thicker wall"), "{why}");
    }
}
