//! Volumes: made, shared, filled, filtered and removed.

use hako_tests::{Case, Image, Layer, Wall, both_walls, busybox, not_on_reference, with_wall};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

/// A name that no other test has, also on a shared engine.
pub fn named(case: &Case, name: &str) -> String {
    format!("{}-{name}", case.engine.name())
}

/// The same as a name of an image.
fn tag(case: &Case, name: &str) -> String {
    format!("{}:latest", named(case, name).to_lowercase())
}

/// The names of volumes that fit `filters`.
fn listed(case: &Case, filters: &[&str]) -> Vec<String> {
    let mut command = case.docker(["volume", "ls", "-q"]);
    for filter in filters {
        command = command.args(["--filter", filter]);
    }
    command.text().lines().map(str::to_owned).collect()
}

pub fn exists(case: &Case, name: &str) -> bool {
    case.docker(["volume", "inspect", name]).run().code == 0
}

/// Where a volume's files are on the host.
pub fn folder(case: &Case, name: &str) -> PathBuf {
    case.docker(["volume", "inspect", "--format", "{{.Mountpoint}}", name]).text().into()
}

/// An image with files, owners and links of its own in `/data`.
fn image(case: &Case, name: &str) -> String {
    let tag = tag(case, name);
    let layer = Layer::new()
        .dir("data/", 0o750)
        .file("data/file", 0o640, "from the image")
        .dir("data/sub/", 0o1777)
        .file("data/sub/deep", 0o600, "deep")
        .link("data/soft", "/etc/shadow")
        .link("data/out", "../../../../../../etc")
        .link("led", "/../../../../../../data")
        .link("host", "/../../../../../../../../tmp")
        .finish();
    case.engine.load(&Image::new(&tag, vec![busybox().layers()[0].clone(), layer]));
    tag
}

fn once(body: fn(&Case)) {
    with_wall(Wall::Process, body);
}

#[test]
fn made_and_shown() {
    once(|case| {
        let name = named(case, "data");
        let made = case.docker(["volume", "create", "--label", "team=a", &name]).text();
        assert_eq!(made, name);
        let shown: Value = serde_json::from_str(&case.docker(["volume", "inspect", &name]).text()).unwrap();
        let shown = &shown[0];
        let fields = ["Name", "Driver", "Scope"].map(|key| shown[key].as_str().unwrap());
        assert_eq!(fields, [name.as_str(), "local", "local"]);
        assert_eq!(shown["Labels"], json!({"team": "a"}));
        assert!(shown["CreatedAt"].as_str().unwrap().contains('T'));
        assert!(shown["Mountpoint"].as_str().unwrap().ends_with(&format!("/volumes/{name}/_data")));
        // Made again it stays as it is.
        assert_eq!(case.docker(["volume", "create", "--label", "team=b", &name]).text(), name);
        let team = ["volume", "inspect", "--format", "{{.Labels.team}}", &name];
        assert_eq!(case.docker(team).text(), "a");
        let anonymous = case.docker(["volume", "create"]).text();
        assert!(anonymous.len() == 64 && anonymous.bytes().all(|b| b.is_ascii_hexdigit()), "{anonymous}");
        assert_eq!(case.docker(["volume", "rm", &name, &anonymous]).text(), format!("{name}\n{anonymous}"));
        assert!(!exists(case, &name));
        let old = hako_tests::client_before(23, "it has words of its own for what is not there");
        let words = if old { format!("No such volume: {name}") } else { format!("get {name}: no such volume") };
        case.docker(["volume", "rm", &name]).run().fails(1, &words);
        let _ = case.docker(["volume", "rm", "--force", &name]).run().ok();
    });
}

