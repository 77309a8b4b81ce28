//! `hako compat`: whether an image runs on a host, and what to do if not.

use hako_tests::{Compression, Engine, Registry, Wall, busybox, with_wall};
use serde_json::{Value, json};

/// Rows, columns and files need no engine.
#[test]
fn of_other_hosts() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let hako = |args: &[&str]| case.engine.hako(["--host", "tcp://127.0.0.1:1", "compat"]).args(args);
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, value: Value| {
            let path = folder.path().join(name);
            std::fs::write(&path, value.to_string()).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let host = file(
            "host.json",
            json!({"os": "windows", "architecture": "amd64", "version": "10.0.20348.1006",
            "product": "server", "hyperv": {"lacks": ["the Hyper-V role"]}}),
        );
        let index = file(
            "index.json",
            json!({"manifests": [
            {"digest": "sha256:aa", "platform": {"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.999"}},
            {"digest": "sha256:bb", "platform": {"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.1000"}},
            {"digest": "sha256:cc", "platform": {"os": "linux", "architecture": "amd64"}}]}),
        );

        // Same build: yes. Another: the code that users search for, and the remedy.
        let said = hako(&["ltsc2022", "--host", "windows-server-2022"]).text();
        assert!(said.contains("Answer:   runs behind the process wall"), "{said}");
        let no = hako(&["ltsc2019", "--host", "windows-server-2022"]).run();
        assert_eq!(no.code, 1);
        assert!(no.out().contains("\nprocess   no\n") && no.out().contains("\nhyperv    yes\n"), "{}", no.out());
        assert!(
            no.out().contains("0xc0370101") && no.out().contains("remedy    use --isolation=hyperv"),
            "{}",
            no.out()
        );
        let hyperv = hako(&["ltsc2019", "--host", "windows-server-2022", "--isolation=vm"]).run();
        assert_eq!(hyperv.code, 0);
        let newer = ["ltsc2025", "--host", "windows-server-2019", "--isolation=hyperv"];
        assert_eq!(hako(&newer).run().code, 1);
        assert_eq!(hako(&newer).args(["--allow-newer"]).run().code, 0);

        // Of an index the newest by number; behind the wall that works.
        let answer: Value = serde_json::from_str(&hako(&[&index, "--host", &host, "-f", "json"]).text()).unwrap();
        assert_eq!(answer["answer"]["manifest"]["digest"], "sha256:bb");
        assert_eq!(answer["walls"]["hyperv"]["runs"], false);
        assert_eq!(answer["walls"]["hyperv"]["reason"]["kind"], "wall-lacks");
        let steps = &answer["walls"]["hyperv"]["remedies"][0]["steps"];
        assert_eq!(steps[0], json!({"do": "provide", "isolation": "hyperv", "what": ["the Hyper-V role"]}));
        let explained = hako(&["ltsc2016", "--host", "windows-server-2019", "--isolation=hyperv", "--explain"]).text();
        assert!(
            explained.contains("windows.hyperv.build") && explained.contains("[docs deploy-containers/"),
            "{explained}"
        );

        hako(&["ltsc2019", "--host", "windows-12"]).run().fails(1, "no such host: windows-12");
        hako(&["busybox", "--host", "windows-server-2019"]).run().fails(1, "no engine can be asked");
        let broken = file("broken.json", json!({"os": "windows", "architecture": "amd64"}));
        hako(&["ltsc2019", "--host", &broken]).run().fails(1, "has no version");
        hako(&[&broken, "--host", "windows-server-2019", "-f", "svg"]).run().fails(1, "svg is for --matrix");
    });
}

#[test]
fn the_matrix() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let hako = |args: &[&str]| case.engine.hako(["compat"]).args(args).text();
        let text = hako(&["--matrix"]);
        let line = text.lines().find(|line| line.starts_with("Windows Server 2019")).unwrap();
        assert!(line.contains("17763  "), "{line}");
        assert!(hako(&["--matrix", "--format=markdown"]).contains("| Windows Server 2022 | 20348 | process | H |"));
        assert!(hako(&["--matrix", "--format=svg"]).starts_with("<svg "));
        let json: Value = serde_json::from_str(&hako(&["--matrix", "--format=json"])).unwrap();
        let host = json["hosts"].as_array().unwrap().iter().find(|row| row["id"] == "windows-server-2025").unwrap();
        assert!(host["cells"].as_array().unwrap().iter().take(11).all(|cell| cell["hyperv"] == true), "{host}");
        let names = hako(&["--list"]);
        assert!(names.contains("windows-11-24h2") && names.contains("ltsc2025"), "{names}");
    });
}

/// Images of the engine and of a registry, on the engine's host.
#[test]
fn of_this_host() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let hako = |args: &[&str]| case.engine.hako(["compat"]).args(args);
        let said = hako(&["busybox"]).text();
        assert!(said.contains("Answer:   runs behind the process wall"), "{said}");
        assert!(said.contains("kernel    default"), "{said}");
        let new = busybox().tagged("wants:kernel").with("Labels", json!({"hako.kernel.minimum": "99.1"}));
        case.engine.load(&new);
        let refused = hako(&["wants:kernel", "--isolation=process"]).run();
        assert_eq!(refused.code, 1);
        assert!(refused.out().contains("asks for kernel 99.1 or newer"), "{}", refused.out());
        // Before it is pulled.
        let registry = Registry::start();
        let _ = registry.push(&busybox(), "there", "v1", Compression::Gzip);
        let said = hako(&[&registry.reference("there:v1")]).text();
        assert!(said.contains("runs behind the process wall"), "{said}");
        assert!(!case.engine.hako(["images"]).text().contains("there"), "it was not pulled");
        let nothing = hako(&[&registry.reference("nothing:v1")]).run();
        assert!(nothing.code == 1 && nothing.out().is_empty(), "{nothing}");
    });
}

/// The walls work here, or the tests would not run.
#[test]
fn doctor() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let healthy = case.engine.hako(["doctor"]).text();
        assert!(healthy.contains("The process wall has what it needs"), "{healthy}");
        assert!(healthy.contains("The hyperv wall has what it needs"), "{healthy}");
        assert!(healthy.contains("virtual machines run by"), "{healthy}");
        let document: Value = serde_json::from_str(&case.engine.hako(["doctor", "-f", "json"]).text()).unwrap();
        assert_eq!((&document["process"], &document["hyperv"]), (&json!(true), &json!(true)));
        // Without QEMU in PATH it says what to install.
        let without = case.engine.hako(["doctor"]).env("PATH", "/nonexistent").run();
        assert_eq!(without.code, 3);
        assert!(without.out().contains("missing  qemu") && without.out().contains("apt-get install"), "{without}");
    });
}
