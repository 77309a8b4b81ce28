//! A disk that fills up: what fails leaves nothing, what was answered stays,
//! and there is always room to remove something.

use hako_tests::{Context, Engine, FakeRegistry, Image, Layer, Options, Reply, busybox, sha256, wait_until};
use nix::{
    mount::{MntFlags, umount2},
    sys::{signal::Signal, statvfs::statvfs},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const DISK: u64 = 96 << 20;
const SOON: std::time::Duration = std::time::Duration::from_secs(10);

/// An engine whose data root is a small disk of its own.
struct Small {
    engine: Engine,
    data: PathBuf,
}

impl Small {
    fn start() -> Self {
        let engine = Engine::prepare(Options::default());
        let (disk, data) = (engine.path("home/disk.img"), engine.data_root());
        fs::File::create(&disk).unwrap().set_len(DISK).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&disk));
        // The loop device goes with the mount.
        run(Command::new("mount").args(["-o", "loop"]).arg(&disk).arg(&data));
        engine.launch();
        engine.load(&busybox());
        Self { engine, data }
    }

    fn free(&self) -> u64 {
        let stat = statvfs(&self.data).unwrap();
        stat.blocks_available() * stat.fragment_size()
    }

    /// Takes all but about `left` bytes of the disk.
    fn fill(&self, left: u64) -> PathBuf {
        let filler = self.data.join("filler");
        let file = fs::File::create(&filler).unwrap();
        let mut size = self.free().saturating_sub(left);
        // Blocks for the file itself are not known beforehand.
        while nix::fcntl::posix_fallocate(&file, 0, i64::try_from(size).unwrap()).is_err() {
            size -= 64 << 10;
        }
        filler
    }

    /// Ends hakod by `signal` and lets the store check itself.
    fn check(&self, what: &str) {
        self.engine.end_by(Signal::SIGTERM);
        let said = self.engine.check_store();
        assert_eq!(said.code, 0, "{what}: {said}");
        self.engine.launch();
    }

    fn finish(self) {
        self.engine.end_by(Signal::SIGTERM);
        umount2(&self.data, MntFlags::empty()).unwrap();
        self.engine.finish();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.engine.end_by(Signal::SIGKILL);
            let _ = umount2(&self.data, MntFlags::MNT_DETACH);
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    use rand::{Rng, SeedableRng};
    let mut noise = vec![0; size];
    rand::rngs::StdRng::seed_from_u64(size as u64).fill(noise.as_mut_slice());
    noise
}

