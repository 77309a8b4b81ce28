//! `docker build`: what each instruction of a Dockerfile does.

use hako_tests::{Case, Context, Engine, Layer, Wall, both_walls, with_wall};
use serde_json::{Value, json};

fn config(case: &Case, image: &str) -> Value {
    let text = case.docker(["image", "inspect", image]).text();
    serde_json::from_str::<Value>(&text).unwrap()[0]["Config"].clone()
}

const EVERY: &str = r#"# escape=`
# no directive any more: syntax=x
ARG BASE=busybox

FROM $BASE AS base
MAINTAINER Some One <a@b>
ARG WHO=world
ENV GREETING="hello ${WHO}" SPLIT=two` 
  # a comment between
  PATHLIKE=c:\temp
LABEL colour=blue "two words"="a ${WHO}"
WORKDIR /area
WORKDIR sub
COPY file.txt ./
ADD archive.tar unpacked/
RUN ["sh", "-c", "echo exec $0 > exec", "zero"]
RUN echo $GREETING > greeting && `
    # a comment in the middle
    echo "$PATHLIKE" >> greeting
SHELL ["/bin/ash", "-e", "-c"]
RUN echo $0 > shell; mkdir /drop; chmod 1777 /drop
USER someone
RUN id -un > /drop/user
VOLUME /data /more
EXPOSE 443/udp 80
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s --retries=2 CMD true $SHELLS
ONBUILD RUN echo triggered > /drop/triggered
ONBUILD LABEL by=trigger
ENTRYPOINT ["/bin/echo", "said"]
CMD ["by", "default"]
"#;

/// A Dockerfile with every instruction once.
pub fn every() -> Context {
    let archive = Layer::new().dir("in/", 0o750).file("in/file", 0o604, "unpacked").finish();
    Context::new(EVERY).mode("file.txt", 0o640, "copied").file("archive.tar", archive)
}

both_walls! {
    /// It, and an image on top of it.
    fn every_one(case) {
        let said = case.build(&every(), &["-t", "every"]).text();
        let steps = said.lines().filter(|line| line.starts_with("Step ")).count();
        assert!(said.contains("Step 1/24 : ARG BASE=busybox\n") && steps == 24, "{steps}: {said}");
        let looked = case.look("every", "cd /area/sub && cat file.txt unpacked/in/file exec greeting shell /drop/user; \
            stat -c '%a %u' file.txt unpacked/in unpacked/in/file; stat -c '%a %U' /drop/user");
        assert_eq!(looked, "copiedunpackedexec zero\nhello world\nc:\\temp\n/bin/ash\nsomeone\n640 0\n750 0\n604 0\n644 someone");
        assert_eq!(case.run(&["every"]).text(), "said by default");
        let config = config(case, "every");
        let env = config["Env"].as_array().unwrap();
        for entry in ["GREETING=hello world", "SPLIT=two", "PATHLIKE=c:\\temp"] {
            assert!(env.contains(&json!(entry)), "{entry}: {env:?}");
        }
        assert!(!env.iter().any(|entry| entry.as_str().unwrap().starts_with("WHO=")), "{env:?}");
        assert_eq!(config["Labels"], json!({"colour": "blue", "two words": "a world"}));
        assert_eq!(config["Volumes"], json!({"/data": {}, "/more": {}}));
        assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}, "443/udp": {}}));
        assert_eq!((&config["WorkingDir"], &config["User"], &config["StopSignal"]), (&json!("/area/sub"), &json!("someone"), &json!("SIGUSR1")));
        assert_eq!(config["Healthcheck"]["Test"], json!(["CMD-SHELL", "true $SHELLS"]));
        assert_eq!((&config["Healthcheck"]["Interval"], &config["Healthcheck"]["Retries"]), (&json!(5_000_000_000_u64), &json!(2)));
        assert_eq!(config["Shell"], json!(["/bin/ash", "-e", "-c"]));
        assert_eq!(config["OnBuild"], json!(["RUN echo triggered > /drop/triggered", "LABEL by=trigger"]));
        assert_eq!(case.docker(["image", "inspect", "-f", "{{.Author}}", "every"]).text(), "Some One <a@b>");

        // The triggers are pulled once; the shell, the user and the command are the base's.
        let child = Context::new("FROM every\nRUN echo $0 $(id -un) > /drop/child\nENTRYPOINT [\"cat\"]\n");
        let said = case.build(&child, &["-t", "child"]).text();
        assert!(said.contains("# Executing 2 build triggers\n"), "{said}");
        assert_eq!(case.look("child", "cat /drop/triggered /drop/child"), "triggered\n/bin/ash someone");
        let config = self::config(case, "child");
        assert_eq!((&config["OnBuild"], &config["Cmd"]), (&Value::Null, &Value::Null));
        assert_eq!(config["Labels"]["by"], "trigger");
    }

    /// What an `ARG` is seen by, and what wins over it.
    fn arguments(case) {
        let context = Context::new(
            "ARG VERSION=1\nARG TAG=latest\nFROM busybox:${TAG:-nothing} AS first\n\
             RUN echo \"-$VERSION-$OTHER-\" > /args\n\
             ARG VERSION\nARG OTHER=of-${VERSION}\nARG UNSET\n\
             RUN echo \"-$VERSION-$OTHER-${UNSET-unset}-$HTTP_PROXY-\" >> /args\n\
             ENV OTHER=env\nARG OTHER\n\
             RUN echo \"-$OTHER-\" >> /args\n\
             LABEL version=$VERSION other=$OTHER\n\
             FROM busybox\nRUN echo \"-$VERSION-\" > /next\n",
        );
        let args = ["--build-arg", "VERSION=2", "--build-arg", "HTTP_PROXY=http://proxy", "--build-arg", "NOBODY=asks"];
        let said = case.build(&context, &args).arg("--target=first").args(["-t", "args"]).text();
        assert!(said.contains("[Warning] One or more build-args [NOBODY] were not consumed"), "{said}");
        assert_eq!(case.look("args", "cat /args"), "---\n-2-of-2-unset-http://proxy-\n-env-");
        assert_eq!(config(case, "args")["Labels"], json!({"version": "2", "other": "env"}));
        let history = case.docker(["history", "--no-trunc", "args"]).text();
        assert!(!history.contains("proxy") && history.contains("|2 OTHER=of-2 VERSION=2 /bin/sh -c"), "{history}");
        assert!(!config(case, "args").to_string().contains("VERSION=2"));
        // Another stage knows nothing of it.
        let _ = case.build(&context, &["-t", "next"]).text();
        assert_eq!(case.look("next", "cat /next"), "--");
    }
}

