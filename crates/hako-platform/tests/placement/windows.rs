//! Windows hosts beyond the tables.

use crate::{asked, client, notes, placed, refused, runs, server, windows};
use hako_model::Isolation::{Hyperv, Process};
use hako_platform::{Host, HostOs, Image, ImageVersion, Manifest, Platform, Reason, Request, Step, WallState, place};

#[test]
fn a_revision_newer_than_the_hosts_is_a_warning() {
    let rule = "windows.process.revision";
    let warns = |image: &str, host: &str| notes(&placed(&windows(image), &server(host), &asked(Process)), rule);
    assert!(warns("10.0.26100.3194", "10.0.26100.2894"));
    assert!(!warns("10.0.26100.2894", "10.0.26100.3194"));
    assert!(!warns("10.0.20348.3194", "10.0.26100.2894"), "another build has other revisions");
    // As numbers: 999 is not newer than 3091.
    assert!(!warns("10.0.20348.999", "10.0.20348.3091"));
    assert!(warns("10.0.20348.3091", "10.0.20348.999"));
    // 2016 wants them equal, either way.
    assert!(warns("10.0.14393.3600", "10.0.14393.3700") && warns("10.0.14393.3700", "10.0.14393.3600"));
    assert!(!warns("10.0.14393.3700", "10.0.14393.3700"));
    let text = &placed(&windows("10.0.26100.3194"), &server("10.0.26100.2894"), &asked(Process)).notes[0].text;
    assert!(text.contains("update the host to 10.0.26100.3194") && text.contains("hyperv"), "{text}");
    let hyperv = placed(&windows("10.0.26100.3194"), &server("10.0.26100.2894"), &asked(Hyperv));
    assert!(!notes(&hyperv, rule));
}

#[test]
fn newer_images_by_an_override_alone() {
    let allow = |wall| Request { allow_newer: true, ..asked(wall) };
    let placement = placed(&windows("20348"), &server("17763"), &allow(Hyperv));
    assert!(notes(&placement, "windows.hyperv.build"));
    assert!(place(&windows("20348"), &server("17763"), &allow(Process)).is_err());
    // Hosts before 1809 were never seen to.
    assert!(place(&windows("17763"), &server("17134"), &allow(Hyperv)).is_err());
    let refusal = refused(&windows("20348"), &server("17763"), &asked(Hyperv));
    assert!(refusal.remedies.iter().any(|remedy| remedy.0 == [Step::AllowNewer]), "{refusal}");
    let refusal = refused(&windows("20348"), &server("17763"), &asked(Process));
    let both = [Step::Wall { isolation: Hyperv }, Step::AllowNewer];
    assert!(refusal.remedies.iter().any(|remedy| remedy.0 == both), "{refusal}");
}

#[test]
fn builds_that_no_table_knows() {
    let placement = placed(&windows("28000"), &server("28000"), &asked(Process));
    assert!(notes(&placement, "windows.unknown"));
    // The general rule: from the last long-term release to the host itself.
    assert!(runs(&windows("26100"), &server("28000"), Process));
    assert!(!runs(&windows("20348"), &server("28000"), Process));
    assert!(runs(&windows("20348"), &server("28000"), Hyperv));
    assert!(!notes(&placed(&windows("20348"), &server("26100"), &asked(Process)), "windows.unknown"));
    // Not Windows 10 and its successors at all.
    assert!(!runs(&windows("6.3.9600"), &server("17763"), Hyperv));
    assert!(!runs(&windows("11.0.17763"), &server("17763"), Process));
}

#[test]
fn where_reports_disagree_the_rule_stands_and_says_so() {
    for (image, wall) in [("20348", Hyperv), ("26100", Process), ("26100", Hyperv)] {
        let placement = placed(&windows(image), &client("26200"), &asked(wall));
        let told = placement.trace.iter().find(|applied| applied.rule == "windows.disagreement").unwrap();
        assert!(told.source.contains("hcsshim#2566"), "{told:?}");
    }
    assert!(!runs(&windows("20348"), &client("26200"), Process));
}

