//! The administrator's policy: what is from the test's own registry runs behind
//! the process wall, everything else behind hyperv alone.

use hako_tests::{
    Case, Client, Compression, Context, Engine, Options, Registry, Tool, Wall, busybox, tool, wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use std::{fs, path::Path, time::Duration};

/// An engine with these rules, and `app:1` in a registry of its own; `@OURS@`
/// in the rules is that registry.
fn governed(rules: &str, more: &[&str], body: impl FnOnce(&Case, &Registry)) {
    if Engine::is_reference() {
        return;
    }
    let registry = Registry::start();
    let _ = registry.push(&busybox(), "app", "1", Compression::Gzip);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, rules.replace("@OURS@", &registry.address())).unwrap();
    let mut args = vec!["--config-file".to_owned(), file.display().to_string()];
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    let case = Case::new(Engine::with(Options { args, ..Options::default() }), Wall::Process);
    // Another image than the registry's, or they would be one with two names.
    case.engine.load(&busybox().with("Labels", json!({ "from": "elsewhere" })));
    body(&case, &registry);
    case.engine.finish();
}

const FOREIGN: &str = r#"
[[policy]]
name = "foreign-images"
except-images = ["@OURS@/*"]
walls = ["hyperv"]
"#;

/// The kernel that the container runs on is the host's, and it is another.
fn is_hosts(release: &str) -> bool {
    release == fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim()
}

const REFUSED: &str =
    "policy rule \"foreign-images\" allows this image only behind the hyperv wall, not behind process";
const TOLD: &str = "policy rule \"foreign-images\" asks for the hyperv wall";

#[test]
fn run_and_create() {
    governed(FOREIGN, &[], |case, registry| {
        let ours = registry.reference("app:1");
        let run = |args: &[&str]| case.docker(["run", "--rm", "--network=none"]).args(args).run();
        let release = run(&[&ours, "uname", "-r"]);
        assert!(release.code == 0 && is_hosts(&release.out()), "{release}");
        let foreign = run(&["busybox", "uname", "-r"]);
        assert!(foreign.code == 0 && !is_hosts(&foreign.out()) && foreign.err().contains(TOLD), "{foreign}");
        // Who asks for a thicker wall has it, and who asks for a thinner one is told who forbids it.
        let thicker = run(&["--isolation=hyperv", &ours, "uname", "-r"]);
        assert!(thicker.code == 0 && !is_hosts(&thicker.out()), "{thicker}");
        let refused = run(&["--isolation=process", "busybox", "true"]);
        refused.fails(125, REFUSED);
        assert!(refused.err().contains("to run it, use --isolation=hyperv"), "{refused}");

        let isolation = |args: &[&str]| {
            let id = case.docker(["create", "--network=none"]).args(args).text();
            let isolation = case.inspect(&id, "{{.HostConfig.Isolation}}");
            let _ = case.docker(["rm", &id]).text();
            isolation
        };
        assert_eq!((isolation(&[&ours]).as_str(), isolation(&["busybox"]).as_str()), ("process", "hyperv"));
        let id = case.docker(["image", "inspect", "-f", "{{.Id}}", "busybox"]).text();
        assert_eq!(isolation(&[&id[7..19]]), "hyperv");
        // A tag as one of ours does not make it ours.
        let alias = registry.reference("alias:1");
        let _ = case.docker(["tag", "busybox", &alias]).text();
        assert_eq!(isolation(&[&alias]), "hyperv");
        // What is made of ours here has no name that says so.
        let _ = case.docker(["create", "--name", "made", "--network=none", &ours]).text();
        let _ = case.docker(["commit", "made", "made:1"]).text();
        assert_eq!(isolation(&["made:1"]), "hyperv");
        let _ = case.docker(["rm", "made"]).text();
    });
}

#[test]
fn refusals_are_in_the_event_log() {
    governed(FOREIGN, &[], |case, _| {
        let body = json!({ "Image": "busybox", "HostConfig": { "Isolation": "process" } });
        let refused = case.engine.http("POST", "/v1.41/containers/create", Some(&body));
        assert!(refused.status == 403 && refused.message().starts_with(REFUSED), "{}", refused.text());
        let events = |flags: &[&str], format: &str| {
            // The client's `0s` is the beginning of this second.
            std::thread::sleep(Duration::from_millis(1100));
            let events = case.docker(["events", "--since", "10m", "--until", "0s", "--format", format]).args(flags);
            events.text()
        };
        let told = events(&["-f", "type=policy"], "{{.Type}} {{.Action}} {{.Actor.ID}} {{json .Actor.Attributes}}");
        let (about, attributes) = told.split_once('{').unwrap();
        assert_eq!(about, "policy deny foreign-images ");
        let attributes: serde_json::Value = serde_json::from_str(&format!("{{{attributes}")).unwrap();
        let socket = case.engine.socket().display().to_string();
        let expected =
            json!({"image": "busybox", "isolation": "process", "minimum": "hyperv", "user": "root", "socket": socket});
        assert_eq!(attributes, expected);
        // The plain form is one that the client prints, and other types have nothing of it.
        let plain = case.docker(["events", "--since", "10m", "--until", "0s"]).text();
        assert!(plain.contains("policy deny foreign-images (image=busybox, isolation=process"), "{plain}");
        assert_eq!(events(&["-f", "type=container"], "{{.Action}}"), "");
    });
}

