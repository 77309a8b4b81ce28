//! `docker push` to Debian's registry.

use hako_tests::{
    Case, Compression, Engine, Fate, Image, Layer, Registry, Tap, Wall, both_walls, busybox, sha256, wait_until,
    with_wall,
};
use std::time::Duration;

fn once(body: fn(&Case)) {
    with_wall(Wall::Process, body);
}

/// The digest that a push told of `tag`, with the size of what has it.
fn told(said: &str, tag: &str) -> (String, usize) {
    let start = format!("{tag}: digest: ");
    let line = said.lines().find_map(|line| line.strip_prefix(start.as_str())).unwrap_or_else(|| panic!("{said}"));
    let (digest, size) = line.split_once(" size: ").unwrap();
    (digest.to_owned(), size.parse().unwrap())
}

/// An image of busybox and a layer with `content`.
fn image(content: &str) -> Image {
    let layer = Layer::new().file("content", 0o644, content).finish();
    Image::new("of-two:1", vec![busybox().layers()[0].clone(), layer])
}

both_walls! {
    /// What was loaded is pushed, is the same each time, and runs when it is pulled.
    fn push_pull_run(case) {
        let registry = Registry::start();
        let (image, name) = (image("pushed"), registry.reference("some/box:v1"));
        case.engine.load(&image);
        let _ = case.docker(["tag", image.tag(), &name]).text();
        let said = case.docker(["push", &name]).text();
        assert!(said.starts_with(&format!("The push refers to repository [{}]", registry.reference("some/box"))), "{said}");
        assert_eq!(said.matches(": Pushed").count(), 2, "{said}");
        let (digest, size) = told(&said, "v1");
        let (media, manifest) = registry.manifest("some/box", "v1");
        assert_eq!((digest.clone(), size), (format!("sha256:{}", sha256(&manifest)), manifest.len()));
        assert!(media.starts_with("application/vnd.docker.distribution.manifest.v2"), "{media}");
        let by_digest = format!("{}@{digest}", registry.reference("some/box"));
        let digests = case.docker(["image", "inspect", "-f", "{{json .RepoDigests}}", &name]).text();
        assert!(digests.contains(&by_digest), "{digests}");
        let again = case.docker(["push", &name]).text();
        assert_eq!((told(&again, "v1").0, again.matches(": Layer already exists").count()), (digest.clone(), 2), "{again}");
        let id = case.docker(["image", "inspect", "-f", "{{.Id}}", &name]).text();
        assert_eq!(id, image.id());
        let _ = case.docker(["rmi", "-f", &id]).text();
        let _ = case.docker(["pull", &name]).text();
        assert_eq!(case.docker(["image", "inspect", "-f", "{{.Id}}", &name]).text(), id);
        assert_eq!(case.run(&[&name, "cat", "/content"]).text(), "pushed");
        // What was pulled goes elsewhere as it came.
        let elsewhere = Registry::start();
        let _ = case.docker(["tag", &name, &elsewhere.reference("copy:v1")]).text();
        assert_eq!(told(&case.docker(["push", &elsewhere.reference("copy:v1")]).text(), "v1").0, digest);
        assert_eq!(case.run(&[&by_digest, "cat", "/content"]).text(), "pushed");
    }
}

