//! `docker build`: what `COPY` and `ADD` make of files, and which files there are.

use hako_tests::{Compression, Context, Engine, Layer, Wall, with_wall};

const LIST: &str = "find /out -mindepth 1 | sort | while read f; do stat -c '%A %u:%g %n' \"$f\"; done";

#[test]
fn copies() {
    with_wall(Wall::Process, |case| {
        let dockerfile = "FROM busybox\nWORKDIR /out\n\
            COPY a.txt b.txt texts/\nCOPY *.c [xy] sources/\nCOPY tree tree\nCOPY tree/ .\nCOPY a.txt renamed\n\
            COPY --chown=1000:2000 a.txt numbers\nCOPY --chown=someone a.txt names\nCOPY --chown=someone:extra tree owned\n\
            COPY [\"with blank\", \"/out/with blank\"]\nCOPY link hard /out/links/\nENV D=deep\nCOPY ${D}er/* $D/\nCOPY suid .\n";
        let context = Context::new(dockerfile)
            .mode("a.txt", 0o600, "a")
            .file("b.txt", "b")
            .file("m.c", "m")
            .file("x", "x")
            .mode("tree/run", 0o755, "run")
            .mode("suid", 0o4755, "suid")
            .file("tree/sub/leaf", "leaf")
            .file("with blank", "blank")
            .file("hard", "hard")
            .file("deeper/one", "1")
            .link("link", "a.txt")
            .link("tree/soft", "../nowhere");
        let _ = case.build(&context, &["-t", "copies"]).text();
        let expected = "\
            drwxr-xr-x 0:0 /out/deep\n-rw-r--r-- 0:0 /out/deep/one\n\
            drwxr-xr-x 0:0 /out/links\n-rw-r--r-- 0:0 /out/links/hard\n-rw------- 0:0 /out/links/link\n\
            -rw------- 1000:1000 /out/names\n-rw------- 1000:2000 /out/numbers\n\
            drwxr-xr-x 1000:2000 /out/owned\n-rwxr-xr-x 1000:2000 /out/owned/run\nlrwxrwxrwx 1000:2000 /out/owned/soft\n\
            drwxr-xr-x 1000:2000 /out/owned/sub\n-rw-r--r-- 1000:2000 /out/owned/sub/leaf\n\
            -rw------- 0:0 /out/renamed\n-rwxr-xr-x 0:0 /out/run\nlrwxrwxrwx 0:0 /out/soft\n\
            drwxr-xr-x 0:0 /out/sources\n-rw-r--r-- 0:0 /out/sources/m.c\n-rw-r--r-- 0:0 /out/sources/x\n\
            drwxr-xr-x 0:0 /out/sub\n-rw-r--r-- 0:0 /out/sub/leaf\n-rwsr-xr-x 0:0 /out/suid\n\
            drwxr-xr-x 0:0 /out/texts\n-rw------- 0:0 /out/texts/a.txt\n-rw-r--r-- 0:0 /out/texts/b.txt\n\
            drwxr-xr-x 0:0 /out/tree\n-rwxr-xr-x 0:0 /out/tree/run\nlrwxrwxrwx 0:0 /out/tree/soft\n\
            drwxr-xr-x 0:0 /out/tree/sub\n-rw-r--r-- 0:0 /out/tree/sub/leaf\n-rw-r--r-- 0:0 /out/with blank";
        // The classic builder of dockerd loses the bit when it gives the file to root; BuildKit keeps it.
        let listed = case.look("copies", LIST);
        let listed = if Engine::is_reference() {
            listed.replace("-rwxr-xr-x 0:0 /out/suid", "-rwsr-xr-x 0:0 /out/suid")
        } else {
            listed
        };
        assert_eq!(listed, expected);
    });
}

