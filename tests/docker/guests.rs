//! Guests side by side: the usual one, Debian's kernel, and one for arm64. What
//! works in the usual guest works in each.

use crate::networks::{fetch, fetch_on_host};
use hako_tests::{Case, Client, Wall, bin_dir, busybox_arm64, on_path, wait_until, with_networks, with_wall};
use std::{fs, time::Duration};

/// A guest that is not the usual one, and how a container gets it.
struct Guest<'a> {
    case: &'a Case,
    flags: &'static [&'static str],
    image: &'static str,
    machine: &'static str,
}

/// Whether the guest `name` lies beside the programs. Only where nothing can
/// make it may it be absent.
fn is_installed(name: &str) -> bool {
    if bin_dir().join("guests").join(name).join("guest.json").is_file() {
        return true;
    }
    assert!(on_path("apt-get").is_none(), "no guest {name}: run `cargo xtask guest {name}`");
    eprintln!("not run: the guest {name} is made of Debian's packages, and there is no apt-get");
    false
}

fn debian(case: &Case) -> Guest<'_> {
    Guest { case, flags: &["--label=hako.vm.kernel=debian"], image: "busybox", machine: "x86_64" }
}

fn arm64(case: &Case) -> Guest<'_> {
    case.engine.load(&busybox_arm64());
    Guest { case, flags: &["--platform=linux/arm64"], image: "busybox:arm64", machine: "aarch64" }
}

/// Makes of one body a test in each guest; after `networks:` on an engine that has them.
macro_rules! guests {
    (@by $start:ident: $($(#[$meta:meta])* fn $name:ident($guest:ident) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn body($guest: &Guest<'_>) $body
            #[test]
            fn in_debian() {
                if is_installed("debian") {
                    $start(Wall::Hyperv, |case| body(&debian(case)));
                }
            }
            #[test]
            fn in_arm64() {
                if is_installed("arm64") {
                    $start(Wall::Hyperv, |case| body(&arm64(case)));
                }
            }
        }
    )*};
    (networks: $($bodies:tt)*) => { guests!(@by with_networks: $($bodies)*); };
    ($($bodies:tt)*) => { guests!(@by with_wall: $($bodies)*); };
}

impl Guest<'_> {
    /// `docker <verb>` behind the hyperv wall in this guest, without a network.
    fn walled(&self, verb: &str, flags: &[&str]) -> Client {
        self.case.walled(verb, self.flags).args(flags)
    }

    /// A shell's script in a container that goes when it ends.
    fn sh(&self, flags: &[&str], script: &str) -> Client {
        self.walled("run", &["--rm"]).args(flags).args([self.image, "sh", "-c", script])
    }

    /// A container `name` in the background that runs a shell's script.
    fn daemon(&self, name: &str, flags: &[&str], script: &str) {
        let run = self.walled("run", &["-d", "--name", name]).args(flags);
        let _ = run.args([self.image, "sh", "-c", script]).text();
    }

    /// The same on the default network.
    fn on_network(&self, name: &str, flags: &[&str], script: &str) {
        let run = self.case.networked("run", &["-d", "--name", name]).args(self.flags).args(flags);
        let _ = run.args([self.image, "sh", "-c", script]).text();
    }
}

const WAIT: &str = "trap 'exit 7' TERM; echo started; echo aside >&2; while :; do sleep 1 & wait; done";

/// Two containers of one image, each with a kernel of its own, at one time.
#[test]
fn two_kernels_side_by_side() {
    if !is_installed("debian") {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        let other = debian(case);
        case.idle("own");
        other.daemon("other", &[], WAIT);
        let (own, others) = (case.exec("own", "uname -r").ok(), case.exec("other", "uname -r").ok());
        assert!(own.starts_with("6.12.") && own.trim_end().ends_with("-hako"), "{own}");
        assert!(others.starts_with("6.1.0-") && others.trim_end().ends_with("-cloud-amd64"), "{others}");
        let described = fs::read(bin_dir().join("guests/debian/guest.json")).unwrap();
        let described: serde_json::Value = serde_json::from_slice(&described).unwrap();
        assert_eq!(described["kernel"], others.trim_end());
        let _ = case.docker(["rm", "-f", "own", "other"]).text();
    });
}

