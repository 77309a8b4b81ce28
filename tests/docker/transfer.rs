//! What may happen to a pull on its way: breaks, lies, others who want the
//! same, and images that are large.

use hako_tests::{
    Authority, Case, Compression, Engine, Fate, Image, Layer, Options, Registry, Tap, Wall, busybox, sha256,
    wait_until, with_wall,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use std::{
    fs,
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

fn once(body: fn(&Case)) {
    with_wall(Wall::Process, body);
}

/// A layer that no packing makes small.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill(bytes.as_mut_slice());
    Layer::new().file(&format!("noise-{seed}"), 0o644, bytes).finish()
}

fn image(tag: &str, layers: &[Vec<u8>]) -> Image {
    let all = [&[busybox().layers()[0].clone()], layers].concat();
    Image::new(tag, all)
}

/// How many files a folder of the engine's data root has.
fn count(case: &Case, folder: &str) -> usize {
    fs::read_dir(case.engine.data_root().join(folder)).unwrap().count()
}

/// The connection is cut in the middle of a layer, again and again: it is gone
/// on with where it broke off.
#[test]
fn a_broken_connection() {
    once(|case| {
        let registry = Registry::start();
        let layer = noise(1, 3 << 20);
        let blob = format!("GET /v2/broken/blobs/sha256:{}", sha256(&layer));
        let wanted = blob.clone();
        let cuts = AtomicUsize::new(0);
        let tap = Tap::before(registry.port(), move |request| {
            let cut = request.starts_with(&wanted) && cuts.fetch_add(1, Ordering::SeqCst) < 3;
            if cut { Fate::CutAnswer(700_000) } else { Fate::Pass }
        });
        let image = image("broken:1", &[layer]);
        let _ = registry.push(&image, "broken", "1", Compression::Plain);
        let name = tap.reference("broken:1");
        let _ = case.docker(["pull", &name]).text();
        let asked = tap.seen(&blob);
        assert_eq!(asked.len(), 4, "{asked:?}");
        assert!(asked[1..].iter().all(|request| request.contains(" bytes=")), "{asked:?}");
        assert!(asked[3].ends_with("bytes=2100000-"), "{asked:?}");
        assert_eq!(case.docker(["image", "inspect", "-f", "{{.Id}}", &name]).text(), image.id());
        let sum = case.run(&[&name, "sha256sum", "/noise-1"]).text();
        let mut bytes = vec![0; 3 << 20];
        StdRng::seed_from_u64(1).fill(bytes.as_mut_slice());
        assert!(sum.starts_with(&sha256(&bytes)), "{sum}");
    });
}

/// Content that is not what its digest promised is refused, and nothing of it stays.
#[test]
fn a_wrong_digest() {
    once(|case| {
        let registry = Registry::start();
        let image = image("wrong:1", &[noise(2, 100_000)]);
        let (manifest, blobs) = image.manifest(Compression::Gzip);
        let digest = registry.push(&image, "wrong", "1", Compression::Gzip);
        assert_eq!(digest, format!("sha256:{}", sha256(&manifest)));
        let before = (count(case, "blobs/sha256"), count(case, "layers"));
        let layer = format!("sha256:{}", sha256(&blobs[2]));
        for (spoilt, why) in [
            (layer.clone(), format!("filesystem layer verification failed for digest {layer}")),
            (format!("sha256:{}", sha256(&blobs[0])), "config verification failed for digest".to_owned()),
            (format!("manifests/{digest}"), format!("manifest verification failed for digest {digest}")),
        ] {
            let tap = Tap::before(
                registry.port(),
                move |request| {
                    if request.contains(&spoilt) { Fate::Spoil } else { Fate::Pass }
                },
            );
            let name = tap.reference(&format!("wrong@{digest}"));
            case.docker(["pull", &name]).run().fails(1, &why);
            assert!(case.docker(["images", "-q", &tap.reference("wrong")]).text().is_empty());
            assert_eq!((count(case, "blobs/sha256"), count(case, "layers")), before, "something stays");
            assert_eq!(count(case, "tmp"), 0);
        }
        let _ = case.docker(["pull", &registry.reference(&format!("wrong@{digest}"))]).text();
    });
}

/// Pulls at the same time of one image, and of images that share layers,
/// fetch and unpack each layer once.
#[test]
fn two_pulls_at_once() {
    once(|case| {
        let registry = Registry::start();
        let tap = Tap::before(registry.port(), |request| {
            if request.contains("/blobs/") {
                std::thread::sleep(Duration::from_millis(200));
            }
            Fate::Pass
        });
        let shared = noise(3, 500_000);
        let (one, two) = (image("one:1", &[shared.clone(), noise(4, 9)]), image("two:1", &[shared, noise(5, 9)]));
        let _ = registry.push(&one, "one", "1", Compression::Plain);
        let _ = registry.push(&two, "two", "1", Compression::Plain);
        let before = count(case, "layers");
        let (a, b) = (tap.reference("one:1"), tap.reference("two:1"));
        let pulls: Vec<_> = [&a, &a, &b].iter().map(|name| case.docker(["pull", "--quiet", name]).start()).collect();
        for pull in pulls {
            let _ = pull.end().ok();
        }
        for image in [&one, &two] {
            for blob in image.manifest(Compression::Plain).1 {
                let asked = tap.seen(&format!("sha256:{}", sha256(&blob)));
                // busybox's layer is in the store since it was loaded.
                let expected = usize::from(blob != busybox().layers()[0]);
                assert_eq!(asked.len(), expected, "{asked:?}");
            }
        }
        assert_eq!(count(case, "layers"), before + 3);
        assert_eq!(case.run(&[&a, "ls", "/noise-4"]).text(), "/noise-4");
        assert_eq!(case.run(&[&b, "ls", "/noise-5"]).text(), "/noise-5");
    });
}

/// A mirror that breaks off, or sends something else: the registry goes on.
#[test]
fn a_mirror_that_breaks() {
    if Engine::is_reference() {
        return;
    }
    let (origin, mirror) = (Registry::start(), Registry::start());
    let layers = [(11, "cut"), (12, "lies"), (13, "torn")].map(|(seed, name)| (name, noise(seed, 3 << 20)));
    let spoilt = sha256(&layers[1].1);
    let bad = Tap::before(mirror.port(), move |request| match request {
        _ if request.contains("/cut/blobs/") => Fate::CutAnswer(400_000),
        _ if request.contains(&spoilt) => Fate::Spoil,
        _ if request.contains("/torn/manifests/") => Fate::CutAnswer(10),
        _ => Fate::Pass,
    });
    let good = Tap::before(origin.port(), |_| Fate::Pass);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let address = good.reference("");
    let text = format!("[registries.'{}']\nmirrors = ['{}']\n", address.trim_end_matches('/'), bad.url());
    fs::write(&file, text).unwrap();
    let args = vec!["--config-file".to_owned(), file.display().to_string()];
    let engine = Engine::with(Options { args, ..Options::default() });
    for (repository, layer) in layers {
        let blob = format!("/v2/{repository}/blobs/sha256:{}", sha256(&layer));
        let image = Image::new("x:1", vec![layer]);
        for registry in [&origin, &mirror] {
            let _ = registry.push(&image, repository, "1", Compression::Plain);
        }
        let name = good.reference(&format!("{repository}:1"));
        let _ = engine.docker(["pull", &name]).text();
        assert_eq!(engine.docker(["image", "inspect", "-f", "{{.Id}}", &name]).text(), image.id());
        let (asked, went_on) = (bad.seen(&blob), good.seen(&blob));
        match repository {
            // Resumed where it was first, and then from there on elsewhere.
            "cut" => {
                assert_eq!(asked.len(), 5, "{asked:?}");
                assert!(went_on.len() == 1 && went_on[0].ends_with(" bytes=2000000-"), "{went_on:?}");
            }
            // The whole of it again: nobody knows which of its bytes was wrong.
            "lies" => {
                assert_eq!(asked.len(), 1, "{asked:?}");
                assert!(went_on.len() == 1 && !went_on[0].contains(" bytes="), "{went_on:?}");
            }
            _ => assert!(asked.is_empty() && went_on.len() == 1, "{asked:?} {went_on:?}"),
        }
    }
    drop((origin, mirror));
    engine.finish();
}

/// What is asked first, and what when that has it not, or is not there.
#[test]
fn mirrors() {
    if Engine::is_reference() {
        return;
    }
    let (origin, mirror, hub) = (Registry::start(), Registry::start(), Registry::start());
    let tap = Tap::before(mirror.port(), |_| Fate::Pass);
    let gone = "http://127.0.0.1:1";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let text = format!(
        "registry-mirrors = ['http://{}']\n[registries.'{}']\nmirrors = ['{gone}', '{}']\n",
        hub.address(),
        origin.address(),
        tap.url()
    );
    fs::write(&file, text).unwrap();
    let args = vec!["--config-file".to_owned(), file.display().to_string()];
    let engine = Engine::with(Options { args, ..Options::default() });
    let pull = |name: &str| engine.docker(["pull", name]).text();
    // Docker Hub's own names, without Docker Hub.
    let _ = hub.push(&busybox(), "library/only-here", "1", Compression::Gzip);
    assert!(pull("only-here:1").contains("Status: Downloaded newer image for only-here:1"));
    let shown = engine.docker(["info", "--format", "{{json .RegistryConfig.Mirrors}}"]).text();
    assert_eq!(shown, format!("[\"http://{}/\"]", hub.address()));
    // In the mirror, though not in the registry itself.
    let (one, two) = (image("one:1", &[noise(6, 9)]), image("two:1", &[noise(7, 9)]));
    let _ = mirror.push(&one, "mirrored", "1", Compression::Gzip);
    let _ = pull(&origin.reference("mirrored:1"));
    assert!(!tap.seen("GET /v2/mirrored/blobs/").is_empty());
    // In the registry alone, of which the mirror was asked.
    let _ = origin.push(&two, "own", "1", Compression::Gzip);
    let _ = pull(&origin.reference("own:1"));
    assert!(!tap.seen("GET /v2/own/manifests/1").is_empty());
    assert_eq!(engine.docker(["image", "inspect", "-f", "{{.Id}}", &origin.reference("own:1")]).text(), two.id());
    // A push goes to the registry itself.
    let _ = engine.docker(["tag", "only-here:1", &origin.reference("pushed:1")]).text();
    let _ = engine.docker(["push", &origin.reference("pushed:1")]).text();
    let _ = origin.manifest("pushed", "1");
    assert!(tap.seen("/v2/pushed/").is_empty());
    drop((origin, mirror, hub));
    engine.finish();
}

/// By a CA of `certs.d`, and with a certificate for who asks, through a proxy
/// that leads a name of no host to the registry.
#[test]
fn own_authority() {
    if Engine::is_reference() {
        return;
    }
    let authority = Authority::new();
    let registry = Registry::with_tls(&authority, "registry.test", true);
    let tap = Tap::before(registry.port(), |_| Fate::Pass);
    let folder = tempfile::tempdir().unwrap();
    let args = vec!["--registry-certs-dir".to_owned(), folder.path().display().to_string()];
    let env = vec![("HTTPS_PROXY".to_owned(), tap.url())];
    let engine = Engine::with(Options { args, env, ..Options::default() });
    engine.load(&busybox());
    let name = "registry.test/some/box:1";
    let _ = engine.docker(["tag", "busybox", name]).text();
    let push = || engine.docker(["push", name]).run();
    push().fails(1, "x509: certificate signed by unknown authority");
    let host = folder.path().join("registry.test");
    fs::create_dir(&host).unwrap();
    fs::copy(authority.certificate(), host.join("ca.crt")).unwrap();
    let nobody = push();
    assert!(nobody.code == 1 && nobody.err().to_lowercase().contains("certificate"), "{nobody}");
    let (certificate, key) = authority.issue(&["client"]);
    fs::copy(certificate, host.join("client.cert")).unwrap();
    push().fails(1, "missing key client.key for client certificate client.cert");
    fs::copy(key, host.join("client.key")).unwrap();
    assert!(push().ok().contains(": Pushed"));
    let _ = engine.docker(["rmi", name]).text();
    let _ = engine.docker(["pull", name]).text();
    assert!(!tap.seen("CONNECT registry.test:443").is_empty());
    engine.finish();
}

/// A registry on loopback, or one that is said to be insecure, may have any
/// certificate, as with Docker.
#[test]
fn any_certificate() {
    if Engine::is_reference() {
        return;
    }
    let authority = Authority::new();
    let registry = Registry::with_tls(&authority, "another.test", false);
    let tap = Tap::before(registry.port(), |_| Fate::Pass);
    let args = vec!["--insecure-registry".to_owned(), "registry.test".to_owned()];
    let env = vec![("HTTPS_PROXY".to_owned(), tap.url())];
    let engine = Engine::with(Options { args, env, ..Options::default() });
    engine.load(&busybox());
    for name in [registry.reference("box:1"), "registry.test/box:2".to_owned()] {
        let _ = engine.docker(["tag", "busybox", &name]).text();
        let _ = engine.docker(["push", &name]).text();
        let _ = engine.docker(["rmi", &name]).text();
        let _ = engine.docker(["pull", &name]).text();
    }
    engine.finish();
}

/// The most memory that hakod has had, in MiB.
fn peak(engine: &Engine) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", engine.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// `HAKO_TEST_IMAGE_MIB=2048` makes it large: memory does not grow with it.
#[test]
fn a_large_image() {
    if Engine::is_reference() {
        return;
    }
    once(|case| {
        let mib: u64 = std::env::var("HAKO_TEST_IMAGE_MIB").map_or(48, |mib| mib.parse().unwrap());
        let (from, to) = (Registry::start(), Registry::start());
        let large = Large { length: mib << 20 };
        let digest = large.push(&from, "large", "1");
        let patience = Duration::from_secs(120 + mib);
        let (name, copy) = (from.reference("large:1"), to.reference("copy:1"));
        let _ = case.docker(["pull", "--quiet", &name]).deadline(patience).text();
        let pulled = peak(&case.engine);
        let _ = case.docker(["tag", &name, &copy]).text();
        let said = case.docker(["push", &copy]).deadline(patience).text();
        assert!(said.contains(&digest), "{said}");
        let pushed = peak(&case.engine);
        eprintln!("hakod's most memory for {mib} MiB: {pulled} MiB after the pull, {pushed} MiB after the push");
        assert!(pushed < 64, "{pushed} MiB for an image of {mib} MiB");
        let size = case.run(&[&name, "stat", "-c", "%s", "/large"]).text();
        assert_eq!(size, large.length.to_string());
    });
}

/// An image of busybox and one file of noise, which is in no memory.
struct Large {
    length: u64,
}

impl Large {
    /// Writes the file's layer.
    fn write(&self, mut out: impl Write) -> std::io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_path("large")?;
        header.set_mode(0o644);
        header.set_size(self.length);
        header.set_cksum();
        out.write_all(header.as_bytes())?;
        let mut noise = StdRng::seed_from_u64(8);
        let mut piece = vec![0; 1 << 20];
        for _ in 0..self.length >> 20 {
            noise.fill(piece.as_mut_slice());
            out.write_all(&piece)?;
        }
        out.write_all(&[0; 1024])
    }

    fn push(&self, registry: &Registry, repository: &str, tag: &str) -> String {
        let mut summed = Summed::default();
        self.write(&mut summed).unwrap();
        let (hex, length) = (hex::encode(sha2::Digest::finalize(summed.hash)), summed.length);
        registry.put_blob("", repository, &hex, length, |stream| self.write(stream));
        let small = busybox();
        let (manifest, blobs) = small.manifest(Compression::Plain);
        let mut config: serde_json::Value = serde_json::from_slice(&blobs[0]).unwrap();
        config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(json!(format!("sha256:{hex}")));
        let config = config.to_string().into_bytes();
        for blob in [&config, &blobs[1]] {
            registry.put_blob("", repository, &sha256(blob), blob.len() as u64, |stream| stream.write_all(blob));
        }
        let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest["config"]["digest"] = json!(format!("sha256:{}", sha256(&config)));
        manifest["config"]["size"] = json!(config.len());
        let media = manifest["layers"][0]["mediaType"].clone();
        let layer = json!({ "mediaType": media, "digest": format!("sha256:{hex}"), "size": length });
        manifest["layers"].as_array_mut().unwrap().push(layer);
        registry.put_manifest(repository, tag, manifest.to_string().as_bytes())
    }
}

#[derive(Default)]
struct Summed {
    hash: sha2::Sha256,
    length: u64,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        sha2::Digest::update(&mut self.hash, bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A client that goes away ends its pull, and nothing of it stays.
#[test]
fn a_client_that_goes() {
    once(|case| {
        let registry = Registry::start();
        let tap = Tap::before(registry.port(), |request| {
            if request.contains("/blobs/") {
                std::thread::sleep(Duration::from_millis(1500));
            }
            Fate::Pass
        });
        let image = image("gone:1", &[noise(9, 300_000)]);
        let _ = registry.push(&image, "gone", "1", Compression::Gzip);
        let before = count(case, "blobs/sha256");
        let pull = case.docker(["pull", &tap.reference("gone:1")]).start();
        wait_until(Duration::from_secs(20), "the pull", || !tap.seen("/blobs/").is_empty());
        let _ = pull.kill();
        wait_until(Duration::from_secs(20), "the end of the pull", || {
            count(case, "tmp") == 0 && count(case, "blobs/sha256") == before
        });
        let _ = case.docker(["pull", &registry.reference("gone:1")]).text();
    });
}
