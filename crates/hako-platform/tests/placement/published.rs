//! The tables that were published, cell by cell, and the test vectors of the
//! projects that have the same rules.

use crate::{WALLS, client, runs, server, windows};
use hako_model::Isolation::{Hyperv, Process};
use hako_platform::{Family, Host, Image, Install, Manifest, OsVersion, Product, matrix};

/// hcsshim's `osversion` and containerd's `platforms`: host, image, whether the
/// process wall takes it.
const VECTORS: &[(&str, &str, bool)] = &[
    ("17763", "17763", true),
    ("17763", "20348", false),
    ("20348", "17763", false),
    ("20348", "20348", true),
    ("22621", "17763", false),
    ("22621", "20348", true),
    ("25398", "20348", true),
    ("26100", "20348", true),
    ("26100", "22621", true),
    ("20348", "26100", false),
    ("20348", "22621", false),
];

#[test]
fn upstream_vectors() {
    for (host, image, fits) in VECTORS {
        for kind in [server, client] {
            assert_eq!(runs(&windows(image), &kind(host), Process), *fits, "host {host}, image {image}");
        }
    }
}

/// Microsoft's matrix by builds, as it follows from its pages and its code:
/// images 2016 to 2025 in the order of [`IMAGES`].
const PUBLISHED: &[(&str, &str)] = &[
    ("windows-server-2016", "PH – – – – – – – – – –"),
    ("windows-server-1709", "H PH – – – – – – – – –"),
    ("windows-server-1803", "H H PH – – – – – – – –"),
    ("windows-server-2019", "H H H PH – – – – – – –"),
    ("windows-server-1903", "H H H H PH – – – – – –"),
    ("windows-server-1909", "H H H H H PH – – – – –"),
    ("windows-server-2004", "H H H H H H PH – – – –"),
    ("windows-server-20h2", "H H H H H H H PH – – –"),
    ("windows-10-21h1", "H H H H H H H H – – –"),
    ("windows-10-21h2", "H H H H H H H H – – –"),
    ("windows-10-22h2", "H H H H H H H H – – –"),
    ("windows-server-2022", "H H H H H H H H PH – –"),
    ("windows-11-21h2", "H H H H H H H H PH – –"),
    ("windows-11-22h2", "H H H H H H H H PH – –"),
    ("windows-11-23h2", "H H H H H H H H PH – –"),
    ("windows-server-23h2", "H H H H H H H H PH PH –"),
    ("windows-server-2025", "H H H H H H H H PH PH PH"),
    ("windows-11-24h2", "H H H H H H H H PH PH PH"),
    ("windows-11-25h2", "H H H H H H H H H H PH"),
    // Clients before and at the build from which they have a process wall.
    ("windows-10-1607", "H – – – – – – – – – –"),
    ("windows-10-1809", "H H H PH – – – – – – –"),
];

const IMAGES: [&str; 11] =
    ["ltsc2016", "1709", "1803", "ltsc2019", "1903", "1909", "2004", "20h2", "ltsc2022", "23h2", "ltsc2025"];

#[test]
fn every_cell_of_the_matrix() {
    let table = matrix::matrix();
    for (host, cells) in PUBLISHED {
        let line = table.hosts.iter().find(|line| line.heading.id == *host).unwrap();
        for (image, published) in IMAGES.iter().zip(cells.split(' ')) {
            let column = table.images.iter().position(|heading| heading.id == *image).unwrap();
            assert_eq!(line.cells[column].letters(), published, "image {image} on {host}");
            let alone = matrix::cell(&Host::named(host).unwrap(), &Image::named(image).unwrap());
            assert_eq!(alone.letters(), published, "image {image} on {host}");
        }
        assert_eq!(cells.split(' ').count(), IMAGES.len(), "{host}");
    }
    let windows = table.hosts.iter().filter(|line| line.heading.id.starts_with("windows")).count();
    assert_eq!(windows, PUBLISHED.len(), "a host of the tables is not tested");
}

/// Linux images need Linux, and their own architecture where nothing is installed.
#[test]
fn linux_cells_of_the_matrix() {
    let table = matrix::matrix();
    let cell = |host: &str, image: &str| {
        let line = table.hosts.iter().find(|line| line.heading.id == host).unwrap();
        line.cells[table.images.iter().position(|heading| heading.id == image).unwrap()].letters()
    };
    for host in ["linux-amd64", "linux-arm64"] {
        for image in ["linux-amd64", "linux-arm64"] {
            assert_eq!(cell(host, image), if host == image { "PH" } else { "–" }, "{image} on {host}");
        }
        assert_eq!(cell(host, "ltsc2022"), "–");
        assert_eq!(cell("windows-server-2022", host), "–");
    }
}

