//! `docker build`: several stages, and one image whichever wall made it.

use hako_tests::{Case, Context, Engine, Wall, both_walls, sha256, with_wall};
use std::io::Read;

both_walls! {
    /// Files of stages by name and number and of images; what is not needed is not built.
    fn files_of_stages(case) {
        let unused = if Engine::is_reference() { "" } else { "FROM busybox AS unused\nRUN exit 5\n" };
        let dockerfile = format!(
            "FROM busybox AS First\nRUN echo first > /f && chown 7:8 /f && chmod 604 /f && ln -s f /l\n\
             FROM first AS second\nRUN cat /f > /g; echo second >> /g\n{unused}\
             FROM scratch AS third\nCOPY --from=FIRST /f /l /by-name/\nCOPY --from=1 /g /by-number\nCOPY --from=image:1 /etc/pass* /of-image/\n\
             FROM busybox\nCOPY --from=third / /out/\n"
        );
        let _ = case.docker(["tag", "busybox", "image:1"]).text();
        let context = Context::new(&dockerfile);
        let said = case.build(&context, &["-t", "last"]).text();
        assert!(!said.contains("unused"), "{said}");
        let seen = case.look("last", "cd /out; cat by-name/f by-name/l by-number; ls of-image; stat -c '%a %u:%g %F' by-name/f by-name/l by-number");
        assert_eq!(seen, "first\nfirst\nfirst\nsecond\npasswd\n604 7:8 regular file\n604 7:8 regular file\n644 0:0 regular file");
        let _ = case.build(&context, &["-t", "target", "--target", "SECOND"]).text();
        assert_eq!(case.look("target", "cat /g"), "first\nsecond");
        let _ = case.docker(["rmi", "image:1"]).text();
    }
}

both_walls! {
    /// A stage whose turn to speak has not come says much, and holds the cache
    /// that the stage before it waits for.
    fn much_output_before_its_turn(case) {
        if Engine::is_reference() {
            return;
        }
        let cache = "--mount=type=cache,id=one,sharing=locked,target=/c";
        let context = Context::new(&format!(
            "FROM busybox AS first\nRUN sleep 4\nRUN {cache} cat /c/who > /who\n\
             FROM busybox AS second\nRUN {cache} echo second > /c/who; seq 1 1300000; sleep 3; echo end of it\n\
             FROM busybox\nCOPY --from=first /who /\nCOPY --from=second /etc/passwd /\n"
        ));
        let said = case.build(&context, &["-t", "much"]).deadline(std::time::Duration::from_secs(180)).text();
        assert_eq!(case.look("much", "cat /who"), "second");
        let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text} was not said"));
        assert!(said.len() > 9_000_000 && at("cat /c/who") < at("\n1299999\n") && at("\n1299999\n") < at("\nend of it"));
    }
}

/// Name, kind, mode, owner, size, link and content of all files of an image.
fn listing(case: &Case, image: &str) -> Vec<String> {
    let id = case.docker(["create", image, "x"]).text();
    let exported = case.docker(["export", &id]).run();
    assert_eq!(exported.code, 0);
    let _ = case.docker(["rm", &id]).text();
    let mut files = Vec::new();
    for entry in tar::Archive::new(exported.stdout.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        files.push(format!(
            "{} {:?} {:o} {}:{} {} {:?} {}",
            entry.path().unwrap().display(),
            header.entry_type(),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            content.len(),
            entry.link_name().unwrap(),
            sha256(&content),
        ));
    }
    files.sort();
    files
}

/// Each layer's entries, without times.
fn layers(case: &Case, image: &str) -> Vec<Vec<String>> {
    let saved = case.docker(["save", image]).run();
    assert_eq!(saved.code, 0);
    let mut blobs = std::collections::HashMap::new();
    for entry in tar::Archive::new(saved.stdout.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        blobs.insert(name, content);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&blobs["manifest.json"]).unwrap();
    let names = manifest[0]["Layers"].as_array().unwrap();
    let entries = |name: &serde_json::Value| {
        let blob = &blobs[name.as_str().unwrap()];
        let mut found = Vec::new();
        for entry in tar::Archive::new(blob.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            found.push(format!(
                "{} {:?} {:o} {}:{} {}",
                entry.path().unwrap().display().to_string().trim_end_matches('/'),
                header.entry_type(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.size().unwrap()
            ));
        }
        found.sort();
        found
    };
    names.iter().map(entries).collect()
}

/// The same files, modes and owners, in every layer, behind either wall.
#[test]
fn both_walls_make_the_same() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let context = Context::new(
            "FROM busybox AS made\nWORKDIR /srv\nCOPY --chown=3:4 tree tree\n\
             RUN mkdir -m 2750 d && echo one > d/one && chown -R 12:34 d && chmod 4711 d/one && ln d/one hard && ln -s d soft && mkfifo pipe\n\
             RUN rm -r tree/sub d && mkdir d && echo two > d/two && rm /etc/group && chmod 700 tree && dd if=/dev/zero of=big bs=64k count=40 2>/dev/null\n\
             USER someone\nRUN touch /tmp/mine && umask 077 && mkdir /tmp/private\n\
             FROM busybox\nCOPY --from=made /srv /srv\nCOPY --from=made /tmp /copied\n",
        )
        .mode("tree/run", 0o755, "run")
        .file("tree/sub/leaf", "leaf");
        for wall in ["process", "hyperv"] {
            for (tag, target) in [("made", "--target=made"), ("last", "--target=1")] {
                // Each by itself: the cache is not asked.
                let build =
                    case.docker(["build", "--no-cache", "--network=none", target, "-t"]).arg(format!("{tag}:{wall}"));
                let build = build.arg(format!("--isolation={wall}")).arg(context.path()).env("DOCKER_BUILDKIT", "0");
                let _ = build.deadline(std::time::Duration::from_secs(180)).text();
            }
        }
        for tag in ["made", "last"] {
            let [process, hyperv] = ["process", "hyperv"].map(|wall| format!("{tag}:{wall}"));
            assert_eq!(listing(case, &process), listing(case, &hyperv));
            assert_eq!(layers(case, &process), layers(case, &hyperv));
        }
    });
}
