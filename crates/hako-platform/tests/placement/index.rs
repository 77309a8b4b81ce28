//! Which manifest of an index is taken.

use crate::{asked, client, placed, refused, server, version};
use hako_model::Isolation::{Hyperv, Process};
use hako_platform::{Host, Image, Manifest, Platform, Reason, Request, Step};

fn index(entries: &[&str]) -> Image {
    Image::index(entries.iter().map(|text| entry(text)).collect())
}

/// A platform, or a version of Windows.
fn entry(text: &str) -> Manifest {
    match text {
        "nothing" => Manifest::default(),
        "attestation" => Manifest::new(Platform::new("unknown", "unknown", "")),
        _ if text.contains('/') => Manifest::new(Platform::parse(text).unwrap()),
        _ => Manifest::windows(version(text)),
    }
}

fn taken(image: &Image, host: &Host, request: &Request) -> String {
    image.manifests()[placed(image, host, request).manifest].shown()
}

/// containerd's `Test_PlatformOrder`.
#[test]
fn upstream_order() {
    let all = ["linux/amd64", "10.0.20348.3091", "10.0.26100.2894"];
    let newer = ["linux/amd64", "10.0.20348.3091", "10.0.26100.3000"];
    for (host, entries, want) in [
        ("10.0.20348.3091", all, "windows(10.0.20348.3091)/amd64"),
        ("10.0.26100.2894", all, "windows(10.0.26100.2894)/amd64"),
        ("10.0.26100.2894", newer, "windows(10.0.26100.3000)/amd64"),
    ] {
        for wall in [Process, Hyperv] {
            assert_eq!(taken(&index(&entries), &server(host), &asked(wall)), want, "{host} {wall}");
        }
    }
}

#[test]
fn exact_builds_first_then_by_number() {
    let shown = |entries: &[&str], host: &str, wall| taken(&index(entries), &server(host), &asked(wall));
    // Whatever the order in the index.
    for entries in [["20348", "26100"], ["26100", "20348"]] {
        assert_eq!(shown(&entries, "26100", Process), "windows(10.0.26100)/amd64");
        assert_eq!(shown(&entries, "25398", Hyperv), "windows(10.0.20348)/amd64");
    }
    // Also where newer ones are allowed.
    let newer = Request { allow_newer: true, ..asked(Hyperv) };
    assert_eq!(taken(&index(&["20348", "17763"]), &server("17763"), &newer), "windows(10.0.17763)/amd64");
    assert_eq!(taken(&index(&["20348", "14393"]), &server("17763"), &newer), "windows(10.0.20348)/amd64");
    assert_eq!(shown(&["14393", "17763", "17134"], "20348", Hyperv), "windows(10.0.17763)/amd64");
    // As text 999 is the greater.
    for entries in [["10.0.20348.999", "10.0.20348.3091"], ["10.0.20348.3091", "10.0.20348.999"]] {
        assert_eq!(shown(&entries, "10.0.20348.4000", Process), "windows(10.0.20348.3091)/amd64");
        // A revision that is newer than the host's fails at times behind process, not in a VM.
        assert_eq!(shown(&entries, "10.0.20348.2000", Process), "windows(10.0.20348.999)/amd64");
        assert_eq!(shown(&entries, "10.0.20348.2000", Hyperv), "windows(10.0.20348.3091)/amd64");
    }
    assert_eq!(shown(&["10.0.20348.9", "10.0.26100.1"], "10.0.26100.5", Process), "windows(10.0.26100.1)/amd64");
}

/// The wall comes first: what it takes decides among the manifests.
#[test]
fn the_wall_decides_what_is_taken() {
    let image = index(&["17763", "20348"]);
    assert_eq!(taken(&image, &server("17763"), &asked(Process)), "windows(10.0.17763)/amd64");
    let old = index(&["14393", "17763"]);
    assert_eq!(taken(&old, &server("20348"), &asked(Hyperv)), "windows(10.0.17763)/amd64");
    assert!(matches!(refused(&old, &server("20348"), &asked(Process)).reason, Reason::NoManifest { .. }));
    // A client's default is hyperv.
    assert_eq!(taken(&old, &client("19045"), &Request::default()), "windows(10.0.17763)/amd64");
}

