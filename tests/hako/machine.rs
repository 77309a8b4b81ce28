//! The flags of a container's virtual machine, and what remedies say of them.

use hako_tests::{Engine, Wall, with_wall};
use serde_json::Value;

#[test]
fn flags_of_the_machine() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        let run = |flags: &[&str]| case.engine.hako(["run", "--rm", "--network=none"]).args(flags);
        let flags = [
            "--isolation=vm",
            "--kernel=default",
            "--vm-memory=300m",
            "--vm-cpus=1",
            "--vm-disk=200m",
            "--vm-accelerator=tcg",
            "--vm-kernel-args=loglevel=6",
            "--vm-kernel-args",
            "slab_nomerge",
        ];
        let script = "nproc; df -m / | awk 'END {print $2}'; awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo; cat /proc/cmdline";
        let said = run(&flags).args(["busybox", "sh", "-c", script]).text();
        let lines: Vec<&str> = said.lines().collect();
        let number = |at: usize| lines[at].parse::<u64>().unwrap_or_else(|_| panic!("{said}"));
        assert!(number(0) == 1 && (130..200).contains(&number(1)) && (240..300).contains(&number(2)), "{said}");
        assert!(lines[3].contains(" loglevel=6 slab_nomerge "), "{said}");
        // A remedy is followed word by word, and works.
        let refused = run(&["--isolation=process", "--vm-cpus=1", "busybox", "nproc"]).run();
        assert!(refused.code == 125 && refused.err().contains("leave out --vm-cpus"), "{refused}");
        let _ = run(&["--isolation=process", "busybox", "nproc"]).text();
        let refused = run(&["--isolation=hyperv", "--kernel=nothing", "busybox", "true"]).run();
        assert!(refused.code == 125 && refused.err().contains("use --kernel=default"), "{refused}");
        let refused = run(&["--isolation=hyperv", "-m", "300m", "--vm-memory=200m", "busybox", "true"]).run();
        let at = refused.err().find("--vm-memory=").unwrap_or_else(|| panic!("{refused}"));
        let remedy: String = refused.err()[at..].chars().take_while(|c| !c.is_whitespace()).collect();
        let _ = run(&["--isolation=hyperv", "-m", "300m", &remedy, "busybox", "true"]).text();
    });
}

/// `hako info`, Docker's client and `hako compat` know the installed guest kernels.
#[test]
fn installed_kernels() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        let inside =
            case.engine.hako(["run", "--rm", "--isolation=vm", "--network=none", "busybox", "uname", "-r"]).text();
        let said = case.engine.hako(["info"]).text();
        let line =
            said.lines().find(|line| line.contains("Guest kernel default: ")).unwrap_or_else(|| panic!("{said}"));
        assert!(line.contains(&inside), "{line}, {inside}");
        assert!(case.docker(["info"]).text().contains(&inside));
        let info: Value = serde_json::from_str(&case.engine.hako(["info", "-f", "json"]).text()).unwrap();
        let guest = &info["Guests"][0];
        assert_eq!((&guest["Name"], &guest["Release"]), (&"default".into(), &inside.into()), "{info}");
        let said = case.engine.hako(["compat", "busybox", "--explain"]).text();
        assert!(said.contains("guest kernel \"default\" (6."), "{said}");
    });
}
