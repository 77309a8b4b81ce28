//! The requests, and their answers by name.

use super::canon::{canon, kinds};
use hako_tests::{Case, wait_until};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the host's figures are those of cgroup2, which has others.
pub fn unified() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

struct Script<'a> {
    case: &'a Case,
    answers: Map<String, Value>,
}

/// Runs all of them on an engine without containers.
pub fn run(case: &Case) -> Map<String, Value> {
    let mut script = Script { case, answers: Map::new() };
    script.life();
    script.execs();
    script.paused();
    script.settings();
    script.health();
    script.ends();
    script.volumes();
    script.engine();
    script.unknown();
    script.refused();
    script.answers
}

impl Script<'_> {
    /// One request, whose answer is kept as `name`; answers the body as it came.
    fn ask(&mut self, name: &str, method: &str, target: &str, body: Option<Value>) -> Value {
        let (status, body) = self.quietly(method, target, body);
        let kept = json!({"status": status, "body": canon(&body)});
        assert!(self.answers.insert(name.to_owned(), kept).is_none(), "two answers {name}");
        body
    }

    /// One request that is only a step.
    fn quietly(&self, method: &str, target: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.case.engine.http(method, &format!("/v1.41{target}"), body.as_ref());
        let lines: Vec<Value> = serde_json::Deserializer::from_slice(&answer.body)
            .into_iter::<Value>()
            .collect::<Result<_, _>>()
            .unwrap_or_else(|_| vec![json!(answer.text())]);
        let body = match lines.len() {
            0 => json!("<nothing>"),
            1 => lines.into_iter().next().unwrap(),
            _ => Value::Array(lines),
        };
        (answer.status, body)
    }

    /// A container's body, with the wall and no network.
    fn body(&self, mut body: Value, host: Value) -> Value {
        let isolation = self.case.isolation();
        let mut whole = json!({"NetworkMode": "none", "Isolation": isolation.split_once('=').unwrap().1});
        whole.as_object_mut().unwrap().extend(host.as_object().unwrap().clone());
        body["Image"] = json!("busybox");
        body["HostConfig"] = whole;
        body
    }

    fn wait_for(&self, name: &str, status: &str) {
        self.case.wait_for(name, status);
    }

    fn life(&mut self) {
        let body = self.body(json!({"Cmd": ["sleep", "1000"]}), json!({}));
        self.ask("create", "POST", "/containers/create?name=plain", Some(body.clone()));
        self.ask("create, name in use", "POST", "/containers/create?name=plain", Some(body));
        self.ask("inspect, created", "GET", "/containers/plain/json", None);
        self.ask("top, created", "GET", "/containers/plain/top", None);
        self.ask("stats, created", "GET", "/containers/plain/stats?stream=0&one-shot=1", None);
        self.ask("changes, created", "GET", "/containers/plain/changes", None);
        self.ask("kill, created", "POST", "/containers/plain/kill", None);
        self.ask("pause, created", "POST", "/containers/plain/pause", None);
        self.ask("unpause, created", "POST", "/containers/plain/unpause", None);
        self.ask("stop, created", "POST", "/containers/plain/stop", None);
        self.ask("resize, created", "POST", "/containers/plain/resize?h=10&w=10", None);
        self.ask("start", "POST", "/containers/plain/start", None);
        self.ask("start, again", "POST", "/containers/plain/start", None);
        self.ask("inspect, running", "GET", "/containers/plain/json?size=1", None);
        self.ask("list", "GET", "/containers/json?size=1", None);
        self.ask("top", "GET", "/containers/plain/top?ps_args=-eo%20pid,comm", None);
        self.ask("top, an option that nobody knows", "GET", "/containers/plain/top?ps_args=--no-such", None);
        if !unified() {
            self.ask("stats", "GET", "/containers/plain/stats?stream=0&one-shot=1", None);
        }
        self.ask("logs", "GET", "/containers/plain/logs?stdout=1", None);
        self.ask("logs, no stream", "GET", "/containers/plain/logs", None);
        self.ask("rename", "POST", "/containers/plain/rename?name=renamed", None);
        self.ask("rename, to itself", "POST", "/containers/renamed/rename?name=renamed", None);
        self.ask("rename, to nothing", "POST", "/containers/renamed/rename", None);
        self.ask("rename, bad", "POST", "/containers/renamed/rename?name=a%20b", None);
        self.quietly("POST", "/containers/renamed/rename?name=plain", None);
        self.ask("update", "POST", "/containers/plain/update", Some(json!({"CpuShares": 512})));
        self.ask("update, too little", "POST", "/containers/plain/update", Some(json!({"Memory": 4096})));
        self.ask("remove, running", "DELETE", "/containers/plain", None);
        self.ask("archive, nothing there", "GET", "/containers/plain/archive?path=/no-such", None);
        self.ask("archive, no path", "GET", "/containers/plain/archive", None);
    }

    fn execs(&mut self) {
        let create = "/containers/plain/exec";
        let body = json!({"Cmd": ["sh", "-c", "echo x > /etc/new; exit 3"], "AttachStdout": true, "Env": ["A=b"],
            "User": "root", "WorkingDir": "/tmp", "DetachKeys": "ctrl-q", "Privileged": false});
        let id = self.ask("exec create", "POST", create, Some(body))["Id"].as_str().unwrap().to_owned();
        self.ask("exec inspect, created", "GET", &format!("/exec/{id}/json"), None);
        let detached = json!({"Detach": true});
        self.ask("exec start", "POST", &format!("/exec/{id}/start"), Some(detached.clone()));
        wait_until(PATIENCE, "the exec to end", || {
            self.quietly("GET", &format!("/exec/{id}/json"), None).1["Running"] == json!(false)
        });
        self.ask("exec inspect, ended", "GET", &format!("/exec/{id}/json"), None);
        self.ask("exec start, ended", "POST", &format!("/exec/{id}/start"), Some(detached.clone()));
        self.ask("changes", "GET", "/containers/plain/changes", None);
        let id = self.exec(json!({"Cmd": ["sleep", "1000"], "Tty": true}));
        self.quietly("POST", &format!("/exec/{id}/start"), Some(detached.clone()));
        self.ask("exec inspect, running", "GET", &format!("/exec/{id}/json"), None);
        self.ask("exec start, running", "POST", &format!("/exec/{id}/start"), Some(detached.clone()));
        self.ask("exec resize", "POST", &format!("/exec/{id}/resize?h=20&w=30"), None);
        self.ask("exec resize, bad", "POST", &format!("/exec/{id}/resize?h=x&w=30"), None);
        self.ask("inspect, with an exec", "GET", "/containers/plain/json", None);
        for (name, command) in [("missing", "no-such"), ("not executable", "/etc/passwd")] {
            let id = self.exec(json!({"Cmd": [command]}));
            self.ask(&format!("exec start, {name}"), "POST", &format!("/exec/{id}/start"), Some(detached.clone()));
            self.ask(&format!("exec inspect, {name}"), "GET", &format!("/exec/{id}/json"), None);
        }
        self.ask("exec create, no command", "POST", create, Some(json!({"AttachStdout": true})));
        self.ask("exec create, bad keys", "POST", create, Some(json!({"Cmd": ["true"], "DetachKeys": "ctrl-"})));
        self.ask("exec create, no body", "POST", create, None);
        self.ask("exec create, nobody", "POST", "/containers/nobody/exec", Some(json!({"Cmd": ["true"]})));
        self.ask("exec inspect, none", "GET", "/exec/none/json", None);
        self.ask("exec start, none", "POST", "/exec/none/start", Some(detached));
        self.ask("exec resize, none", "POST", "/exec/none/resize?h=1&w=1", None);
    }

    fn exec(&self, body: Value) -> String {
        self.quietly("POST", "/containers/plain/exec", Some(body)).1["Id"].as_str().unwrap().to_owned()
    }

    fn paused(&mut self) {
        let before = self.exec(json!({"Cmd": ["true"]}));
        self.ask("pause", "POST", "/containers/plain/pause", None);
        self.ask("pause, paused", "POST", "/containers/plain/pause", None);
        self.ask("inspect, paused", "GET", "/containers/plain/json", None);
        self.ask("exec create, paused", "POST", "/containers/plain/exec", Some(json!({"Cmd": ["true"]})));
        self.ask("exec start, paused", "POST", &format!("/exec/{before}/start"), Some(json!({"Detach": true})));
        self.ask("start, paused", "POST", "/containers/plain/start", None);
        self.ask("remove, paused", "DELETE", "/containers/plain", None);
        self.ask("unpause", "POST", "/containers/plain/unpause", None);
        self.ask("unpause, running", "POST", "/containers/plain/unpause", None);
    }

    /// Everything that can be said behind both walls.
    fn settings(&mut self) {
        let config = json!({
            "Hostname": "host", "Domainname": "domain", "User": "5:6", "Env": ["A=b"], "Cmd": "true",
            "Entrypoint": ["sh", "-c"], "Labels": {"l": "m"}, "WorkingDir": "/work", "StopSignal": "SIGUSR1",
            "StopTimeout": 3, "ExposedPorts": {"80/tcp": {}}, "Tty": true, "OpenStdin": true, "StdinOnce": true,
            "AttachStdin": true, "Shell": ["sh"],
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 60_000_000_000_i64, "Retries": 2},
        });
        let host = json!({
            "AutoRemove": false, "Memory": 67_108_864, "NanoCpus": 500_000_000, "CpuShares": 7, "PidsLimit": 9,
            "CapAdd": ["net_admin"], "CapDrop": ["CAP_CHOWN"], "Dns": ["10.0.0.1"], "DnsOptions": ["ndots:1"],
            "DnsSearch": ["example.org"], "ExtraHosts": ["a:10.0.0.2"], "GroupAdd": ["7"], "ReadonlyRootfs": true,
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "ShmSize": 1_048_576,
            "Sysctls": {"kernel.shmmax": "4096"}, "Tmpfs": {"/scratch": "size=1m"}, "OomScoreAdj": 5, "Init": true,
            "Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 6}], "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}, "IpcMode": "none", "CpusetCpus": "0",
            "Mounts": [{"Type": "tmpfs", "Target": "/more", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 448}}],
        });
        let body = self.body(config, host);
        self.ask("create, with everything", "POST", "/containers/create?name=full", Some(body));
        self.ask("inspect, with everything", "GET", "/containers/full/json", None);
        self.ask(
            "list, with everything",
            "GET",
            "/containers/json?all=1&filters=%7B%22name%22:%5B%22full%22%5D%7D",
            None,
        );
        self.quietly("DELETE", "/containers/full", None);
    }

    fn health(&mut self) {
        let check = json!({"Test": ["CMD-SHELL", "echo fine"], "Interval": 3_600_000_000_000_i64});
        let body = self.body(json!({"Cmd": ["sleep", "1000"], "Healthcheck": check}), json!({}));
        self.quietly("POST", "/containers/create?name=well", Some(body));
        self.quietly("POST", "/containers/well/start", None);
        self.ask("inspect, health to come", "GET", "/containers/well/json", None);
        self.quietly("DELETE", "/containers/well?force=1", None);
    }

    fn ends(&mut self) {
        let id = self.case.inspect("plain", "{{.Id}}");
        self.ask("kill, bad signal", "POST", "/containers/plain/kill?signal=NONE", None);
        self.ask("kill", "POST", "/containers/plain/kill", None);
        self.ask("wait", "POST", "/containers/plain/wait", None);
        self.wait_for("plain", "exited");
        self.ask("inspect, exited", "GET", "/containers/plain/json", None);
        self.ask("list, exited", "GET", "/containers/json?all=1&filters=%7B%22status%22:%5B%22exited%22%5D%7D", None);
        self.ask("exec create, exited", "POST", "/containers/plain/exec", Some(json!({"Cmd": ["true"]})));
        self.ask("kill, exited", "POST", "/containers/plain/kill", None);
        self.ask("stop, exited", "POST", "/containers/plain/stop", None);
        self.ask("top, exited", "GET", "/containers/plain/top", None);
        self.ask("pause, exited", "POST", "/containers/plain/pause", None);
        self.ask("stats, exited", "GET", "/containers/plain/stats?stream=0&one-shot=1", None);
        self.disk("df");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 1;
        let filter = format!("%7B%22container%22:%5B%22{id}%22%5D%7D");
        self.ask("events", "GET", &format!("/events?since=1&until={now}&filters={filter}"), None);
        self.ask("remove", "DELETE", "/containers/plain", None);
        let body = self.body(json!({"Cmd": ["true"]}), json!({}));
        self.quietly("POST", "/containers/create?name=pruned", Some(body));
        self.ask("prune", "POST", "/containers/prune", None);
        self.ask("prune, nothing", "POST", "/containers/prune", None);
        self.ask("list, none", "GET", "/containers/json?all=1", None);
    }

    /// No container has any of them, so that it is the same behind both walls.
    fn volumes(&mut self) {
        let create = "/volumes/create";
        let made = json!({"Name": "shape", "Labels": {"shape": "a"}});
        self.ask("volume create", "POST", create, Some(made.clone()));
        self.ask("volume create, again", "POST", create, Some(made));
        self.ask("volume create, nothing said", "POST", create, Some(json!({"Name": "shape-plain"})));
        let options = json!({"type": "tmpfs", "device": "tmpfs"});
        let body = json!({"Name": "shape-device", "Driver": "local", "DriverOpts": options, "Labels": {}});
        self.ask("volume create, device", "POST", create, Some(body));
        let mut bad = |name: &str, body: Value| {
            self.ask(&format!("volume create, bad {name}"), "POST", create, Some(body));
        };
        bad("name", json!({"Name": "a/b"}));
        bad("length", json!({"Name": "a"}));
        bad("driver", json!({"Name": "shape-bad", "Driver": "none-such"}));
        bad("driver of another", json!({"Name": "shape", "Driver": "none-such"}));
        bad("option", json!({"Name": "shape-bad", "DriverOpts": {"color": "red"}}));
        bad("device", json!({"Name": "shape-bad", "DriverOpts": {"type": "tmpfs"}}));
        bad("size", json!({"Name": "shape-bad", "DriverOpts": {"size": "1g"}}));
        self.ask("volume create, no body", "POST", create, None);
        self.ask("volume inspect", "GET", "/volumes/shape", None);
        self.ask("volume inspect, device", "GET", "/volumes/shape-device", None);
        self.ask("volume inspect, nobody", "GET", "/volumes/nobody", None);
        let filters = |text: &str| format!("/volumes?filters={}", text.replace('"', "%22"));
        self.ask("volume list", "GET", &filters(r#"{"label":["shape=a"]}"#), None);
        self.ask("volume list, none", "GET", &filters(r#"{"label":["shape=b"]}"#), None);
        self.ask("volume list, bad filter", "GET", &filters(r#"{"odd":["x"]}"#), None);
        self.ask("volume list, bad value", "GET", &filters(r#"{"dangling":["x"]}"#), None);
        let prune = |text: &str| format!("/volumes/prune?filters={}", text.replace('"', "%22"));
        self.ask("volume prune", "POST", &prune(r#"{"label":["shape=a"]}"#), None);
        self.ask("volume prune, none", "POST", &prune(r#"{"label":["shape=a"]}"#), None);
        self.ask("volume prune, bad filter", "POST", &prune(r#"{"odd":["x"]}"#), None);
        self.ask("volume remove", "DELETE", "/volumes/shape-plain", None);
        self.ask("volume remove, again", "DELETE", "/volumes/shape-plain", None);
        self.ask("volume remove, by force", "DELETE", "/volumes/shape-plain?force=1", None);
        self.quietly("DELETE", "/volumes/shape-device", None);
    }

    /// Every endpoint about a container that is not there.
    fn unknown(&mut self) {
        for (method, what) in [
            ("GET", "json"),
            ("GET", "top"),
            ("GET", "logs?stdout=1"),
            ("GET", "changes"),
            ("GET", "export"),
            ("GET", "stats?stream=0"),
            ("GET", "archive?path=/"),
            ("HEAD", "archive?path=/"),
            ("POST", "start"),
            ("POST", "stop"),
            ("POST", "restart"),
            ("POST", "kill"),
            ("POST", "pause"),
            ("POST", "unpause"),
            ("POST", "rename?name=x"),
            ("POST", "wait"),
            ("POST", "attach?stream=1"),
            ("POST", "resize?h=1&w=1"),
        ] {
            self.ask(&format!("nobody: {method} {what}"), method, &format!("/containers/nobody/{what}"), None);
        }
        self.ask("nobody: update", "POST", "/containers/nobody/update", Some(json!({"CpuShares": 5})));
        self.ask("nobody: remove", "DELETE", "/containers/nobody", None);
        self.ask("nobody: commit", "POST", "/commit?container=nobody", Some(json!({})));
    }

    /// What is wrong with a request.
    fn refused(&mut self) {
        let create = "/containers/create";
        let mut bad = |name: &str, config: Value, host: Value| {
            let body = self.body(config, host);
            self.ask(&format!("bad: {name}"), "POST", create, Some(body));
        };
        bad("memory", json!({}), json!({"Memory": 4096}));
        bad("restart", json!({}), json!({"RestartPolicy": {"Name": "sometimes"}}));
        bad("restart and remove", json!({}), json!({"RestartPolicy": {"Name": "always"}, "AutoRemove": true}));
        bad("log driver", json!({}), json!({"LogConfig": {"Type": "none-such"}}));
        bad("capability", json!({}), json!({"CapAdd": ["NONE_SUCH"]}));
        bad("security option", json!({}), json!({"SecurityOpt": ["none-such"]}));
        bad("working directory", json!({"WorkingDir": "here"}), json!({}));
        bad("stop signal", json!({"StopSignal": "NONE"}), json!({}));
        bad("extra host", json!({}), json!({"ExtraHosts": ["nonsense"]}));
        bad("mount type", json!({}), json!({"Mounts": [{"Type": "odd", "Target": "/x"}]}));
        bad(
            "mount in a mount",
            json!({}),
            json!({"Mounts": [{"Type": "tmpfs", "Target": "/x"}, {"Type": "tmpfs", "Target": "/x/"}]}),
        );
        bad("mount target", json!({}), json!({"Mounts": [{"Type": "tmpfs", "Target": "x"}]}));
        bad("health", json!({"Healthcheck": {"Test": ["CMD", "true"], "Interval": 5}}), json!({}));
        bad("oom score", json!({}), json!({"OomScoreAdj": 5000}));
        bad("shm", json!({}), json!({"ShmSize": -1}));
        self.ask("bad: no body", "POST", create, None);
        self.ask("bad: no image", "POST", create, Some(json!({"Image": "no-such-image"})));
        self.ask("bad: name", "POST", &format!("{create}?name=a%20b"), Some(json!({"Image": "busybox"})));
        self.ask("bad: filter", "GET", "/containers/json?filters=%7B%22odd%22:%5B%22x%22%5D%7D", None);
        self.ask("bad: filters", "GET", "/containers/json?filters=nonsense", None);
        self.ask("bad: state", "GET", "/containers/json?filters=%7B%22status%22:%5B%22odd%22%5D%7D", None);
        self.ask("bad: limit", "GET", "/containers/json?limit=x", None);
    }

    fn engine(&mut self) {
        for name in ["version", "info"] {
            let (status, mut body) = self.quietly("GET", &format!("/{name}"), None);
            // Whether there is something to warn of is the host's affair.
            body.as_object_mut().unwrap().remove("Warnings");
            self.answers.insert(name.to_owned(), json!({"status": status, "body": kinds(&body)}));
        }
        self.disk("df, empty");
    }

    /// Without the images of other tests, which the reference may have.
    fn disk(&mut self, name: &str) {
        let (status, mut body) = self.quietly("GET", "/system/df", None);
        body["Images"].as_array_mut().unwrap().retain(|image| {
            image["RepoTags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == "busybox:latest"))
        });
        for image in body["Images"].as_array_mut().unwrap() {
            for names in ["RepoTags", "RepoDigests"] {
                image[names] = json!("<names>");
            }
        }
        self.answers.insert(name.to_owned(), json!({"status": status, "body": canon(&body)}));
    }
}