#[test]
fn linux_entries_are_rated_by_variant() {
    let image = index(&["linux/arm/v6", "linux/arm/v7", "linux/amd64", "linux/arm64", "attestation"]);
    let mut pi = Host::linux("arm");
    pi.variant = "v7".into();
    assert_eq!(taken(&image, &pi, &Request::default()), "linux/arm/v7");
    pi.variant = "v6".into();
    assert_eq!(taken(&image, &pi, &Request::default()), "linux/arm/v6");
    assert_eq!(taken(&image, &Host::linux("amd64"), &Request::default()), "linux/amd64");
    // Of equals the first, as Docker takes it.
    let twice = index(&["linux/amd64", "linux/amd64"]);
    assert_eq!(placed(&twice, &Host::linux("amd64"), &Request::default()).manifest, 0);
    let levels = index(&["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"]);
    let mut host = Host::linux("amd64");
    assert_eq!(taken(&levels, &host, &Request::default()), "linux/amd64");
    host.variant = "v3".into();
    assert_eq!(taken(&levels, &host, &Request::default()), "linux/amd64/v3");
    host.variant = "v2".into();
    assert_eq!(taken(&levels, &host, &asked(Hyperv)), "linux/amd64/v2");
}

#[test]
fn no_match_lists_what_there_is() {
    let image = index(&["17763", "linux/arm64", "attestation"]);
    let refusal = refused(&image, &Host::linux("amd64"), &Request::default());
    assert_eq!(
        refusal.reason.to_string(),
        "no matching manifest for linux/amd64 in the manifest list entries \
         (the index has windows(10.0.17763)/amd64, linux/arm64/v8)"
    );
    let text = refused(&index(&["17763"]), &server("10.0.20348.1006"), &asked(Process)).to_string();
    assert!(
        text.starts_with("no matching manifest for windows(10.0.20348)/amd64 in the manifest list entries: "),
        "{text}"
    );
    assert!(
        text.contains("(the index has windows(10.0.17763)/amd64)") && text.contains("--isolation=hyperv"),
        "{text}"
    );
    let none = refused(&Image::index(Vec::new()), &server("20348"), &asked(Process));
    assert!(none.to_string().contains("(the index has none)"));
}

#[test]
fn an_index_of_one_image_without_a_platform_is_taken() {
    assert_eq!(placed(&index(&["nothing"]), &Host::linux("amd64"), &Request::default()).manifest, 0);
    let refusal = refused(&index(&["nothing", "attestation"]), &Host::linux("amd64"), &Request::default());
    assert!(matches!(refusal.reason, Reason::NoManifest { .. }));
}

#[test]
fn a_platform_that_is_asked_for() {
    let image = index(&["linux/amd64", "linux/arm64", "20348"]);
    let request = |platform: &str, wall| Request { platform: Some(Platform::parse(platform).unwrap()), ..asked(wall) };
    let host = Host::linux("amd64");
    let refusal = refused(&image, &host, &request("linux/arm64", Process));
    assert!(matches!(refusal.reason, Reason::Architecture { .. }), "{refusal}");
    let refusal = refused(&image, &host, &request("windows/amd64", Process));
    assert!(matches!(refusal.reason, Reason::OperatingSystem { .. }), "{refusal}");
    let refusal = refused(&image, &host, &request("linux/s390x", Process));
    assert!(matches!(refusal.reason, Reason::NoManifest { .. }), "{refusal}");
    let other = Step::Platform { platform: Platform::new("linux", "amd64", "") };
    assert_eq!(refusal.remedies[0].0, [other]);
}

/// Whoever makes an index decides how long it is.
#[test]
fn a_very_long_index() {
    let many: Vec<Manifest> =
        (0..40_000).map(|n| Manifest::windows(version(&format!("10.0.{}.{n}", 30_000 + n % 7)))).collect();
    let refusal = refused(&Image::index(many), &server("20348"), &asked(Process));
    assert!(refusal.to_string().len() < 4000 && refusal.trace.len() < 200, "{refusal}");
    assert!(!refusal.remedies.is_empty());
}
