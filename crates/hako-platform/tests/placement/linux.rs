//! Linux hosts: architectures, interpreters, guest kernels.

use crate::{WALLS, asked, notes, placed, refused, runs, server, windows};
use hako_model::Isolation::{self, Hyperv, Process};
use hako_platform::{
    GuestKernel, Host, HostOs, Image, KernelVersion, LABEL_KERNEL, LABEL_WALL, Manifest, Platform, Reason, Request,
    Step, VmOptions, place,
};

fn host(kernel: &str, interpreters: &[&str], guests: &[(&str, &str, &str)]) -> Host {
    let mut host = Host::linux("amd64");
    if let HostOs::Linux(linux) = &mut host.os {
        linux.kernel = kernel.parse().ok();
        linux.interpreters = interpreters.iter().map(|text| (*text).to_owned()).collect();
    }
    let guest = |(name, platform, kernel): &(&str, &str, &str)| GuestKernel {
        kernel: kernel.parse().ok(),
        ..GuestKernel::new(name, &Platform::parse(platform).unwrap())
    };
    host.guests = guests.iter().map(guest).collect();
    host
}

fn image(platform: &str, labels: &[(&str, &str)]) -> Image {
    let mut manifest = Manifest::new(Platform::parse(platform).unwrap());
    labels.iter().for_each(|(label, value)| manifest.wish.add(label, value));
    Image::of(manifest)
}

const USUAL: (&str, &str, &str) = ("default", "linux/amd64", "6.12");
const ARM: (&str, &str, &str) = ("arm64", "linux/arm64", "6.1");

#[test]
fn architectures() {
    // Interpreters, guests, image, process, hyperv.
    type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str, &'a str)], &'a str, bool, bool);
    let rows: &[Row<'_>] = &[
        (&[], &[USUAL], "linux/amd64", true, true),
        (&[], &[USUAL], "linux/arm64", false, false),
        (&["arm64"], &[USUAL], "linux/arm64", true, false),
        (&[], &[USUAL, ARM], "linux/arm64", false, true),
        (&["arm64"], &[USUAL, ARM], "linux/arm64", true, true),
        (&["arm64"], &[], "linux/amd64", true, false),
        (&["arm"], &[USUAL, ARM], "linux/arm/v7", true, false),
        // A level that this CPU may not have.
        (&[], &[USUAL], "linux/amd64/v3", false, false),
        (&["arm64"], &[USUAL], "linux/386", false, false),
        (&["386"], &[USUAL], "linux/386", true, false),
        (&[], &[USUAL], "windows/amd64", false, false),
        (&[], &[USUAL], "freebsd/amd64", false, false),
    ];
    for (interpreters, guests, platform, process, hyperv) in rows {
        let host = host("6.1", interpreters, guests);
        for (wall, fits) in WALLS.into_iter().zip([process, hyperv]) {
            assert_eq!(
                runs(&image(platform, &[]), &host, wall),
                *fits,
                "{interpreters:?} {guests:?} {platform} {wall}"
            );
        }
    }
}

#[test]
fn a_higher_variant_of_the_host() {
    let mut host = host("6.1", &[], &[USUAL]);
    host.variant = "v3".into();
    for (platform, fits) in
        [("linux/amd64", true), ("linux/amd64/v2", true), ("linux/amd64/v3", true), ("linux/amd64/v4", false)]
    {
        for wall in WALLS {
            assert_eq!(runs(&image(platform, &[]), &host, wall), fits, "{platform} {wall}");
        }
    }
}