/// A name that no guest has, and a guest that cannot run the image.
#[test]
fn a_kernel_that_does_not_serve() {
    if !is_installed("arm64") {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        for (kernel, why) in [("none", "none"), ("arm64", "arm64")] {
            let label = format!("--label=hako.vm.kernel={kernel}");
            let refused = case.run(&[&label, "busybox", "true"]).run();
            assert!(refused.code == 125 && refused.err().contains(why), "{refused}");
        }
    });
}

/// Behind the process wall another architecture is refused, with what would work.
#[test]
fn another_architecture_behind_process() {
    if !is_installed("arm64") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let guest = arm64(case);
        let refused = guest.sh(&[], "uname -m").run();
        let names_both = refused.err().contains("linux/arm64") && refused.err().contains("--isolation=hyperv");
        assert!(refused.code == 125 && names_both, "{refused}");
    });
}

guests! {
    fn runs(guest) {
        assert_eq!(guest.sh(&[], "uname -m; echo $((6 * 7))").text(), format!("{}\n42", guest.machine));
        assert_eq!(guest.sh(&[], "exit 3").run().code, 3);
        assert_eq!(guest.sh(&[], "sh -c 'kill -KILL $$'; exit $?").run().code, 137);
        let missing = guest.walled("run", &["--rm", guest.image, "/no/such"]).run();
        assert_eq!(missing.code, 127, "{missing}");
        let text = guest.walled("run", &["--rm", "-i", guest.image, "cat"]).stdin("through").text();
        assert_eq!(text, "through");
    }

    fn everyday(guest) {
        let case = guest.case;
        guest.daemon("box", &["--init", "--hostname=there"], WAIT);
        wait_until(Duration::from_secs(30), "its first words", || {
            case.docker(["logs", "box"]).run().out() == "started"
        });
        assert_eq!(case.docker(["logs", "box"]).run().err(), "aside");
        let said = case.exec("box", "hostname; cat /proc/1/comm").ok();
        assert!(said.starts_with("there\n") && said.contains("init"), "{said}");
        assert_eq!(case.exec("box", "exit 9").code, 9);
        let echoed = case.docker(["exec", "-i", "box", "cat"]).stdin("in and out").text();
        assert_eq!(echoed, "in and out");
        assert!(case.docker(["top", "box"]).text().contains("sleep"));
        // Files, into it and out of it, while it runs and after.
        let folder = tempfile::tempdir().unwrap();
        let (file, back) = (folder.path().join("file"), folder.path().join("back"));
        fs::write(&file, "from outside").unwrap();
        let file = file.display().to_string();
        let _ = case.docker(["cp", &file, "box:/root/file"]).run().ok();
        assert_eq!(case.exec("box", "cat /root/file; echo inside > /root/own").ok(), "from outside");
        let _ = case.docker(["pause", "box"]).text();
        let _ = case.docker(["unpause", "box"]).text();
        let _ = case.docker(["stop", "-t", "30", "box"]).text();
        assert_eq!(case.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 7");
        let _ = case.docker(["cp", "box:/root/own", &back.display().to_string()]).run().ok();
        assert_eq!(fs::read_to_string(&back).unwrap(), "inside\n");
        assert!(case.docker(["diff", "box"]).text().contains("A /root/own"));
        // The same again, with what it has written.
        let _ = case.docker(["start", "box"]).text();
        assert_eq!(case.exec("box", "cat /root/own /root/file").ok(), "inside\nfrom outside");
        let _ = case.docker(["rm", "-f", "box"]).text();
    }

    /// The limit is the workload's to the brim; beyond it is the cgroup's kill.
    fn memory(guest) {
        let limit = ["-m", "64m", "--memory-swap", "64m"];
        let output = guest.sh(&limit, "head -c 30000000 /dev/zero | tail | wc -c; cat /sys/fs/cgroup/memory.max").text();
        assert_eq!(output, "30000000\n67108864");
        let output = guest.walled("run", &["--name", "box"]).args(limit).args([guest.image, "tail", "/dev/zero"]).run();
        assert_eq!(output.code, 137, "{output}");
        assert_eq!(guest.case.inspect("box", "{{.State.ExitCode}} {{.State.OOMKilled}}"), "137 true");
        let _ = guest.case.docker(["rm", "box"]).text();
    }

    /// All of the limit can be used, at small limits and large ones, also by the page cache.
    fn the_whole_limit(guest) {
        for (limit, fill) in [("16m", 11), ("256m", 247)] {
            let script = format!(
                "dd if=/dev/zero of=/big bs=1M count={} 2>/dev/null; dd if=/dev/zero of=/dev/shm/fill bs=1M count={fill} 2>/dev/null && echo whole",
                fill * 2
            );
            let flags = ["-m", limit, "--memory-swap", limit, "--shm-size", limit];
            assert_eq!(guest.sh(&flags, &script).text(), "whole", "{limit}");
        }
    }

    fn cpus(guest) {
        guest.daemon("box", &["--cpus=2", "-m", "64m"], WAIT);
        assert_eq!(guest.case.exec("box", "nproc; cat /sys/fs/cgroup/cpu.max").ok(), "2\n200000 100000");
        let _ = guest.case.docker(["update", "--cpus=1.5", "-m", "96m", "--memory-swap=96m", "box"]).text();
        let said = guest.case.exec("box", "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max").ok();
        assert_eq!(said, "150000 100000\n100663296");
        let _ = guest.case.docker(["rm", "-f", "box"]).text();
    }

    /// Volumes and folders of the host, of which the guest sees the host's files.
    fn volumes(guest) {
        let case = guest.case;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("host"), "of the host").unwrap();
        let bind = format!("{}:/shared", folder.path().display());
        let script = "cat /shared/host; echo guest > /shared/guest; echo kept > /kept/file; cat /kept/file";
        let said = guest.sh(&["-v", &bind, "-v", "kept:/kept"], script).text();
        assert_eq!(said, "of the hostkept");
        assert_eq!(fs::read_to_string(folder.path().join("guest")).unwrap(), "guest\n");
        // The next one has it too, read-only.
        let refused = guest.sh(&["-v", "kept:/kept:ro"], "cat /kept/file; echo no > /kept/file").run();
        assert!(refused.out() == "kept" && refused.err().contains("Read-only"), "{refused}");
        let _ = case.docker(["volume", "rm", "kept"]).text();
    }

    /// The filter is the guest's own architecture's, and each capability opens its calls.
    fn seccomp(guest) {
        let state = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status";
        assert_eq!(guest.sh(&[], state).text(), "NoNewPrivs:\t0\nSeccomp:\t2");
        assert_eq!(guest.sh(&["--security-opt=seccomp=unconfined"], state).text(), "NoNewPrivs:\t0\nSeccomp:\t0");
        let refused = guest.sh(&[], "unshare -U true").run();
        assert!(refused.code != 0 && refused.err().contains("not permitted"), "{refused}");
        assert_eq!(guest.sh(&["--cap-add=SYS_ADMIN"], "mount -t tmpfs none /tmp && echo mounted").text(), "mounted");
        // A profile of the user's, which forbids one call by name.
        let folder = tempfile::tempdir().unwrap();
        let profile = folder.path().join("profile.json");
        let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdirat","mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}"#;
        fs::write(&profile, text).unwrap();
        let option = format!("--security-opt=seccomp={}", profile.display());
        let refused = guest.sh(&[&option], "mkdir /made").run();
        assert!(refused.err().contains("Permission denied"), "{refused}");
    }
}

guests! { networks:
    /// By name, on a second network that comes later, and by a published port.
    fn on_networks(guest) {
        let case = guest.case;
        let _ = case.docker(["network", "create", "one"]).text();
        let _ = case.docker(["network", "create", "two"]).text();
        let serve = "mkdir -p /www && echo served > /www/index.html && exec httpd -f -p 80 -h /www";
        guest.on_network("web", &["--network=one", "-p", "18080:80"], serve);
        guest.on_network("box", &["--network=two"], WAIT);
        assert_eq!(fetch_on_host(case, "127.0.0.1", 18080), "served");
        let _ = case.docker(["network", "connect", "one", "box"]).text();
        assert_eq!(fetch(case, "box", "web", 80), "served");
        assert_eq!(case.exec("box", "ls /sys/class/net | tr '\\n' ' '").ok().trim_end(), "eth0 eth1 lo");
        let _ = case.docker(["network", "disconnect", "one", "box"]).text();
        let _ = case.docker(["rm", "-f", "web", "box"]).text();
        let _ = case.docker(["network", "rm", "one", "two"]).text();
    }
}