#[test]
fn copies_that_fail() {
    with_wall(Wall::Process, |case| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "host's").unwrap();
        let context = |step: &str| {
            Context::new(&format!("FROM busybox\n{step}\n"))
                .file("a", "a")
                .file("b", "b")
                .file("left-out", "x")
                .file(".dockerignore", "left-out\n")
                .link("escape", folder.path().join("secret").to_str().unwrap())
                .link("up", "../../../../../../../../../etc/hostname")
        };
        for (step, text) in [
            ("COPY nothing /x", "nothing"),
            ("COPY left-out /x", "left-out"),
            ("COPY no*thing /x/", "no source files were specified"),
            ("COPY a b /x", "the destination must be a directory and end with a /"),
            ("COPY a", "COPY requires at least two arguments"),
            ("COPY ../a /x", "../a"),
            ("COPY escape /x", "escape"),
            ("COPY up /x", "up"),
            ("COPY --chown=nobody-knows a /x", "nobody-knows"),
            ("COPY --from=127.0.0.1:1/nobody:here a /x", "127.0.0.1:1"),
        ] {
            let failed = case.build(&context(step), &[]).run();
            assert_eq!(failed.code, 1, "{step}: {}", failed.out());
            assert!(failed.err().contains(text), "{step}: {}", failed.err());
        }
    });
}

/// What BuildKit has beyond the classic builder, and which this one knows too.
#[test]
fn copies_of_newer_kinds() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let dockerfile = "FROM busybox AS base\nRUN mkdir -p /out/sub && ln -s sub /out/soft && chmod 700 /out/sub\n\
            RUN mkdir /twins && echo twin > /twins/a.o && ln /twins/a.o /twins/b && ln /twins/b /twins/c\n\
            FROM base\nENV NAME=world\n\
            COPY --chmod=4711 a /out/mode\nCOPY --chmod=640 --chown=1:2 tree /out/tree\nCOPY --link a /out/linked/a\n\
            COPY <<EOF <<-'raw' /out/docs/\nhello $NAME \\$NAME \"it's\"\nEOF\n\thello $NAME\n\traw\n\
            COPY --chmod=755 <<run /out/run\n#!/bin/sh\nexit 3\nrun\n\
            COPY --parents tree/sub/leaf /out/parents/\nCOPY --exclude=*.o --exclude=sub tree /out/excluded\n\
            COPY --from=base --exclude=*.o /twins /out/twins\n\
            COPY a /out/soft/followed\nADD --unpack=false archive.tar /out/packed\n";
        let context = Context::new(dockerfile)
            .file("a", "a")
            .mode("tree/run", 0o755, "run")
            .file("tree/x.o", "o")
            .file("tree/sub/leaf", "leaf")
            .file("archive.tar", Layer::new().file("in", 0o644, "x").finish());
        let _ = case.build(&context, &["-t", "newer"]).text();
        let seen = case.look(
            "newer",
            "cat /out/docs/EOF /out/docs/raw /out/sub/followed; /out/run; echo $?; cd /out; \
            stat -c '%a %u:%g %n' mode tree/run linked linked/a run soft sub packed; ls excluded; ls parents/tree/sub; \
            ls twins; cat twins/c; stat -c %h twins/b",
        );
        assert_eq!(
            seen,
            "hello world $NAME \"it's\"\nhello $NAME\na3\n4711 0:0 mode\n640 1:2 tree/run\n755 0:0 linked\n644 0:0 linked/a\n\
             755 0:0 run\n777 0:0 soft\n700 0:0 sub\n644 0:0 packed\nrun\nleaf\nb\nc\ntwin\n2"
        );
    });
}

/// Only its comments may be in another encoding than UTF-8.
#[test]
fn a_dockerfile_that_is_no_text() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let context = Context::new("").file("a", "a");
        context.write("Dockerfile", b"# M\xfcller\nFROM busybox\nCOPY a /\n");
        let _ = case.build(&context, &[]).text();
        context.write("Dockerfile", b"FROM busybox\nENV NAME=M\xfcller\n");
        case.build(&context, &[]).run().fails(1, "the Dockerfile (Dockerfile) is not UTF-8: line 2");
    });
}

