use super::*;
use crate::{Command, Heredoc, Source};
use proptest::prelude::*;

fn file(text: &str) -> Dockerfile {
    parse(text.as_bytes()).unwrap_or_else(|err| panic!("{text}: {err}"))
}

/// The steps after `FROM a`.
fn steps(text: &str) -> Vec<Instruction> {
    let file = file(&format!("FROM a\n{text}"));
    file.stages.into_iter().flat_map(|stage| stage.steps).map(|step| step.instruction).collect()
}

fn one(text: &str) -> Instruction {
    let mut steps = steps(text);
    assert_eq!(steps.len(), 1, "{text}: {steps:?}");
    steps.remove(0)
}

fn refused(text: &str) -> String {
    parse(format!("FROM a\n{text}").as_bytes()).unwrap_err().to_string()
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn shell(text: &str) -> Command {
    Command::Shell(text.to_owned())
}

fn exec(words: &[&str]) -> Command {
    Command::Exec(strings(words))
}

fn run(text: &str) -> crate::Run {
    match one(text) {
        Instruction::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

fn copy(text: &str) -> crate::Copy {
    match one(text) {
        Instruction::Copy(copy) => copy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn stages_lines_and_originals() {
    let file = file(
        "# syntax=docker/dockerfile:1\n# a comment\nARG V=1 \\\n  W\nfrom  base:$V  as Builder\n\n\
         RUN a && \\\n# in between\n\n    b\nFROM --platform=$P builder\ncopy --from=builder /a /b",
    );
    assert_eq!(file.syntax.as_deref(), Some("docker/dockerfile:1"));
    let args = Instruction::Arg(vec![("V".into(), Some("1".into())), ("W".into(), None)]);
    assert_eq!((file.global_args[0].line, &file.global_args[0].instruction), (3, &args));
    let [builder, last] = &file.stages[..] else { panic!("two stages") };
    assert_eq!((builder.name.as_deref(), builder.base.as_str(), builder.line), (Some("builder"), "base:$V", 5));
    assert_eq!(builder.original, "from  base:$V  as Builder");
    assert_eq!((builder.steps[0].line, builder.steps[0].original.as_str()), (7, "RUN a &&     b"));
    assert_eq!((last.platform.as_deref(), last.base.as_str(), last.line), (Some("$P"), "builder", 11));
    assert_eq!(last.steps[0].original, "copy --from=builder /a /b");
}

#[test]
fn continued_lines() {
    assert_eq!(run("RUN a \\  \n b \\\n\n\n#c\n d").command, shell("a  b  d"));
    let steps = steps("RUN a \\\\\nENV x=1");
    let Instruction::Run(run) = &steps[0] else { panic!() };
    assert_eq!(run.command, shell("a \\\\"), "two escapes are none");
}

#[test]
fn continued_lines_that_end_the_file() {
    assert_eq!(run("RUN a \\").command, shell("a"));
    assert_eq!(run("RUN a \\\n").command, shell("a"));
    assert_eq!(run("RUN a # no comment").command, shell("a # no comment"));
    assert_eq!(run("RUN a\r\n").command, shell("a"));
}

#[test]
fn another_escape() {
    let file = file("# escape=`\nFROM a\nRUN a `\n b\nCOPY c:\\x d:\\\nENV a=` b");
    assert_eq!(file.escape, '`');
    let steps: Vec<_> = file.stages[0].steps.iter().map(|step| step.instruction.clone()).collect();
    let Instruction::Run(run) = &steps[0] else { panic!() };
    assert_eq!(run.command, shell("a  b"));
    let Instruction::Copy(copy) = &steps[1] else { panic!() };
    assert_eq!((&copy.sources[0], copy.dest.as_str()), (&Source::Path("c:\\x".into()), "d:\\"));
    assert_eq!(steps[2], Instruction::Env(vec![("a".into(), "` b".into())]));
    // Not at the beginning, it is a comment.
    assert_eq!(parse(b"\n# escape=`\nFROM a").unwrap().escape, '\\');
    assert_eq!(
        parse(b"# escape=x\nFROM a").unwrap_err().to_string(),
        "failed to parse Dockerfile: invalid escape token 'x' does not match ` or \\"
    );
    assert!(parse(b"# escape=`\n# escape=`\nFROM a").unwrap_err().text().starts_with("only one escape"));
}

#[test]
fn commands() {
    assert_eq!(one(r#"CMD ["a", "b\u0020\"c"]"#), Instruction::Cmd(exec(&["a", "b \"c"])));
    assert_eq!(one("CMD ['a']"), Instruction::Cmd(shell("['a']")));
    assert_eq!(one("CMD [ -e /x ] && y"), Instruction::Cmd(shell("[ -e /x ] && y")));
    assert_eq!(one("CMD [\"a\"] b"), Instruction::Cmd(shell("[\"a\"] b")));
    assert_eq!(one("CMD"), Instruction::Cmd(shell("")));
    assert_eq!(one("ENTRYPOINT []"), Instruction::Entrypoint(exec(&[])));
    assert_eq!(one("ENTRYPOINT"), Instruction::Entrypoint(exec(&[])));
    assert_eq!(one("ENTRYPOINT exec x"), Instruction::Entrypoint(shell("exec x")));
    assert_eq!(one("SHELL [\"/bin/bash\", \"-c\"]"), Instruction::Shell(strings(&["/bin/bash", "-c"])));
    assert_eq!(run("RUN [\"a\", \\\n \"b\"]").command, exec(&["a", "b"]));
    assert!(refused("CMD [1]").contains("arrays must be comprised of strings only"));
}

#[test]
fn pairs_and_lists() {
    let pairs = |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(
        one("ENV a=1 b=\"x y\" \\\n c='$d'"),
        Instruction::Env(pairs(&[("a", "1"), ("b", "\"x y\""), ("c", "'$d'")]))
    );
    assert_eq!(one("ENV a  x = y"), Instruction::Env(pairs(&[("a", "x = y")])));
    assert_eq!(one("LABEL \"a b\"=c"), Instruction::Label(pairs(&[("\"a b\"", "c")])));
    assert_eq!(
        one("ARG a=\"x y\" b"),
        Instruction::Arg(vec![("a".into(), Some("\"x y\"".into())), ("b".into(), None)])
    );
    assert_eq!(one("EXPOSE 90/udp 80"), Instruction::Expose(strings(&["80", "90/udp"])));
    assert_eq!(one("VOLUME /a /b"), Instruction::Volume(strings(&["/a", "/b"])));
    assert_eq!(one("VOLUME [\"/a b\"]"), Instruction::Volume(strings(&["/a b"])));
    assert_eq!(one("WORKDIR /a b"), Instruction::Workdir("/a b".into()));
    assert_eq!(one("USER u:g"), Instruction::User("u:g".into()));
    assert_eq!(one("STOPSIGNAL $S"), Instruction::StopSignal("$S".into()));
    assert_eq!(one("MAINTAINER A <b@c>"), Instruction::Maintainer("A <b@c>".into()));
    assert_eq!(one("ONBUILD  RUN  x"), Instruction::Onbuild("RUN  x".into()));
}

#[test]
fn checks() {
    let Instruction::Healthcheck(check) = one("HEALTHCHECK --interval=1m30s --retries=3 CMD curl x") else { panic!() };
    assert_eq!((check.interval, check.retries, check.command), (90_000_000_000, 3, Some(shell("curl x"))));
    let Instruction::Healthcheck(check) = one("HEALTHCHECK CMD [\"a\"]") else { panic!() };
    assert_eq!(check.command, Some(exec(&["a"])));
    let Instruction::Healthcheck(check) = one("healthcheck none") else { panic!() };
    assert_eq!(check.command, None);
}

#[test]
fn flags_of_run() {
    let found =
        run("RUN --mount=type=cache,target=/c --mount=\"target=/a b\" --network=none --security=insecure make --x");
    assert_eq!(found.mounts, ["type=cache,target=/c", "target=/a b"]);
    assert_eq!((found.network.as_deref(), found.security.as_deref()), (Some("none"), Some("insecure")));
    assert_eq!(found.command, shell("make --x"));
}

#[test]
fn copies() {
    let found = copy("COPY --from=b --chown=1:2 --chmod=755 --link --parents --exclude=a --exclude=b x y* /z/");
    assert_eq!(found.sources, [Source::Path("x".into()), Source::Path("y*".into())]);
    assert_eq!((found.dest.as_str(), found.from.as_deref(), found.chown.as_deref()), ("/z/", Some("b"), Some("1:2")));
    assert!(found.link && found.parents && found.chmod.as_deref() == Some("755"));
    assert_eq!(found.exclude, ["a", "b"]);
    assert_eq!(copy("COPY [\"a b\", \"c\"]").sources, [Source::Path("a b".into())]);
    let Instruction::Add(add) = one("ADD --checksum=sha256:x --keep-git-dir=true http://x/y /z") else { panic!() };
    assert_eq!((add.checksum.as_deref(), add.keep_git_dir, add.unpack), (Some("sha256:x"), true, None));
}

#[test]
fn heredocs() {
    let doc = |name: &str, expand, chomp, raw: &str| Heredoc { name: name.into(), expand, chomp, raw: raw.into() };
    let found = copy("COPY <<a <<-\"b\" /d/\nx\n#y \\\n\na\n\t\tz\n\tb\n");
    let Source::Heredoc(second) = &found.sources[1] else { panic!("{found:?}") };
    assert_eq!(found.sources[0], Source::Heredoc(doc("a", true, false, "x\n#y \\\n\n")));
    assert_eq!(second, &doc("b", false, true, "\t\tz\n"));
    assert_eq!(second.content(), "z\n");
    let found = run("RUN cat <<EOF > /x && cat 3<<'F'\na\nEOF\nb\nF\n");
    assert_eq!(found.command, shell("cat <<EOF > /x && cat 3<<'F'"));
    assert_eq!(found.heredocs, [doc("EOF", true, false, "a\n"), doc("F", false, false, "b\n")]);
    let steps = steps("RUN <<EOF\na\nEOF\nRUN echo '<<X' \"<<Y\" $((1<<2))\nRUN [\"<<Z\"]\nENV a=<<V");
    assert_eq!(steps.len(), 4);
    let Instruction::Onbuild(trigger) = one("ONBUILD COPY <<f /x\ntext\nf\n") else { panic!() };
    assert_eq!(trigger, "COPY <<f /x\ntext\nf");
    let Instruction::Copy(copy) = parse_onbuild(&trigger).unwrap().instruction else { panic!() };
    assert_eq!(copy.sources, [Source::Heredoc(doc("f", true, false, "text\n"))]);
}

#[test]
fn what_a_run_executes() {
    use crate::RunProgram::{Argv, Script};
    let sh = strings(&["/bin/sh", "-c"]);
    let of = |text: &str| run(text).program(&sh);
    let argv = |text: &str| Argv(strings(&["/bin/sh", "-c", text]));
    assert_eq!(of("RUN a b"), argv("a b"));
    assert_eq!(of("RUN [\"a\"]"), Argv(strings(&["a"])));
    assert_eq!(of("RUN <<E\na\nb\nE"), argv("a\nb\n"));
    assert_eq!(of("RUN <<-E\n\ta\nE"), argv("a\n"));
    assert_eq!(of("RUN <<E\n#!/bin/x\na\nE"), Script { name: "E".into(), content: "#!/bin/x\na\n".into() });
    assert_eq!(of("RUN cat <<A <<B\n1\nA\n2\nB"), argv("cat <<A <<B\n1\nA\n2\nB"));
}

#[test]
fn what_is_refused() {
    for (text, expected) in [
        ("\nFOO bar", "dockerfile parse error on line 3: unknown instruction: FOO (did you mean FROM?)"),
        ("runs x", "dockerfile parse error on line 2: unknown instruction: runs (did you mean run?)"),
        ("ENV", "dockerfile parse error on line 2: ENV requires at least one argument"),
        ("ENV a", "failed to parse Dockerfile: ENV must have two arguments"),
        (
            "COPY a",
            "dockerfile parse error on line 2: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("COPY --chwon=1 a b", "dockerfile parse error on line 2: unknown flag: chwon (did you mean chown?)"),
        ("USER", "dockerfile parse error on line 2: USER requires exactly one argument"),
        ("FROM a b", "dockerfile parse error on line 2: FROM requires either one or three arguments"),
        ("FROM", "dockerfile parse error on line 2: FROM requires either one or three arguments"),
        (
            "FROM a AS 1x",
            "dockerfile parse error on line 2: invalid name for build stage: \"1x\", name can't start with a number or contain symbols",
        ),
        ("SHELL x", "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form"),
        ("SHELL []", "dockerfile parse error on line 2: SHELL requires at least one argument"),
        ("HEALTHCHECK", "dockerfile parse error on line 2: HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK x", "dockerfile parse error on line 2: Unknown type \"X\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK CMD", "dockerfile parse error on line 2: Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK NONE x", "dockerfile parse error on line 2: HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK --retries=-1 CMD x", "dockerfile parse error on line 2: --retries cannot be negative (-1)"),
        ("ONBUILD", "dockerfile parse error on line 2: ONBUILD requires at least one argument"),
        (
            "ONBUILD ONBUILD RUN x",
            "dockerfile parse error on line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        ),
        ("ONBUILD from x", "dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger"),
        ("VOLUME [\" \"]", "dockerfile parse error on line 2: VOLUME specified can not be an empty string"),
        ("RUN --network=x y", "dockerfile parse error on line 2: invalid network mode \"x\""),
        ("RUN --security=x y", "dockerfile parse error on line 2: security \"x\" is not valid"),
        (
            "RUN --mount=from=$x y",
            "dockerfile parse error on line 2: 'from' doesn't support variable expansion, define alias stage instead",
        ),
        ("RUN <<E\nx", "failed to parse Dockerfile: unterminated heredoc"),
        ("COPY x <<E\nE", "dockerfile parse error on line 2: COPY cannot accept a heredoc as a destination"),
    ] {
        assert_eq!(refused(text), expected, "{text}");
    }
    for (text, expected) in [
        (&b"RUN x"[..], "no build stage in current context"),
        (b"ARG x", "no build stage in current context"),
        (b"# x\n", "failed to parse Dockerfile: file with no instructions"),
        (b"FROM a\nRUN \xff", "failed to parse Dockerfile: line 2 is not UTF-8"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), expected);
    }
    assert!(parse_onbuild("FROM a").is_err() && parse_onbuild("ONBUILD RUN x").is_err());
    assert!(parse_onbuild("RUN a\nRUN b").is_err() && parse_onbuild("FOO").is_err());
}

proptest! {
    #[test]
    fn bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&text);
    }

    #[test]
    fn nothing_panics(lines in proptest::collection::vec((word(), r#"([\[\]"',<=\\` a-c$-]|\PC){0,30}"#), 0..6)) {
        let text: String = lines.iter().map(|(word, rest)| format!("{word} {rest}\n")).collect();
        let _ = parse(text.as_bytes());
        let _ = parse(format!("FROM a\n{text}").as_bytes());
        let _ = parse_onbuild(&text);
    }
}

fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "FROM",
        "ARG",
        "ENV",
        "LABEL",
        "RUN",
        "RUN <<a",
        "COPY",
        "COPY <<a <<b",
        "ADD --x",
        "HEALTHCHECK CMD",
        "ONBUILD RUN",
        "SHELL",
        "VOLUME",
        "EXPOSE",
        "CMD",
        "ENTRYPOINT",
        "USER",
        "# escape=`",
        "a",
        "# syntax=x",
        "b",
    ])
}
