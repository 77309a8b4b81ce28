//! What is not there answers as an engine without it does, so that clients go on.

use hako_tests::{Case, Engine, Wall, with_wall};

fn once(body: fn(&Case)) {
    if !Engine::is_reference() {
        with_wall(Wall::Process, body);
    }
}

#[test]
fn swarm() {
    once(|case| {
        let says = "This node is not a swarm manager.";
        for verb in [
            &["node", "ls"][..],
            &["service", "ls"],
            &["secret", "ls"],
            &["config", "ls"],
            &["stack", "ls"],
            &["swarm", "ca"],
        ] {
            case.docker(verb).run().fails(1, says);
        }
        case.docker(["service", "create", "busybox"]).run().fails(1, says);
        case.docker(["swarm", "leave"]).run().fails(1, "This node is not part of a swarm");
        case.docker(["swarm", "init"]).run().fails(1, "not supported");
        assert_eq!(case.docker(["info", "--format", "{{.Swarm.LocalNodeState}}"]).text(), "inactive");
        for target in ["/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/services/x/logs"] {
            let answer = case.engine.http("GET", &format!("/v1.41{target}"), None);
            assert_eq!(answer.status, 503, "{target}");
            assert_eq!(
                answer.message(),
                "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
            );
        }
    });
}

#[test]
fn plugins() {
    once(|case| {
        assert_eq!(case.docker(["plugin", "ls", "--quiet"]).text(), "");
        assert_eq!(case.engine.http("GET", "/v1.41/plugins", None).text().trim(), "[]");
        case.docker(["plugin", "enable", "some/thing"]).run().fails(1, "plugin \"some/thing\" not found");
        let answer = case.engine.http("GET", "/v1.41/plugins/some/thing/json", None);
        assert_eq!((answer.status, answer.message().as_str()), (404, "plugin \"some/thing\" not found"));
        assert_eq!(case.engine.http("DELETE", "/v1.41/plugins/x", None).status, 404);
        case.docker(["plugin", "install", "some/thing"]).run().fails(1, "not supported");
    });
}

#[test]
fn the_rest() {
    once(|case| {
        case.docker(["search", "busybox"]).run().fails(1, "no index");
        let answer = case.engine.http("GET", "/v1.41/containers/x/checkpoints", None);
        assert_eq!(answer.status, 501);
        assert_eq!(case.engine.http("DELETE", "/v1.41/containers/x/checkpoints/y", None).status, 501);
    });
}
