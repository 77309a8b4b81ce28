//! The page of what is not supported says what the engine says: every row of
//! it is sent, behind every wall that it names.

use hako_tests::{Wall, with_wall};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// The rows of the page's tables, by the table's heading.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/unsupported.md");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let row = |line: &str| line.trim_matches('|').split(" | ").map(cell).collect::<Vec<_>>();
    section.lines().filter(|line| line.starts_with("| ")).skip(1).map(row).collect()
}

/// `POST /containers/{name}/x` with something in the place of what varies.
fn target(pattern: &str) -> String {
    let mut target = pattern.to_owned();
    while let (Some(open), Some(close)) = (target.find('{'), target.find('}')) {
        target.replace_range(open..=close, "x");
    }
    target
}

#[test]
fn every_request_is_refused_as_the_page_says() {
    if hako_tests::not_on_reference("it is of Hako's own refusals") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let rows = rows("Requests that answer 501");
        assert!(rows.len() > 5, "{rows:?}");
        for row in rows {
            let (method, pattern) = row[0].split_once(' ').unwrap();
            let answer = case.engine.http(method, &target(pattern), Some(&json!({})));
            assert_eq!(answer.status, 501, "{row:?}");
            // An answer to HEAD has no body.
            assert!(method == "HEAD" || answer.message() == row[1], "{row:?}: {}", answer.text());
        }
    });
}

#[test]
fn every_instruction_is_refused_as_the_page_says() {
    if hako_tests::not_on_reference("the table is ours") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let rows = rows("What a Dockerfile may not ask for");
        assert!(rows.len() > 2, "{rows:?}");
        for row in rows {
            let failed = crate::build_run::build_text(case, &[], &format!("FROM busybox\n{}\n", row[0]));
            failed.fails(1, &row[1]);
        }
    });
}

#[test]
fn every_request_about_an_absent_thing_is_answered_as_the_page_says() {
    if hako_tests::not_on_reference("it is of Hako's own refusals") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let rows = rows("Requests that are answered as by a dockerd without the thing");
        assert!(rows.len() > 20, "{rows:?}");
        for row in rows {
            let (method, pattern) = row[0].split_once(' ').unwrap();
            let answer = case.engine.http(method, &target(pattern), Some(&json!({})));
            assert_eq!((answer.status.to_string(), answer.message()), (row[1].clone(), row[2].clone()), "{row:?}");
        }
    });
}

/// Whether the row's wall is `wall`, on this host.
fn concerns(words: &str, wall: Wall) -> bool {
    let apparmor = fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
    let selinux = Path::new("/sys/fs/selinux/enforce").exists();
    let process = wall == Wall::Process;
    match words {
        "both" => true,
        "process" | "process, where other is behind hyperv" => process,
        "hyperv" => !process,
        "process, on a host without AppArmor" => process && !apparmor,
        "process, on a host with SELinux" => process && selinux,
        other => panic!("the page names a wall {other:?}"),
    }
}

/// A create body that asks for the row's example.
fn body(part: &str, example: &str, wall: Wall) -> Value {
    let members: Value = serde_json::from_str(example).unwrap();
    let mut body = json!({ "Image": "busybox", "HostConfig": {} });
    match part {
        "" => body.as_object_mut().unwrap().extend(members.as_object().cloned().unwrap()),
        "HostConfig" => body["HostConfig"] = members,
        other => panic!("the page names a part {other:?}"),
    }
    body["HostConfig"]["Isolation"] = json!(wall.to_string());
    body
}

#[test]
fn every_field_is_refused_as_the_page_says() {
    if hako_tests::not_on_reference("it is of Hako's own refusals") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let _ = case.docker(["create", "--isolation=hyperv", "--name", "other", "--network=none", "busybox"]).text();
        let rows = rows("What `POST /containers/create` refuses");
        assert!(rows.len() > 20, "{rows:?}");
        let mut sent = 0;
        for row in rows {
            for wall in [Wall::Process, Wall::Hyperv] {
                let answer = || case.engine.http("POST", "/containers/create", Some(&body(&row[0], &row[1], wall)));
                if !concerns(&row[2], wall) {
                    continue;
                }
                let answer = answer();
                assert_eq!(answer.status.to_string(), row[3], "{wall}: {row:?}: {}", answer.text());
                assert_eq!(answer.message(), row[4], "{wall}: {row:?}");
                sent += 1;
            }
        }
        assert!(sent > 40, "{sent} rows were sent");
        assert_eq!(case.docker(["ps", "-a", "--format", "{{.Names}}"]).text(), "other");
    });
}

#[test]
fn every_network_is_refused_as_the_page_says() {
    if hako_tests::not_on_reference("it is of Hako's own refusals") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let rows = rows("What `POST /networks/create` refuses");
        assert!(rows.len() > 5, "{rows:?}");
        for row in rows {
            let mut body: Value = serde_json::from_str(&row[1]).unwrap();
            body["Name"] = json!("refused");
            let answer = case.engine.http("POST", "/networks/create", Some(&body));
            assert_eq!((answer.status.to_string(), answer.message()), (row[3].clone(), row[4].clone()), "{row:?}");
        }
    });
}

/// A row that names one wall only is none of the other's.
#[test]
fn what_one_wall_refuses_the_other_takes() {
    if hako_tests::not_on_reference("it is of Hako's own refusals") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let _ = case.docker(["create", "--name", "other", "--network=none", "busybox"]).text();
        for row in rows("What `POST /containers/create` refuses") {
            let taken = match row[2].as_str() {
                "hyperv" => Wall::Process,
                "process" => Wall::Hyperv,
                _ => continue,
            };
            // What neither wall takes has two rows, or is malformed for the other.
            if row[1].contains("StorageOpt") && taken == Wall::Process || row[1].contains("apparmor") {
                continue;
            }
            let answer = case.engine.http("POST", "/containers/create", Some(&body(&row[0], &row[1], taken)));
            assert_eq!(answer.status, 201, "{taken}: {row:?}: {}", answer.text());
        }
    });
}