#[test]
fn what_is_wrong_is_said_in_dockers_words() {
    once(|case| {
        let create = |body: Value| {
            let answer = case.engine.http("POST", "/v1.41/volumes/create", Some(&body));
            (answer.status, answer.message())
        };
        let name = named(case, "bad");
        let with = |options: Value| create(json!({"Name": name, "DriverOpts": options}));
        let said = |why: &str| format!("create {name}: {why}");
        assert_eq!(with(json!({"color": "red"})), (400, said("invalid option: \"color\"")));
        assert_eq!(with(json!({"type": "tmpfs"})), (400, said("missing required option: \"device\"")));
        assert_eq!(with(json!({"size": "1g"})), (400, said("quota size requested but no quota support")));
        let driver = create(json!({"Name": name, "Driver": "none-such"}));
        assert_eq!(driver, (404, said("error looking up volume plugin none-such: plugin \"none-such\" not found")));
        let short = create(json!({"Name": "x"}));
        let words = "volume name is too short, names should be at least two alphanumeric characters";
        assert_eq!(short, (400, format!("create x: {words}")));
        let (status, odd) = create(json!({"Name": "../x"}));
        assert_eq!(status, 400);
        let words = "create ../x: \"../x\" includes invalid characters for a local volume name, only";
        assert!(odd.starts_with(words) && odd.ends_with("use absolute path"), "{odd}");
        let answer = case.engine.http("GET", "/v1.41/volumes/nobody", None);
        assert_eq!((answer.status, answer.message().as_str()), (404, "get nobody: no such volume"));
        let answer = case.engine.http("GET", "/v1.41/volumes?filters=%7B%22odd%22:%5B%22x%22%5D%7D", None);
        assert_eq!(answer.status, 400, "{}", answer.text());
        let answer = case.engine.http("GET", "/v1.41/volumes?filters=%7B%22dangling%22:%5B%22x%22%5D%7D", None);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(!exists(case, &name));
    });
}