/// Manifests of both kinds and all packings keep their digest from one registry to another.
/// (Layers of their own: what is in the store already is not fetched again, and stays packed as it is.)
#[test]
fn as_it_came() {
    once(|case| {
        let (from, to) = (Registry::start(), Registry::start());
        let image = |content: &str| Image::new("one:1", vec![Layer::new().file("content", 0o644, content).finish()]);
        for (tag, packed) in [("plain", Compression::Plain), ("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
            let _ = from.push(&image(tag), "x", tag, packed);
        }
        let _ = from.push_docker(&image("docker"), "x", "docker");
        for tag in ["plain", "gzip", "zstd", "docker"] {
            let _ = case.docker(["pull", &from.reference(&format!("x:{tag}"))]).text();
            let copy = to.reference(&format!("{tag}/x:1"));
            let _ = case.docker(["tag", &from.reference(&format!("x:{tag}")), &copy]).text();
            let said = case.docker(["push", &copy]).text();
            let (media, manifest) = from.manifest("x", tag);
            assert_eq!(told(&said, "1").0, format!("sha256:{}", sha256(&manifest)), "{tag}");
            assert_eq!(to.manifest(&format!("{tag}/x"), "1"), (media, manifest), "{tag}");
        }
    });
}

/// A layer that another repository of the registry has is not sent again.
#[test]
fn mounted_from_another_repository() {
    once(|case| {
        let registry = Registry::start();
        let tap = Tap::before(registry.port(), |_| Fate::Pass);
        let image = image("mounted");
        case.engine.load(&image);
        let (one, two) = (tap.reference("first/one:1"), tap.reference("second/two:1"));
        let _ = case.docker(["tag", image.tag(), &one]).text();
        let _ = case.docker(["push", &one]).text();
        let _ = case.docker(["tag", image.tag(), &two]).text();
        let said = case.docker(["push", &two]).text();
        assert_eq!(said.matches(": Mounted from first/one").count(), 2, "{said}");
        let sent = tap.seen("PUT /v2/second/two/blobs/");
        // The config alone, which is not worth a question.
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert!(!tap.seen("HEAD /v2/second/two/blobs/").is_empty());
        let _ = case.docker(["rmi", "-f", &image.id()]).text();
        let _ = case.docker(["pull", &two]).text();
        assert_eq!(case.run(&[&two, "cat", "/content"]).text(), "mounted");
    });
}

/// busybox's layer was loaded plain, so that the pulled image's packed one is
/// not here: within its registry the digest stays all the same, and elsewhere
/// it is another one, which stays then.
#[test]
fn a_layer_that_was_here_before() {
    once(|case| {
        let (registry, elsewhere) = (Registry::start(), Registry::start());
        let image = image("before");
        let digest = registry.push(&image, "one", "1", Compression::Gzip);
        let (name, copy) = (registry.reference("one:1"), registry.reference("two:1"));
        let _ = case.docker(["pull", &name]).text();
        let _ = case.docker(["tag", &name, &copy]).text();
        let said = case.docker(["push", &copy]).text();
        assert_eq!(told(&said, "1").0, digest, "{said}");
        assert_eq!(said.matches(": Mounted from one").count(), 2, "{said}");
        let far = elsewhere.reference("far:1");
        let _ = case.docker(["tag", &name, &far]).text();
        let first = told(&case.docker(["push", &far]).text(), "1").0;
        assert_ne!(first, digest);
        assert_eq!(told(&case.docker(["push", &far]).text(), "1").0, first);
        let _ = case.docker(["rmi", "-f", &image.id()]).text();
        let _ = case.docker(["pull", &far]).text();
        assert_eq!(case.run(&[&far, "cat", "/content"]).text(), "before");
    });
}

#[test]
fn every_tag() {
    once(|case| {
        let registry = Registry::start();
        let name = registry.reference("many");
        for tag in ["a", "b"] {
            let image = image(tag);
            case.engine.load(&image);
            let _ = case.docker(["tag", &image.id(), &format!("{name}:{tag}")]).text();
        }
        let said = case.docker(["push", "--all-tags", &name]).text();
        let (a, b) = (told(&said, "a").0, told(&said, "b").0);
        assert_ne!(a, b);
        // The layer below was there when the second came.
        assert_eq!(said.matches(": Layer already exists").count(), 1, "{said}");
        let ids = case.docker(["images", "-q", "--no-trunc", &name]).text();
        let _ = case.docker(["rmi", "-f"]).args(ids.lines()).text();
        let said = case.docker(["pull", "--all-tags", &name]).text();
        assert!(said.contains(&a) && said.contains(&b), "{said}");
        assert_eq!(case.run(&[&format!("{name}:b"), "cat", "/content"]).text(), "b");
    });
}

/// An upload that breaks off is begun again.
#[test]
fn a_broken_connection() {
    once(|case| {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let registry = Registry::start();
        let cuts = AtomicUsize::new(0);
        let tap = Tap::before(registry.port(), move |request| {
            let blob = request.starts_with("PUT ") && request.contains("/blobs/uploads/");
            let first = blob && cuts.fetch_add(1, Ordering::SeqCst) < 2;
            if first { Fate::CutRequest(10_000) } else { Fate::Pass }
        });
        let _ = case.docker(["tag", "busybox", &tap.reference("box:1")]).text();
        let said = case.docker(["push", &tap.reference("box:1")]).text();
        assert!(said.contains(": Pushed"), "{said}");
        assert_eq!(tap.seen("PUT /v2/box/blobs/uploads/").len(), 4, "three for the layer, one for the config");
        let _ = told(&said, "1");
    });
}

#[test]
fn what_cannot_be_pushed() {
    once(|case| {
        let registry = Registry::with_password();
        let name = registry.reference("closed:1");
        let unknown = case.docker(["push", &name]).run();
        let why = format!("An image does not exist locally with the tag: {}", registry.reference("closed"));
        unknown.fails(1, &why);
        let _ = case.docker(["tag", "busybox", &name]).text();
        case.docker(["push", &registry.reference("closed:2")]).run().fails(1, "tag does not exist");
        case.docker(["push", &name]).run().fails(1, "no basic auth credentials");
        let login = |password: &str| {
            case.docker(["login", "-u", "tester", "--password-stdin", &registry.address()]).stdin(password).run()
        };
        let _ = login("secret").ok();
        assert!(case.docker(["push", &name]).text().contains(": Pushed"));
        let digest = format!("/v1.41/images/{}@sha256:{}/push", registry.reference("closed"), "0".repeat(64));
        let refused = case.engine.http("POST", &digest, None);
        assert_eq!((refused.status, refused.message().as_str()), (400, "cannot push a digest reference"));
        drop(registry);
        case.docker(["push", &name]).run().fails(1, "connection refused");
    });
}

/// The API's own lines: `aux`, and the event.
#[test]
fn lines_and_event() {
    if Engine::is_reference() {
        return;
    }
    once(|case| {
        let registry = Registry::start();
        let name = registry.reference("lines");
        let _ = case.docker(["tag", "busybox", &format!("{name}:1")]).text();
        let answer = case.engine.http("POST", &format!("/v1.41/images/{name}/push?tag=1"), None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let lines: Vec<serde_json::Value> =
            answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let has = |status: &str| lines.iter().any(|line| line["status"] == status && line["id"].as_str().is_some());
        assert!(has("Preparing") && has("Pushing") && has("Pushed"), "{lines:?}");
        let aux = &lines.last().unwrap()["aux"];
        let (_, manifest) = registry.manifest("lines", "1");
        assert_eq!(aux["Digest"], format!("sha256:{}", sha256(&manifest)));
        assert_eq!((&aux["Tag"], &aux["Size"]), (&"1".into(), &manifest.len().into()));
        // Until a whole second, so that this may be a second too early.
        wait_until(Duration::from_secs(20), "the event", || {
            let events = case.docker(["events", "--since", "1m", "--until", "0s", "--filter", "event=push"]);
            let said = events.args(["--format", "{{.Action}} {{.ID}} {{.Actor.Attributes.name}}"]).text();
            said == format!("push {name}:1 {name}")
        });
    });
}
