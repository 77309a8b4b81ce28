//! `docker load`: every form of archive that users have.

use hako_tests::{Case, Compression, Image, Layer, Wall, both_walls, busybox, sha256, with_wall};
use serde_json::json;
use tar::EntryType;

fn loaded(case: &Case, archive: Vec<u8>, image: &Image) {
    let said = case.docker(["load"]).stdin(archive).text();
    assert!(said.contains(&format!("Loaded image: {}", image.tag())), "{said}");
    assert_eq!(case.docker(["image", "inspect", "-f", "{{.Id}}", image.tag()]).text(), image.id());
    assert_eq!(case.run(&[image.tag(), "cat", "/mark"]).text(), image.tag());
    let _ = case.docker(["rmi", "-f", image.tag()]).text();
}

fn marked(tag: &str) -> Image {
    let mark = Layer::new().file("mark", 0o644, tag).finish();
    Image::new(tag, vec![busybox().layers()[0].clone(), mark])
}

/// A client that has sent all of an archive, and does not say that it has.
#[test]
fn a_client_that_does_not_end() {
    use std::io::{Read, Write};
    if hako_tests::Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let image = marked("endless:1");
        let mut archive = image.docker_archive();
        // As GNU tar pads it.
        archive.resize(archive.len().next_multiple_of(10 << 10), 0);
        let mut client = std::os::unix::net::UnixStream::connect(case.engine.socket()).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        let head = "POST /v1.41/images/load HTTP/1.1\r\nHost: hako\r\nTransfer-Encoding: chunked\r\n\r\n";
        write!(client, "{head}{:x}\r\n", archive.len()).unwrap();
        client.write_all(&archive).unwrap();
        client.write_all(b"\r\n").unwrap();
        let mut said = String::new();
        // To the last chunk of the answer.
        while !said.ends_with("\r\n0\r\n\r\n") {
            let mut part = [0; 4096];
            let read = client.read(&mut part).unwrap_or_else(|err| panic!("{err} after {said}"));
            assert!(read > 0, "{said}");
            said.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        assert!(said.contains("Loaded image: endless:1"), "{said}");
        let _ = case.docker(["rmi", "-f", image.tag()]).text();
    });
}

/// The archive that a layer came from is removed by hand: the image runs on, and
/// the next load or pull of it brings the archive back.
#[test]
fn a_lost_archive() {
    if hako_tests::Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let registry = hako_tests::Registry::start();
        let image = marked("lost:1");
        let _ = registry.push(&image, "lost", "1", Compression::Gzip);
        let pulled = registry.reference("lost:1");
        let (_, blobs) = image.manifest(Compression::Gzip);
        let from = |pull: bool| match pull {
            true => case.docker(["pull", &pulled]).text(),
            false => case.docker(["load"]).stdin(image.docker_archive()).text(),
        };
        for pull in [false, true] {
            let name = if pull { pulled.as_str() } else { image.tag() };
            let _ = from(pull);
            let lost = if pull { sha256(&blobs[2]) } else { sha256(&image.layers()[1]) };
            case.engine.end_by(nix::sys::signal::Signal::SIGKILL);
            std::fs::remove_file(case.engine.data_root().join("blobs/sha256").join(&lost)).unwrap();
            case.engine.launch();
            assert_ne!(case.docker(["save", "-o", "/dev/null", name]).run().code, 0);
            let said = from(pull);
            assert!(case.engine.data_root().join("blobs/sha256").join(&lost).exists(), "{said}");
            let saved = case.docker(["save", name]).run();
            assert_eq!(saved.code, 0, "{}", saved.err());
            let _ = case.docker(["rmi", name]).text();
            loaded_again(case, &saved.stdout, name);
        }
    });
}

fn loaded_again(case: &Case, archive: &[u8], name: &str) {
    let _ = case.docker(["load"]).stdin(archive.to_vec()).text();
    assert_eq!(case.run(&[name, "cat", "/mark"]).text(), "lost:1");
    let _ = case.docker(["rmi", name]).text();
}

/// An archive is read by what it is, not by its name: plain, gzip, zstd.
#[test]
fn docker_archives() {
    with_wall(Wall::Process, |case| {
        for (tag, packed) in
            [("a:plain", Compression::Plain), ("a:gzip", Compression::Gzip), ("a:zstd", Compression::Zstd)]
        {
            // The reference of Debian 12 predates zstd.
            if packed == Compression::Zstd && hako_tests::Engine::is_reference() {
                continue;
            }
            let image = marked(tag);
            loaded(case, packed.pack(&image.docker_archive()), &image);
        }
    });
}