/// Texts of what is wrong, before anything is built.
#[test]
fn mistakes() {
    with_wall(Wall::Process, |case| {
        for (dockerfile, text) in [
            ("FROM busybox\n\nFOO bar\n", "dockerfile parse error on line 3: unknown instruction: FOO"),
            ("FROM busybox\nCOPY --wrong=1 a b\n", "dockerfile parse error on line 2: unknown flag: "),
            ("FROM busybox\nENV a\n", "ENV must have two arguments"),
            ("FROM busybox\nFROM a b\n", "FROM requires either one or three arguments"),
            ("FROM busybox\nONBUILD FROM x\n", "FROM isn't allowed as an ONBUILD trigger"),
            ("FROM busybox\nSHELL sh -c\n", "SHELL requires the arguments to be in JSON form"),
            ("RUN true\n", "o build stage in current context"),
            ("# nothing\n", "file with no instructions"),
            ("", "the Dockerfile (Dockerfile) cannot be empty"),
        ] {
            let failed = case.build(&Context::new(dockerfile), &[]).run();
            assert_eq!(failed.code, 1, "{dockerfile}");
            assert!(failed.err().to_lowercase().contains(&text.to_lowercase()), "{dockerfile}: {}", failed.err());
        }
        let base = "FROM busybox\n";
        let target = case.build(&Context::new(base), &["--target", "nobody"]).run();
        target.fails(1, "target stage \"nobody\" could not be found");
        case.build(&Context::new(base), &["-f", "absent"]).run().fails(1, "absent");
        case.build(&Context::new("FROM busybox\nUSER ${a\n"), &[]).run().fails(1, "missing '}'");
        case.build(&Context::new("FROM scratch\nCOPY --from=9 a b\n"), &[]).run().fails(1, "invalid from flag value 9");
        case.build(&Context::new("ARG A\nFROM $A\n"), &[]).run().fails(1, "base name ($A) should not be blank");
        if !Engine::is_reference() {
            let answer = case.engine.http_bytes("POST", "/v1.44/build?squash=1", b"");
            assert_eq!(answer.status, 400);
            assert!(answer.text().contains("squash is only supported with experimental mode"), "{}", answer.text());
        }
    });
}

/// The client's own choice of a builder falls back to the classic one.
#[test]
fn whichever_builder_the_client_likes() {
    with_wall(Wall::Process, |case| {
        let context = Context::new("FROM busybox\nRUN echo made > /made\n");
        for value in [None, Some("0")] {
            let client = case.docker(["build", "-t", "made", "--network=none"]).arg(context.path());
            let client = match value {
                Some(value) => client.env("DOCKER_BUILDKIT", value),
                None => client,
            };
            let said = client.text();
            assert!(said.contains("Successfully tagged made:latest"), "{value:?}: {said}");
            assert_eq!(case.look("made", "cat /made"), "made");
        }
    });
}
