//! `hako.vm.*`: what a container, its image and the engine's configuration say of
//! its virtual machine, seen from inside and by `inspect`.

use hako_tests::{Case, Engine, Options, Tool, Wall, busybox, client_before, not_on_reference, with_wall};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

const MIB: u64 = 1 << 20;

/// Processors, MiB of memory, MiB of disk, and the kernel's command line.
const LOOK: &str =
    "nproc; awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo; df -m / | awk 'END {print $2}'; cat /proc/cmdline";

/// The flags for these options, as annotations.
fn annotations<'a>(pairs: &[&'a str]) -> Vec<&'a str> {
    pairs.iter().flat_map(|pair| ["--annotation", *pair]).collect()
}

/// What [`LOOK`] found: processors, memory, disk, command line.
fn look(output: &str) -> (u64, u64, u64, String) {
    let mut lines = output.lines();
    let mut number = || lines.next().unwrap().parse().unwrap_or_else(|_| panic!("{output}"));
    (number(), number(), number(), lines.next().unwrap().to_owned())
}

fn vm(case: &Case, name: &str) -> Value {
    serde_json::from_str(&case.inspect(name, "{{json .VM}}")).unwrap()
}

/// An engine whose configuration has this text.
fn configured(text: &str, body: fn(&Case)) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, text).unwrap();
    let args = vec!["--config-file".to_owned(), file.display().to_string()];
    let engine = Engine::with(Options { args, ..Options::default() });
    engine.load(&busybox());
    let case = Case::new(engine, Wall::Hyperv);
    body(&case);
    case.engine.finish();
}

/// In the guest, in inspect, after a restart of the engine and of the container.
#[test]
fn they_take_effect() {
    if not_on_reference("there is no hyperv wall") || client_before(24, "it has no --annotation") {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        let options = [
            "hako.vm.memory=300m",
            "hako.vm.cpus=1",
            "hako.vm.disk=256m",
            "hako.vm.kernel-args=loglevel=6 slab_nomerge",
            "hako.vm.accelerator=tcg",
        ];
        let mut flags = annotations(&options);
        flags.extend(["busybox", "sleep", "1000"]);
        case.daemon("box", &flags);
        let check = || {
            let (cpus, memory, disk, cmdline) = look(&case.exec("box", LOOK).ok());
            assert_eq!(cpus, 1);
            assert!((240..300).contains(&memory) && (180..256).contains(&disk), "{memory} {disk}");
            assert!(cmdline.contains(" loglevel=6 slab_nomerge"), "{cmdline}");
            // Without -m the workload has what the machine leaves it.
            let limit: u64 = case.exec("box", "cat /sys/fs/cgroup/memory.max").ok().parse().unwrap();
            assert!((180 * MIB..250 * MIB).contains(&limit), "{limit}");
            let shown = json!({
                "Memory": 300 * MIB, "CPUs": 1, "Disk": 256 * MIB, "Kernel": "default",
                "KernelArgs": ["loglevel=6", "slab_nomerge"], "Accelerator": "tcg",
            });
            assert_eq!(vm(case, "box"), shown);
        };
        check();
        let kept: Value = serde_json::from_str(&case.inspect("box", "{{json .HostConfig.Annotations}}")).unwrap();
        assert_eq!(kept["hako.vm.kernel-args"], "loglevel=6 slab_nomerge");
        case.engine.end_by(Signal::SIGKILL);
        case.engine.launch();
        assert_eq!(vm(case, "box")["Memory"], json!(300 * MIB));
        let _ = case.docker(["restart", "-t", "0", "box"]).text();
        check();
        // What is copied out of a stopped container comes through a machine of its own.
        let _ = case.docker(["kill", "box"]).text();
        case.wait_for("box", "exited");
        assert!(case.docker(["cp", "box:/etc/passwd", "-"]).run().stdout.windows(4).any(|bytes| bytes == b"root"));
    });
}

