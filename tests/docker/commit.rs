//! `docker commit`.

use hako_tests::{Case, Engine, both_walls, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn other_wall(case: &Case) -> &'static str {
    match case.wall {
        hako_tests::Wall::Process => "--isolation=hyperv",
        hako_tests::Wall::Hyperv => "--isolation=process",
    }
}

fn image(case: &Case, name: &str) -> Value {
    let text = case.docker(["image", "inspect", name]).text();
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

both_walls! {
    /// What the container has written and what the client asked for are in the
    /// image, which runs behind both walls.
    fn with_changes(case) {
        if hako_tests::not_on_reference("STOPSIGNAL and SHELL in a change are of a newer dockerd") {
            return;
        }
        let script = "echo new > /new; rm /etc/group; rm -r /home; mkdir /home; touch /home/only; chown 1000 /new; \
                      chmod 640 /new; ln /new /twin; ln -s new /soft";
        let _ = case.walled("run", &["--name", "box", "-e", "KEPT=1", "busybox", "sh", "-c", script]).text();
        let changes = [
            "CMD [\"sh\", \"-c\", \"cat /new; ls /home /etc/group 2>&1; stat -c '%u %a %h' /new; readlink /soft; echo $ADDED $KEPT $PWD\"]",
            "ENV ADDED=\"two words\"", "LABEL colour=blue", "EXPOSE 80", "WORKDIR /usr", "USER someone",
            "STOPSIGNAL SIGUSR1", "VOLUME /data", "ONBUILD RUN true", "HEALTHCHECK --interval=5s CMD true",
        ];
        let mut commit = case.docker(["commit", "-a", "An Author <a@b>", "-m", "a comment"]);
        for change in changes {
            commit = commit.args(["--change", change]);
        }
        let events = case.docker(["events", "--since", "0s", "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.imageRef}}", "--filter", "event=commit"]).start();
        std::thread::sleep(Duration::from_millis(500));
        let id = commit.args(["box", "mine:v1"]).text();
        events.expect("container commit mine:v1");
        let _ = events.kill();
        let made = image(case, "mine:v1");
        assert_eq!(made["Id"].as_str(), Some(id.as_str()));
        assert_eq!((made["Author"].as_str(), made["Comment"].as_str()), (Some("An Author <a@b>"), Some("a comment")));
        let config = &made["Config"];
        assert_eq!(config["Labels"]["colour"], "blue");
        assert!(config["ExposedPorts"].get("80/tcp").is_some() && config["Volumes"].get("/data").is_some(), "{config}");
        assert_eq!((config["WorkingDir"].as_str(), config["User"].as_str()), (Some("/usr"), Some("someone")));
        assert_eq!(config["StopSignal"], "SIGUSR1");
        assert_eq!(config["OnBuild"][0], "RUN true");
        assert_eq!(config["Healthcheck"]["Interval"], 5_000_000_000_u64);
        assert_eq!(made["RootFS"]["Layers"].as_array().unwrap().len(), 2);
        let history = case.docker(["history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "mine:v1"]).text();
        assert!(history.lines().next().unwrap().ends_with("|a comment"), "{history}");
        let expected = "new\nls: /etc/group: No such file or directory\n/home:\nonly\n1000 640 2\nnew\ntwo words 1 /usr";
        for wall in [case.isolation().as_str(), other_wall(case)] {
            if Engine::is_reference() && wall.contains("hyperv") {
                continue;
            }
            let ran = case.docker(["run", "--rm", "--network=none", wall, "mine:v1"]).text();
            assert_eq!(ran, expected, "{wall}");
        }
        // On top of itself, and of nothing changed.
        let _ = case.walled("create", &["--name", "again", "mine:v1", "true"]).text();
        let again = case.docker(["commit", "again", "mine:v2"]).text();
        let made = image(case, &again);
        assert_eq!(made["RootFS"]["Layers"].as_array().unwrap().len(), 2, "nothing has changed");
        let _ = case.docker(["rm", "again", "box"]).text();
        let _ = case.docker(["rmi", "-f", "mine:v1", "mine:v2"]).text();
    }

    /// A running container is frozen meanwhile, and runs on.
    fn of_a_running_one(case) {
        let script = "dd if=/dev/urandom of=/data bs=1M count=24 2>/dev/null; echo up; i=0; while :; do i=$((i+1)); echo $i > /count; done";
        case.daemon("box", &["--cpus", "0.5", "busybox", "sh", "-c", script]);
        wait_until(MINUTE, "the data", || case.docker(["logs", "box"]).text() == "up");
        let events = case.docker(["events", "--format", "{{.Action}}", "--filter", "container=box"]).start();
        std::thread::sleep(Duration::from_millis(500));
        let _ = case.docker(["commit", "box", "frozen"]).deadline(MINUTE * 3).text();
        events.expect("commit");
        let seen = events.kill().out();
        let order: Vec<&str> = seen.lines().filter(|line| ["pause", "unpause", "commit"].contains(line)).collect();
        // Here it is thawed as soon as its layer is read.
        let slow = hako_tests::not_on_reference("dockerd thaws when the image is made");
        assert_eq!(order, if slow { ["pause", "commit", "unpause"] } else { ["pause", "unpause", "commit"] });
        assert_eq!(case.inspect("box", "{{.State.Status}}"), "running");
        let count = || case.exec("box", "cat /count").out();
        let before = count();
        wait_until(MINUTE, "the container to run on", || count() != before);
        let sum = case.exec("box", "sha256sum /data").ok();
        assert_eq!(case.run(&["frozen", "sha256sum", "/data"]).text(), sum);
        // Not frozen, where that is asked for.
        let events = case.docker(["events", "--format", "{{.Action}}", "--filter", "container=box"]).start();
        std::thread::sleep(Duration::from_millis(500));
        let _ = case.docker(["commit", "--pause=false", "box", "loose"]).deadline(MINUTE * 3).text();
        events.expect("commit");
        assert!(!events.kill().out().contains("pause"));
        let _ = case.docker(["rm", "-f", "box"]).text();
        let _ = case.docker(["rmi", "frozen", "loose"]).text();
    }

    /// What is refused leaves nothing, and an engine that is killed leaves
    /// neither a layer nor a frozen container.
    fn leaves_nothing(case) {
        case.daemon("box", &["busybox", "sh", "-c", "dd if=/dev/urandom of=/data bs=1M count=48 2>/dev/null; echo up; sleep 1000"]);
        wait_until(MINUTE, "the data", || case.docker(["logs", "box"]).text() == "up");
        if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
            return;
        }
        let kept = || {
            let folder = |name: &str| std::fs::read_dir(case.engine.data_root().join(name)).unwrap().count();
            (folder("layers"), folder("blobs/sha256"), folder("tmp"))
        };
        let before = kept();
        case.docker(["commit", "--change", "RUN rm", "box", "x"]).run().fails(1, "run is not a valid change command");
        case.docker(["commit", "box", "UPPER"]).run().fails(1, "must be lowercase");
        case.docker(["commit", "nobody", "x"]).run().fails(1, "No such container: nobody");
        assert_eq!(kept(), before);
        let client = case.docker(["commit", "box", "x"]).start();
        wait_until(MINUTE, "the commit to begin", || kept().2 > before.2 || case.inspect("box", "{{.State.Status}}") == "paused");
        case.engine.end_by(Signal::SIGKILL);
        let _ = client.kill();
        case.engine.launch();
        assert_eq!(kept(), before);
        assert_eq!(case.inspect("box", "{{.State.Status}}"), "running");
        assert_eq!(case.exec("box", "echo alive").ok(), "alive");
        assert_eq!(case.docker(["images", "-q", "x"]).text(), "");
        let _ = case.docker(["commit", "box", "x"]).deadline(MINUTE * 3).text();
        let _ = case.docker(["rm", "-f", "box"]).text();
        let _ = case.docker(["rmi", "x"]).text();
        assert_eq!(kept(), before);
    }
}
