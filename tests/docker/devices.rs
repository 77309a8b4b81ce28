//! Devices of the host: given behind the process wall, one by one or by rule;
//! behind the other wall there is none to give, and the refusal says so.

use hako_tests::{Case, Wall, both_walls};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;

/// No container has it by itself.
const CONTROL: &str = "/dev/loop-control";

fn refused(case: &Case, flags: &[&str], field: &str) -> bool {
    if case.wall == Wall::Process {
        return false;
    }
    let output = case.walled("create", flags).arg("busybox").run();
    output.fails(1, &format!("not supported: HostConfig.{field} behind the hyperv wall: "));
    true
}

both_walls! {
    fn one_device(case) {
        if hako_tests::not_on_reference("runc gives no privileges where the host lacks a capability") {
            return;
        }
        if refused(case, &["--device", CONTROL], "Devices") {
            return;
        }
        // Opened for reading and writing both.
        let script = format!("exec 3<>{CONTROL} && echo open");
        assert_eq!(case.sh(&["--device", CONTROL], &script).text(), "open");
        assert_eq!(case.sh(&["--privileged"], &script).text(), "open");
        let made = format!("mknod {CONTROL} c 10 237 && exec 3<>{CONTROL}");
        case.sh(&["--cap-add", "MKNOD"], &made).run().fails(1, "not permitted");
        let script = "ls -l /dev/other | awk '{print $1 $5 $6}'";
        let other = case.sh(&["--device", &format!("{CONTROL}:/dev/other")], script).text();
        assert!(other.starts_with("crw") && other.ends_with("10,237"), "{other}");
        // Docker allows any place.
        let script = "test -c /opt/deep/control && exec 3<>/opt/deep/control && echo open";
        assert_eq!(case.sh(&["--device", &format!("{CONTROL}:/opt/deep/control")], script).text(), "open");
    }

    fn permissions(case) {
        if case.wall == Wall::Hyperv {
            return;
        }
        let device = format!("{CONTROL}:/dev/other:w");
        assert_eq!(case.sh(&["--device", &device], "exec 3>/dev/other && echo open").text(), "open");
        case.sh(&["--device", &device], "exec 3</dev/other").run().fails(1, "not permitted");
    }

    fn a_folder_of_devices(case) {
        if case.wall == Wall::Hyperv {
            return;
        }
        let folder = case.engine.path("home/devices");
        fs::create_dir_all(folder.join("inner")).unwrap();
        fs::write(folder.join("no-device"), "").unwrap();
        mknod(&folder.join("inner/control"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(10, 237)).unwrap();
        let device = format!("{}:/dev/all", folder.display());
        let script = "exec 3<>/dev/all/inner/control && ls -R /dev/all | grep -c no-device";
        assert_eq!(case.sh(&["--device", &device], script).run().out(), "0");
        fs::remove_dir_all(&folder).unwrap();
    }

    fn a_device_that_is_not_there(case) {
        if case.wall == Wall::Hyperv {
            return;
        }
        let output = case.run(&["--device", "/dev/no-such-thing", "busybox", "true"]).run();
        let text = "error gathering device information while adding custom device \"/dev/no-such-thing\": no such file or directory";
        assert!(output.err().contains(text), "{output}");
        assert_ne!(output.code, 0, "{output}");
        let output = case.run(&["--device", "/etc/hostname:/dev/x", "busybox", "true"]).run();
        assert!(output.err().contains("adding custom device \"/etc/hostname\": not a device node"), "{output}");
    }

    fn rules(case) {
        if refused(case, &["--device-cgroup-rule", "c 10:237 rwm"], "DeviceCgroupRules") {
            return;
        }
        let script = format!("mknod {CONTROL} c 10 237 && exec 3<>{CONTROL} && echo open");
        assert_eq!(case.sh(&["--device-cgroup-rule", "c 10:237 rwm"], &script).text(), "open");
        assert_eq!(case.sh(&["--device-cgroup-rule", "c *:* rwm"], &script).text(), "open");
        case.sh(&["--device-cgroup-rule", "c 10:237 r"], &script).run().fails(1, "not permitted");
    }

    /// As an engine without drivers answers.
    fn graphics(case) {
        if hako_tests::not_on_reference("dockerd refuses at the start and not at the creation") {
            return;
        }
        let output = case.walled("create", &["--gpus", "all", "busybox"]).run();
        output.fails(1, "could not select device driver \"\" with capabilities: [[gpu]]");
        if hako_tests::client_before(25, "it knows no devices of CDI") {
            return;
        }
        let output = case.walled("create", &["--device", "vendor.com/class=name", "busybox"]).run();
        output.fails(1, "could not select device driver \"cdi\" with capabilities: []");
    }
}
