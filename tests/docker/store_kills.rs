//! hakod killed at random moments while it works on images: what it answered
//! is there after the next start, the rest is as before or done, and the store
//! checks itself clean.
//!
//! `HAKO_TEST_KILLS` is how often (100 for the long version), `HAKO_TEST_SEED`
//! repeats a run.

use hako_tests::{Case, Client, Compression, Engine, FakeRegistry, Image, Layer, Output, Reply, Wall, busybox, sha256};
use nix::sys::signal::Signal;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::{
    collections::{BTreeMap, HashMap},
    env, fs, thread,
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);
/// So many images of each kind come and go.
const KINDS: u8 = 3;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What hakod is asked for when it dies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    Load(u8),
    Pull(u8),
    Import(u8),
    Commit(u8),
    Build(Wall, u8),
    Remove(String),
    Prune,
    PruneBuilder,
}

impl Work {
    /// Works of one kind take about as long.
    fn kind(&self) -> &'static str {
        match self {
            Self::Load(_) => "load",
            Self::Pull(_) => "pull",
            Self::Import(_) => "import",
            Self::Commit(_) => "commit",
            Self::Build(Wall::Process, _) => "build",
            Self::Build(Wall::Hyperv, _) => "build-hyperv",
            Self::Remove(_) => "remove",
            Self::Prune => "prune",
            Self::PruneBuilder => "prune-builder",
        }
    }
}

/// Some megabytes that do not compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; 6 << 20];
    StdRng::seed_from_u64(seed).fill(bytes.as_mut_slice());
    bytes
}

fn image(tag: &str, seed: u64) -> Image {
    let mut layer = Layer::new();
    for n in 0..200 {
        layer = layer.file(&format!("many/{seed}-{n}"), 0o644, tag);
    }
    // One layer is shared by all, one is of this image alone.
    let shared = Layer::new().file("shared", 0o644, noise(1)).finish();
    Image::new(tag, vec![shared, layer.file("noise", 0o644, noise(seed)).finish()])
}

/// A registry that has `pull:0`, `pull:1`, …
fn registry() -> FakeRegistry {
    let mut answers: HashMap<String, (String, Vec<u8>)> = HashMap::new();
    for n in 0..KINDS {
        let (manifest, blobs) = image(&format!("pull:{n}"), 200 + u64::from(n)).manifest(Compression::Gzip);
        for blob in blobs {
            answers
                .insert(format!("/v2/pull/blobs/sha256:{}", sha256(&blob)), ("application/octet-stream".into(), blob));
        }
        let media = "application/vnd.oci.image.manifest.v1+json".to_owned();
        for name in [n.to_string(), format!("sha256:{}", sha256(&manifest))] {
            answers.insert(format!("/v2/pull/manifests/{name}"), (media.clone(), manifest.clone()));
        }
    }
    FakeRegistry::start(move |path| match answers.get(path) {
        Some((media, body)) => Reply::ok(media, body.clone()),
        None if path == "/v2/" => Reply::ok("application/json", "{}"),
        None => Reply::missing(),
    })
}

/// The engine and what it must have.
struct Bench {
    case: Case,
    registry: FakeRegistry,
    /// Names and the images that they lead to.
    expected: BTreeMap<String, String>,
    /// How long each kind of work takes when nothing disturbs it.
    takes: HashMap<&'static str, Duration>,
}

impl Bench {
    fn new() -> Self {
        let engine = Engine::start();
        engine.load(&busybox());
        for n in 0..KINDS {
            let image = image(&format!("load:{n}"), 100 + u64::from(n));
            fs::write(engine.path(&format!("home/load-{n}.tar")), image.docker_archive()).unwrap();
            let tree = Layer::new().file("noise", 0o644, noise(300 + u64::from(n))).finish();
            fs::write(engine.path(&format!("home/tree-{n}.tar")), tree).unwrap();
            let context = engine.path(&format!("home/build-{n}"));
            fs::create_dir(&context).unwrap();
            fs::write(context.join("noise"), noise(400 + u64::from(n))).unwrap();
            let file = format!("FROM busybox\nLABEL n={n}\nCOPY noise /noise\nRUN cat /noise > /twice\n");
            fs::write(context.join("Dockerfile"), file).unwrap();
        }
        let case = Case::new(engine, Wall::Process);
        let script = "head -c 6000000 /dev/urandom > /written";
        let _ = case.walled("run", &["--name", "box", "busybox", "sh", "-c", script]).text();
        let mut bench = Self { case, registry: registry(), expected: BTreeMap::new(), takes: HashMap::new() };
        bench.expected = bench.names();
        bench
    }