/// A step is held by the rules for what its stage is made of.
#[test]
fn build() {
    governed(FOREIGN, &[], |case, registry| {
        let ours = registry.reference("app:1");
        let build = |dockerfile: &str, flags: &[&str]| {
            let context = Context::new(&dockerfile.replace("OURS", &ours)).file("file", "x");
            let build = case.docker(["build", "--no-cache", "--network=none"]).args(flags).arg(context.path());
            build.env("DOCKER_BUILDKIT", "0").deadline(Duration::from_secs(240)).run()
        };
        // The kernel of each RUN, in their order: `h` is the host's.
        let kernels = |dockerfile: &str| {
            let built = build(dockerfile, &[]);
            assert_eq!(built.code, 0, "{built}");
            let out = built.out();
            let releases = out.lines().filter_map(|line| line.strip_prefix("kernel "));
            releases.map(|release| if is_hosts(release) { 'h' } else { 'g' }).collect::<String>()
        };
        let run = "RUN echo kernel $(uname -r)";
        assert_eq!(kernels(&format!("FROM OURS\n{run}\nCOPY file /\n{run}\n")), "hh");
        assert_eq!(kernels(&format!("FROM busybox\n{run}\n")), "g");
        assert_eq!(kernels(&format!("FROM OURS AS a\n{run}\nFROM a\nENV A=b\n{run}\n")), "hh");
        // Files of a foreign image make all that follows foreign.
        let copied = format!("FROM OURS\n{run}\nCOPY --from=busybox /bin/busybox /other\n{run}\n");
        assert_eq!(kernels(&copied), "hg");
        let through = format!("FROM busybox AS a\nFROM OURS\nCOPY --from=a /bin/busybox /other\n{run}\n");
        assert_eq!(kernels(&through), "g");
        // Nothing but the client's own files is of no image that is spared.
        let nothing = "FROM scratch AS a\nCOPY --from=OURS / /\nFROM a\n";
        assert_eq!(kernels(&format!("{nothing}{run}\n")), "h");
        let refused = build(&format!("FROM busybox\n{run}\n"), &["--isolation=process"]);
        refused.fails(1, REFUSED);
        let built = build(&format!("FROM OURS\n{run}\n"), &["--isolation=process", "-t", "built:1"]);
        assert_eq!(built.code, 0, "{built}");
        assert!(case.docker(["ps", "-aq"]).text().is_empty());
    });
}

#[test]
fn compose() {
    governed(FOREIGN, &[], |case, registry| {
        let compose = |folder: &Path, args: &[&str]| crate::compose::compose(case, folder, args).run();
        let service = |name: &str, image: &str, more: &str| {
            format!(
                "  {name}:\n    image: {image}\n    network_mode: none\n    mem_limit: 64m\n    pids_limit: 32\n    \
                 stop_grace_period: 1s\n    command: [sleep, '1000']\n{more}"
            )
        };
        let ours = registry.reference("app:1");
        let both =
            format!("version: '2.4'\nservices:\n{}{}", service("ours", &ours, ""), service("theirs", "busybox", ""));
        let folder = Context::new("").file("docker-compose.yml", both);
        let up = compose(folder.path(), &["up", "-d"]);
        assert_eq!(up.code, 0, "{up}");
        for (name, wall) in [("project_ours_1", "process"), ("project_theirs_1", "hyperv")] {
            assert_eq!(case.inspect(name, "{{.HostConfig.Isolation}} {{.State.Running}}"), format!("{wall} true"));
        }
        assert_eq!(compose(folder.path(), &["down"]).code, 0);
        let thin = service("theirs", "busybox", "    isolation: process\n");
        let folder = Context::new("").file("docker-compose.yml", format!("version: '2.4'\nservices:\n{thin}"));
        let up = compose(folder.path(), &["up", "-d"]);
        assert!(up.code != 0 && up.err().contains(REFUSED), "{up}");
        assert_eq!(compose(folder.path(), &["down"]).code, 0);
    });
}