/// Whose client knows no annotations says it by labels.
#[test]
fn labels_do_the_same() {
    if not_on_reference("there is no hyperv wall") {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        case.engine.use_client(Tool::DebianDocker);
        let flags = ["--label", "hako.vm.cpus=1", "--label", "hako.vm.memory=256m"];
        let (cpus, memory, ..) = look(&case.sh(&flags, LOOK).text());
        assert!(cpus == 1 && (200..256).contains(&memory), "{cpus} {memory}");
        let bad = case.walled("create", &["--label", "hako.vm.memry=1g", "busybox"]).run();
        bad.fails(1, "label hako.vm.*: no such option of a virtual machine: \"memry\"");
    });
}

/// The nearer wins, option by option; an image gets what the configuration gives it.
#[test]
fn defaults() {
    if not_on_reference("there is no hyperv wall") || client_before(24, "it has no --annotation") {
        return;
    }
    let text = "[vm]\nmemory = '320m'\ncpus = 1\nkernel-args = ['loglevel=5']\ndisk = '300m'\n\
                [vm.images]\nmemory = '400m'\n";
    configured(text, |case| {
        let labels = json!({
            "hako.vm.memory": "8g", "hako.vm.cpus": "1", "hako.vm.disk": "200m", "hako.vm.accelerator": "tcg",
            "hako.vm.kernel-args": "slab_nomerge",
        });
        case.engine.load(&busybox().tagged("wishes:latest").with("Labels", labels));
        // By the configuration alone, and it is so.
        let (cpus, memory, disk, cmdline) = look(&case.sh(&["--name", "plain"], LOOK).text());
        assert!(cpus == 1 && (260..320).contains(&memory) && (220..300).contains(&disk), "{cpus} {memory} {disk}");
        assert!(cmdline.contains(" loglevel=5"), "{cmdline}");
        let made = |name: &str, flags: &[&str], image: &str| {
            let output = case.walled("create", &["--name", name]).args(flags).arg(image).run();
            assert_eq!(output.code, 0, "{output}");
            (vm(case, name), output.err())
        };
        let size = |vm: &Value| (vm["Memory"].as_u64().unwrap() / MIB, vm["Disk"].as_u64().unwrap() / MIB);
        // The image's labels within bounds, and what is not taken is said.
        let (shown, warned) = made("image", &[], "wishes");
        // A disk of whole GiB, or what an image may have at most.
        assert_eq!((size(&shown), &shown["KernelArgs"]), ((400, 300), &json!(["loglevel=5"])));
        assert!(warned.contains("asks for 8192 MiB, and gets 400 MiB"), "{warned}");
        for label in ["hako.vm.accelerator", "hako.vm.kernel-args"] {
            let text =
                format!("label {label:?} of the image is not taken: the engine's configuration does not allow it");
            assert!(warned.contains(&text), "{warned}");
        }
        // The container's own labels before the image's, annotations before those.
        let (shown, _) = made("labels", &["--label", "hako.vm.memory=500m"], "wishes");
        assert_eq!(size(&shown), (500, 300));
        let flags =
            ["--label", "hako.vm.memory=500m", "--annotation", "hako.vm.memory=600m", "--storage-opt", "size=100m"];
        let (shown, _) = made("annotations", &flags, "wishes");
        assert_eq!(size(&shown), (600, 100));
        // A default gives way to the container's limit.
        let (shown, _) = made("limit", &["-m", "700m"], "busybox");
        assert!(size(&shown).0 > 700, "{shown}");
        // And is no concern of who has no machine.
        assert_eq!(
            case.docker(["run", "--rm", "--isolation=process", "--network=none", "wishes", "echo", "well"]).text(),
            "well"
        );
    });
}

