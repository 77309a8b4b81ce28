//! KVM found and said, limits and figures of cgroup2, AppArmor enabled.

use hako_tests::{Case, Engine, Wall, wait_until, with_wall};
use std::{fs, path::Path, path::PathBuf, time::Duration};

const MIB: u64 = 1 << 20;

fn host_release() -> String {
    nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display())).trim().to_owned()
}

fn behind_both_walls(body: fn(&Case)) {
    for wall in [Wall::Process, Wall::Hyperv] {
        with_wall(wall, body);
    }
}

/// The host is what it claims to be, so that a pass of the others means something.
#[test]
#[ignore = "needs the host of cargo xtask test --host vm"]
fn the_host_is_as_users_have_it() {
    assert!(Path::new("/dev/kvm").exists());
    assert_eq!(read("/sys/module/apparmor/parameters/enabled"), "Y");
    assert!(read("/sys/kernel/security/lsm").contains("apparmor"));
    let controllers = read("/sys/fs/cgroup/cgroup.subtree_control");
    for controller in ["cpu", "io", "memory", "pids"] {
        assert!(controllers.split(' ').any(|found| found == controller), "{controllers}");
    }
}

/// The probe boots a guest under KVM, and `docker info` says so without a warning.
#[test]
#[ignore = "needs the host of cargo xtask test --host vm"]
fn kvm_is_found_and_said() {
    let engine = Engine::start();
    let accelerator = || engine.docker(["info", "--format", "{{range .DriverStatus}}{{println .}}{{end}}"]).text();
    wait_until(Duration::from_secs(60), "the probe to end", || {
        let text = accelerator();
        text.contains("kvm") || text.contains("tcg") || text.contains("none")
    });
    assert!(accelerator().contains("[VM accelerator kvm"), "{}", accelerator());
    let warnings = engine.docker(["info", "--format", "{{json .Warnings}}"]).text();
    assert!(!warnings.contains("emulated"), "{warnings}");
    let cgroup = engine.docker(["info", "--format", "{{.CgroupVersion}} {{.KernelVersion}}"]).text();
    assert_eq!(cgroup, format!("2 {}", host_release()));
    engine.finish();
}

/// Both walls' containers run here, and KVM's guest has its own kernel.
#[test]
#[ignore = "needs the host of cargo xtask test --host vm"]
fn two_kernels() {
    behind_both_walls(|case| {
        let release = case.run(&["busybox", "uname", "-r"]).text();
        assert_eq!(release == host_release(), case.wall == Wall::Process, "{release}");
    });
}

/// The limits are in cgroup2's files, behind both walls alike.
#[test]
#[ignore = "needs the host of cargo xtask test --host vm"]
fn limits() {
    behind_both_walls(|case| {
        let flags = ["-m", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "50"];
        let script = "cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max";
        let text = case.sh(&flags, script).text();
        assert_eq!(text, format!("{}\n0\n50000 100000\n50", 64 * MIB));
    });
}

/// cgroup2's figures: of the host for a process container, of the guest behind
/// the other wall.
#[test]
#[ignore = "needs the host of cargo xtask test --host vm"]
fn figures() {
    behind_both_walls(|case| {
        case.daemon("box", &["-m", "64m", "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); done"]);
        let id = case.inspect("box", "{{.Id}}");
        let host = PathBuf::from("/sys/fs/cgroup").join(case.engine.name()).join(id);
        let figure = |name: &str| match case.wall {
            Wall::Process => read(host.join(name)),
            Wall::Hyperv => case.exec("box", &format!("cat /sys/fs/cgroup/{name}")).ok(),
        };
        let busy = || {
            let text = figure("cpu.stat");
            let line = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).expect("usage_usec");
            line.parse::<u64>().expect("a number")
        };
        let before = busy();
        wait_until(Duration::from_secs(30), "the loop to use a processor", || busy() > before + 50_000);
        let used: u64 = figure("memory.current").parse().expect("a number");
        assert!((1..64 * MIB).contains(&used), "{used} bytes");
        assert!(figure("pids.current").parse::<u64>().expect("a number") >= 1);
        let _ = case.docker(["rm", "-f", "box"]).text();
    });
}

/// AppArmor is on; containers start with it and say what confines them.
#[test]
#[ignore = "needs the host of cargo xtask test --host vm"]
fn containers_start_with_apparmor() {
    with_wall(Wall::Process, |case| {
        let profile = case.run(&["busybox", "cat", "/proc/self/attr/current"]).text();
        assert!(!profile.is_empty(), "no word on confinement");
        let options = case.docker(["info", "--format", "{{json .SecurityOptions}}"]).text();
        assert!(options.contains("seccomp"), "{options}");
    });
}
