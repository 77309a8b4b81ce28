//! `hako login`, `push`, `pull` and `logout`, with Docker's `config.json`.

use hako_tests::{Case, Client, Registry, TokenServer, Wall, both_walls, with_wall};
use std::{fs, os::unix::fs::PermissionsExt};

/// `hako` with a `config.json` of its own.
fn hako(case: &Case, args: &[&str]) -> Client {
    case.engine.hako(args).env("DOCKER_CONFIG", case.engine.path("home"))
}

both_walls! {
    fn login_push_pull_run(case) {
        let registry = Registry::with_password();
        let name = registry.reference("hako/box:1");
        let _ = hako(case, &["tag", "busybox", &name]).text();
        hako(case, &["push", &name]).run().fails(1, "no basic auth credentials");
        let login = |password: &str| {
            hako(case, &["login", "-u", "tester", "--password-stdin", &registry.address()]).stdin(password).run()
        };
        let wrong = login("wrong");
        assert!(wrong.code == 1 && wrong.err().contains("401"), "{wrong}");
        let good = login("secret\n");
        assert!(good.ok().contains("Login Succeeded") && good.err().contains("WARNING"), "{good}");
        let file = case.engine.path("home/config.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let said = hako(case, &["push", &name]).text();
        assert!(said.contains(": Pushed") && said.contains("1: digest: sha256:"), "{said}");
        assert_eq!(hako(case, &["push", "-q", &name]).text(), name);
        // Docker's client is let in by the same file, and hako by what docker has written.
        assert!(case.docker(["push", &name]).text().contains("Layer already exists"));
        let _ = hako(case, &["rmi", &name]).text();
        assert!(hako(case, &["pull", &name]).text().ends_with(&name));
        let _ = hako(case, &["rmi", &name]).text();
        let _ = hako(case, &["pull", "--all-tags", &registry.reference("hako/box")]).text();
        let (wall, none) = (case.isolation(), "--network=none");
        assert_eq!(hako(case, &["run", "--rm", none, &wall, &name, "echo", "runs"]).text(), "runs");
        let again = hako(case, &["login", &registry.address()]).text();
        assert!(again.contains("Authenticating with existing credentials"), "{again}");
        assert!(hako(case, &["logout", &registry.address()]).text().contains("Removing login credentials"));
        assert!(hako(case, &["logout", &registry.address()]).run().err().contains("Not logged in"));
        hako(case, &["pull", &name]).run().fails(1, "no basic auth credentials");
        assert!(hako(case, &["login", &registry.address()]).run().err().contains("non TTY device"));
    }
}

/// What a credential helper keeps is in its hands alone.
#[test]
fn a_credential_helper() {
    with_wall(Wall::Process, |case| {
        let tokens = TokenServer::start();
        let registry = Registry::with_tokens(&tokens);
        let folder = case.engine.path("home");
        let helper = folder.join("docker-credential-tests");
        let script = "#!/bin/sh\nfile=$HOME/kept\ncase $1 in\n\
            store) cat > $file ;;\n\
            get) test -f $file && cat $file || { echo 'credentials not found in native keychain'; exit 1; } ;;\n\
            erase) rm $file ;;\nesac\n";
        fs::write(&helper, script).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("config.json"), r#"{"credsStore": "tests", "psFormat": "kept"}"#).unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let hako = |args: &[&str]| hako(case, args).env("PATH", &path);
        let name = registry.reference("closed/box:1");
        let _ = hako(&["tag", "busybox", &name]).text();
        hako(&["push", &name]).run().fails(1, "authentication required");
        let login = hako(&["login", "-u", "tester", "--password-stdin", &registry.address()]).stdin("secret").run();
        assert!(login.ok().contains("Login Succeeded") && !login.err().contains("WARNING"), "{login}");
        let kept = fs::read_to_string(folder.join("kept")).unwrap();
        assert!(kept.contains("<token>") && kept.contains(TokenServer::REFRESH), "{kept}");
        let config = fs::read_to_string(folder.join("config.json")).unwrap();
        assert!(config.contains("psFormat") && !config.contains(TokenServer::REFRESH), "{config}");
        assert!(hako(&["push", &name]).text().contains(": Pushed"));
        let _ = hako(&["logout", &registry.address()]).text();
        assert!(!folder.join("kept").exists());
        hako(&["pull", &name]).run().fails(1, "pull access denied");
        // One that is not there is named.
        fs::write(folder.join("config.json"), r#"{"credsStore": "missing"}"#).unwrap();
        hako(&["pull", &name]).run().fails(1, "docker-credential-missing");
    });
}