both_walls! {
    /// What one container writes all others see, then and later.
    fn shared(case) {
        let name = named(case, "data");
        let mount = format!("{name}:/data");
        case.idle_with("one", &["-v", &mount]);
        case.idle_with("two", &["-v", &mount]);
        let _ = case.exec("one", "mkdir /data/d && echo hello > /data/d/f && chown 1000:2000 /data/d/f").ok();
        assert_eq!(case.exec("two", "cat /data/d/f; stat -c %u:%g /data/d/f; echo more >> /data/d/f").ok(), "hello\n1000:2000");
        assert_eq!(case.exec("one", "cat /data/d/f").ok(), "hello\nmore");
        if !hako_tests::Engine::is_reference() {
            assert_eq!(fs::read_to_string(folder(case, &name).join("d/f")).unwrap(), "hello\nmore\n");
        }
        case.sh(&["-v", &format!("{name}:/data:ro")], "echo x > /data/x").run().fails(1, "Read-only file system");
        // It is in use, and says by whom.
        let ids = [case.inspect("one", "{{.Id}}"), case.inspect("two", "{{.Id}}")];
        let refused = case.docker(["volume", "rm", &name]).run();
        refused.fails(1, &format!("remove {name}: volume is in use - ["));
        assert!(ids.iter().all(|id| refused.err().contains(id.as_str())), "{refused}");
        case.docker(["volume", "rm", "-f", &name]).run().fails(1, "volume is in use");
        let _ = case.docker(["rm", "-f", "-v", "one", "two"]).text();
        assert!(exists(case, &name), "one with a name outlives its containers");
        assert_eq!(case.sh(&["-v", &mount], "cat /data/d/f").text(), "hello\nmore");
        let _ = case.docker(["volume", "rm", &name]).text();
        assert_eq!(case.sh(&["-v", &mount], "ls /data").text(), "");
        let _ = case.docker(["volume", "rm", &name]).text();
    }

    /// An empty volume gets what the image has there, with all its owners and
    /// modes, once; links of the image lead nowhere but into the image.
    fn first_use_copies(case) {
        let tag = image(case, "copied");
        let (name, look) = (named(case, "data"), "cd /data; stat -c '%a %u:%g %n' . * sub/*; cat file; readlink soft");
        let shell = |flags: &[&str], script: &str| case.run(flags).args([tag.as_str(), "sh", "-c", script]).text();
        let all = shell(&["-v", &format!("{name}:/data")], look);
        let rows = ["750 0:0 .", "640 0:0 file", "777 0:0 out", "777 0:0 soft", "1777 0:0 sub", "600 0:0 sub/deep"];
        assert_eq!(all, format!("{}\nfrom the image/etc/shadow", rows.join("\n")));
        // It is the volume's own from then on, also where all of it is removed but one.
        let again = format!("{name}:/data");
        let _ = shell(&["-v", &again], "cd /data; rm -r file sub out; echo own > kept");
        assert_eq!(shell(&["-v", &again], "ls /data"), "kept\nsoft");
        // A container that was only created has it already.
        let (created, other) = (named(case, "created"), named(case, "other"));
        let _ = case.walled("create", &["--name", "box", "-v", &format!("{created}:/data")]).arg(&tag).text();
        assert_eq!(case.sh(&["-v", &format!("{created}:/x")], "cat /x/sub/deep").text(), "deep");
        let _ = case.docker(["rm", "box"]).text();
        assert_eq!(shell(&["-v", &format!("{other}:/data:nocopy")], "ls -A /data"), "");
        let flag = format!("type=volume,source={other},target=/data,volume-nocopy");
        assert_eq!(shell(&["--mount", &flag], "ls -A /data"), "");
        // Where the image has a link, its own root is the end of all ways.
        let led = named(case, "led");
        assert_eq!(shell(&["-v", &format!("{led}:/led/sub")], "cat /led/sub/deep"), "deep");
        let host = named(case, "host");
        let secret = tempfile::NamedTempFile::new_in("/tmp").unwrap();
        let shown = shell(&["-v", &format!("{host}:/host")], "ls -A /host");
        assert!(!shown.contains(secret.path().file_name().unwrap().to_str().unwrap()), "{shown}");
        // A file is no place for it.
        let file = named(case, "file");
        let refused = case.run(&["-v", &format!("{file}:/etc/passwd"), "busybox"]).run();
        assert_ne!(refused.code, 0, "{refused}");
        let _ = case.docker(["volume", "rm", &name, &created, &other, &led, &host]).text();
        let _ = case.docker(["volume", "rm", "-f", &file]).run();
    }

    /// The image's volumes and `-v /path`: made with the container, removed with
    /// it only if somebody says so.
    fn anonymous(case) {
        let tag = tag(case, "declared");
        let layer = Layer::new().dir("data/", 0o755).file("data/f", 0o644, "first").finish();
        let volumes = json!({"/data": {}, "/log": {}});
        case.engine.load(&Image::new(&tag, vec![busybox().layers()[0].clone(), layer]).with("Volumes", volumes));
        let volumes_of = |container: &str| -> Vec<String> {
            let text = case.inspect(container, "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}\n{{end}}");
            let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
            rows.sort_by_key(|row| row.split(' ').nth(2).unwrap_or_default().to_owned());
            assert!(rows.iter().all(|row| row.starts_with("volume ") && row.ends_with(" true")), "{rows:?}");
            rows.iter().map(|row| row.split(' ').nth(1).unwrap().to_owned()).collect()
        };
        let create = |name: &str, flags: &[&str]| {
            let _ = case.walled("create", &["--name", name]).args(flags).args([&tag, "cat", "/data/f"]).text();
            volumes_of(name)
        };
        let made = create("kept", &["-v", "/more"]);
        assert_eq!(made.len(), 3);
        assert!(made.iter().all(|name| name.len() == 64 && exists(case, name)), "{made:?}");
        assert_eq!(case.docker(["start", "-a", "kept"]).text(), "first");
        assert_eq!(case.inspect("kept", "{{json .Config.Volumes}}"), r#"{"/data":{},"/log":{},"/more":{}}"#);
        let _ = case.docker(["rm", "kept"]).text();
        assert!(made.iter().all(|name| exists(case, name)));
        let _ = case.docker(["volume", "rm"]).args(&made).text();
        // With -v, with --rm, and not what another has, nor what has a name.
        let gone = create("gone", &[]);
        let _ = case.docker(["rm", "-v", "gone"]).text();
        assert!(gone.len() == 2 && !gone.iter().any(|name| exists(case, name)));
        let own = named(case, "own");
        let before = listed(case, &[]).len();
        let flags = ["-v", &format!("{own}:/data"), "--tmpfs", "/log"];
        assert_eq!(case.run(&flags).args([&tag, "sh", "-c", "cat /data/f; mount | grep -c ' /log '"]).text(), "first1");
        if !hako_tests::Engine::is_reference() {
            assert_eq!(listed(case, &[]).len(), before + 1);
        }
        assert!(exists(case, &own));
        let first = create("first", &[]);
        let _ = case.walled("create", &["--name", "second", "--volumes-from", "first", "busybox"]).text();
        assert_eq!(volumes_of("second"), first);
        let _ = case.docker(["rm", "-v", "first"]).text();
        assert!(first.iter().all(|name| exists(case, name)), "the second has them");
        let _ = case.docker(["rm", "-v", "second"]).text();
        assert!(!first.iter().any(|name| exists(case, name)));
        let _ = case.docker(["volume", "rm", &own]).text();
    }

    fn volumes_from(case) {
        let (name, host) = (named(case, "data"), tempfile::tempdir().unwrap());
        fs::write(host.path().join("f"), "host").unwrap();
        let bind = format!("{}:/host:ro", host.path().display());
        let _ = case.walled("create", &["--name", "source", "-v", &format!("{name}:/data"), "-v", &bind, "busybox"]).text();
        let script = "cat /host/f; echo x > /data/x && cat /data/x; echo y > /host/y || echo refused";
        let output = case.sh(&["--volumes-from", "source"], script).text();
        assert_eq!(output, "hostx\nrefused");
        let output = case.sh(&["--volumes-from", "source:ro"], "cat /data/x; echo y > /data/y || echo refused").text();
        assert_eq!(output, "x\nrefused");
        // What is asked for besides is in its place.
        let other = named(case, "other");
        let flags = ["--volumes-from", "source", "-v", &format!("{other}:/data")];
        assert_eq!(case.sh(&flags, "ls /data").text(), "");
        case.run(&["--volumes-from", "nobody", "busybox"]).run().fails(125, "No such container: nobody");
        case.run(&["--volumes-from", "source:odd", "busybox"]).run().fails(125, "invalid mode: odd");
        let _ = case.docker(["rm", "source"]).text();
        let _ = case.docker(["volume", "rm", &name, &other]).text();
    }

    /// What inspect, ps and events say of them.
    fn told(case) {
        let name = named(case, "data");
        let volume = format!("{name}:/data");
        let _ = case.walled("create", &["--name", "box", "-v", &volume, "-v", "/anon", "busybox", "true"]).text();
        let text = case.inspect("box", "{{json .Mounts}}");
        let mounts: Vec<Value> = serde_json::from_str(&text).unwrap();
        let data = mounts.iter().find(|mount| mount["Destination"] == "/data").unwrap();
        let source = data["Source"].as_str().unwrap();
        assert!(source.ends_with(&format!("/volumes/{name}/_data")), "{source}");
        let expected = json!({"Type": "volume", "Name": name, "Source": source, "Destination": "/data",
            "Driver": "local", "Mode": "z", "RW": true, "Propagation": ""});
        assert_eq!(*data, expected);
        assert_eq!(case.inspect("box", "{{json .HostConfig.Binds}}"), format!("[{volume:?}]"));
        for filter in [&name, "/data"] {
            let names = case.docker(["ps", "-a", "--format", "{{.Names}}", "--filter", &format!("volume={filter}")]).text();
            assert_eq!(names, "box");
        }
        let shown = case.docker(["ps", "-a", "--no-trunc", "--format", "{{.Mounts}}", "--filter", "name=box"]).text();
        assert!(shown.contains(&name), "{shown}");
        let id = case.inspect("box", "{{.Id}}");
        let _ = case.docker(["start", "-a", "box"]).text();
        let _ = case.docker(["rm", "-v", "box"]).text();
        let _ = case.docker(["volume", "rm", &name]).text();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let format = "{{.Action}} {{.Actor.Attributes.driver}} {{.Actor.Attributes.container}} {{.Actor.Attributes.destination}}";
        let filter = format!("volume={name}");
        let events = ["events", "--since", "10m", "--until", "0s", "--filter", "type=volume", "--filter", &filter, "--format", format];
        let events = case.docker(events).text().replace("<no value>", "");
        let lines: Vec<&str> = events.lines().map(str::trim).collect();
        let expected = ["create local".to_owned(), format!("mount local {id} /data"), format!("unmount local {id}"), "destroy local".to_owned()];
        assert_eq!(lines, expected);
    }

    /// `docker cp` goes through mounts whether the container runs or not; an
    /// export has nothing of them.
    fn files_through_volumes(case) {
        let (name, host) = (named(case, "data"), tempfile::tempdir().unwrap());
        fs::create_dir(host.path().join("mounted")).unwrap();
        fs::write(host.path().join("in"), "copied").unwrap();
        let at = |name: &str| host.path().join(name).display().to_string();
        let bind = format!("{}:/host", at("mounted"));
        // One that never ran has no changes, also not where its mounts will be.
        let _ = case.walled("create", &["--name", "fresh", "-v", "/anon", "-v", &bind, "busybox"]).text();
        assert_eq!(case.docker(["diff", "fresh"]).text(), "");
        let _ = case.docker(["rm", "-v", "fresh"]).text();
        case.idle_with("box", &["-v", &format!("{name}:/data"), "-v", &bind]);
        let there_and_back = |state: &str| {
            assert_eq!(case.inspect("box", "{{.State.Status}}"), state);
            let _ = case.docker(["cp", &at("in"), &format!("box:/data/{state}")]).run().ok();
            let _ = case.docker(["cp", &at("in"), &format!("box:/host/{state}")]).run().ok();
            let _ = case.docker(["cp", &format!("box:/data/{state}"), &at("out")]).run().ok();
            assert_eq!(fs::read_to_string(at("out")).unwrap(), "copied");
            if !hako_tests::Engine::is_reference() {
                assert_eq!(fs::read_to_string(folder(case, &name).join(state)).unwrap(), "copied");
            }
            assert_eq!(fs::read_to_string(host.path().join("mounted").join(state)).unwrap(), "copied");
        };
        there_and_back("running");
        let _ = case.docker(["stop", "box"]).text();
        there_and_back("exited");
        let export = case.docker(["export", "box"]).run().stdout;
        let mut archive = tar::Archive::new(export.as_slice());
        let names: Vec<String> = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert!(names.iter().any(|name| name == "data/") && !names.iter().any(|name| name.starts_with("data/r")), "{names:?}");
        let changes = case.docker(["diff", "box"]).text();
        assert!(!changes.contains("/data/") && !changes.contains("/host/"), "{changes}");
        let _ = case.docker(["rm", "box"]).text();
        let _ = case.docker(["volume", "rm", &name]).text();
    }
}

#[test]
fn filters() {
    once(|case| {
        let (used, free) = (named(case, "used"), named(case, "free"));
        let _ = case.docker(["volume", "create", "--label", "kind=a", &free]).text();
        let _ = case.walled("create", &["--name", "box", "-v", &format!("{used}:/x"), "busybox"]).text();
        let own = format!("name={}", case.engine.name());
        let fits = |filter: &str| listed(case, &[&own, filter]);
        assert_eq!(fits("dangling=true"), [free.as_str()]);
        assert_eq!(fits("dangling=0"), [used.as_str()]);
        assert_eq!(fits("label=kind"), [free.as_str()]);
        assert_eq!(fits("label=kind=b"), [] as [&str; 0]);
        assert_eq!(fits("driver=local").len(), 2);
        assert_eq!(fits("driver=other"), [] as [&str; 0]);
        assert_eq!(listed(case, &[&format!("name=^{free}$")]), [free.as_str()]);
        let _ = case.docker(["rm", "box"]).text();
        let _ = case.docker(["volume", "rm", &used, &free]).text();
    });
}

#[test]
fn prune() {
    if not_on_reference("all tests share the reference, and its API is older")
        || hako_tests::client_before(23, "it prunes all volumes, and knows no --all")
    {
        return;
    }
    once(|case| {
        let make = |args: &[&str]| case.docker(["volume", "create"]).args(args).text();
        let (named, labelled) = (make(&["named"]), make(&["--label", "keep=1", "labelled"]));
        let device = make(&["-o", "type=tmpfs", "-o", "device=tmpfs", "device"]);
        let _ = case.walled("create", &["--name", "box", "-v", "used:/x", "-v", "/anon", "busybox"]).text();
        let anonymous = make(&[]);
        fs::write(folder(case, &anonymous).join("f"), vec![0; 5000]).unwrap();
        let pruned = case.docker(["volume", "prune", "-f"]).text();
        assert!(pruned.contains(&anonymous) && pruned.contains("Total reclaimed space: 5kB"), "{pruned}");
        assert_eq!(listed(case, &[]).len(), 5);
        let _ = case.docker(["rm", "box"]).text();
        let pruned = case.docker(["volume", "prune", "-f"]).text();
        assert_eq!(pruned.lines().filter(|line| line.len() == 64).count(), 1, "{pruned}");
        let _ = case.docker(["volume", "prune", "-a", "-f", "--filter", "label!=keep=1"]).text();
        assert_eq!(listed(case, &[]), [device.as_str(), labelled.as_str()]);
        assert!(!exists(case, &named));
        // Clients of before 1.42 mean all of them; never those with a device.
        let old = case.engine.http("POST", "/v1.41/volumes/prune", None);
        assert_eq!((old.status, old.json()), (200, json!({"VolumesDeleted": ["labelled"], "SpaceReclaimed": 0})));
        let none = case.engine.http("POST", "/v1.42/volumes/prune?filters=%7B%22all%22:%5B%221%22%5D%7D", None);
        assert_eq!(none.json(), json!({"VolumesDeleted": [], "SpaceReclaimed": 0}));
        let odd = case.engine.http("POST", "/v1.42/volumes/prune?filters=%7B%22until%22:%5B%221%22%5D%7D", None);
        assert_eq!((odd.status, odd.message().as_str()), (400, "invalid filter 'until'"));
        assert_eq!(listed(case, &[]), [device.as_str()]);
        let _ = case.docker(["volume", "rm", &device]).text();
    });
}

#[test]
fn disk_usage() {
    if not_on_reference("all tests share the reference") {
        return;
    }
    once(|case| {
        let _ = case.docker(["volume", "create", "free"]).text();
        fs::write(folder(case, "free").join("f"), vec![0; 3000]).unwrap();
        let _ = case.walled("create", &["--name", "box", "-v", "used:/x", "busybox"]).text();
        fs::write(folder(case, "used").join("f"), vec![0; 1000]).unwrap();
        let df = case
            .docker(["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}"])
            .text();
        let row = df.lines().find(|line| line.starts_with("Local Volumes")).unwrap();
        assert_eq!(row, "Local Volumes 2 1 4kB 3kB (75%)");
        let verbose = case.docker(["system", "df", "-v"]).text();
        let row = verbose.lines().find(|line| line.starts_with("free ")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["free", "0", "3kB"]);
        assert_eq!(fs::metadata(folder(case, "free")).unwrap().mode() & 0o7777, 0o755);
    });
}
