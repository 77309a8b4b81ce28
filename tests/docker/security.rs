//! Privileges: what takes them away, and what gives all of them.

use hako_tests::{Engine, Wall, both_walls};
use serde_json::json;
use std::{fs, path::Path, process::Command};

/// The capabilities that the test itself could hand on.
fn bounding() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim().to_owned()
}

both_walls! {
    /// Before the program runs, its process is the runtime's, and knows more of
    /// the machine than the container does. Neither an interpreter nor a working
    /// directory leads there by a descriptor that is still open (CVE-2024-21626).
    fn no_descriptor_leads_out(case) {
        // The first is on the host and not in the image, the second in a guest.
        let outside = ["usr/bin/dpkg", "hako-runtime"];
        let up = "../".repeat(10);
        let script = format!(
            "for n in $(seq 0 15); do for p in {}; do f=/$n-$(basename $p); \
               echo \"#!/proc/self/fd/$n/{up}$p --version\" >$f; chmod 755 $f; done; \
               ln -s /proc/self/fd/$n/{up} /up$n; done",
            outside.join(" ")
        );
        case.idle("box");
        let _ = case.exec("box", &script).ok();
        let programs = outside.map(|path| path.rsplit('/').next().unwrap_or_default());
        for n in 0..16 {
            for program in programs {
                let output = case.docker(["exec", "box", &format!("/{n}-{program}")]).run();
                assert!(output.code == 126 || output.code == 127, "{output}");
            }
            let made = format!("/up{n}/tmp/hako-test-made-{n}/below");
            let output = case.docker(["exec", "--workdir", &made, "box", "true"]).run();
            assert_ne!(output.code, 0, "{output}");
            assert!(!std::path::Path::new(&format!("/tmp/hako-test-made-{n}")).exists(), "{output}");
        }
        let _ = case.docker(["commit", "box", "links"]).text();
        for n in 3..8 {
            let name = programs[usize::from(case.wall == hako_tests::Wall::Hyperv)];
            let output = case.run(&["links", &format!("/{n}-{name}")]).run();
            assert!([126, 127, 255].contains(&output.code) && output.out().is_empty(), "{output}");
        }
    }

    fn no_new_privileges(case) {
        let read = |flags: &[&str]| case.sh(flags, "grep NoNewPrivs /proc/self/status | cut -f2").text();
        assert_eq!(read(&[]), "0");
        assert_eq!(read(&["--security-opt", "no-new-privileges"]), "1");
        assert_eq!(read(&["--security-opt", "no-new-privileges=true"]), "1");
        assert_eq!(read(&["--security-opt", "no-new-privileges:false"]), "0");
        // A process that comes later has as few.
        case.daemon("box", &["--security-opt", "no-new-privileges", "busybox", "sleep", "1000"]);
        assert_eq!(case.exec("box", "grep NoNewPrivs /proc/self/status | cut -f2").ok(), "1");
        let output = case.walled("create", &["--security-opt", "no-new-privileges=maybe", "busybox"]).run();
        output.fails(1, "invalid --security-opt 2: \"no-new-privileges=maybe\"");
    }

    fn seccomp_profiles(case) {
        if hako_tests::not_on_reference("seccomp=builtin is of a newer dockerd") {
            return;
        }
        let profile = case.engine.path("home/profile.json");
        let rule = json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 });
        fs::write(&profile, json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }).to_string()).unwrap();
        let own = format!("seccomp={}", profile.display());
        case.sh(&["--security-opt", &own], "mkdir /x").run().fails(1, "Function not implemented");
        let mode = |flags: &[&str]| case.sh(flags, "grep Seccomp: /proc/self/status | cut -f2").text();
        if !hako_tests::client_before(23, "it looks for a file of the name builtin") {
            assert_eq!(mode(&["--security-opt", "seccomp=builtin"]), "2");
        }
        assert_eq!(mode(&["--security-opt", "seccomp=unconfined"]), "0");
        fs::write(&profile, "{\"defaultAction\": 7}").unwrap();
        let output = case.run(&["--security-opt", &own, "busybox", "true"]).run();
        assert_eq!(output.code, 125, "{output}");
        assert!(output.err().contains("seccomp"), "{output}");
    }

    /// `systempaths=unconfined` is the client's: it asks for no masked path.
    fn system_paths(case) {
        let masked = |flags: &[&str]| case.sh(flags, "grep -c -E ' /(proc|sys)/[^ ]+ ' /proc/mounts").run().out();
        assert!(masked(&[]).parse::<u32>().unwrap() > 5);
        let script = "grep -E ' /proc/(sys|kcore|timer_list|bus) ' /proc/mounts | wc -l";
        assert_eq!(case.sh(&["--security-opt", "systempaths=unconfined"], script).text(), "0");
    }

    /// A container's own cgroup can be given to it.
    fn writable_cgroups(case) {
        if hako_tests::not_on_reference("writable-cgroups is of a newer dockerd") {
            return;
        }
        // Version 1 has a folder for each controller.
        let script = "cd /sys/fs/cgroup; [ -e cgroup.controllers ] || cd memory; mkdir inner && rmdir inner && echo made";
        case.sh(&[], script).run().fails(1, "Read-only file system");
        assert_eq!(case.sh(&["--security-opt", "writable-cgroups=true", "--cgroupns=private"], script).text(), "made");
    }

    fn options_without_effect_and_unknown_ones(case) {
        let flags = ["--security-opt", "label=disable", "--security-opt", "apparmor=unconfined"];
        assert_eq!(case.sh(&flags, "echo ran").text(), "ran");
        let output = case.walled("create", &["--security-opt", "nonsense=1", "busybox"]).run();
        output.fails(1, "invalid --security-opt 2: \"nonsense=1\"");
    }

    /// Everything that this wall has to give.
    fn privileged(case) {
        if hako_tests::not_on_reference("runc gives no privileges where the host lacks a capability") {
            return;
        }
        let script = "grep CapEff /proc/self/status | cut -f2; grep Seccomp: /proc/self/status | cut -f2; \
                      mount -t tmpfs none /mnt && echo mounted; mount | grep -c -E ' on /sys type sysfs \\(rw'; \
                      grep -c ' /proc/sys ' /proc/mounts; ls /dev | wc -l";
        let text = case.sh(&["--privileged", "--tmpfs", "/mnt"], script).text();
        let lines: Vec<&str> = text.lines().collect();
        let all = match case.wall {
            Wall::Process => bounding(),
            Wall::Hyperv => "000001ffffffffff".to_owned(),
        };
        assert_eq!(lines[..5], [all.as_str(), "0", "mounted", "1", "0"], "{text}");
        let plain: u32 = case.sh(&[], "ls /dev | wc -l").text().parse().unwrap();
        assert!(lines[5].parse::<u32>().unwrap() > plain, "{text}");
        match case.wall {
            // A device of the host that an unprivileged container has not, and may not open.
            Wall::Process => {
                let script = "head -c 1 /dev/loop-control 2>&1 | grep -c -i -E 'not permitted|can.t open'";
                let number = case.sh(&["--privileged"], script).run().out();
                assert_eq!(number, "0");
            }
            // The guest's devices, but not the way to its agent.
            Wall::Hyperv => {
                let text = case.sh(&["--privileged"], "ls /dev | grep -E '^(vd|vport|hvc)'").text();
                assert_eq!(text, "vda\nvdb");
            }
        }
        let _ = case.walled("create", &["--name", "box", "--privileged", "busybox"]).text();
        let shown = case.inspect("box", "{{json .HostConfig.MaskedPaths}} {{json .HostConfig.SecurityOpt}} {{.HostConfig.Privileged}}");
        assert_eq!(shown, "null [\"label=disable\"] true");
    }

    fn groups_by_name_and_number(case) {
        let groups = |flags: &[&str]| case.sh(flags, "id -G").text();
        assert_eq!(groups(&["--group-add", "extra", "--group-add", "4242"]), "0 2000 4242");
        assert_eq!(groups(&["-u", "1234", "--group-add", "extra"]), "0 2000");
        // An exec has them too.
        case.daemon("box", &["--group-add", "extra", "busybox", "sleep", "1000"]);
        assert_eq!(case.exec("box", "id -G").ok(), "0 2000");
        let output = case.run(&["--group-add", "nobodys", "busybox", "true"]).run();
        assert_eq!(output.code, 125, "{output}");
        assert!(output.err().to_lowercase().contains("unable to find group nobodys"), "{output}");
    }

    /// More likely to be killed for memory: in its wall's kernel, and the
    /// machine's own process too.
    fn out_of_memory_score(case) {
        case.daemon("box", &["--oom-score-adj=321", "busybox", "sleep", "1000"]);
        assert_eq!(case.exec("box", "cat /proc/1/oom_score_adj").ok(), "321");
        let output = case.walled("create", &["--oom-score-adj=2000", "busybox"]).run();
        output.fails(1, "range for oom score adj is [-1000, 1000]");
    }

    /// What a container writes into the files that it has from the engine is on
    /// the disk or in its guest, and not in the memory where the engine's sockets are.
    fn files_of_the_engine(case) {
        if hako_tests::not_on_reference("it looks into the engine's folders") {
            return;
        }
        case.daemon("box", &["-m", "64m", "busybox", "sleep", "1000"]);
        let script = "for f in hosts hostname resolv.conf; do dd if=/dev/zero of=/etc/$f bs=64k count=64; done";
        let _ = case.exec("box", script).ok();
        let size = |path: &Path| {
            let out = Command::new("du").arg("-sk").arg(path).output().unwrap();
            String::from_utf8(out.stdout).unwrap().split_whitespace().next().unwrap().parse::<u32>().unwrap()
        };
        let run = size(&case.engine.exec_root().join("shims"));
        assert!(run < 4096, "{run} KiB");
        let hosts = case.inspect("box", "{{.HostsPath}}");
        if case.wall == Wall::Process {
            assert!(Path::new(&hosts).starts_with(case.engine.data_root()), "{hosts}");
            assert_eq!(fs::metadata(&hosts).unwrap().len(), 4 << 20);
        }
        // A start begins with fresh ones.
        let _ = case.docker(["restart", "-t", "0", "box"]).text();
        assert!(case.exec("box", "cat /etc/hosts").ok().contains("localhost"));
        let _ = case.docker(["rm", "-f", "box"]).text();
        assert!(!Path::new(&hosts).exists());
    }

    fn shared_memory_size(case) {
        let script = "df -k /dev/shm | tail -1 | awk '{print $2}'";
        assert_eq!(case.sh(&["--shm-size=8m"], script).text(), "8192");
        assert_eq!(case.sh(&[], script).text(), "65536");
        if !Engine::is_reference() {
            let body = json!({ "Image": "busybox", "HostConfig": { "ShmSize": -1, "Isolation": case.wall.to_string() } });
            let answer = case.engine.http("POST", "/containers/create", Some(&body));
            assert_eq!((answer.status, answer.message().as_str()), (400, "SHM size can not be less than 0"));
        }
    }
}
