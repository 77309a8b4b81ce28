//! `docker login` and `logout`, against registries that ask for a password.

use hako_tests::{Case, Compression, FakeRegistry, Registry, Reply, TokenServer, Wall, both_walls, busybox, with_wall};

fn once(body: fn(&Case)) {
    with_wall(Wall::Process, body);
}

fn login(case: &Case, registry: &str, password: &str) -> hako_tests::Output {
    case.docker(["login", "-u", "tester", "--password-stdin", registry]).stdin(password).run()
}

/// Debian's docker-registry with a password: login, pull with it, logout.
#[test]
fn a_registry_with_a_password() {
    once(|case| {
        let registry = Registry::with_password();
        let refused = login(case, &registry.address(), "wrong");
        let why = "login attempt to http://";
        assert!(refused.code != 0 && refused.err().contains(why) && refused.err().contains("401"), "{refused}");
        let name = registry.reference("tests/busybox:1");
        let unknown = case.docker(["pull", &name]).run();
        assert!(unknown.code != 0 && unknown.err().contains("no basic auth credentials"), "{unknown}");
        assert!(login(case, &registry.address(), "secret").ok().contains("Login Succeeded"));
        registry.push_as("tester", "secret", &busybox(), "tests/busybox", "1", Compression::Gzip);
        let _ = case.docker(["pull", &name]).text();
        let _ = case.docker(["logout", &registry.address()]).text();
        let again = case.docker(["pull", &name]).run();
        assert_ne!(again.code, 0, "{again}");
    });
}

/// A token server: it gets the password, the registry only its token.
#[test]
fn a_token_server() {
    if hako_tests::not_on_reference("dockerd 20.10 does not get a token from the test's server; why was not found out")
    {
        return;
    }
    once(|case| {
        let registry =
            FakeRegistry::guarded(move |path, authorization| match path.split('?').next().unwrap_or_default() {
                // `tester:secret` in base64.
                "/token" if authorization == "Basic dGVzdGVyOnNlY3JldA==" => {
                    assert!(path.contains("service=tests") && path.contains("offline_token=true"), "{path}");
                    Reply::ok("application/json", "{\"token\": \"let-me-in\", \"refresh_token\": \"keep-me\"}")
                }
                "/token" => Reply { status: 401, ..Reply::missing() },
                _ if authorization == "Bearer let-me-in" => Reply::ok("application/json", "{}"),
                _ => Reply::closed("Bearer realm=\"http://127.0.0.1:PORT/token\",service=\"tests\""),
            });
        let address = registry.reference("");
        let address = address.trim_end_matches('/');
        let refused = login(case, address, "wrong");
        assert!(
            refused.code != 0 && refused.err().contains("unauthorized: incorrect username or password"),
            "{refused}"
        );
        assert!(login(case, address, "secret").ok().contains("Login Succeeded"));
        let body = serde_json::json!({"username": "tester", "password": "secret", "serveraddress": address});
        let answer = case.engine.http("POST", "/v1.41/auth", Some(&body));
        assert_eq!((answer.status, answer.json()["IdentityToken"].as_str()), (200, Some("keep-me")));
        let wrong = serde_json::json!({"username": "tester", "password": "x", "serveraddress": address});
        assert_eq!(case.engine.http("POST", "/v1.41/auth", Some(&wrong)).status, 401);
    });
}

#[test]
fn no_registry_and_no_credentials() {
    if hako_tests::not_on_reference("dockerd 20.10 answers 500 to a body of another kind") {
        return;
    }
    once(|case| {
        let gone = login(case, "127.0.0.1:1", "secret");
        assert!(gone.code != 0 && gone.err().contains("connection refused"), "{gone}");
        let bad = case.engine.http("POST", "/v1.41/auth", Some(&serde_json::json!([1])));
        assert_eq!(bad.status, 400, "{}", bad.text());
    });
}

both_walls! {
    /// docker-registry with a token server: each token is asked for by service
    /// and scope, and lets in to nothing else.
    fn tokens_for_what_is_done(case) {
        let tokens = TokenServer::start();
        let registry = Registry::with_tokens(&tokens);
        let (public, closed) = (registry.reference("public/box:1"), registry.reference("closed/box:1"));
        let _ = case.docker(["tag", "busybox", &public]).text();
        let _ = case.docker(["tag", "busybox", &closed]).text();
        let nobody = case.docker(["push", &public]).run();
        nobody.fails(1, "authentication required");
        assert!(login(case, &registry.address(), "wrong").code != 0);
        assert!(login(case, &registry.address(), "secret").ok().contains("Login Succeeded"));
        // What docker has kept now is the token instead of the password.
        let kept = std::fs::read_to_string(case.engine.path("home/config.json")).unwrap();
        assert!(kept.contains(TokenServer::REFRESH), "{kept}");
        let _ = case.docker(["push", &public]).text();
        let said = case.docker(["push", &closed]).text();
        assert!(said.contains("Mounted from public/box"), "{said}");
        let asked = tokens.asked();
        assert!(asked.contains(&"tester repository:public/box:pull,push".to_owned()), "{asked:?}");
        assert!(asked.contains(&"tester repository:closed/box:pull,push repository:public/box:pull".to_owned()), "{asked:?}");
        // One for many requests.
        assert!(asked.iter().filter(|line| **line == "tester repository:public/box:pull,push").count() == 1, "{asked:?}");
        let _ = case.docker(["logout", &registry.address()]).text();
        for name in [&public, &closed] {
            let _ = case.docker(["rmi", name]).text();
        }
        let refused = case.docker(["pull", &closed]).run();
        refused.fails(1, "pull access denied for");
        assert_eq!(case.run(&[&public, "echo", "public"]).text(), "public");
        assert!(tokens.asked().contains(&"nobody repository:public/box:pull".to_owned()));
    }
}
