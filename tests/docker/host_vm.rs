//! What only a host as users have it can show: KVM found and said, limits and
//! figures of pure cgroup2, AppArmor. `cargo xtask test --host vm` boots one and
//! runs these beside a part of the other tests.

use hako_tests::{Case, Engine, Wall, both_walls, busybox, wait_until, with_wall};
use std::{
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
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

/// A profile of the test's own, which hides one file.
const OWN_PROFILE: &str = "profile hako-test flags=(attach_disconnected,mediate_deleted) {
  capability, file, network, umount, signal, ptrace, mount,
  deny /etc/group r,
}
";

fn load_own_profile() {
    let mut parser = Command::new("apparmor_parser")
        .args(["--skip-cache", "--replace"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("apparmor_parser is on this host");
    parser.stdin.take().unwrap().write_all(OWN_PROFILE.as_bytes()).unwrap();
    assert!(parser.wait().unwrap().success());
}

/// The default profile is loaded by the first container that needs it, confines
/// what no capability and no seccomp profile forbids, and inspect names it.
#[test]
#[ignore = "needs AppArmor: cargo xtask test --host vm"]
fn the_default_profile_confines() {
    with_wall(Wall::Process, |case| {
        let confined = "cat /proc/self/attr/current";
        let shown = |name: &str| case.inspect(name, "{{.AppArmorProfile}}");
        let _ = case.walled("create", &["--name", "box", "busybox", "sleep", "1000"]).text();
        assert_eq!(shown("box"), "", "as in dockerd, the first start decides");
        let _ = case.docker(["start", "box"]).text();
        assert_eq!(shown("box"), "hako-default");
        assert!(read("/sys/kernel/security/apparmor/profiles").contains("hako-default (enforce)"));
        assert_eq!(case.exec("box", confined).ok(), "hako-default (enforce)");
        assert_eq!(
            read(format!("/proc/{}/attr/current", case.inspect("box", "{{.State.Pid}}"))),
            "hako-default (enforce)"
        );
        let open = ["--cap-add=SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
        let mount = "mkdir -p /x && mount -t tmpfs none /x && echo mounted";
        case.sh(&open, mount).run().fails(255, "Permission denied");
        assert_eq!(case.sh(&[&open[..], &["--security-opt", "apparmor=unconfined"]].concat(), mount).text(), "mounted");
        // Even where the whole of /proc may be written to.
        let open = ["--security-opt", "systempaths=unconfined"];
        let write = "echo 1 > /proc/sys/vm/drop_caches && echo dropped";
        case.sh(&open, write).run().fails(1, "Permission denied");
        assert_eq!(case.sh(&[&open[..], &["--security-opt", "apparmor=unconfined"]].concat(), write).text(), "dropped");
        let options = case.docker(["info", "--format", "{{json .SecurityOptions}}"]).text();
        assert!(options.contains("name=apparmor"), "{options}");
    });
}

/// A privileged container has none, and another profile is the user's to choose.
#[test]
#[ignore = "needs AppArmor: cargo xtask test --host vm"]
fn other_profiles() {
    load_own_profile();
    with_wall(Wall::Process, |case| {
        let shown = |name: &str| case.inspect(name, "{{.AppArmorProfile}}");
        case.daemon("free", &["--privileged", "busybox", "sleep", "1000"]);
        assert_eq!(
            (shown("free").as_str(), case.exec("free", "cat /proc/self/attr/current").out().as_str()),
            ("unconfined", "unconfined")
        );
        case.daemon("own", &["--security-opt", "apparmor=hako-test", "busybox", "sleep", "1000"]);
        assert_eq!(shown("own"), "hako-test");
        let denied = case.exec("own", "cat /etc/passwd > /dev/null && cat /etc/group");
        denied.fails(1, "Permission denied");
        let output = case.run(&["--security-opt", "apparmor=no-such-profile", "busybox", "true"]).run();
        assert_eq!(output.code, 125, "{output}");
        assert!(output.err().contains("no-such-profile"), "{output}");
        assert_eq!(case.exec("own", "echo well").ok(), "well");
    });
    with_wall(Wall::Hyperv, |case| {
        let _ = case.walled("create", &["--name", "box", "busybox"]).text();
        assert_eq!(case.inspect("box", "{{.AppArmorProfile}}"), "");
    });
}

/// The block device that a folder lies on: its name and numbers.
fn disk_of(folder: &Path) -> (String, String) {
    let device = fs::metadata(folder).unwrap().dev();
    let numbers = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let about = read(format!("/sys/dev/block/{numbers}/uevent"));
    let name = about.lines().find_map(|line| line.strip_prefix("DEVNAME=")).expect("a device's name");
    (format!("/dev/{name}"), numbers)
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

    /// What a container writes is counted and held back on the host's disk; behind
    /// the hyperv wall the group of the machine's process has the limit.
    #[ignore = "needs pure cgroup2: cargo xtask test --host vm"]
    fn block_io_is_throttled(case) {
        let (device, numbers) = disk_of(&case.engine.data_root());
        case.daemon("box", &["--device-write-bps", &format!("{device}:1mb"), "busybox", "sleep", "1000"]);
        let group = PathBuf::from("/sys/fs/cgroup").join(case.engine.name()).join(case.inspect("box", "{{.Id}}"));
        let limit = read(group.join("io.max"));
        assert_eq!(limit, format!("{numbers} rbps=max wbps=1048576 riops=max wiops=max"));
        // What QEMU writes lies in the host's page cache first, and who is charged
        // for its way to the disk is the kernel's choice.
        if case.wall == Wall::Hyperv {
            return;
        }
        let begin = Instant::now();
        let _ = case.exec("box", "dd if=/dev/zero of=/file bs=1M count=8 conv=fsync 2>/dev/null").ok();
        assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
        let figures = read(group.join("io.stat"));
        let line = figures.lines().find(|line| line.starts_with(&numbers)).expect("figures of the disk");
        let written = line.split(' ').find_map(|word| word.strip_prefix("wbytes=")).expect("wbytes");
        assert!(written.parse::<u64>().unwrap() >= 8 * MIB, "{line}");
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
