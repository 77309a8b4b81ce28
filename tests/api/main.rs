//! The Engine API by hand: what no well-behaved client sends.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod shapes;

use hako_tests::{Case, Wall, both_walls, with_wall};
use serde_json::json;

fn once(body: fn(&Case)) {
    with_wall(Wall::Process, body);
}

#[test]
fn ping_and_versions() {
    once(|case| {
        let ping = case.engine.http("GET", "/_ping", None);
        assert_eq!((ping.status, ping.text().as_str()), (200, "OK"));
        let newest = ping.header("api-version").unwrap().to_owned();
        assert_eq!(ping.header("ostype"), Some("linux"));
        for version in ["1.40", "1.41", &newest] {
            let answer = case.engine.http("GET", &format!("/v{version}/version"), None);
            assert_eq!(answer.status, 200, "{version}");
            assert_eq!(answer.json()["ApiVersion"], newest.as_str());
        }
        if hako_tests::not_on_reference("it is of a newer API than the reference's") {
            return;
        }
        assert_eq!(newest, "1.53");
        let old = case.engine.http("GET", "/v1.39/version", None);
        assert_eq!(old.status, 400);
        assert_eq!(
            old.message(),
            "client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version"
        );
        let new = case.engine.http("GET", "/v1.99/version", None);
        assert_eq!(new.status, 400);
        assert_eq!(new.message(), "client version 1.99 is too new. Maximum supported API version is 1.53");
    });
}

#[test]
fn what_is_not_served() {
    once(|case| {
        let answer = case.engine.http("GET", "/v1.41/no/such/page", None);
        assert_eq!((answer.status, answer.message().as_str()), (404, "page not found"));
        let answer = case.engine.http("GET", "/v1.41/containers/nobody/json", None);
        assert_eq!((answer.status, answer.message().as_str()), (404, "No such container: nobody"));
    });
}

both_walls! {
    /// Fields that nobody knows are ignored, in every case of letters that Go takes.
    fn unknown_fields(case) {
        let body = json!({
            "image": "busybox", "CMD": ["sh", "-c", "exit 7"], "NoSuchField": {"a": [1, null]},
            "HostConfig": {"Isolation": case.isolation().split_once('=').unwrap().1, "Unheard": true, "Memory": 0},
            "NetworkingConfig": {"EndpointsConfig": {}},
        });
        let created = case.engine.http("POST", "/v1.41/containers/create?name=odd", Some(&body));
        assert_eq!(created.status, 201, "{}", created.text());
        let id = created.json()["Id"].as_str().unwrap().to_owned();
        assert_eq!(case.engine.http("POST", &format!("/v1.41/containers/{id}/start"), None).status, 204);
        let waited = case.engine.http("POST", &format!("/v1.41/containers/{id}/wait"), None);
        assert_eq!(waited.json()["StatusCode"], 7);
        assert_eq!(case.engine.http("DELETE", &format!("/v1.41/containers/{id}"), None).status, 204);
    }
}

#[test]
fn bad_bodies() {
    once(|case| {
        let create =
            |body: &[u8]| hako_tests::http(&case.engine.socket(), "POST", "/v1.41/containers/create", Some(body));
        for body in ["{", "[]", "7", "{\"Image\": 7}", "{\"Image\":\"busybox\",\"Cmd\":{}}"] {
            let answer = create(body.as_bytes());
            let bad = if hako_tests::Engine::is_reference() { 400..=500 } else { 400..=400 };
            assert!(bad.contains(&answer.status), "{body}: {} {}", answer.status, answer.text());
            assert!(!answer.message().is_empty());
        }
        // Deep nesting and a large body end in an answer, not in the engine's end.
        let deep = create(format!("{{\"Image\":{}", "[".repeat(200_000)).as_bytes());
        let bad = if hako_tests::Engine::is_reference() { 400..=500 } else { 400..=499 };
        assert!(bad.contains(&deep.status), "{}", deep.status);
        let large = format!("{{\"Image\":\"busybox\",\"Labels\":{{\"x\":\"{}\"}}}}", "y".repeat(64 << 20));
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| create(large.as_bytes())));
        assert_eq!(case.engine.http("GET", "/_ping", None).status, 200);
        for (_, answer) in ["-1", "99999999999999999999", "abc"]
            .map(|tail| (tail, case.engine.http("GET", &format!("/v1.41/containers/json?limit={tail}"), None)))
        {
            assert!(answer.status < 500, "{}", answer.text());
        }
    });
}

#[test]
fn the_socket_is_not_for_everyone() {
    if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
        return;
    }
    once(|case| {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(case.engine.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    });
}
