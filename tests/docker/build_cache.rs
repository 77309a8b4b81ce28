//! The build cache: Docker's rules of what is built again, what it takes on the
//! disk, and that it outlives both a prune of something else and a SIGKILL.

use crate::build_run::{build, build_text, context};
use hako_tests::{Case, Compression, Engine, Image, Layer, Options, Registry, Wall, busybox, wait_until, with_wall};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, thread, time::Duration};

/// How often a build has said that the cache had a step.
fn hits(said: &str) -> usize {
    said.matches(" ---> Using cache\n").count()
}

const DOCKERFILE: &str = "FROM busybox\n\
    ARG WHO=me\n\
    ENV A=b\n\
    COPY dir/ /dir/\n\
    COPY one* /\n\
    RUN echo $WHO > /who\n\
    CMD [\"cat\", \"/who\"]\n";

fn files() -> Vec<(&'static str, &'static str)> {
    vec![("Dockerfile", DOCKERFILE), ("dir/a", "a"), ("dir/b", "b"), ("one", "1")]
}

#[test]
fn what_is_built_again() {
    with_wall(Wall::Process, |case| {
        let folder = context(case, "rules", &files());
        let all = |flags: &[&str]| build(case, flags, &folder).run().ok();
        assert_eq!(hits(&all(&["-t", "x"])), 0);
        let id = case.docker(["images", "-q", "--no-trunc", "x"]).text();
        assert_eq!(hits(&all(&["-t", "y"])), 6);
        assert_eq!(case.docker(["images", "-q", "--no-trunc", "y"]).text(), id, "the same image");
        // Times are nothing, contents and modes are something, names too.
        fs::File::open(folder.join("dir/a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(hits(&all(&[])), 6);
        fs::set_permissions(folder.join("dir/a"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(hits(&all(&[])), 2);
        assert_eq!(hits(&all(&[])), 6);
        fs::write(folder.join("one"), "2").unwrap();
        assert_eq!(hits(&all(&[])), 3);
        fs::rename(folder.join("one"), folder.join("one-more")).unwrap();
        assert_eq!(hits(&all(&[])), 3);
        // An argument counts where it is used.
        assert_eq!(hits(&all(&["--build-arg", "WHO=you"])), 4);
        assert_eq!(hits(&all(&["--build-arg", "WHO=you"])), 6);
        // A proxy is no part of a step.
        assert_eq!(hits(&all(&["--build-arg", "HTTP_PROXY=http://x"])), 6);
        let proxied = "FROM busybox\nRUN echo $HTTP_PROXY > /proxy\n";
        let _ = build_text(case, &["--build-arg", "HTTP_PROXY=a"], proxied).ok();
        let said = build_text(case, &["-t", "p", "--build-arg", "HTTP_PROXY=b"], proxied).ok();
        assert!(
            case.docker(["history", "--no-trunc", "p"]).text().lines().all(|line| !line.contains("HTTP_PROXY=")),
            "{said}"
        );
        assert_eq!(hits(&all(&["--no-cache"])), 0);
        assert_eq!(hits(&all(&["--cache-from", "nothing"])), 6);
    });
}

#[test]
fn the_paths_that_a_copy_keeps_count() {
    with_wall(Wall::Process, |case| {
        let copied = |from: &str| {
            let file =
                format!("FROM busybox AS x\nCOPY a /a/\nCOPY b /b/\nFROM busybox\nCOPY --parents {from}/f /kept/\n");
            let folder = context(case, "parents", &[("Dockerfile", file.as_str()), ("a/f", "1"), ("b/f", "1")]);
            let _ = build(case, &["-t", "x"], &folder).run().ok();
            case.docker(["run", "--rm", "x", "find", "/kept", "-type", "f"]).text()
        };
        for prefix in ["", "--from=x /"] {
            assert_eq!(copied(&format!("{prefix}a")), "/kept/a/f");
            assert_eq!(copied(&format!("{prefix}b")), "/kept/b/f");
        }
    });
}

#[test]
fn a_run_on_nothing_is_found_again() {
    with_wall(Wall::Process, |case| {
        let text = "FROM scratch\nRUN --mount=from=busybox,target=/b [\"/b/bin/busybox\", \"touch\", \"/x\"]\n";
        assert_eq!(hits(&build_text(case, &[], text).ok()), 0);
        assert_eq!(hits(&build_text(case, &[], text).ok()), 1);
    });
}

/// It does not wait for itself.
#[test]
fn a_cache_is_mounted_twice() {
    with_wall(Wall::Process, |case| {
        let mount = |target: &str| format!("--mount=type=cache,id=one,sharing=locked,target={target}");
        let run = format!("RUN {} {} touch /a/x && test -e /b/x", mount("/a"), mount("/b"));
        let _ = build_text(case, &[], &format!("FROM busybox\n{run}\n")).ok();
    });
}

fn df(case: &Case) -> Value {
    let answer = case.engine.http("GET", "/v1.44/system/df?type=build-cache", None);
    answer.json()["BuildCache"].clone()
}

#[test]
fn what_it_takes_and_how_it_goes() {
    with_wall(Wall::Process, |case| {
        let big = "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=3 2>/dev/null\nENV A=1\n";
        let _ = build_text(case, &["-t", "x"], big).ok();
        let steps = df(case);
        let steps = steps.as_array().unwrap();
        assert_eq!(steps.len(), 2, "{steps:?}");
        let sizes: Vec<i64> = steps.iter().map(|step| step["Size"].as_i64().unwrap()).collect();
        assert!(sizes.contains(&(3 << 20)) && sizes.contains(&0), "{sizes:?}");
        assert!(steps.iter().all(|step| step["Shared"] == true), "{steps:?}");
        // The steps in between are no images for a user.
        assert_eq!(case.docker(["images", "-aq"]).text().lines().count(), 2);
        // What an image was built from stays, unless all is asked for.
        assert!(case.docker(["builder", "prune", "-f"]).text().contains("Total reclaimed space: 0B"));
        assert_eq!(hits(&build_text(case, &["-t", "x"], big).ok()), 2);
        // An image that is removed is the cache's alone.
        let _ = case.docker(["rmi", "x"]).text();
        assert_eq!(case.docker(["images", "-aq"]).text().lines().count(), 1);
        assert_eq!(hits(&build_text(case, &["-t", "x"], big).ok()), 2);
        let _ = case.docker(["rmi", "x"]).text();
        let pruned = case.docker(["builder", "prune", "-f"]).text();
        assert!(pruned.contains("Total reclaimed space: 3.146MB"), "{pruned}");
        assert_eq!(df(case).as_array().map(Vec::len), Some(0));
        assert_eq!(fs::read_dir(case.engine.data_root().join("layers")).unwrap().count(), 1);
        assert_eq!(hits(&build_text(case, &["-t", "x"], big).ok()), 0);
        // All: the image stays, and what it was built from is forgotten.
        let _ = case.docker(["builder", "prune", "-af"]).text();
        assert_eq!(df(case).as_array().map(Vec::len), Some(0));
        assert_eq!(case.run(&["x", "sh", "-c", "stat -c %s /big"]).text(), "3145728");
        assert_eq!(hits(&build_text(case, &[], big).ok()), 0);
        case.docker(["builder", "prune", "-f", "--filter", "colour=blue"]).run().fails(1, "invalid filter 'colour'");
    });
}

/// The base is pulled where it is not there, with the client's credentials, and
/// anew where a new one is asked for.
#[test]
fn the_base_is_pulled() {
    with_wall(Wall::Process, |case| {
        let registry = Registry::with_password();
        let name = registry.reference("tests/base:1");
        let dockerfile = format!("FROM {name}\nRUN cat /version > /seen\n");
        let closed = build_text(case, &[], &dockerfile);
        assert!(closed.code != 0 && closed.err().contains("no basic auth credentials"), "{closed}");
        let login = ["login", "-u", "tester", "--password-stdin", &registry.address()];
        let _ = case.docker(login).stdin("secret").text();
        let push = |version: &str| {
            let layers = [busybox().layers(), &[Layer::new().file("version", 0o644, version).finish()]].concat();
            registry.push_as("tester", "secret", &Image::new("base", layers), "tests/base", "1", Compression::Gzip);
        };
        push("one");
        let said = build_text(case, &["-t", "x"], &dockerfile).ok();
        assert!(said.contains("Status: Downloaded newer image for"), "{said}");
        assert_eq!(case.run(&["x", "cat", "/seen"]).text(), "one");
        push("two");
        assert_eq!(hits(&build_text(case, &["-t", "x"], &dockerfile).ok()), 1, "the one that is there");
        let _ = build_text(case, &["-t", "x", "--pull"], &dockerfile).ok();
        assert_eq!(case.run(&["x", "cat", "/seen"]).text(), "two");
        let _ = case.docker(["logout", &registry.address()]).text();
    });
}

/// A build that has an id can be cancelled by it.
#[test]
fn cancelled_by_its_id() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let mut tar = tar::Builder::new(Vec::new());
        let text = "FROM busybox\nRUN sleep 600\n";
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "Dockerfile", text.as_bytes()).unwrap();
        let tar = tar.into_inner().unwrap();
        thread::scope(|scope| {
            let build = scope
                .spawn(|| case.engine.http_bytes("POST", "/v1.44/build?buildid=mine&networkmode=none&forcerm=1", &tar));
            wait_until(Duration::from_secs(60), "the step to run", || !case.docker(["ps", "-q"]).text().is_empty());
            assert_eq!(case.engine.http("POST", "/v1.44/build/cancel?id=other", None).status, 200);
            assert!(!build.is_finished());
            assert_eq!(case.engine.http("POST", "/v1.44/build/cancel?id=mine", None).status, 200);
            let answer = build.join().unwrap();
            assert!(answer.text().contains("Build cancelled"), "{}", answer.text());
        });
        wait_until(Duration::from_secs(30), "its container to go", || case.docker(["ps", "-aq"]).text().is_empty());
        assert_eq!(case.engine.http("POST", "/v1.44/build/cancel", None).status, 400);
        for (query, status) in
            [("isolation=moon", 400), ("t=A", 400), ("buildargs=1", 400), ("squash=1", 400), ("version=3", 400)]
        {
            let answer = case.engine.http_bytes("POST", &format!("/v1.44/build?{query}"), &tar);
            assert_eq!(answer.status, status, "{query}: {}", answer.text());
        }
        let nothing = case.engine.http_bytes("POST", "/v1.44/build?dockerfile=other", &tar);
        assert!(nothing.text().contains("Cannot locate specified Dockerfile: other"), "{}", nothing.text());
        let garbage = case.engine.http_bytes("POST", "/v1.44/build", b"no tar, and long enough to be looked at as one");
        assert_ne!(garbage.status, 200, "{}", garbage.text());
    });
}