#[test]
fn what_makes_no_sense_is_refused() {
    if not_on_reference("there is no hyperv wall") || client_before(24, "it has no --annotation") {
        return;
    }
    let args = vec!["--exec-opt".to_owned(), "accelerator=tcg".to_owned()];
    let engine = Engine::with(Options { args, ..Options::default() });
    engine.load(&busybox());
    let case = Case::new(engine, Wall::Hyperv);
    let create = |wall: &str, flags: &[&str]| {
        case.docker(["create", &format!("--isolation={wall}"), "--network=none"]).args(flags).arg("busybox").run()
    };
    let refused = |options: &[&str], more: &[&str], text: &str| {
        let mut flags = annotations(options);
        flags.extend(more);
        let output = create("hyperv", &flags);
        output.fails(1, text);
        output.err()
    };
    let output = create("process", &annotations(&["hako.vm.memory=1g", "hako.vm.cpus=2"]));
    output.fails(
        1,
        "options of a virtual machine (memory, cpus) are for the hyperv wall: behind process a container has none",
    );
    assert!(output.err().contains("use --isolation=hyperv"), "{output}");
    let text = refused(
        &["hako.vm.memory=128m"],
        &["-m", "256m"],
        "a virtual machine of 128 MiB has no room for the workload: it needs ",
    );
    assert!(text.contains("use --vm-memory="), "{text}");
    refused(&["hako.vm.memory=20m"], &[], "a virtual machine of 20 MiB has no room for the workload");
    refused(&["hako.vm.memory=1t"], &[], "and this host has ");
    let text =
        refused(&["hako.vm.cpus=1"], &["--cpus=1.5"], "a virtual machine with 1 processor cannot give its workload");
    assert!(text.contains("use --vm-cpus=2"), "{text}");
    let text = refused(&["hako.vm.accelerator=kvm"], &[], "virtual machines of this host do not run by kvm");
    assert!(text.contains("leave out --vm-accelerator"), "{text}");
    let text = refused(
        &["hako.vm.kernel=nothing"],
        &[],
        "no guest kernel \"nothing\" is installed for this image (installed: default",
    );
    assert!(text.contains("use --kernel=default"), "{text}");
    refused(&["hako.vm.kernel=../x"], &[], "the name of an installed guest kernel");
    refused(
        &["hako.vm.kernel-args=init=/bin/sh"],
        &[],
        "kernel argument \"init=/bin/sh\" is not allowed (transparent_hugepage, ",
    );
    refused(&["hako.vm.cpus=900"], &[], "invalid cpus of a virtual machine: \"900\" (a whole number from 1 to 32)");
    refused(&["hako.vm.bios=x"], &[], "no such option of a virtual machine: \"bios\"");
    refused(
        &["hako.vm.disk=1g"],
        &["--storage-opt", "size=2g"],
        "asks for a disk of 2048 MiB, and hako.vm.disk (--vm-disk) for one of 1024 MiB",
    );
    assert_eq!(case.docker(["ps", "-aq"]).text(), "");
    // The least that a remedy says is enough.
    let (cpus, ..) = look(&case.sh(&annotations(&["hako.vm.cpus=2"]), LOOK).text());
    assert_eq!(cpus, 2);
    case.engine.finish();
}

/// What was asked for of the machine is not changed by an update, which says so.
#[test]
fn updates() {
    if not_on_reference("there is no hyperv wall") || client_before(24, "it has no --annotation") {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        let mut flags = annotations(&["hako.vm.memory=256m", "hako.vm.cpus=1"]);
        flags.extend(["-m", "100m", "--memory-swap", "-1", "busybox", "sleep", "1000"]);
        case.daemon("box", &flags);
        let update = |flags: &[&str]| case.docker(["update"]).args(flags).arg("box").run();
        let more = update(&["-m", "200m", "--memory-swap=-1"]);
        more.fails(1, "a virtual machine of 256 MiB has no room for the workload");
        assert!(more.err().contains("fixed when it was created: use --memory=168m or less"), "{more}");
        update(&["--cpus=1.5"]).fails(1, "fixed when it was created: use --cpus=1 or less");
        let kept = case.inspect("box", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}");
        assert_eq!(kept, format!("{} 0", 100 * MIB));
        assert_eq!(update(&["-m", "168m", "--memory-swap=-1", "--cpus=0.5"]).code, 0);
        assert_eq!(case.exec("box", "cat /sys/fs/cgroup/memory.max").ok(), (168 * MIB).to_string());
        assert_eq!(update(&["-m", "100m", "--memory-swap=-1"]).code, 0);
        let _ = case.docker(["kill", "box"]).text();
        case.wait_for("box", "exited");
        update(&["-m", "200m", "--memory-swap=-1"]).fails(1, "use --memory=168m or less");
        assert_eq!(vm(case, "box")["Memory"], json!(256 * MIB));
    });
}