/// Rules about who asks: by the kernel's word for the user, and by the socket.
#[test]
fn users_and_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let second = format!("unix://{}", folder.path().join("second.sock").display());
    let rules = r#"
        [[policy]]
        name = "second-door"
        sockets = ["*/second.sock"]
        walls = ["hyperv"]

        [[policy]]
        name = "somebody-else"
        users = ["nobody", "daemon"]
        walls = ["hyperv"]

        [[policy]]
        name = "root"
        users = ["root"]
        images = ["docker.io/library/roots:*"]
        walls = ["hyperv"]
    "#;
    governed(rules, &["--host", &second], |case, _| {
        let create = |host: &str, image: &str| {
            Client::new(&tool(Tool::Docker))
                .args(["-H", host, "create", "--isolation=process", "--network=none", image])
                .env("DOCKER_CONFIG", case.engine.path("home"))
                .run()
        };
        let first = case.engine.host();
        let created = create(first, "busybox");
        assert_eq!(created.code, 0, "{created}");
        let _ = case.docker(["rm", &created.out()]).text();
        create(&second, "busybox").fails(1, "policy rule \"second-door\"");
        let _ = case.docker(["tag", "busybox", "roots:1"]).text();
        create(first, "roots:1").fails(1, "policy rule \"root\"");
    });
}

/// A SIGHUP reads the policy again; one that means nothing leaves the old in force.
#[test]
fn read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, "").unwrap();
    let args = ["--config-file".to_owned(), file.display().to_string()];
    if Engine::is_reference() {
        return;
    }
    let engine = Engine::with(Options { args: args.to_vec(), ..Options::default() });
    engine.load(&busybox());
    let case = Case::new(engine, Wall::Process);
    let create = || {
        let created = case.walled("create", &["busybox"]).run();
        let _ = (created.code == 0).then(|| case.docker(["rm", &created.out()]).text());
        created
    };
    let read = |text: &str, said: &str| {
        fs::write(&file, text).unwrap();
        kill(Pid::from_raw(case.engine.pid()), Signal::SIGHUP).unwrap();
        wait_until(Duration::from_secs(20), said, || case.engine.log().contains(said));
    };
    assert_eq!(create().code, 0);
    read("[[policy]]\nname = 'all'\nwalls = ['hyperv']\n", "the policy was read again");
    create().fails(1, "policy rule \"all\"");
    read("[[policy]]\nname = 'all'\nwalls = ['process']\n", "the policy stays as it was");
    create().fails(1, "policy rule \"all\"");
    case.engine.end_by(Signal::SIGTERM);
    fs::write(&file, "").unwrap();
    case.engine.launch();
    assert_eq!(create().code, 0);
    case.engine.finish();
}

/// A rule that means nothing keeps the engine from starting, and says why.
#[test]
fn rules_that_mean_nothing() {
    if Engine::is_reference() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    for (rule, why) in [
        ("name = 'thin'\nwalls = ['process']", "a policy can only ask for a thicker wall"),
        ("name = 'none'", "names no walls"),
        ("walls = ['hyperv']", "has no name"),
        ("name = 'a'\nwalls = ['hyperv']\nimage = ['x']", "unknown field"),
    ] {
        fs::write(&file, format!("[[policy]]\n{rule}\n")).unwrap();
        let hakod = Client::new(&hako_tests::bin_dir().join("hakod"));
        let ended = hakod.args(["--config-file"]).arg(&file).args(["--data-root", "/nonexistent/hako"]).run();
        assert!(ended.code != 0 && ended.err().contains(why), "{ended}");
    }
}

/// `hako compat` answers by a policy before anything is asked of the engine.
#[test]
fn compat() {
    governed(FOREIGN, &[], |case, registry| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        fs::write(&file, FOREIGN.replace("@OURS@", &registry.address())).unwrap();
        let compat = |args: &[&str]| case.engine.hako(["compat", "--policy"]).arg(&file).args(args).run();
        let foreign = compat(&["busybox"]);
        assert!(foreign.code == 0 && foreign.out().contains("runs behind the hyperv wall"), "{foreign}");
        let refused = compat(&["--isolation=process", "busybox"]);
        assert!(refused.code == 1 && refused.out().contains(REFUSED), "{refused}");
        let ours = compat(&["--explain", &registry.reference("app:1")]);
        assert!(ours.code == 0 && ours.out().contains("runs behind the process wall"), "{ours}");
        fs::write(&file, "nothing = 'here'").unwrap();
        compat(&["busybox"]).fails(1, "missing field `policy`");
    });
}