    /// Every name and its image, with containers' own left out.
    fn names(&self) -> BTreeMap<String, String> {
        let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
        let text = self.case.docker(["images", "--no-trunc", "--format", format]).text();
        text.lines().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    }

    /// The name that a work gives or takes.
    fn name(&self, work: &Work) -> String {
        match work {
            Work::Pull(n) => self.registry.reference(&format!("pull:{n}")),
            Work::Remove(name) => name.clone(),
            Work::Prune | Work::PruneBuilder => String::new(),
            Work::Load(n) | Work::Import(n) | Work::Commit(n) | Work::Build(_, n) => format!("{}:{n}", work.kind()),
        }
    }

    fn command(&self, work: &Work) -> Client {
        let name = self.name(work);
        let home = |file: String| self.case.engine.path(&format!("home/{file}")).to_str().unwrap().to_owned();
        let docker = |args: &[&str]| self.case.docker(args).deadline(MINUTE * 3);
        match work {
            Work::Load(n) => docker(&["load", "-i", &home(format!("load-{n}.tar"))]),
            Work::Pull(_) => docker(&["pull", "-q", &name]),
            Work::Import(n) => docker(&["import", &home(format!("tree-{n}.tar")), &name]),
            Work::Commit(_) => docker(&["commit", "box", &name]),
            // One of them by steps that are made each time.
            Work::Build(wall, n) => {
                let flags =
                    ["build", "-q", "--network=none", "--force-rm", "--isolation", &wall.to_string(), "-t", &name];
                let cache = if *n == 0 { &["--no-cache"][..] } else { &[] };
                docker(&flags).args(cache).arg(home(format!("build-{n}"))).env("DOCKER_BUILDKIT", "0")
            }
            Work::Remove(_) => docker(&["rmi", "-f", &name]),
            Work::Prune => docker(&["image", "prune", "-f"]),
            Work::PruneBuilder => docker(&["builder", "prune", "-a", "-f"]),
        }
    }

    /// What can be asked for now.
    fn choose(&self, rng: &mut StdRng) -> Work {
        let n = rng.random_range(0..KINDS);
        let removable: Vec<&String> = self.expected.keys().filter(|name| !name.starts_with("busybox")).collect();
        loop {
            return match rng.random_range(0..12) {
                0 | 1 => Work::Load(n),
                2 | 3 => Work::Pull(n),
                4 => Work::Commit(n),
                5 => Work::Import(n),
                6 | 7 => Work::Build(Wall::Process, n),
                8 => Work::Build(Wall::Hyperv, n),
                9 => Work::Prune,
                10 => Work::PruneBuilder,
                _ => match removable.choose(rng) {
                    Some(name) => Work::Remove((*name).clone()),
                    None => continue,
                },
            };
        }
    }

    /// Every kind of work once, whole, and how long it takes.
    fn measure(&mut self) {
        let all = [
            Work::Load(0),
            Work::Pull(0),
            Work::Import(0),
            Work::Commit(0),
            Work::Build(Wall::Process, 0),
            Work::Build(Wall::Hyperv, 0),
            Work::Remove("load:0".into()),
            Work::Prune,
            Work::PruneBuilder,
        ];
        for work in all {
            let begin = Instant::now();
            let _ = self.command(&work).text();
            self.takes.insert(work.kind(), begin.elapsed());
        }
        self.expected = self.names();
    }