/// A step that is done survives a SIGKILL; what was under way is gone after it.
#[test]
fn sigkill() {
    if Engine::is_reference() {
        return;
    }
    let engine = Engine::with(Options::default());
    engine.load(&busybox());
    let case = Case::new(engine, Wall::Process);
    let folder = context(
        &case,
        "killed",
        &[
            ("Dockerfile", "FROM busybox\nRUN echo one > /one\nCOPY big /\nRUN echo tw''o; sleep 600\n"),
            ("big", &"x".repeat(5 << 20)),
        ],
    );
    let client = build(&case, &["-t", "x"], &folder).start();
    client.expect("two");
    case.engine.end_by(Signal::SIGKILL);
    let _ = client.kill();
    case.engine.launch();
    assert_eq!(case.docker(["ps", "-aq"]).text(), "", "the container of the build");
    assert_eq!(fs::read_dir(case.engine.data_root().join("tmp")).unwrap().count(), 0);
    fs::write(folder.join("Dockerfile"), "FROM busybox\nRUN echo one > /one\nCOPY big /\nRUN wc -c < /big > /size\n")
        .unwrap();
    let said = build(&case, &["-t", "x"], &folder).run().ok();
    assert_eq!(hits(&said), 2, "{said}");
    assert_eq!(case.run(&["x", "cat", "/one", "/size"]).text(), "one\n5242880");
    // Again and again, wherever it stands.
    for round in 0..env_rounds() {
        let client = build(&case, &["--no-cache", "-t", "x"], &folder).start();
        thread::sleep(Duration::from_millis(37 * (round % 23)));
        case.engine.end_by(Signal::SIGKILL);
        let _ = client.kill();
        case.engine.launch();
        assert_eq!(case.docker(["ps", "-aq"]).text(), "", "after round {round}");
        assert_eq!(case.run(&["x", "cat", "/one", "/size"]).text(), "one\n5242880", "after round {round}");
    }
    let _ = case.docker(["rmi", "-f", "x"]).text();
    // Builds that came to their end have left the image that had the name before.
    let _ = case.docker(["image", "prune", "-f"]).text();
    let _ = case.docker(["builder", "prune", "-af"]).text();
    assert_eq!(fs::read_dir(case.engine.data_root().join("layers")).unwrap().count(), 1);
    case.engine.finish();
}

