//! `docker build`: what a `RUN` can do, behind both walls: the command's forms,
//! its environment, limits, failures and mounts.

use hako_tests::{Case, Client, Engine, Output, both_walls, wait_until};
use std::{fs, path::PathBuf, time::Duration};

/// A context with these files.
pub fn context(case: &Case, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = case.engine.path(&format!("home/context-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// `docker build <isolation> <flags> <context>`.
pub fn build(case: &Case, flags: &[&str], folder: &std::path::Path) -> Client {
    case.docker(["build", &case.isolation(), "--network=none"])
        .args(flags)
        .arg(folder)
        .deadline(Duration::from_secs(180))
}

/// Builds a Dockerfile in an empty context.
pub fn build_text(case: &Case, flags: &[&str], dockerfile: &str) -> Output {
    build(case, flags, &context(case, "text", &[("Dockerfile", dockerfile)])).run()
}

both_walls! {
    /// Shell, exec and here-document; `SHELL`, `USER`, `WORKDIR`, `ENV` and `ARG`;
    /// what was written is in the image, whatever wall it was written behind.
    fn commands(case) {
        if Engine::is_reference() {
            return;
        }
        let dockerfile = "\
            FROM busybox\n\
            ARG COLOUR=red\n\
            ENV PLACE=/srv\n\
            WORKDIR $PLACE/deep\n\
            RUN echo \"shell $COLOUR $PLACE $PWD\" > /out && mkdir -m 700 /kept && chown 12:34 /kept\n\
            RUN [\"sh\", \"-c\", \"echo exec $0 >> /out\", \"word\"]\n\
            SHELL [\"/bin/sh\", \"-ec\"]\n\
            RUN <<END\n\
            echo here one >> /out\n\
            echo here two >> /out\n\
            END\n\
            RUN <<SCRIPT\n\
            #!/bin/sh -e\n\
            echo \"script $(basename $0)\" >> /out; chmod 666 /out\n\
            SCRIPT\n\
            USER 1000:1001\n\
            RUN id -u >> /out; id -g >> /out; ln -s nowhere /tmp/link; rm -f /etc/nothing\n";
        let done = build_text(case, &["-t", "made", "--build-arg", "COLOUR=blue"], dockerfile);
        let said = done.ok();
        for text in ["Step 5/11 : RUN echo", " ---> Running in ", " ---> Removed intermediate container ",
            "Successfully built ", "Successfully tagged made:latest"] {
            assert!(said.contains(text), "{text:?} in {said}");
        }
        let script = "cat /out; stat -c '%a %u:%g' /kept; readlink /tmp/link; ls /etc/hosts /dev | wc -l; pwd; id -u";
        let seen = case.run(&["made", "sh", "-c", script]).text();
        let seen: Vec<&str> = seen.lines().collect();
        assert_eq!(seen[..6], ["shell blue /srv /srv/deep", "exec word", "here one", "here two", "script SCRIPT", "1000"], "{seen:?}");
        assert_eq!(seen[6..9], ["1001", "700 12:34", "nowhere"], "{seen:?}");
        assert_eq!(seen[seen.len() - 2..], ["/srv/deep", "1000"], "{seen:?}");
        let history = case.docker(["history", "--no-trunc", "--format", "{{.CreatedBy}}", "made"]).text();
        assert!(history.contains("|1 COLOUR=blue /bin/sh -c echo \"shell"), "{history}");
        assert!(history.contains("/bin/sh -c #(nop)  ENV PLACE=/srv"), "{history}");
        assert!(history.contains("/bin/sh -c #(nop) WORKDIR /srv/deep"), "{history}");
        // No container of the build is left.
        assert_eq!(case.docker(["ps", "-aq"]).text(), "");
    }

    /// The exit code and the output come through, and what was asked for with
    /// the container happens to it.
    fn failures(case) {
        let dockerfile = "FROM busybox\nRUN echo said before; exit 7\nRUN touch /never\n";
        let failed = build_text(case, &["--force-rm", "-t", "never"], dockerfile);
        failed.fails(7, "The command '/bin/sh -c echo said before; exit 7' returned a non-zero code: 7");
        assert!(failed.out().contains("said before\n"), "{}", failed.out());
        assert_eq!(case.docker(["ps", "-aq"]).text(), "");
        build_text(case, &["--force-rm"], "FROM busybox\nRUN [\"/missing\"]\n").fails(1, "no such file or directory");
        let kept = build_text(case, &[], "FROM busybox\nRUN exit 9\n");
        kept.fails(9, "returned a non-zero code: 9");
        let state = case.docker(["ps", "-a", "--format", "{{.State}}|{{.Command}}", "--no-trunc"]).text();
        assert_eq!(state, "exited|\"/bin/sh -c 'exit 9'\"");
        let _ = case.docker(["rm", "-f"]).args(case.docker(["ps", "-aq"]).text().lines()).text();
        assert!(!case.docker(["images", "-a", "-q", "never"]).text().contains('\n'));
    }

    /// The container of a failed step is there to be looked at. What it had
    /// mounted may be another's by then, so that it does not run again.
    fn a_failed_step_is_kept(case) {
        if Engine::is_reference() {
            return;
        }
        let mounted = "FROM busybox\nRUN --mount=type=cache,target=/c echo mine > /c/f; echo seen > /f; exit 9\n";
        build_text(case, &[], mounted).fails(9, "returned a non-zero code: 9");
        let kept = case.docker(["ps", "-aq"]).text();
        case.docker(["start", &kept]).run().fails(1, "was a step of a build, and what it had mounted by RUN --mount went");
        assert_eq!(case.inspect(&kept, "{{.State.Status}} {{.State.ExitCode}}"), "exited 9");
        let copied = case.docker(["cp", &format!("{kept}:/f"), "-"]).run();
        assert!(copied.code == 0 && copied.out().contains("seen"), "{copied}");
        let _ = case.docker(["rm", &kept]).text();
        build_text(case, &[], "FROM busybox\nRUN echo again >> /f; exit 9\n").fails(9, "returned a non-zero code: 9");
        let kept = case.docker(["ps", "-aq"]).text();
        let _ = case.docker(["start", &kept]).text();
        assert_eq!(case.docker(["wait", &kept]).text(), "9");
        let _ = case.docker(["rm", &kept]).text();
    }

    /// The limits of `docker build` are those of its containers.
    fn limits(case) {
        let dockerfile = "FROM busybox\n\
            RUN cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null > /memory; \
                ulimit -n > /files; df -k /dev/shm | tail -n 1 | awk '{print $2}' > /shm; cat /etc/hosts > /hosts\n";
        let flags = ["-q", "-t", "limited", "--memory", "96m", "--ulimit", "nofile=128:128", "--shm-size", "8m", "--add-host", "other:10.1.2.3"];
        let _ = build_text(case, &flags, dockerfile).ok();
        let seen = case.run(&["limited", "sh", "-c", "cat /memory /files /shm; grep -c 10.1.2.3 /hosts"]).text();
        assert_eq!(seen, "100663296\n128\n8192\n1");
        let hungry = "FROM busybox\nRUN x=a; while :; do x=$x$x; done\n";
        let failed = build_text(case, &["--memory", "48m", "--force-rm"], hungry);
        assert_ne!(failed.code, 0, "{}", failed.out());
        assert!(failed.err().contains("returned a non-zero code: "), "{}", failed.err());
    }

    /// `RUN --mount`: memory, a secret, a cache that lasts, files of the context
    /// and of a stage; nothing of them is in the image.
    fn mounts(case) {
        if Engine::is_reference() {
            return;
        }
        let dockerfile = "FROM busybox AS tools\n\
            RUN mkdir -p /opt/kit && echo kit > /opt/kit/file && ln -s kit /opt/link\n\
            FROM busybox\n\
            RUN --mount=type=tmpfs,target=/memory,size=4m --mount=type=cache,target=/var/cache/own,uid=5,mode=0750 \
                echo x > /memory/x && df -k /memory | tail -n 1 | awk '{print $1, $2}' > /out && echo step >> /var/cache/own/log && \
                wc -l < /var/cache/own/log >> /out && stat -c '%a %u' /var/cache/own >> /out && ls -A /var/cache/own >> /out\n\
            RUN --mount=type=bind,source=dir,target=/context --mount=type=bind,from=tools,source=/opt/link,target=/kit,rw \
                cat /context/in /kit/file >> /out && echo thrown >> /kit/file && cat /kit/file >> /out && ! touch /context/y 2>/dev/null\n";
        let folder = context(case, "mounts", &[("Dockerfile", dockerfile), ("dir/in", "of the context\n")]);
        let _ = build(case, &["-q", "-t", "mounted"], &folder).run().ok();
        let seen = case.run(&["mounted", "sh", "-c", "cat /out; ls -d /memory /context /kit /var/cache 2>&1 | wc -l; ls -A /memory /context /kit /var/cache 2>/dev/null; true"]).text();
        let expected = "tmpfs 4096\n1\n750 5\nlog\nof the context\nkit\nkit\nthrown\n";
        assert!(seen.starts_with(expected), "{seen}");
        assert!(!seen[expected.len()..].contains("own") && !seen[expected.len()..].contains("log"), "{seen}");
        // The cache is there for another build, and gone after a prune.
        let again = "FROM busybox\nRUN --mount=type=cache,target=/var/cache/own wc -l < /var/cache/own/log; echo more >> /var/cache/own/log\n";
        let said = build_text(case, &[], again).ok();
        assert!(said.contains("\n1\n"), "{said}");
        let _ = case.docker(["builder", "prune", "-af"]).text();
        let said = build_text(case, &[], &again.replace("wc -l", "! wc -l")).ok();
        assert!(!said.contains("\n2\n"), "{said}");
    }

    /// A network is the loopback alone, as a container's.
    fn isolated(case) {
        if Engine::is_reference() {
            return;
        }
        let dockerfile = "FROM busybox\nRUN --network=none grep -c : /proc/net/dev > /links; cat /proc/version > /version\n";
        let _ = build_text(case, &["-q", "-t", "isolated"], dockerfile).ok();
        let seen = case.run(&["isolated", "cat", "/links", "/version"]).text();
        let (links, version) = seen.split_once('\n').unwrap();
        assert_eq!(links, "1");
        let host = fs::read_to_string("/proc/version").unwrap();
        let same = version.trim() == host.trim();
        assert_eq!(same, case.isolation().ends_with("process") || Engine::is_reference(), "{version}");
    }

    /// A client that goes ends its build, and nothing of it is left.
    fn cancelled(case) {
        let folder = context(case, "cancelled", &[("Dockerfile", "FROM busybox\nRUN echo beg''un; sleep 600\n")]);
        let client = build(case, &[], &folder).start();
        client.expect("begun");
        assert_ne!(case.docker(["ps", "-q"]).text(), "");
        let _ = client.kill();
        wait_until(Duration::from_secs(30), "the build's container to go", || case.docker(["ps", "-aq"]).text().is_empty());
        wait_until(Duration::from_secs(10), "the context to go", || {
            fs::read_dir(case.engine.data_root().join("tmp")).unwrap().next().is_none()
        });
    }
}

/// Secrets come by a header of hako's own: they are seen by the step that mounts
/// them and by nothing else.
mod secrets {
    use super::*;
    use hako_tests::{Wall, with_wall};

    fn body(case: &Case) {
        let dockerfile = "FROM busybox\n\
            RUN --mount=type=secret,id=token,uid=7,mode=0440 cat /run/secrets/token | tr a-z A-Z > /out; stat -c '%u %a' /run/secrets/token >> /out\n\
            RUN --mount=type=secret,id=absent ls -A /run/secrets 2>/dev/null | wc -l >> /out\n";
        let folder = context(case, "secret", &[("Dockerfile", dockerfile)]);
        let (json, config) = (r#"{"token":"aHVzaC1odXNo"}"#, case.engine.path("home/config.json"));
        let header = base64(json.as_bytes());
        fs::write(&config, format!(r#"{{"HttpHeaders": {{"X-Hako-Build-Secrets": "{header}"}}}}"#)).unwrap();
        let said = build(case, &["-t", "secretive"], &folder).run().ok();
        assert!(!said.contains("hush"), "{said}");
        let seen = case.run(&["secretive", "cat", "/out"]).text();
        assert_eq!(seen, "HUSH-HUSH7 440\n0");
        let needed = "FROM busybox\nRUN --mount=type=secret,id=other,required=true true\n";
        build_text(case, &[], needed).fails(1, "secret other: not found");
        fs::remove_file(&config).unwrap();
        assert!(!case.engine.log().contains("hush"));
        let found = std::process::Command::new("grep")
            .args(["-rl", "hush-hush"])
            .arg(case.engine.data_root())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the secret is on the disk");
    }

    fn base64(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for piece in bytes.chunks(3) {
            let mut all = [0u8; 3];
            all[..piece.len()].copy_from_slice(piece);
            let n = u32::from_be_bytes([0, all[0], all[1], all[2]]);
            for place in 0..4 {
                let digit = ALPHABET[(n >> (18 - 6 * place)) as usize & 63];
                text.push(if place <= piece.len() { char::from(digit) } else { '=' });
            }
        }
        text
    }

    #[test]
    fn process() {
        if !Engine::is_reference() {
            with_wall(Wall::Process, body);
        }
    }

    #[test]
    fn hyperv() {
        with_wall(Wall::Hyperv, body);
    }
}