/// OCI layouts with layers of each packing, and packed as a whole.
#[test]
fn oci_layouts() {
    if hako_tests::not_on_reference("dockerd before 25 loads no OCI layouts") {
        return;
    }
    with_wall(Wall::Process, |case| {
        for (tag, packed) in
            [("o:plain", Compression::Plain), ("o:gzip", Compression::Gzip), ("o:zstd", Compression::Zstd)]
        {
            let image = marked(tag);
            loaded(case, image.oci_layout(packed), &image);
        }
        let image = marked("o:whole");
        loaded(case, Compression::Gzip.pack(&image.oci_layout(Compression::Zstd)), &image);
    });
}

both_walls! {
    /// What layers can hold and how an upper one changes a lower one.
    fn layers(case) {
        let lower = Layer::new()
            .dir("d/", 0o755)
            .file("d/goes", 0o644, "x")
            .file("d/stays", 0o640, "stays")
            .dir("opaque/", 0o755)
            .file("opaque/hidden", 0o644, "x")
            .file("changes", 0o644, "old")
            .file("becomes-dir", 0o644, "x")
            .link("absolute", "/d/stays")
            .link("up", "../../../d/stays")
            .entry(EntryType::Fifo, "pipe", "", 0o600, b"")
            .entry(EntryType::Char, "node", "", 0o666, b"")
            .file("setuid", 0o4755, "x")
            .file("with space \u{e4}", 0o644, "odd name")
            .finish();
        let upper = Layer::new()
            .file("d/.wh.goes", 0o644, "")
            .file("opaque/.wh..wh..opq", 0o644, "")
            .file("opaque/new", 0o644, "new")
            .file("changes", 0o600, "changed")
            .dir("becomes-dir/", 0o700)
            .file("becomes-dir/file", 0o644, "in dir")
            .finish();
        let image = Image::new("layered:latest", vec![busybox().layers()[0].clone(), lower, upper]).with("Cmd", json!(["sh"]));
        case.engine.load(&image);
        let script = "ls d opaque; cat d/stays absolute up changes becomes-dir/file 'with space \u{e4}'; echo; \
                      stat -c '%n %a %F %t:%T' changes becomes-dir pipe node setuid d/stays";
        let text = case.run(&["layered", "sh", "-c", script]).text();
        assert_eq!(
            text,
            "d:\nstays\n\nopaque:\nnew\nstaysstaysstayschangedin dirodd name\nchanges 600 regular file 0:0\n\
             becomes-dir 700 directory 0:0\npipe 600 fifo 0:0\nnode 666 character special file 1:3\n\
             setuid 4755 regular file 0:0\nd/stays 640 regular file 0:0"
        );
    }

    /// A container's changes are its own.
    fn containers_do_not_share_what_they_write(case) {
        let script = "echo mine >> /shared; rm /etc/group; mkdir /new; cat /shared";
        for _ in 0..2 {
            assert_eq!(case.sh(&[], script).text(), "mine");
        }
        assert_eq!(case.sh(&[], "ls /new /shared 2>/dev/null | wc -l; wc -l < /etc/group").text(), "0\n4");
    }
}

/// A client that goes in the middle leaves nothing, while the engine runs on.
#[test]
fn a_client_that_goes() {
    if hako_tests::Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let count = |name: &str| std::fs::read_dir(case.engine.data_root().join(name)).unwrap().count();
        let kept = || (count("layers"), count("blobs/sha256"), count("tmp"));
        let before = kept();
        let archive = marked("half:v1").docker_archive();
        for part in [1000, archive.len() / 2, archive.len() - 2000] {
            let mut client = case.docker(["load", "-q"]).start();
            client.send(&archive[..part]);
            hako_tests::wait_until(std::time::Duration::from_secs(20), "the engine to read", || count("tmp") > 0);
            let _ = client.kill();
            hako_tests::wait_until(std::time::Duration::from_secs(20), "nothing to be left", || kept() == before);
        }
        assert_eq!(case.docker(["images", "-q", "half"]).text(), "");
    });
}
