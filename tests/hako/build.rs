//! `hako build` and `hako builder`.

use hako_tests::{Case, Client, Compression, Context, Engine, Layer, Wall, both_walls, with_wall};
use std::time::Duration;

fn build(case: &Case, args: &[&str]) -> Client {
    case.engine.hako(["build", &case.isolation(), "--network=none"]).args(args).deadline(Duration::from_secs(180))
}

both_walls! {
    /// The output, the exit code and what is written down of the image.
    fn of_a_folder(case) {
        let context = Context::new("FROM busybox\nARG WHO\nARG HERE\nRUN echo \"$WHO $HERE\" > /who\nCOPY . /out/\nCMD [\"cat\", \"/who\"]\n")
            .file(".dockerignore", "*.o\nsub/*\n!sub/kept\n")
            .file("a.o", "")
            .file("sub/kept", "")
            .mode("sub/lost", 0o600, "");
        let folder = context.path().to_str().unwrap();
        let id_file = context.at("sub/id");
        let args = ["-t", "made", "-t", "again:2", "--label", "colour=blue", "--build-arg", "WHO=me", "--build-arg", "HERE", "--iidfile", id_file.to_str().unwrap(), folder];
        let said = build(case, &args).env("HERE", "of the environment").text();
        for text in ["Sending build context to the engine  ", "Step 4/7 : RUN echo", "Successfully built ", "Successfully tagged again:2"] {
            assert!(said.contains(text), "{text:?} in {said}");
        }
        let id = case.docker(["image", "inspect", "-f", "{{.Id}} {{.Config.Labels.colour}}", "made"]).text();
        assert_eq!(id, format!("{} blue", std::fs::read_to_string(&id_file).unwrap()));
        assert_eq!(case.run(&["made"]).text(), "me of the environment");
        assert_eq!(case.look("again:2", "cd /out; find . -type f | sort; stat -c %u .dockerignore"), "./.dockerignore\n./Dockerfile\n./sub/kept\n0");
        // Cached, quiet: the id alone.
        let quiet = build(case, &["-q", "--build-arg", "WHO=me", "--build-arg", "HERE", "--label", "colour=blue", folder]);
        assert_eq!(quiet.env("HERE", "of the environment").text(), id.split(' ').next().unwrap());
        context.write("Dockerfile", "FROM busybox\nRUN echo said; exit 7\n");
        let failed = build(case, &["--force-rm", folder]).run();
        failed.fails(7, "returned a non-zero code: 7");
        assert!(failed.out().contains("said\n"), "{}", failed.out());
        let failed = build(case, &["-q", "--force-rm", folder]).run();
        failed.fails(7, "returned a non-zero code: 7");
        assert_eq!(failed.out(), "");
    }

    /// A secret is seen by its step and is nowhere else.
    fn secrets(case) {
        let context = Context::new(
            "FROM busybox\nRUN --mount=type=secret,id=one --mount=type=secret,id=two,target=/two,mode=0444 \
             sha256sum < /run/secrets/one > /sums && sha256sum < /two >> /sums\n",
        )
        .file("value", "secret of a file");
        let file = format!("id=one,src={}", context.at("value").display());
        let folder = context.path().to_str().unwrap();
        let said = build(case, &["-t", "made", "--secret", &file, "--secret", "id=two,env=TWO", folder]).env("TWO", "of a variable").text();
        let sums = [hako_tests::sha256(b"secret of a file"), hako_tests::sha256(b"of a variable")];
        assert_eq!(case.look("made", "cut -d ' ' -f 1 /sums; ls /run/secrets /two 2>/dev/null; true"), sums.join("\n"));
        let everything = [said, case.docker(["history", "--no-trunc", "made"]).text(), case.engine.log()].concat();
        assert!(!everything.contains("of a variable") && !everything.contains("b2YgYSB2YXJpYWJsZQ"), "{everything}");
        build(case, &["--secret", "id=one,src=/no/such/file", folder]).run().fails(1, "/no/such/file");
    }
}

/// Where the Dockerfile and the files may come from.
#[test]
fn contexts() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let context = Context::new("FROM scratch\n").file("x", "x").link("soft", "x").link("linked", "dockerfile");
        let folder = context.path().to_str().unwrap();
        // A Dockerfile from stdin, from elsewhere, in lower case and by a link.
        let piped = build(case, &["-t", "piped", "-f", "-", folder]).stdin("FROM busybox\nCOPY . /out/\n");
        let _ = piped.text();
        assert_eq!(case.look("piped", "ls -A /out; cat /out/soft"), "Dockerfile\nlinked\nsoft\nx\nx");
        let elsewhere = Context::new("FROM busybox\nCOPY x /out\n");
        let _ = build(case, &["-t", "elsewhere", "-f", elsewhere.at("Dockerfile").to_str().unwrap(), folder]).text();
        assert_eq!(case.look("elsewhere", "cat /out"), "x");
        std::fs::rename(context.at("Dockerfile"), context.at("dockerfile")).unwrap();
        context.write("dockerfile", "FROM busybox\nLABEL a=lower\n");
        let _ = build(case, &["-t", "lower", folder]).text();
        assert_eq!(case.docker(["image", "inspect", "-f", "{{.Config.Labels.a}}", "lower"]).text(), "lower");
        let _ = build(case, &["-f", context.at("linked").to_str().unwrap(), folder]).text();
        // No folder at all.
        let _ = build(case, &["-t", "alone", "-"]).stdin("FROM busybox\nLABEL a=alone\n").text();
        let tar = Layer::new().file("df", 0o644, "FROM busybox\nCOPY x /sent\n").file("x", 0o644, "sent").finish();
        for archive in [Compression::Gzip.pack(&tar), tar] {
            let _ = build(case, &["-t", "sent", "--no-cache", "-f", "df", "-"]).stdin(archive).text();
            assert_eq!(case.look("sent", "cat /sent"), "sent");
        }
        build(case, &["/no/such/folder"]).run().fails(1, "path \"/no/such/folder\" not found");
        build(case, &["-f", "/no/such/file", folder]).run().fails(1, "o such file or directory");
        build(case, &["-f", "-", "-"]).run().fails(1, "can't use stdin for both build context and dockerfile");
        build(case, &["https://example.com/x.git"]).run().fails(1, "not supported: a build context by URL");
        build(case, &["--squash", folder]).run().fails(1, "squash");
        // What the builds have left, and that it goes.
        let pruned = case.engine.hako(["builder", "prune", "-af"]).text();
        assert!(
            pruned.starts_with("Deleted build cache objects:\n") && pruned.contains("Total reclaimed space: "),
            "{pruned}"
        );
        assert_eq!(case.engine.hako(["builder", "prune", "-f"]).text(), "Total reclaimed space: 0B");
        case.engine.hako(["builder", "prune"]).run().fails(1, "use --force where there is no terminal");
        let _ = build(case, &["-q", folder]).text();
        let pruned = case.engine.hako(["system", "prune", "-af"]).text();
        assert!(pruned.contains("Deleted build cache objects:\n"), "{pruned}");
    });
}
