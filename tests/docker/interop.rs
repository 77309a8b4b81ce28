//! Images that go between Hako and the tools beside Docker: podman, buildah and
//! skopeo.

use hako_tests::{Case, Client, Engine, Tool, Wall, both_walls, busybox, tool, with_wall};
use std::path::Path;

/// A script with podman and buildah, on a storage in `home`, and skopeo. They
/// write into folders of the host unasked: they see empty ones.
fn apart(case: &Case, script: &str) -> Client {
    let home = case.engine.path("home/p");
    std::fs::create_dir_all(&home).unwrap();
    let storage = format!("--root {h}/root --runroot {h}/runroot --storage-driver vfs", h = home.display());
    let podman = format!(
        "{} {storage} --tmpdir {}/tmp --cgroup-manager cgroupfs --events-backend none",
        tool(Tool::Podman).display(),
        home.display()
    );
    let buildah = format!("{} {storage}", tool(Tool::Buildah).display());
    let script = format!(
        "set -e; for dir in /dev/shm /run /var/lib; do mount -t tmpfs tmpfs $dir; done
         umount /sys/fs/cgroup/unified 2>/dev/null || true
         podman() {{ {podman} \"$@\"; }}
         buildah() {{ {buildah} \"$@\"; }}
         pod_run() {{ podman run --pull=never --cgroups=disabled --network=none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 \"$@\"; }}
         cd {}
         {script}",
        case.engine.path("home").display()
    );
    Client::new(Path::new("unshare")).args(["--mount", "--propagation=private", "sh", "-c", &script]).env("HOME", home)
}

fn id(case: &Case, name: &str) -> String {
    case.docker(["image", "inspect", "-f", "{{.Id}}", name]).text()
}

both_walls! {
    /// What podman has made runs here, whichever of its archives it comes in.
    fn from_podman(case) {
        if Engine::is_reference() {
            return;
        }
        std::fs::write(case.engine.path("home/busybox.tar"), busybox().docker_archive()).unwrap();
        let script = "podman load -qi busybox.tar >/dev/null
            pod_run --name made localhost/busybox sh -c 'echo by podman > /made; rm /etc/group; ln -s made /soft; chown 7:8 /made'
            podman commit -q --change 'CMD [\"sh\",\"-c\",\"cat /soft; stat -c %u:%g /made; ls /etc/group 2>&1; true\"]' made localhost/made:v1
            podman save -qo docker.tar localhost/made:v1
            podman save -q --format oci-archive -o oci.tar localhost/made:v1
            podman image inspect --format {{.Id}} localhost/made:v1";
        let said = apart(case, script).text();
        let made = format!("sha256:{}", said.lines().last().unwrap());
        for archive in ["docker.tar", "oci.tar"] {
            let file = case.engine.path("home").join(archive);
            let said = case.docker(["load", "-i", file.to_str().unwrap()]).text();
            assert!(said.contains("localhost/made:v1"), "{said}");
            assert_eq!(id(case, "localhost/made:v1"), made, "{archive}");
            let said = case.run(&["localhost/made:v1"]).text();
            assert_eq!(said, "by podman\n7:8\nls: /etc/group: No such file or directory", "{archive}");
            let _ = case.docker(["rmi", "localhost/made:v1"]).text();
        }
    }
}

both_walls! {
    /// What buildah has built, by a Dockerfile and by hand, runs here.
    fn from_buildah(case) {
        if Engine::is_reference() {
            return;
        }
        std::fs::write(case.engine.path("home/busybox.tar"), busybox().docker_archive()).unwrap();
        let context = case.engine.path("home/context");
        std::fs::create_dir(&context).unwrap();
        let file = "FROM localhost/busybox\nCOPY --chown=7:8 Dockerfile /copied\nRUN echo built > /built && rm /etc/group\n";
        std::fs::write(context.join("Dockerfile"), file).unwrap();
        let command = r#"["sh", "-c", "id -u; cat /built; stat -c %a:%u:%g /soft /hand /copied; ls /etc/group 2>&1; echo $WHO"]"#;
        for (format, transport) in [("docker", "docker-archive"), ("oci", "oci-archive")] {
            let script = format!(
                "podman load -qi busybox.tar >/dev/null
                 buildah bud -q --isolation chroot --pull-never --format {format} -t localhost/bud:v1 context >/dev/null
                 made=$(buildah from --pull-never localhost/bud:v1)
                 buildah run --isolation chroot $made -- sh -c 'echo by hand > /hand; ln -s hand /soft; chmod 4750 /hand' >&2
                 buildah config --user 1000:8 --env WHO=buildah --cmd '{command}' $made
                 buildah commit -q --format {format} $made localhost/made:v1 >/dev/null
                 buildah push -q localhost/made:v1 {transport}:made.tar:localhost/made:v1
                 buildah images -q --no-trunc localhost/made:v1"
            );
            let made = apart(case, &script).text();
            let file = case.engine.path("home/made.tar");
            let said = case.docker(["load", "-i", file.to_str().unwrap()]).text();
            assert!(said.contains("localhost/made:v1"), "{said}");
            assert_eq!(id(case, "localhost/made:v1"), made, "{format}");
            let said = case.run(&["localhost/made:v1"]).text();
            let expected = "1000\nbuilt\n777:0:0\n4750:0:0\n644:7:8\nls: /etc/group: No such file or directory\nbuildah";
            assert_eq!(said, expected, "{format}");
            let _ = case.docker(["rmi", "localhost/made:v1"]).text();
            std::fs::remove_file(file).unwrap();
        }
    }
}

/// What Hako has made and saved, podman and skopeo read, and podman runs.
#[test]
fn to_podman_and_skopeo() {
    if Engine::is_reference() {
        return;
    }
    with_wall(Wall::Process, |case| {
        let script = "echo by hako > /made; rm /etc/group; chown 7:8 /made";
        let _ = case.walled("run", &["--name", "box", "busybox", "sh", "-c", script]).text();
        let change = "CMD [\"sh\", \"-c\", \"cat /made; stat -c %u:%g /made; ls /etc/group 2>&1; true\"]";
        let made = case.docker(["commit", "--change", change, "box", "made:v1"]).text();
        let _ = case.docker(["rm", "box"]).text();
        let file = case.engine.path("home/saved.tar");
        let saved = file.to_str().unwrap();
        let _ = case.docker(["save", "-o", saved, "made:v1", "busybox"]).text();
        // By its id: which registry podman puts before a name depends on the half that it reads.
        let said = apart(case, &format!("podman load -qi saved.tar >&2; pod_run --rm {}", &made[7..])).text();
        assert_eq!(said, "by hako\n7:8\nls: /etc/group: No such file or directory");
        let skopeo = tool(Tool::Skopeo).display().to_string();
        // skopeo reads either half, and what it writes of it is the same image. (From
        // one kind to the other it writes the config anew.)
        for (source, target) in [
            ("docker-archive:{}:made:v1", "docker-archive"),
            ("oci-archive:{}:docker.io/library/made:v1", "oci-archive"),
            ("oci-archive:{}:v1", "oci-archive"),
        ] {
            let source = source.replace("{}", saved);
            let config = apart(case, &format!("{skopeo} inspect --config --raw '{source}'")).run();
            if source.ends_with(":docker.io/library/made:v1") && config.code != 0 {
                // It knows containerd's annotation only since 1.15.
                continue;
            }
            assert_eq!(format!("sha256:{}", hako_tests::sha256(config.ok().as_bytes())), made, "{source}");
            let copy = case.engine.path("home/copy.tar");
            let _ = std::fs::remove_file(&copy);
            let named = if target == "oci-archive" { "copied:v1" } else { "docker.io/library/copied:v1" };
            let destination = format!("{target}:{}:{named}", copy.display());
            let _ = apart(case, &format!("{skopeo} copy --quiet '{source}' '{destination}'")).text();
            let _ = case.docker(["rmi", "-f", "made:v1", "copied:v1"]).run();
            let _ = case.docker(["load", "-i", copy.to_str().unwrap()]).text();
            assert_eq!(id(case, "copied:v1"), made, "{source}");
            let _ = case.docker(["rmi", "-f", "copied:v1"]).text();
        }
    });
}

both_walls! {
    /// What was built behind either wall runs in podman.
    fn built_images_run_in_podman(case) {
        if Engine::is_reference() {
            return;
        }
        let context = case.engine.path("home/context");
        std::fs::create_dir(&context).unwrap();
        let file = "FROM busybox\nCOPY --chown=7:8 Dockerfile /copied\nRUN echo built > /built && rm /etc/group\n\
                    CMD [\"sh\", \"-c\", \"cat /built; stat -c %u:%g /copied; ls /etc/group 2>&1; true\"]\n";
        std::fs::write(context.join("Dockerfile"), file).unwrap();
        let built = case
            .docker(["build", "-q", &case.isolation(), "-t", "built:v1", context.to_str().unwrap()])
            .env("DOCKER_BUILDKIT", "0")
            .deadline(std::time::Duration::from_secs(180))
            .text();
        let saved = case.engine.path("home/saved.tar");
        let _ = case.docker(["save", "-o", saved.to_str().unwrap(), "built:v1"]).text();
        let built = built.lines().last().unwrap().trim_start_matches("sha256:").to_owned();
        let said = apart(case, &format!("podman load -qi saved.tar >&2; pod_run --rm {built}")).text();
        assert_eq!(said, "built\n7:8\nls: /etc/group: No such file or directory");
        let _ = case.docker(["rmi", "built:v1"]).text();
    }
}
