//! What the walls are for: one image, one command, two kernels.

use hako_tests::{Case, Engine, Wall, both_walls, busybox, with_wall};
use std::fs;

fn host_release() -> String {
    nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned()
}

/// Whether any process of the host has `argument` on its command line.
fn host_runs(argument: &str) -> bool {
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).collect::<Vec<_>>() == [b"sleep".as_slice(), argument.as_bytes(), b""]
    })
}

#[test]
fn one_image_runs_on_two_kernels() {
    if hako_tests::not_on_reference("there is no hyperv wall") {
        return;
    }
    let engine = Engine::start();
    engine.load(&busybox());
    let id = engine.docker(["image", "inspect", "--format", "{{.Id}}", "busybox"]).text();
    assert_eq!(id, busybox().id());
    let run = |wall: &str| {
        let flag = format!("--isolation={wall}");
        engine.docker(["run", "--rm", &flag, &id, "uname", "-r"]).text()
    };
    assert_eq!(run("process"), host_release());
    let guest = run("hyperv");
    assert_ne!(guest, host_release());
    assert!(guest.starts_with("6.12."), "the guest's kernel is {guest}");
    assert_eq!(run("vm"), guest, "vm is another word for hyperv");
    engine.finish();
}

both_walls! {
    /// The first process is in the host's list behind the process wall only.
    fn sleep_is_seen_on_the_host(case) {
        // No other test sleeps exactly this long.
        let seconds = format!("{}", 100_000 + std::process::id());
        case.daemon("sleeper", &["busybox", "sleep", &seconds]);
        assert_eq!(host_runs(&seconds), case.wall == Wall::Process);
        let inside = case.exec("sleeper", "ps");
        assert!(inside.ok().contains(&format!("sleep {seconds}")), "{inside}");
        let _ = case.docker(["rm", "-f", "sleeper"]).text();
        assert!(!host_runs(&seconds));
    }

    /// The effective wall is stored and shown.
    fn inspect_shows_the_wall(case) {
        let _ = case.walled("create", &["--name", "box", "busybox", "true"]).text();
        let stored = case.inspect("box", "{{.HostConfig.Isolation}}");
        if !Engine::is_reference() {
            assert_eq!(stored, case.wall.to_string());
        }
        let _ = case.docker(["rm", "box"]).text();
    }

    /// A container has a loopback interface, up, and no other.
    fn only_loopback(case) {
        let links = case.sh(&[], "ip -o link | cut -d: -f2; ping -c1 -w5 127.0.0.1 >/dev/null && echo pong").text();
        assert_eq!(links.split_whitespace().collect::<Vec<_>>(), ["lo", "pong"]);
    }
}

#[test]
fn default_wall_comes_from_exec_opt() {
    if hako_tests::not_on_reference("there is no hyperv wall") {
        return;
    }
    for wall in ["process", "hyperv"] {
        let args = ["--exec-opt", &format!("isolation={wall}")].map(str::to_owned).to_vec();
        let engine = Engine::with(hako_tests::Options { args, ..Default::default() });
        engine.load(&busybox());
        let _ = engine.docker(["create", "--name", "box", "busybox"]).text();
        assert_eq!(engine.docker(["inspect", "-f", "{{.HostConfig.Isolation}}", "box"]).text(), wall);
        engine.finish();
    }
}

#[test]
fn an_unknown_wall_is_refused() {
    with_wall(Wall::Process, |case: &Case| {
        let refused = case.docker(["create", "--isolation=paper", "busybox"]).run();
        assert_ne!(refused.code, 0, "{refused}");
        assert!(refused.err().to_lowercase().contains("isolation"), "{refused}");
    });
}
