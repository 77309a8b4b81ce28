//! What users read: Docker's words first, what they mean after them, and the
//! remedies at the end. Scripts match on the words.

use crate::{asked, client, refused, server, windows};
use hako_model::{
    Error, ErrorKind,
    Isolation::{Hyperv, Process},
};
use hako_platform::{Host, Image, Manifest, Platform, Request};

#[test]
fn words() {
    let linux = |platform: &str| Image::of(Manifest::new(Platform::parse(platform).unwrap()));
    let amd64 = Host::linux("amd64");
    let cases = [
        (
            windows("17763"),
            amd64.clone(),
            asked(Process),
            "image operating system \"windows\" cannot be used on this platform: operating system is not supported \
             (this host runs linux); to run it, use a host with Windows 10.0.17763",
        ),
        (
            linux("linux/amd64"),
            server("17763"),
            asked(Process),
            "image operating system \"linux\" cannot be used on this platform: operating system is not supported \
             (this host runs windows); to run it, use a linux/amd64 host",
        ),
        (
            windows("10.0.20348.1006"),
            server("17763"),
            asked(Process),
            "a Windows version 10.0.20348-based image is incompatible with a 10.0.17763 host; to run it, ",
        ),
        (
            windows("17763"),
            server("20348"),
            asked(Process),
            "The operating system of the container does not match the operating system of the host. (0xc0370101): \
             behind the process wall host 10.0.20348 runs only images of build 20348, not 10.0.17763 (Windows Server \
             2019, Windows 10 1809); to run it, use --isolation=hyperv, or ",
        ),
        (
            windows("14393"),
            client("14393"),
            asked(Process),
            "Windows client operating systems earlier than version 1809 can only run Hyper-V containers (this host is \
             10.0.14393 (Windows Server 2016, Windows 10 1607)); to run it, use --isolation=hyperv",
        ),
        (
            linux("linux/arm64"),
            amd64.clone(),
            asked(Process),
            "The requested image's platform (linux/arm64/v8) does not match the detected host platform (linux/amd64), \
             and no interpreter for it is registered (binfmt_misc); to run it, register an interpreter for arm64",
        ),
        (
            linux("linux/arm64"),
            amd64.clone(),
            asked(Hyperv),
            "The requested image's platform (linux/arm64/v8) does not match the detected host platform (linux/amd64), \
             and no guest kernel with an emulator for it is installed; to run it, install a guest kernel for \
             linux/arm64/v8 and an emulator for it",
        ),
        (
            linux("linux/amd64"),
            amd64,
            Request { platform: Some(Platform::new("linux", "arm64", "")), ..asked(Process) },
            "image was found but does not match the specified platform: wanted linux/arm64/v8, actual: linux/amd64; to \
             run it, use --platform=linux/amd64",
        ),
    ];
    for (image, host, request, said) in cases {
        let text = refused(&image, &host, &request).to_string();
        assert!(text.starts_with(said), "{text}\n{said}");
    }
}

#[test]
fn kinds() {
    let kind = |image: &Image, host: &Host| Error::from(refused(image, host, &asked(Process))).kind;
    assert_eq!(kind(&windows("17763"), &Host::linux("amd64")), ErrorKind::Unsupported);
    assert_eq!(kind(&windows("17763"), &server("20348")), ErrorKind::InvalidParameter);
    assert_eq!(kind(&Image::index(Vec::new()), &server("20348")), ErrorKind::NotFound);
}

/// For scripts: the reason by its kind, the remedies as steps.
#[test]
fn json() {
    let refusal = refused(&windows("17763"), &server("20348"), &asked(Process));
    assert_eq!(
        serde_json::to_value(&refusal.reason).unwrap(),
        serde_json::json!({"kind": "version", "wall": "process", "image": "10.0.17763", "host": "10.0.20348"})
    );
    assert_eq!(
        serde_json::to_value(&refusal.remedies[0]).unwrap(),
        serde_json::json!([{"do": "wall", "isolation": "hyperv"}])
    );
}

/// Each rule that was applied is told, with where it comes from.
#[test]
fn explained() {
    let placement = crate::placed(&windows("17763"), &server("20348"), &asked(Hyperv));
    let rules: Vec<&str> = placement.trace.iter().map(|applied| applied.rule).collect();
    assert_eq!(rules, ["isolation", "wall", "windows.hyperv.build"]);
    assert!(!placement.trace[2].source.is_empty());
}
