//! What only a host as users have it can show: KVM found and said, limits and
//! figures of pure cgroup2, AppArmor. `cargo xtask test --host vm` boots one and
//! runs these beside a part of the other tests.

use hako_tests::{Case, Engine, Wall, both_walls, busybox, wait_until, with_wall};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const MIB: u64 = 1 << 20;

fn host_release() -> String {
    nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display())).trim().to_owned()
}

/// The host is what it claims to be, so that a pass of the others means something.
#[test]
#[ignore = "needs pure cgroup2 and AppArmor: cargo xtask test --host vm"]
fn the_host_is_as_users_have_it() {
    assert!(Path::new("/dev/kvm").exists());
    assert_eq!(read("/sys/module/apparmor/parameters/enabled"), "Y");
    assert!(read("/sys/kernel/security/lsm").contains("apparmor"));
    let controllers = read("/sys/fs/cgroup/cgroup.subtree_control");
    for controller in ["cpu", "io", "memory", "pids"] {
        assert!(controllers.split(' ').any(|found| found == controller), "{controllers}");
    }
}

/// The command lines of all virtual machines: the tests are alone on this host.
fn machines() -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.starts_with("qemu") || line.contains("/qemu-system")).collect()
}

/// The probe guest boots under KVM, `info` says so without a warning, and
/// machines run under it.
#[test]
#[ignore = "needs a working KVM: cargo xtask test --host vm"]
fn kvm_is_found_and_used() {
    let engine = Engine::start();
    engine.load(&busybox());
    let status = || engine.docker(["info", "--format", "{{range .DriverStatus}}{{println .}}{{end}}"]).text();
    wait_until(Duration::from_secs(60), "the probe to end", || {
        ["kvm", "tcg", "none"].iter().any(|word| status().contains(&format!("[VM accelerator {word} ")))
    });
    assert!(status().contains("[VM accelerator kvm "), "{}", status());
    let info = engine.docker(["info"]).run();
    assert!(!info.to_string().contains("emulated"), "{info}");
    let seen = engine.docker(["info", "--format", "{{.CgroupVersion}} {{.KernelVersion}}"]).text();
    assert_eq!(seen, format!("2 {}", host_release()));
    let _ = engine.docker(["run", "-d", "--name", "box", "--isolation=hyperv", "busybox", "sleep", "1000"]).text();
    assert_ne!(engine.docker(["exec", "box", "uname", "-r"]).text(), host_release());
    let machines = machines();
    assert_eq!(machines.len(), 1, "{machines:?}");
    assert!(machines[0].contains("-accel kvm"), "{machines:?}");
    engine.finish();
}

/// AppArmor is on; containers start with it and say what confines them.
#[test]
#[ignore = "needs AppArmor: cargo xtask test --host vm"]
fn containers_start_with_apparmor() {
    with_wall(Wall::Process, |case| {
        let profile = case.run(&["busybox", "cat", "/proc/self/attr/current"]).text();
        assert!(!profile.is_empty(), "no word on confinement");
    });
}

both_walls! {
    /// The limits that the engine sets are those that cgroup2 has.
    #[ignore = "needs pure cgroup2: cargo xtask test --host vm"]
    fn limits_on_cgroup2(case) {
        let flags = ["-m", "100m", "--memory-swap", "100m", "--cpus", "0.5", "--pids-limit", "50"];
        // A guest has no swap to limit.
        let swap = if case.wall == Wall::Process { "0" } else { "max" };
        let script = "cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max";
        assert_eq!(case.sh(&flags, script).text(), format!("104857600\n{swap}\n50000 100000\n50"));
    }

    /// cgroup2's figures: the host's for a process container, the guest's behind
    /// the other wall.
    #[ignore = "needs pure cgroup2: cargo xtask test --host vm"]
    fn figures_on_cgroup2(case) {
        case.daemon("box", &["-m", "64m", "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); done"]);
        let before = busy(case);
        wait_until(Duration::from_secs(60), "the loop to use a processor", || busy(case) > before + 50_000);
        let used: u64 = figure(case, "memory.current").parse().expect("a number");
        assert!((1..64 * MIB).contains(&used), "{used} bytes");
        assert!(figure(case, "pids.current").parse::<u64>().expect("a number") >= 1);
        let _ = case.docker(["rm", "-f", "box"]).text();
    }
}

/// A file of the container's cgroup, read where the wall's kernel has it.
fn figure(case: &Case, name: &str) -> String {
    match case.wall {
        Wall::Process => {
            let parent = PathBuf::from("/sys/fs/cgroup").join(case.engine.name());
            read(parent.join(case.inspect("box", "{{.Id}}")).join(name))
        }
        Wall::Hyperv => case.exec("box", &format!("cat /sys/fs/cgroup/{name}")).ok(),
    }
}

/// Microseconds of processor time that the container has used.
fn busy(case: &Case) -> u64 {
    let text = figure(case, "cpu.stat");
    let line = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).expect("usage_usec");
    line.parse().expect("a number")
}