#[test]
fn another_architecture_says_what_would_work() {
    let refusal = refused(&image("linux/arm64", &[]), &host("6.1", &[], &[USUAL, ARM]), &asked(Process));
    let steps: Vec<&[Step]> = refusal.remedies.iter().map(|remedy| remedy.0.as_slice()).collect();
    assert_eq!(steps[0], [Step::Wall { isolation: Hyperv }]);
    assert_eq!(steps[1], [Step::InstallInterpreter { architecture: "arm64".into() }]);
    let refusal = refused(&image("linux/arm64", &[]), &host("6.1", &["arm64"], &[USUAL]), &asked(Hyperv));
    let guest = Step::InstallGuest { name: None, platform: Platform::new("linux", "arm64", ""), kernel: None };
    assert_eq!(refusal.remedies[0].0, [guest]);
    assert_eq!(refusal.remedies[1].0, [Step::Wall { isolation: Process }]);
}

#[test]
fn emulation_is_told() {
    let host = host("6.1", &["arm64"], &[USUAL, ARM]);
    let placement = placed(&image("linux/arm64", &[]), &host, &asked(Process));
    assert!(notes(&placement, "architecture") && notes(&placement, "platform"));
    let placement = placed(&image("linux/arm64", &[]), &host, &asked(Hyperv));
    assert!(notes(&placement, "kernel"));
    assert_eq!(placement.kernel.unwrap().name, "arm64");
    let named = Request { platform: Some(Platform::new("linux", "arm64", "")), ..asked(Process) };
    assert!(!notes(&placed(&image("linux/arm64", &[]), &host, &named), "platform"), "it was asked for");
}

#[test]
fn a_kernel_that_the_image_asks_for() {
    let wants = image("linux/amd64", &[(LABEL_KERNEL, "6.6")]);
    let old = host("5.10.0-28-amd64", &[], &[USUAL]);
    let refusal = refused(&wants, &old, &asked(Process));
    let has = Some(KernelVersion(5, 10, 0));
    assert_eq!(refusal.reason, Reason::ImageKernel { wall: Process, least: KernelVersion(6, 6, 0), has });
    assert_eq!(refusal.remedies[0].0, [Step::Wall { isolation: Hyperv }]);
    assert_eq!(placed(&wants, &old, &asked(Hyperv)).kernel.unwrap().name, "default");
    // Who leaves the wall to the engine gets the one that the image asks for.
    let placement = placed(&wants, &old, &Request::default());
    assert_eq!(placement.wall, Hyperv);
    assert!(notes(&placement, "image.wish"));
    assert_eq!(placed(&wants, &host("6.6.1", &[], &[USUAL]), &Request::default()).wall, Process);
    // Neither has it.
    let guests = [("default", "linux/amd64", "6.1"), ("newer", "linux/amd64", "6.5")];
    let refusal = refused(&wants, &host("5.10", &[], &guests), &Request::default());
    let has = Some(KernelVersion(6, 5, 0));
    assert_eq!(refusal.reason, Reason::ImageKernel { wall: Hyperv, least: KernelVersion(6, 6, 0), has });
    // A kernel of unknown release is none that is new enough.
    assert!(place(&wants, &host("", &[], &[]), &asked(Process)).is_err());
}

#[test]
fn guest_kernels_by_name() {
    let two = host("6.1", &[], &[USUAL, ("debian", "linux/amd64", "6.1.0-18-cloud-amd64"), ARM]);
    let with = |name: &str, wall: Option<Isolation>| Request {
        vm: VmOptions { kernel: Some(name.into()), ..VmOptions::default() },
        isolation: wall,
        ..Request::default()
    };
    let usual = image("linux/amd64", &[]);
    assert_eq!(placed(&usual, &two, &with("debian", Some(Hyperv))).kernel.unwrap().name, "debian");
    let refusal = refused(&usual, &two, &with("freebsd", Some(Hyperv)));
    assert!(refusal.to_string().contains("(installed: default, debian)"), "{refusal}");
    // Of another architecture.
    assert!(place(&usual, &two, &with("arm64", Some(Hyperv))).is_err());
    let refusal = refused(&usual, &two, &with("debian", Some(Process)));
    assert!(matches!(refusal.reason, Reason::VmOfProcess { .. }));
    assert_eq!(refusal.remedies[0].0, [Step::Wall { isolation: Hyperv }]);
    // The image's wish chooses among those that nobody has named.
    let wants = image("linux/amd64", &[(LABEL_KERNEL, "6.6")]);
    let host = host("6.1", &[], &[("old", "linux/amd64", "6.1"), ("new", "linux/amd64", "6.12")]);
    assert_eq!(placed(&wants, &host, &asked(Hyperv)).kernel.unwrap().name, "new");
    let refusal = refused(&wants, &host, &with("old", Some(Hyperv)));
    assert_eq!(refusal.remedies[0].0, [Step::Kernel { name: Some("new".into()) }]);
    // A Windows image brings its own.
    assert!(place(&windows("20348"), &server("20348"), &with("x", Some(Hyperv))).is_err());
}

