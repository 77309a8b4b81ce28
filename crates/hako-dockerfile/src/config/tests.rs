use super::*;

fn applied(lines: &[&str]) -> Result<ContainerConfig> {
    let mut config = ContainerConfig {
        env: Some(vec!["PATH=/bin".into(), "A=1".into()]),
        cmd: Some(vec!["old".into()]),
        working_dir: "/w".into(),
        ..ContainerConfig::default()
    };
    apply_changes(&mut config, lines).map(|()| config)
}

fn strings(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn commands() {
    assert_eq!(applied(&["CMD [\"a\", \"b c\"]"]).unwrap().cmd, strings(&["a", "b c"]));
    assert_eq!(applied(&["cmd echo $HOME"]).unwrap().cmd, strings(&["/bin/sh", "-c", "echo $HOME"]));
    let config = applied(&["ENTRYPOINT [\"/e\"]"]).unwrap();
    assert_eq!((config.entrypoint, config.cmd), (strings(&["/e"]), None));
    let config = applied(&["CMD x", "ENTRYPOINT [\"/e\"]"]).unwrap();
    assert_eq!(config.cmd, strings(&["/bin/sh", "-c", "x"]));
    assert_eq!(applied(&["CMD"]).unwrap().cmd, strings(&["/bin/sh", "-c"]));
    assert_eq!(applied(&["CMD []"]).unwrap().cmd, strings(&[]));
    assert_eq!(applied(&["ENTRYPOINT []"]).unwrap().entrypoint, None);
}

#[test]
fn the_shell_of_a_stage() {
    let mut config = ContainerConfig::default();
    let mut changes = Changes::default();
    let mut apply = |instruction: Instruction| changes.apply(&mut config, &instruction, &|_| None, '\\').unwrap();
    assert!(apply(Instruction::Shell(vec!["/b".into(), "-x".into()])));
    assert!(apply(Instruction::Cmd(Command::Shell("y".into()))));
    assert!(!apply(Instruction::Maintainer("m".into())));
    assert_eq!(config.cmd, strings(&["/b", "-x", "y"]));
}

#[test]
fn variables_and_labels() {
    let config = applied(&["ENV A=2 B=\"x y\" C=$A", "LABEL a.b=$B 'c'=d", "env D hello there"]).unwrap();
    assert_eq!(config.env, strings(&["PATH=/bin", "A=2", "B=x y", "C=1", "D=hello there"]));
    assert_eq!(config.labels.get("a.b").map(String::as_str), Some("x y"));
    assert_eq!(config.labels.get("c").map(String::as_str), Some("d"));
    assert!(applied(&["ENV"]).is_err() && applied(&["ENV a"]).is_err() && applied(&["ENV =x"]).is_err());
    let config = applied(&["# a comment\n\nENV X=1 \\\n  Y=2"]).unwrap();
    assert_eq!(config.env.unwrap()[2..], ["X=1", "Y=2"]);
    assert!(applied(&[]).is_ok() && applied(&["", "# x"]).is_ok());
}

#[test]
fn the_others() {
    let config = applied(&[
        "EXPOSE 80 8000-8002/udp",
        "USER u:g",
        "WORKDIR sub/../x",
        "VOLUME /v [\"/w\"]",
        "VOLUME [\"/a b\"]",
        "STOPSIGNAL SIGUSR1",
        "ONBUILD RUN make",
        "HEALTHCHECK --interval=1m30s --retries=3 CMD curl x",
    ])
    .unwrap();
    let ports: Vec<String> = config.exposed_ports.unwrap().into_keys().collect();
    assert_eq!(ports, ["80/tcp", "8000/udp", "8001/udp", "8002/udp"]);
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("u:g", "/w/x"));
    assert!(config.volumes.unwrap().contains_key("/a b"));
    assert_eq!(config.stop_signal, "SIGUSR1");
    assert_eq!(config.on_build, strings(&["RUN make"]));
    let check = config.healthcheck.unwrap();
    assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
    assert_eq!(check.test, strings(&["CMD-SHELL", "curl x"]));
    let check = applied(&["HEALTHCHECK NONE"]).unwrap().healthcheck.unwrap();
    assert_eq!(check.test, strings(&["NONE"]));
    let config = applied(&["ENV P='80 90/udp'", "EXPOSE $P"]).unwrap();
    assert_eq!(config.exposed_ports.unwrap().len(), 2);
}

#[test]
fn what_is_refused() {
    let message = |line: &str| applied(&[line]).unwrap_err().to_string();
    assert_eq!(message("RUN rm -rf /"), "run is not a valid change command");
    assert_eq!(message("FOO x"), "foo is not a valid change command");
    assert_eq!(message("USER"), "USER requires exactly one argument");
    assert_eq!(message("EXPOSE x"), "invalid containerPort: x");
    assert!(message("EXPOSE 0-65535 0-65535/udp 0-65535/sctp").contains("more than 131072 ports"));
    assert!(message("ONBUILD FROM x").contains("isn't allowed as an ONBUILD trigger"));
    assert!(message("HEALTHCHECK --interval=5 CMD x").contains("missing unit in duration"));
    assert_eq!(message("STOPSIGNAL NOSUCH"), "invalid signal: NOSUCH");
}

#[test]
fn what_grows_is_bounded() {
    let line = format!("ENV {}", "A$A=$LONG ".repeat(100));
    let mut config = ContainerConfig { env: Some(vec![format!("LONG={}", "x".repeat(100_000))]), ..Default::default() };
    let refused = apply_changes(&mut config, &[&line]).unwrap_err().to_string();
    assert!(refused.contains("more than 8388608 bytes"), "{refused}");
}

#[test]
fn folders() {
    for (folder, path, expected) in
        [("", "a", "/a"), ("/w", "a/../b/./", "/w/b"), ("/w", "/x", "/x"), ("/w", "../../..", "/")]
    {
        assert_eq!(join(folder, path), expected);
    }
}
