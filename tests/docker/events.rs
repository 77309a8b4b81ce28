//! `docker events`: what is told, to whom, and until when.

use hako_tests::{Case, Tool, Wall, both_walls, with_wall};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Events so far, as `action` or `action|attribute`.
fn past(case: &Case, flags: &[&str], format: &str) -> Vec<String> {
    // The client's `0s` is the beginning of this second.
    std::thread::sleep(Duration::from_millis(1100));
    let text = case.docker(["events", "--since", "10m", "--until", "0s", "--format", format]).args(flags).text();
    text.lines().map(str::to_owned).collect()
}

both_walls! {
    /// Every verb tells of itself, in Docker's words and order.
    fn every_verb(case) {
        case.daemon("box", &["-i", "busybox", "sh", "-c", "trap 'exit 4' TERM; echo up; while :; do sleep 0.2; done"]);
        assert_eq!(case.exec("box", "exit 3").code, 3);
        let _ = case.docker(["exec", "-d", "box", "true"]).text();
        let _ = case.docker(["top", "box"]).text();
        let _ = case.docker(["pause", "box"]).text();
        let _ = case.docker(["unpause", "box"]).text();
        let _ = case.docker(["rename", "box", "crate"]).text();
        let _ = case.docker(["kill", "crate"]).run();
        let _ = case.docker(["wait", "crate"]).text();
        let _ = case.docker(["start", "crate"]).text();
        hako_tests::wait_until(Duration::from_secs(60), "the trap", || case.docker(["logs", "crate"]).text() == "up\nup");
        let _ = case.docker(["stop", "-t", "20", "crate"]).text();
        let _ = case.docker(["rm", "crate"]).text();
        let told = past(case, &["-f", "type=container"], "{{.Action}}");
        let has = |wanted: &[&str]| {
            let mut rest = told.iter();
            for action in wanted {
                assert!(rest.any(|told| told == action), "{action} is missing, or too early, in {told:?}");
            }
        };
        has(&["create", "start", "exec_create: sh -c exit 3", "exec_start: sh -c exit 3", "exec_die", "exec_create: true "]);
        has(&["top", "pause", "unpause", "rename", "kill", "die", "start", "kill", "die", "stop", "destroy"]);
        let of = |action: &str, format: &str| past(case, &["-f", &format!("event={action}")], format);
        assert_eq!(of("rename", "{{.Actor.Attributes.oldName}} {{.Actor.Attributes.name}}"), ["/box crate"]);
        assert_eq!(of("kill", "{{.Actor.Attributes.signal}}"), ["9", "15"]);
        assert_eq!(of("die", "{{.Actor.Attributes.exitCode}}"), ["137", "4"]);
        assert!(of("die", "{{.Actor.Attributes.execDuration}}").iter().all(|text| text.parse::<u32>().is_ok()));
        assert_eq!(of("exec_die", "{{.Actor.Attributes.exitCode}}"), ["3", "0"]);
        assert_eq!(of("create", "{{.Actor.Attributes.image}} {{.Scope}} {{.Type}}"), ["busybox local container"]);
        assert_eq!(of("exec_create", "{{.Action}}"), ["exec_create: sh -c exit 3", "exec_create: true "]);
    }

    fn out_of_memory(case) {
        let eat = "x=x; while :; do x=$x$x; done";
        let _ = case.walled("run", &["--name", "box", "-m", "24m", "busybox", "sh", "-c", eat]).run();
        let told = past(case, &["-f", "container=box", "-f", "event=oom", "-f", "event=die"], "{{.Action}} {{.Actor.Attributes.exitCode}}");
        assert_eq!(told.iter().map(|line| line.trim()).collect::<Vec<_>>().last(), Some(&"die 137"), "{told:?}");
        assert!(told.iter().any(|line| line.starts_with("oom")), "{told:?}");
    }

    fn filters(case) {
        if hako_tests::not_on_reference("all tests share the reference") {
            return;
        }
        case.daemon("one", &["--label", "team=a", "busybox", "sleep", "1000"]);
        case.daemon("two", &["busybox", "sleep", "1000"]);
        let id = case.inspect("two", "{{.Id}}");
        let names = |flags: &[&str]| {
            let mut names = past(case, flags, "{{.Actor.Attributes.name}}");
            names.sort();
            names.dedup();
            names.join(" ")
        };
        assert_eq!(names(&["-f", "container=one"]), "one");
        assert_eq!(names(&["-f", &format!("container={id}")]), "two");
        assert_eq!(names(&["-f", &format!("container={}", &id[..12])]), "two");
        assert_eq!(names(&["-f", "label=team=a"]), "one");
        assert_eq!(names(&["-f", "image=busybox", "-f", "event=start"]), "one two");
        assert_eq!(names(&["-f", "event=start", "-f", "container=one", "-f", "container=two"]), "one two");
        assert_eq!(names(&["-f", "type=network"]), "");
        assert_eq!(names(&["-f", "scope=local", "-f", "event=create"]), "one two");
        assert_eq!(names(&["-f", "daemon=nobody"]), "");
    }
}