#[test]
fn a_wall_that_the_image_asks_for() {
    let wants = image("linux/amd64", &[(LABEL_WALL, "hyperv")]);
    let host = host("6.1", &[], &[USUAL]);
    assert_eq!(placed(&wants, &host, &Request::default()).wall, Hyperv);
    let refusal = refused(&wants, &host, &asked(Process));
    assert_eq!(refusal.reason, Reason::ImageWall { asked: Process, least: Hyperv });
    // It is a minimum.
    let thin = image("linux/amd64", &[(LABEL_WALL, "process")]);
    let thick = Request { engine_default: Some(Hyperv), ..Request::default() };
    assert_eq!(placed(&thin, &host, &thick).wall, Hyperv);
    // What cannot be read is taken as the thickest, and said.
    let odd = placed(&image("linux/amd64", &[(LABEL_WALL, "glass")]), &host, &Request::default());
    assert_eq!(odd.wall, Hyperv);
    assert!(notes(&odd, "image.label"));
}

#[test]
fn a_guest_kernel_on_a_windows_host() {
    let mut windows = server("20348");
    assert!(!runs(&image("linux/amd64", &[]), &windows, Hyperv));
    windows.guests.push(GuestKernel::new("lcow", &Platform::new("linux", "amd64", "")));
    assert!(runs(&image("linux/amd64", &[]), &windows, Hyperv));
    assert!(!runs(&image("linux/amd64", &[]), &windows, Process));
}

#[test]
fn a_vm_that_does_not_fit() {
    let mut host = host("6.1", &[], &[USUAL]);
    host.memory = 1 << 30;
    host.cpus = 2;
    let request = Request { memory: 2 << 30, ..asked(Hyperv) };
    let refusal = refused(&image("linux/amd64", &[]), &host, &request);
    assert!(matches!(refusal.reason, Reason::Memory { has_mib: 1024, .. }));
    assert!(matches!(refusal.remedies[0].0[..], [Step::Memory { .. }]), "{refusal}");
    let placement = placed(&image("linux/amd64", &[]), &host, &Request { memory: 64 << 20, ..asked(Hyperv) });
    assert_eq!(placement.sizing.unwrap().workload_limit, 64 << 20);
}

