//! `docker diff`.

use hako_tests::both_walls;

both_walls! {
    /// Added, changed, deleted, renamed, replaced; of a container that runs and
    /// of one that has ended.
    fn what_has_changed(case) {
        let script = "echo x >> /etc/passwd; mkdir /fresh; touch /fresh/file; rm /etc/group; mv /home/someone /home/other; \
                      rm -r /var; mkdir /var; touch /var/own; chmod 700 /root; echo gone > /tmp/x; rm /tmp/x; \
                      touch /bin/new; echo up; read end";
        case.daemon("box", &["-i", "busybox", "sh", "-c", script]);
        hako_tests::wait_until(std::time::Duration::from_secs(60), "the changes", || case.docker(["logs", "box"]).text() == "up");
        let expected = [
            "A /bin/new", "A /fresh", "A /fresh/file", "A /home/other", "A /var/own", "C /bin", "C /etc",
            "C /etc/passwd", "C /home", "C /root", "C /var", "D /etc/group", "D /home/someone",
        ];
        let diff = || {
            let mut lines: Vec<String> = case.docker(["diff", "box"]).text().lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(diff(), expected);
        let _ = case.docker(["kill", "box"]).text();
        assert_eq!(diff(), expected);
    }

    /// Nothing: not the mount points either that the engine has made.
    fn nothing(case) {
        let _ = case.walled("create", &["--name", "new", "busybox", "true"]).text();
        assert_eq!(case.docker(["diff", "new"]).text(), "");
        let _ = case.docker(["start", "-a", "new"]).text();
        assert_eq!(case.docker(["diff", "new"]).text(), "");
        if !hako_tests::Engine::is_reference() {
            assert_eq!(case.engine.http("GET", "/v1.47/containers/new/changes", None).text(), "null\n");
        }
        case.docker(["diff", "nobody"]).run().fails(1, "No such container: nobody");
    }
}