/// An image with `size` of them.
fn image(tag: &str, size: usize) -> Image {
    Image::new(tag, vec![Layer::new().file("noise", 0o644, noise(size)).finish()])
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_fails_leaves_nothing() {
    if Engine::is_reference() {
        return;
    }
    let small = Small::start();
    let engine = &small.engine;
    let kept =
        || (names(&small.data.join("layers")), names(&small.data.join("blobs/sha256")), names(&small.data.join("tmp")));
    let (before, free) = (kept(), small.free());
    let full = "no space left on device";
    // A load, a pull and an import that are too large.
    let large = image("too:large", 90 << 20);
    let says_full = |output: hako_tests::Output| {
        assert_ne!(output.code, 0, "{output}");
        assert!(output.err().to_lowercase().contains(full), "{output}");
        assert_eq!(kept(), before);
    };
    says_full(engine.docker(["load"]).stdin(large.docker_archive()).run());
    says_full(engine.docker(["import", "-", "x"]).stdin(large.layers()[0].clone()).run());
    let (manifest, blobs) = large.manifest(hako_tests::Compression::Plain);
    let registry = FakeRegistry::start(move |path| match path {
        "/v2/" => Reply::ok("application/json", "{}"),
        "/v2/too/manifests/large" => Reply::ok("application/vnd.oci.image.manifest.v1+json", manifest.clone()),
        path => match blobs.iter().find(|blob| path.ends_with(&sha256(blob))) {
            Some(blob) => Reply::ok("application/octet-stream", blob.clone()),
            None => Reply::missing(),
        },
    });
    says_full(engine.docker(["pull", &registry.reference("too:large")]).run());
    // A container that writes all it can, and a commit of it.
    let script = "dd if=/dev/zero of=/fill bs=1M 2>/dev/null; ls /fill";
    let said = engine.docker(["run", "--name", "box", "--network=none", "busybox", "sh", "-c", script]).text();
    assert_eq!(said, "/fill");
    says_full(engine.docker(["commit", "box", "large:box"]).run());
    let _ = engine.docker(["rm", "box"]).text();
    // What a container has written goes after the answer.
    wait_until(SOON, &format!("{free} bytes are free again"), || small.free() + (1 << 20) > free);
    small.check("after loads that were too large");
    assert_eq!(small.engine.docker(["run", "--rm", "--network=none", "busybox", "echo", "well"]).text(), "well");
    small.finish();
}

/// Changes what the engine has kept, while it is dead. Its log stays as a
/// killed engine leaves it.
fn alter(data: &Path, sql: &str) {
    let db = rusqlite::Connection::open(data.join("hako.db")).unwrap();
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    assert!(db.execute(sql, []).unwrap() > 0, "{sql}");
}

/// What a killed engine left is removed at the next start, or at the one after
/// if the disk has no room at all, not even what is kept back.
#[test]
fn a_start_without_any_room() {
    if Engine::is_reference() {
        return;
    }
    let small = Small::start();
    let engine = &small.engine;
    let hidden = image("hidden:v1", 1 << 20);
    let id = hidden.id();
    let config = small.data.join("blobs/sha256").join(id.trim_start_matches("sha256:"));
    for room in [true, false] {
        engine.load(&hidden);
        let user = engine.docker(["create", "--network=none", "hidden:v1", "true"]).text();
        let _ = engine.docker(["rmi", "-f", "hidden:v1"]).text();
        assert!(config.exists());
        // As if it had died between the removal of the container and that of its image.
        engine.end_by(Signal::SIGKILL);
        alter(&small.data, "DELETE FROM containers");
        fs::remove_dir_all(small.data.join("containers").join(user)).unwrap();
        let filler = (!room).then(|| {
            fs::remove_file(small.data.join("reserve")).unwrap();
            small.fill(0)
        });
        engine.launch();
        assert_eq!(engine.docker(["images", "-q", "busybox"]).text().lines().count(), 1);
        assert!(!room || !config.exists());
        if let Some(filler) = filler {
            engine.end_by(Signal::SIGKILL);
            fs::remove_file(filler).unwrap();
            engine.launch();
        }
        assert!(!config.exists());
        small.check("after a start without room");
    }
    small.finish();
}

/// Each of the prunes makes room on a disk that has none.
#[test]
fn prunes_on_a_full_disk() {
    if Engine::is_reference() {
        return;
    }
    let small = Small::start();
    let engine = &small.engine;
    let context = engine.path("home/context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("file"), vec![7; 2 << 20]).unwrap();
    let dockerfile =
        "FROM busybox\nCOPY file /\nRUN --mount=type=cache,target=/c dd if=/dev/zero of=/c/f bs=1M count=2\n";
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let build = || engine.docker(["build", "-q", "--network=none"]).arg(&context).run();
    for round in 0..3 {
        let _ = build().ok();
        let filler = small.fill(0);
        let _ = engine.docker(["image", "prune", "-f"]).text();
        let pruned = engine.docker(["builder", "prune", "-af"]).text();
        assert!(pruned.contains("Total reclaimed space: ") && !pruned.contains("space: 0B"), "{round}: {pruned}");
        assert!(pruned.lines().count() > 3, "{round}: {pruned}");
        fs::remove_file(filler).unwrap();
        small.check("after a prune");
    }
    small.finish();
}

/// With more and less room: each load is whole or is not, and says which.
#[test]
fn room_is_made_on_a_full_disk() {
    if Engine::is_reference() {
        return;
    }
    let small = Small::start();
    let engine = &small.engine;
    let victim = image("victim:v1", 1 << 20);
    let (mut refused, mut done) = (0, 0);
    for left in [0, 1, 3, 6, 9, 14].map(|mib: u64| mib << 20) {
        engine.load(&victim);
        let filler = small.fill(left);
        let wanted = image("wanted:v1", 4 << 20);
        let loaded = engine.docker(["load"]).stdin(wanted.docker_archive()).run();
        let listed = engine.docker(["images", "-q", "wanted"]).text();
        assert_eq!(loaded.code == 0, !listed.is_empty(), "{left} bytes were left: {loaded}");
        *(if loaded.code == 0 { &mut done } else { &mut refused }) += 1;
        // hakod dies and comes back, and an image can be removed, on a disk with no room at all.
        let _ = fs::remove_file(&filler);
        let filler = small.fill(0);
        engine.end_by(Signal::SIGKILL);
        engine.launch();
        let gone = engine.docker(["rmi", "victim:v1"]).run();
        assert_eq!(gone.code, 0, "{left} bytes were left: {gone}");
        fs::remove_file(filler).unwrap();
        small.check(&format!("{left} bytes were left"));
        assert_eq!(small.engine.docker(["images", "-q", "wanted"]).text(), listed, "what was answered is there");
        let _ = engine.docker(["rmi", "-f", "wanted:v1"]).run();
    }
    assert!(refused > 0 && done > 0, "{refused} loads were refused, {done} were done");
    small.finish();
}

/// A step that fills the disk, or finds it full, fails; the steps before it are
/// there, and so is the image that the name had.
#[test]
fn builds_on_a_full_disk() {
    if Engine::is_reference() {
        return;
    }
    let small = Small::start();
    let engine = &small.engine;
    let base = "FROM busybox\nRUN echo one > /one\n";
    let context = Context::new(base).file("large", noise(40 << 20));
    let build = |rest: &str| {
        context.write("Dockerfile", format!("{base}{rest}"));
        let build = engine.docker(["build", "--network=none", "--force-rm", "-t", "built"]).arg(context.path());
        build.env("DOCKER_BUILDKIT", "0").run()
    };
    let _ = build("").ok();
    let kept =
        || (names(&small.data.join("layers")), names(&small.data.join("blobs/sha256")), names(&small.data.join("tmp")));
    let (before, free) = (kept(), small.free());
    let unharmed = |what: &str, output: &hako_tests::Output| {
        assert_ne!(output.code, 0, "{what}: {output}");
        let said = [output.out(), output.err()].concat().to_lowercase();
        assert!(said.contains("no space left on device"), "{what}: {output}");
        assert_eq!(engine.docker(["ps", "-aq"]).text(), "", "{what}");
        assert_eq!(kept(), before, "{what}");
        assert!(small.free() + (1 << 20) > free, "{what}: {free} bytes were free, now {}", small.free());
    };
    // The step itself says so; then the layer of one that fitted; the context and its copies.
    unharmed("a RUN that fails", &build("RUN dd if=/dev/zero of=/fill bs=1M\n"));
    unharmed("a RUN that writes what has no room twice", &build("RUN dd if=/dev/urandom of=/fill bs=1M count=50\n"));
    unharmed("a COPY", &build("COPY large /once\n"));
    // With more and less room: each build is whole or is not, and says which.
    fs::remove_file(context.at("large")).unwrap();
    let (mut refused, mut done) = (0, 0);
    for left in [0, 1, 3, 6, 9, 14, 20].map(|mib: u64| mib << 20) {
        let filler = small.fill(left);
        let built = build(&format!("RUN head -c 3000000 /dev/urandom > /{left}\nCOPY Dockerfile /\nENV LEFT={left}\n"));
        let now = engine.docker(["image", "inspect", "-f", "{{json .Config.Env}}", "built"]).text();
        assert_eq!(built.code == 0, now.contains(&format!("LEFT={left}")), "{left} bytes were left: {built}");
        *(if built.code == 0 { &mut done } else { &mut refused }) += 1;
        // It dies and comes back on a disk with no room at all, and prunes there.
        let _ = fs::remove_file(&filler);
        let filler = small.fill(0);
        engine.end_by(Signal::SIGKILL);
        engine.launch();
        let pruned = engine.docker(["builder", "prune", "-af"]).run();
        assert_eq!(pruned.code, 0, "{left} bytes were left: {pruned}");
        fs::remove_file(filler).unwrap();
        small.check(&format!("{left} bytes were left"));
        let again = engine.docker(["image", "inspect", "-f", "{{json .Config.Env}}", "built"]).text();
        assert_eq!(again, now, "what was answered is there");
    }
    assert!(refused > 0 && done > 0, "{refused} builds were refused, {done} were done");
    let _ = engine.docker(["rmi", "built"]).text();
    let _ = engine.docker(["image", "prune", "-f"]).text();
    let _ = engine.docker(["builder", "prune", "-af"]).text();
    assert_eq!(names(&small.data.join("layers")).len(), 1);
    small.finish();
}