/// "Windows 10: process for no image, Hyper-V for 2019 and 2016 and not 2022.
/// Windows 11: 2022 behind both, 2025 behind both from 24H2."
#[test]
fn clients_of_today() {
    for (host, image, process, hyperv) in [
        ("19045", "14393", false, true),
        ("19045", "17763", false, true),
        ("19045", "20348", false, false),
        ("22621", "20348", true, true),
        ("22631", "20348", true, true),
        ("26100", "20348", true, true),
        ("26100", "26100", true, true),
        ("22631", "26100", false, false),
        // In 2020 these had images of their own build.
        ("19041", "19041", true, true),
        ("19042", "19042", true, true),
    ] {
        for (wall, fits) in [(Process, process), (Hyperv, hyperv)] {
            assert_eq!(runs(&windows(image), &client(host), wall), fits, "host {host}, image {image}, {wall}");
        }
    }
}

/// The editions of 2016: host, its installation, image family, process, hyperv.
#[test]
fn editions_of_2016() {
    use Family::{NanoServer, ServerCore};
    use Install::{Core, Full, Nano};
    let rows = [
        (14393, Product::Server, Full, ServerCore, true, true),
        (14393, Product::Server, Full, NanoServer, true, true),
        (14393, Product::Server, Core, ServerCore, true, true),
        (14393, Product::Server, Core, NanoServer, true, true),
        (17763, Product::Server, Full, ServerCore, true, true),
        (17763, Product::Server, Full, NanoServer, true, true),
        (17763, Product::Server, Core, ServerCore, true, true),
        (17763, Product::Server, Core, NanoServer, true, true),
        (14393, Product::Server, Nano, ServerCore, false, true),
        (14393, Product::Server, Nano, NanoServer, true, true),
        (14393, Product::Client, Full, ServerCore, false, true),
        (14393, Product::Client, Full, NanoServer, false, true),
        // Nano Server is no host from 1709 on.
        (16299, Product::Server, Nano, NanoServer, false, false),
        (17763, Product::Server, Nano, NanoServer, false, false),
    ];
    for (build, product, install, family, process, hyperv) in rows {
        let mut host = Host::windows(OsVersion::of_build(build), product);
        if let hako_platform::HostOs::Windows(windows) = &mut host.os {
            windows.install = install;
        }
        let image = Image::of(Manifest { family, ..Manifest::windows(OsVersion::of_build(build)) });
        for (wall, fits) in WALLS.into_iter().zip([process, hyperv]) {
            assert_eq!(runs(&image, &host, wall), fits, "{build} {product:?} {install:?} {family:?} {wall}");
        }
    }
}

/// Microsoft's table of the update of February 2020: host, container, whether
/// they go together. B1 is January's, B2 February's, B3 March's revision.
#[test]
fn february_2020() {
    let revisions = [
        ("14393", [3443, 3506, 3542]),
        ("17134", [1246, 1305, 1345]),
        ("17763", [973, 1040, 1098]),
        ("18362", [592, 658, 719]),
        ("18363", [592, 658, 719]),
    ];
    let table = [
        (3, 3, true),
        (3, 2, true),
        (3, 1, false),
        (2, 3, true),
        (2, 2, true),
        (2, 1, false),
        (1, 3, false),
        (1, 2, false),
        (1, 1, true),
    ];
    for (build, months) in revisions {
        let at = |month: usize| format!("10.0.{build}.{}", months[month - 1]);
        for (host, image, fits) in table {
            assert_eq!(runs(&windows(&at(image)), &server(&at(host)), Process), fits, "{build}: {host}B, {image}B");
            assert!(runs(&windows(&at(image)), &server(&at(host)), Hyperv), "{build}: {host}B, {image}B");
        }
    }
    // Hosts had a revision less: there was no second update for them.
    assert!(runs(&windows("10.0.17763.1040"), &server("10.0.17763.1039"), Process));
}

#[test]
fn the_four_faces_of_the_matrix() {
    let table = matrix::matrix();
    let text = table.text();
    let line = text.lines().find(|line| line.starts_with("Windows Server 2019")).unwrap();
    assert_eq!(
        line.split_whitespace().skip(3).take(7).collect::<Vec<_>>(),
        ["17763", "process", "H", "H", "H", "PH", "–"]
    );
    assert!(
        text.lines().any(|line| line.starts_with("Windows 11 25H2") && line.contains("H²") || line.contains("H³")),
        "{text}"
    );
    let markdown = table.markdown();
    let columns = |line: &str| line.matches('|').count();
    let lines: Vec<&str> = markdown.lines().take_while(|line| line.starts_with('|')).collect();
    assert_eq!(lines.len(), table.hosts.len() + 2);
    assert!(lines.iter().all(|line| columns(line) == table.images.len() + 4), "{markdown}");
    let svg = table.svg();
    assert_eq!(svg.matches("<g>").count(), table.hosts.len() * table.images.len());
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    let json = serde_json::to_value(&table).unwrap();
    assert_eq!(json["hosts"][0]["id"], "windows-server-2016");
    assert_eq!(json["hosts"][0]["cells"][0], serde_json::json!({"process": true, "hyperv": true}));
    // Each number leads to a note.
    let numbers =
        table.hosts.iter().flat_map(|line| line.cells.iter().map(|cell| cell.note).chain([line.heading.note]));
    let numbers = numbers.chain(table.images.iter().map(|image| image.note)).flatten();
    assert!(numbers.into_iter().all(|number| (1..=table.notes.len()).contains(&number)));
}
