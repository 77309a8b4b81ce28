//! What only a host as users have it can show: KVM, pure cgroup2, AppArmor.
//! `cargo xtask test --host vm` boots one and runs these beside a part of the
//! other tests.

use hako_tests::{Engine, both_walls, busybox};
use std::{fs, path::Path};

/// The probe guest boots under KVM, `info` says so, and machines run under it.
#[test]
#[ignore = "needs a working KVM: cargo xtask test --host vm"]
fn kvm_is_found_and_used() {
    assert!(Path::new("/dev/kvm").exists(), "no KVM here");
    let engine = Engine::start();
    engine.load(&busybox());
    let info = engine.docker(["info"]).text();
    assert!(info.to_lowercase().contains("kvm"), "{info}");
    assert!(!info.to_lowercase().contains("emulated"), "{info}");
    let _ = engine.docker(["run", "-d", "--isolation=hyperv", "busybox", "sleep", "1000"]).text();
    let machines: Vec<String> = engine.traces().processes.into_iter().filter(|p| p.contains("qemu")).collect();
    assert_eq!(machines.len(), 1, "{machines:?}");
    assert!(machines[0].contains("accel=kvm"), "{machines:?}");
    engine.finish();
}

#[test]
#[ignore = "needs pure cgroup2 and AppArmor: cargo xtask test --host vm"]
fn the_host_is_as_users_have_it() {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    for controller in ["cpu", "memory", "pids", "io"] {
        assert!(controllers.split_whitespace().any(|c| c == controller), "{controllers}");
    }
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap();
    assert_eq!(enabled.trim(), "Y");
}

both_walls! {
    /// The limits that the engine sets are those that cgroup2 has.
    #[ignore = "needs pure cgroup2: cargo xtask test --host vm"]
    fn limits_on_cgroup2(case) {
        let flags = ["-m", "100m", "--cpus", "0.5", "--pids-limit", "50"];
        let script = "cd /sys/fs/cgroup; cat memory.max cpu.max pids.max";
        let seen = case.sh(&flags, script).text();
        assert_eq!(seen, "104857600\n50000 100000\n50");
    }
}