#[test]
fn defaults_of_hosts() {
    let wall = |host: &Host| placed(&windows("20348"), host, &Request::default()).wall;
    assert_eq!((wall(&server("20348")), wall(&client("22621"))), (Process, Hyperv));
    let configured = Request { engine_default: Some(Process), ..Request::default() };
    let placement = placed(&windows("20348"), &client("22621"), &configured);
    assert_eq!(placement.wall, Process);
    assert!(notes(&placement, "windows.client"), "for development only");
    let configured = Request { engine_default: Some(Hyperv), ..Request::default() };
    assert_eq!(placed(&windows("20348"), &server("20348"), &configured).wall, Hyperv);
    // No wall is chosen behind the user's back where versions do not match.
    assert!(place(&windows("17763"), &server("20348"), &Request::default()).is_err());
}

#[test]
fn versions_that_are_not_said_or_not_read() {
    let image = |text: &str| {
        let platform = Platform::new("windows", "amd64", "");
        Image::of(Manifest { version: ImageVersion::read(text), ..Manifest::new(platform) })
    };
    for wall in [Process, Hyperv] {
        assert!(notes(&placed(&image(""), &server("17763"), &asked(wall)), "windows.version"));
        let refusal = refused(&image("ten"), &server("17763"), &asked(wall));
        assert!(matches!(refusal.reason, Reason::UnreadableVersion { .. }));
    }
}

#[test]
fn licences_are_told() {
    let mut host = server("20348");
    if let HostOs::Windows(windows) = &mut host.os {
        windows.edition = "Standard".into();
    }
    assert!(notes(&placed(&windows("20348"), &host, &asked(Hyperv)), "windows.licence"));
    assert!(!notes(&placed(&windows("20348"), &host, &asked(Process)), "windows.licence"));
    assert!(notes(&placed(&windows("20348"), &client("22621"), &asked(Hyperv)), "windows.licence"));
    assert!(!notes(&placed(&windows("20348"), &server("20348"), &asked(Hyperv)), "windows.licence"));
}

#[test]
fn a_wall_that_does_not_work() {
    let host = Host { hyperv: WallState::Lacks(vec!["the Hyper-V role".into()]), ..server("20348") };
    let refusal = refused(&windows("17763"), &host, &asked(Hyperv));
    assert!(refusal.to_string().contains("it lacks the Hyper-V role"), "{refusal}");
    // The other wall does not take this image, so that it is no remedy.
    assert!(refusal.remedies.iter().all(|remedy| remedy.0 != [Step::Wall { isolation: Process }]), "{refusal}");
    let refusal = refused(&windows("20348"), &host, &asked(Hyperv));
    assert!(refusal.remedies.iter().any(|remedy| remedy.0 == [Step::Wall { isolation: Process }]), "{refusal}");
}

#[test]
fn utility_vms_have_a_size() {
    let size = |memory: u64| {
        placed(&windows("20348"), &server("20348"), &Request { memory, ..asked(Hyperv) }).sizing.unwrap().memory_mib
    };
    assert_eq!((size(0), size(2 << 30)), (1024, 2560));
    assert!(placed(&windows("20348"), &server("20348"), &asked(Process)).sizing.is_none());
}

#[test]
fn least_memory_of_the_first_images() {
    let mut image = windows("14393");
    image.names.push("mcr.microsoft.com/windows/servercore:ltsc2016".into());
    if let hako_platform::Form::Manifest(manifest) = &mut image.form {
        manifest.family = hako_platform::Family::ServerCore;
    }
    let warns = |mib: u64, wall| {
        let request = Request { memory: mib << 20, ..asked(wall) };
        notes(&placed(&image, &server("14393"), &request), "windows.memory")
    };
    assert!(warns(49, Process) && !warns(50, Process));
    assert!(warns(324, Hyperv) && !warns(325, Hyperv));
}