#[test]
fn archives() {
    with_wall(Wall::Process, |case| {
        let tar = Layer::new()
            .dir("in/", 0o755)
            .entry(tar::EntryType::Regular, "in/file", "", 0o640, b"file")
            .link("in/soft", "file")
            .finish();
        let dockerfile = "FROM busybox\nADD plain.tar /plain/\nADD packed.tar.gz other.txz /packed/\nADD zstd.tar /zstd\n\
            COPY packed.tar.gz /copied/\nADD no.tar /no/\nADD dir /dir/\n";
        let context = Context::new(dockerfile)
            .file("plain.tar", &tar)
            .file("packed.tar.gz", Compression::Gzip.pack(&tar))
            .file("zstd.tar", Compression::Zstd.pack(&tar))
            .file("other.txz", "not xz")
            .file("no.tar", "no archive by its content")
            .file("dir/plain.tar", &tar);
        let _ = case.build(&context, &["-t", "archives"]).text();
        let seen = case.look("archives", "cat /plain/in/soft /packed/in/file /zstd/in/file; stat -c '%a %n' /plain/in/file; ls /packed /copied /no /dir");
        assert_eq!(
            seen,
            "filefilefile640 /plain/in/file\n/copied:\npacked.tar.gz\n\n/dir:\nplain.tar\n\n/no:\nno.tar\n\n/packed:\nin\nother.txz"
        );
        // An archive that leads out of the image leads nowhere else.
        for (name, link) in [("../../../escaped", ""), ("in", "/tmp")] {
            let bad = if link.is_empty() {
                Layer::new().file(name, 0o644, "x")
            } else {
                Layer::new().link(name, link).file("in/escaped-by-hako-test", 0o644, "x")
            };
            let context = Context::new("FROM busybox\nADD bad.tar /x/\n").file("bad.tar", bad.finish());
            let _ = case.build(&context, &[]).run();
            assert!(!std::path::Path::new("/tmp/escaped-by-hako-test").exists());
        }
        if !Engine::is_reference() {
            let url = Context::new("FROM busybox\nADD http://127.0.0.1:1/x /x\n");
            case.build(&url, &[]).run().fails(1, "not supported: ");
        }
    });
}

#[test]
fn what_is_ignored() {
    with_wall(Wall::Process, |case| {
        let dockerfile = "FROM busybox\nCOPY . /out/\n";
        let context = Context::new(dockerfile)
            .file(
                ".dockerignore",
                "# comment\n*.o\n**/*.tmp\n!keep.o\ntarget\n!target/kept\n/rooted\n.dockerignore\nDockerfile\n",
            )
            .file("a.o", "")
            .file("keep.o", "")
            .file("deep/a.o", "")
            .file("deep/x.tmp", "")
            .file("x.tmp", "")
            .file("target/kept", "")
            .file("target/lost", "")
            .file("rooted/x", "")
            .file("deep/rooted/x", "");
        let _ = case.build(&context, &["-t", "ignored"]).text();
        let seen = case.look("ignored", "cd /out; find . -type f | sort");
        assert_eq!(seen, "./deep/a.o\n./deep/rooted/x\n./keep.o\n./target/kept");
        // A Dockerfile elsewhere, from stdin, and one without any context.
        context.write("other/file", "FROM busybox\nCOPY keep.o /other\n");
        let flagged = case.docker(["build", "-t", "other", "-f"]).arg(context.at("other/file")).arg(context.path());
        let _ = flagged.env("DOCKER_BUILDKIT", "0").text();
        assert_eq!(case.look("other", "ls /other"), "/other");
        let piped = case.docker(["build", "-t", "piped", "-f", "-"]).arg(context.path()).env("DOCKER_BUILDKIT", "0");
        let _ = piped.stdin("FROM busybox\nCOPY . /piped/\n").text();
        assert_eq!(case.look("piped", "cd /piped; ls -A"), "deep\nkeep.o\nother\ntarget");
        let alone = case.docker(["build", "-t", "alone", "-"]).env("DOCKER_BUILDKIT", "0");
        let _ = alone.stdin("FROM busybox\nLABEL a=b\n").text();
        assert_eq!(case.docker(["image", "inspect", "-f", "{{.Config.Labels.a}}", "alone"]).text(), "b");
        let tar = Layer::new().file("Dockerfile", 0o644, "FROM busybox\nCOPY x /sent\n").file("x", 0o644, "sent");
        let sent = case.docker(["build", "-t", "sent", "-"]).env("DOCKER_BUILDKIT", "0");
        let _ = sent.stdin(Compression::Gzip.pack(&tar.finish())).text();
        assert_eq!(case.look("sent", "cat /sent"), "sent");
    });
}