/// What is past ends at once, what is to come is waited for.
#[test]
fn since_and_until() {
    if hako_tests::not_on_reference("dockerd leaves spans of time to its client") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let _ = case.walled("create", &["--name", "first", "busybox"]).text();
        let times = past(case, &["-f", "container=first"], "{{.TimeNano}}");
        let nanos: i64 = times[0].parse().unwrap();
        let seconds = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        std::thread::sleep(Duration::from_millis(20));
        let _ = case.walled("create", &["--name", "second", "busybox"]).text();
        let events = |query: &str| {
            let begin = Instant::now();
            let answer = case.engine.http("GET", &format!("/v1.41/events?{query}"), None);
            assert!(begin.elapsed() < Duration::from_secs(10), "{query}");
            let names = answer
                .text()
                .lines()
                .map(|line| {
                    let event: Value = serde_json::from_str(line).unwrap();
                    event["Actor"]["Attributes"]["name"].as_str().unwrap_or_default().to_owned()
                })
                .filter(|name| name == "first" || name == "second")
                .collect::<Vec<_>>();
            names.join(" ")
        };
        // Seconds with a fraction, to the nanosecond; spans; dates.
        assert_eq!(events(&format!("since={seconds}&until={seconds}")), "first");
        assert_eq!(events("since=1h&until=1s"), "first", "the second is younger than a second");
        assert_eq!(events("since=2020-01-01&until=2020-01-02T03:04:05"), "");
        assert_eq!(events(&format!("until={seconds}")), "first", "without a beginning everything counts");
        let begin = Instant::now();
        let later = case.engine.http("GET", &format!("/v1.41/events?until={}", chrono_now() + 2), None);
        assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
        assert_eq!(later.status, 200);
        let wrong = case.engine.http("GET", "/v1.41/events?since=1700000002&until=1700000001", None);
        let says = "`since` time (1700000002) cannot be after `until` time (1700000001)";
        assert_eq!((wrong.status, wrong.message().as_str()), (400, says));
        assert_eq!(case.engine.http("GET", "/v1.41/events?since=soon", None).status, 400);
    });
}

fn chrono_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// The old fields are there until 1.51, and a client of 20.10 reads events.
#[test]
fn shapes_by_version() {
    if hako_tests::not_on_reference("it is of a newer API than the reference's") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let id = case.walled("create", &["--name", "box", "busybox"]).text();
        let one = |version: &str| -> Value {
            let now = chrono_now() + 1;
            let target =
                format!("/v{version}/events?since=1&until={}&filters=%7B%22container%22%3A%5B%22box%22%5D%7D", now - 1);
            let text = case.engine.http("GET", &target, None).text();
            serde_json::from_str(text.lines().next().unwrap_or_else(|| panic!("no event: {text:?}"))).unwrap()
        };
        std::thread::sleep(Duration::from_millis(1100));
        let old = one("1.41");
        assert_eq!(
            (old["status"].as_str(), old["id"].as_str(), old["from"].as_str()),
            (Some("create"), Some(id.as_str()), Some("busybox"))
        );
        assert_eq!(old["Actor"]["ID"], old["id"]);
        let new = one("1.52");
        assert!(["status", "id", "from"].iter().all(|field| new.get(field).is_none()), "{new}");
        assert_eq!(
            (new["Type"].as_str(), new["Action"].as_str(), new["scope"].as_str()),
            (Some("container"), Some("create"), Some("local"))
        );
        case.engine.use_client(Tool::DebianDocker);
        let told = past(case, &["-f", "container=box"], "{{.Status}} {{.ID}} {{.From}}");
        assert_eq!(told, [format!("create {id} busybox")]);
    });
}
