//! hakod killed while it works on volumes: what it answered is so, and what it
//! was about is there or not there, never half.

use crate::volumes::folder;
use hako_tests::{Case, Engine, Image, Layer, Options, Wall, busybox, not_on_reference, wait_until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::{fs, thread, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);
/// Files that the image has for a volume.
const FILES: usize = 400;

fn rounds() -> u64 {
    std::env::var("HAKO_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(8)
}

fn engine() -> Option<Case> {
    if not_on_reference("the engine itself is ended and started again") {
        return None;
    }
    let engine = Engine::with(Options::default());
    engine.load(&busybox());
    Some(Case::new(engine, Wall::Process))
}

fn names(case: &Case) -> Vec<String> {
    case.docker(["volume", "ls", "-q"]).text().lines().map(str::to_owned).collect()
}

/// Every folder is a volume's, and every volume has its folder.
fn nothing_is_left_over(case: &Case) {
    let mut folders: Vec<String> = fs::read_dir(case.engine.data_root().join("volumes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, names(case));
    assert_eq!(fs::read_dir(case.engine.data_root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn what_was_answered_is_so() {
    let Some(case) = engine() else { return };
    let mut expected = Vec::new();
    for round in 0..rounds() {
        let (kept, gone) = (format!("kept{round}"), format!("gone{round}"));
        let _ = case.docker(["volume", "create", &kept]).text();
        expected.push(kept.clone());
        fs::write(folder(&case, &kept).join("f"), &kept).unwrap();
        let _ = case.docker(["volume", "create", &gone]).text();
        for n in 0..200 {
            fs::create_dir_all(folder(&case, &gone).join(format!("{n}/x"))).unwrap();
        }
        // All of it at once, and the kill somewhere in it.
        let half = format!("half{round}");
        let mut work = vec![
            case.docker(["volume", "rm", &gone]).start(),
            case.docker(["volume", "create", &half]).start(),
            case.docker(["volume", "prune", "-f"]).start(),
        ];
        thread::sleep(Duration::from_millis(10 + 9 * round));
        case.engine.end_by(Signal::SIGKILL);
        let removed = work.remove(0).kill();
        for other in work {
            let _ = other.kill();
        }
        case.engine.launch();
        nothing_is_left_over(&case);
        let now = names(&case);
        assert!(expected.iter().all(|name| now.contains(name)), "{expected:?} of {now:?}");
        assert!(removed.code != 0 || !now.contains(&gone), "{gone} was removed");
        for name in [&gone, &half] {
            let _ = case.docker(["volume", "rm", "-f", name]).text();
        }
        assert_eq!(fs::read_to_string(folder(&case, &kept).join("f")).unwrap(), kept);
    }
    case.engine.finish();
}

/// A create that is cut off leaves no anonymous volume, and no half of what the
/// image has for a named one; a removal that is cut off is finished.
#[test]
fn containers_with_volumes() {
    let Some(case) = engine() else { return };
    let mut layer = Layer::new().dir("data/", 0o755);
    for n in 0..FILES {
        layer = layer.file(&format!("data/{n}"), 0o644, vec![b'x'; 2000]);
    }
    let image = Image::new("filled:latest", vec![busybox().layers()[0].clone(), layer.finish()]);
    case.engine.load(&image.with("Volumes", json!({"/data": {}})));
    for round in 0..rounds() {
        let name = format!("named{round}");
        let flag = format!("{name}:/data");
        let creates: Vec<_> = ["one", "two"]
            .map(|container| {
                let flags: &[&str] = if container == "one" { &["-v", &flag] } else { &[] };
                case.walled("create", &["--name", container]).args(flags).arg("filled").start()
            })
            .into();
        thread::sleep(Duration::from_millis(20 + 25 * round));
        case.engine.end_by(Signal::SIGKILL);
        for create in creates {
            let _ = create.kill();
        }
        case.engine.launch();
        nothing_is_left_over(&case);
        let containers = case.docker(["ps", "-aq"]).text().lines().count();
        let volumes = names(&case);
        let anonymous = volumes.iter().filter(|name| name.len() == 64).count();
        assert!(anonymous <= containers, "{anonymous} of {containers} containers: {volumes:?}");
        for volume in &volumes {
            let files = fs::read_dir(folder(&case, volume)).unwrap().count();
            assert!(files == 0 || files == FILES, "{volume} has {files} of {FILES} files");
        }
        // The named one is as good as new.
        let count = case.run(&["-v", &flag, "filled", "sh", "-c", "ls /data | wc -l"]).text();
        assert_eq!(count, FILES.to_string());
        for container in ["one", "two"] {
            let _ = case.docker(["rm", "-v", container]).run();
        }
        let _ = case.docker(["volume", "rm", &name]).text();
        assert_eq!(names(&case), [] as [&str; 0]);
        // Removals.
        let _ = case.walled("create", &["--name", "three", "filled"]).text();
        let removal = case.docker(["rm", "-v", "three"]).start();
        thread::sleep(Duration::from_millis(8 + 4 * round));
        case.engine.end_by(Signal::SIGKILL);
        let removal = removal.kill();
        case.engine.launch();
        let there = case.docker(["ps", "-aq"]).text().lines().count();
        assert!(removal.code != 0 || there == 0);
        assert_eq!(names(&case).len(), there, "it goes with its container");
        nothing_is_left_over(&case);
        let _ = case.docker(["rm", "-v", "three"]).run();
    }
    case.engine.finish();
}

/// A container that ends while hakod is dead takes its anonymous volumes with
/// it (`--rm`), and one that runs on keeps its own.
#[test]
fn volumes_of_containers_that_run() {
    let Some(case) = engine() else { return };
    case.idle_with("runs", &["-v", "data:/data", "-v", "/anon"]);
    let _ = case.exec("runs", "echo here > /data/f").ok();
    let _ = case.walled("run", &["-d", "--rm", "-v", "/anon", "busybox", "sleep", "2"]).text();
    assert_eq!(names(&case).len(), 3);
    case.engine.end_by(Signal::SIGKILL);
    thread::sleep(Duration::from_secs(3));
    case.engine.launch();
    wait_until(MINUTE, "the volume of the one that has ended to be gone", || names(&case).len() == 2);
    assert_eq!(case.exec("runs", "cat /data/f").ok(), "here");
    case.docker(["volume", "rm", "data"]).run().fails(1, "volume is in use");
    case.engine.boot_the_host();
    let _ = case.docker(["start", "runs"]).text();
    assert_eq!(case.exec("runs", "cat /data/f").ok(), "here");
    case.engine.finish();
}