    /// One work, one kill, one start, and a look at everything.
    fn round(&mut self, work: &Work, after: Duration) {
        let mut running = self.command(work).start();
        thread::sleep(after);
        self.case.engine.end_by(Signal::SIGKILL);
        running.close_stdin();
        let output = running.end();
        self.case.engine.launch();
        self.judge(work, &output);
        // Dead again at once: what the start has repaired is on the disk.
        self.case.engine.end_by(Signal::SIGKILL);
        let said = self.case.engine.check_store();
        assert_eq!(said.code, 0, "after {work:?}, killed after {after:?}: {said}");
        self.case.engine.launch();
    }

    fn judge(&mut self, work: &Work, output: &Output) {
        let (now, name) = (self.names(), self.name(work));
        let removes = matches!(work, Work::Remove(_));
        if output.code == 0 && !name.is_empty() {
            assert_eq!(now.contains_key(&name), !removes, "{work:?} was answered: {output}\n{now:?}");
        }
        let others = |names: &BTreeMap<String, String>| {
            let kept = names.iter().filter(|(other, _)| **other != name && !other.contains("<none>"));
            kept.map(|(name, id)| (name.clone(), id.clone())).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(others(&now), others(&self.expected), "{work:?} has touched what it is not about");
        self.expected = now;
    }
}

#[test]
fn killed_at_random_moments() {
    if Engine::is_reference() {
        return;
    }
    let seed = number("HAKO_TEST_SEED", rand::random::<u32>().into());
    eprintln!("HAKO_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bench = Bench::new();
    bench.measure();
    for kill in 0..number("HAKO_TEST_KILLS", 8) {
        let work = bench.choose(&mut rng);
        let takes = bench.takes[work.kind()].mul_f64(1.1);
        let after = takes.mul_f64(rng.random());
        eprintln!("kill {kill}: {work:?} after {after:?}");
        bench.round(&work, after);
    }
    // What is left can be removed, and nothing of it stays.
    let _ = bench.case.docker(["rm", "-f", "box"]).text();
    let _ = bench.case.docker(["image", "prune", "-a", "-f"]).text();
    let _ = bench.case.docker(["builder", "prune", "-a", "-f"]).text();
    let count = |name: &str| fs::read_dir(bench.case.engine.data_root().join(name)).unwrap().count();
    assert_eq!((count("layers"), count("blobs/sha256"), count("tmp")), (0, 0, 0));
    bench.case.engine.finish();
}

/// The check finds what is wrong, and says what.
#[test]
fn the_check_finds_damage() {
    if Engine::is_reference() {
        return;
    }
    let engine = Engine::start();
    engine.load(&busybox());
    assert_ne!(engine.check_store().code, 0, "an engine has it open");
    engine.end_by(Signal::SIGTERM);
    let said = engine.check_store();
    assert!(said.ok().contains("1 images, 1 layers, all well"), "{said}");
    let data = engine.data_root();
    let layer = fs::read_dir(data.join("layers")).unwrap().next().unwrap().unwrap().path();
    let finds = |text: &str| {
        let said = engine.check_store();
        assert_ne!(said.code, 0, "{said}");
        assert!(said.out().contains(text), "{text:?} is missing: {said}");
    };
    // A byte of a file, a mode, a file.
    let passwd = fs::read(layer.join("etc/passwd")).unwrap();
    fs::write(layer.join("etc/passwd"), [&passwd[..passwd.len() - 1], b"x"].concat()).unwrap();
    finds("etc/passwd: its content differs");
    fs::remove_file(layer.join("etc/passwd")).unwrap();
    finds("etc/passwd: it is missing");
    // What nobody names.
    fs::write(data.join("tmp/b1"), "x").unwrap();
    finds("left over: tmp/b1");
    fs::create_dir(data.join("layers/77")).unwrap();
    finds("left over: layers/77");
    // An archive with another content, and one that is gone.
    let blob = data.join("blobs/sha256").join(sha256(&busybox().layers()[0]));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    finds("(archive of a layer) has the digest sha256:");
    fs::remove_file(&blob).unwrap();
    finds("archive of a layer sha256:");
    // The image runs on, and says why it cannot be saved.
    engine.launch();
    assert_eq!(engine.docker(["run", "--rm", "--network=none", "busybox", "echo", "runs"]).text(), "runs");
    engine.docker(["save", "busybox"]).run().fails(1, "is lost: load or pull the image again");
    engine.finish();
}