fn env_rounds() -> u64 {
    std::env::var("HAKO_TEST_BUILD_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Stages that need nothing of one another are built at once, and what is said
/// is in order; a stage that nothing needs is not built.
#[test]
fn stages() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let dockerfile = "FROM busybox AS base\nRUN echo base > /f\n\
            FROM base AS slow\nRUN sleep 4; echo said slowly; echo slow > /slow\n\
            FROM base AS quick\nRUN sleep 2; echo said quickly; echo quick > /quick\n\
            FROM base AS unused\nRUN exit 3\n\
            FROM scratch\nCOPY --from=slow /slow /\nCOPY --from=quick /quick /f /\n";
        let folder = context(case, "stages", &[("Dockerfile", dockerfile)]);
        let client = build(case, &["-t", "many"], &folder).start();
        wait_until(Duration::from_secs(60), "two stages to be built at once", || {
            case.docker(["ps", "-q"]).text().lines().count() == 2
        });
        let said = client.end().ok();
        assert!(!said.contains("unused"), "{said}");
        let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text} in {said}"));
        assert!(place("said slowly\n") < place("AS quick"), "{said}");
        let steps: Vec<&str> = said.lines().filter(|line| line.starts_with("Step ")).collect();
        for (n, step) in steps.iter().enumerate() {
            assert!(step.starts_with(&format!("Step {}/{} : ", n + 1, steps.len())), "{steps:?}");
        }
        let id = case.docker(["create", "many", "x"]).text();
        let tar = case.docker(["export", &id]).run();
        let files = tar.out();
        for name in ["slow", "quick", "f"] {
            assert!(files.contains(&format!("{name}\0")), "{name}");
        }
        let _ = case.docker(["rm", &id]).text();
        build_text(case, &["--target", "unused", "--force-rm"], dockerfile).fails(3, "returned a non-zero code: 3");
    });
}