#[test]
fn options_of_the_machine() {
    let mut host = host("6.1", &[], &[USUAL]);
    (host.memory, host.cpus, host.emulated) = (8 << 30, 4, true);
    let with = |pairs: &[(&str, &str)], wall: Option<Isolation>, memory: u64| {
        let mut vm = VmOptions::default();
        pairs.iter().for_each(|(option, value)| vm.set(option, value).unwrap());
        Request { vm, isolation: wall, memory, ..Request::default() }
    };
    let usual = image("linux/amd64", &[]);
    let size = placed(&usual, &host, &with(&[("memory", "1g"), ("cpus", "3")], Some(Hyperv), 0)).sizing.unwrap();
    assert_eq!((size.memory_mib, size.cpus), (1024, 3));
    assert!(size.workload_limit < 1024 << 20);
    // Processors that were asked for are neither fewer nor more.
    assert_eq!(size.most_cpus, 3);
    let few = Request { nano_cpus: 1_500_000_000, ..with(&[("cpus", "1")], Some(Hyperv), 0) };
    let refusal = refused(&usual, &host, &few);
    assert_eq!(refusal.reason, Reason::VmTooFew { cpus: 1, needs: 2 });
    assert_eq!(refusal.remedies[0].0, [Step::VmCpus { cpus: 2 }]);
    assert!(refusal.to_string().contains("use --vm-cpus=2 or more"), "{refusal}");
    let enough = Request { nano_cpus: 1_500_000_000, ..with(&[("cpus", "2")], Some(Hyperv), 0) };
    assert_eq!(placed(&usual, &host, &enough).sizing.unwrap().cpus, 2);
    // Bad combinations are refused before anything starts.
    let refusal = refused(&usual, &host, &with(&[("disk", "5g"), ("cpus", "1")], None, 0));
    assert_eq!(refusal.reason, Reason::VmOfProcess { options: vec!["cpus".into(), "disk".into()] });
    assert_eq!(refusal.remedies[0].0, [Step::Wall { isolation: Hyperv }]);
    let refusal = refused(&usual, &host, &with(&[("memory", "256m")], Some(Hyperv), 512 << 20));
    assert!(matches!(refusal.reason, Reason::VmTooSmall { memory_mib: 256, needs_mib: 623 }), "{refusal}");
    assert!(refused(&usual, &host, &with(&[("memory", "64g")], Some(Hyperv), 0)).to_string().contains("has 8192 MiB"));
    let refusal = refused(&usual, &host, &with(&[("accelerator", "kvm")], Some(Hyperv), 0));
    assert!(matches!(refusal.reason, Reason::Accelerator { .. }));
    host.emulated = false;
    assert!(place(&usual, &host, &with(&[("accelerator", "kvm")], Some(Hyperv), 0)).is_ok());
    let emulated = placed(&usual, &host, &with(&[("accelerator", "tcg")], Some(Hyperv), 0)).sizing.unwrap();
    assert_eq!(emulated.cpus, 2);
}

/// What the configuration says of machines is no concern of who has none, and
/// never in the way of who has one.
#[test]
fn defaults_of_machines() {
    let mut host = host("6.1", &[], &[USUAL, ("debian", "linux/amd64", "6.1"), ARM]);
    (host.memory, host.cpus) = (8 << 30, 4);
    let with = |pairs: &[(&str, &str)], wall, memory: u64| {
        let mut vm_default = VmOptions::default();
        pairs.iter().for_each(|(option, value)| vm_default.set(option, value).unwrap());
        Request { vm_default, memory, ..asked(wall) }
    };
    let all = [("memory", "1g"), ("cpus", "3"), ("kernel", "debian"), ("accelerator", "kvm")];
    let usual = image("linux/amd64", &[]);
    assert!(place(&usual, &host, &with(&all, Process, 0)).is_ok());
    let placement = placed(&usual, &host, &with(&all, Hyperv, 0));
    let size = placement.sizing.unwrap();
    assert_eq!((size.memory_mib, size.cpus, placement.kernel.unwrap().name.as_str()), (1024, 3, "debian"));
    // Of another architecture, too old, too small, too large.
    assert_eq!(placed(&image("linux/arm64", &[]), &host, &with(&all, Hyperv, 0)).kernel.unwrap().name, "arm64");
    let wants = image("linux/amd64", &[(LABEL_KERNEL, "6.6")]);
    assert_eq!(placed(&wants, &host, &with(&all, Hyperv, 0)).kernel.unwrap().name, "default");
    assert!(placed(&usual, &host, &with(&all, Hyperv, 2 << 30)).sizing.unwrap().memory_mib > 2048);
    assert_eq!(placed(&usual, &host, &with(&[("memory", "64g")], Hyperv, 0)).sizing.unwrap().memory_mib, 2048);
}
