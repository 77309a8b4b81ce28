//! `docker build`: several stages.

use hako_tests::{Context, Engine, both_walls};

both_walls! {
    /// Files of stages by name and number and of images; what is not needed is not built.
    fn files_of_stages(case) {
        let unused = if Engine::is_reference() { "" } else { "FROM busybox AS unused\nRUN exit 5\n" };
        let dockerfile = format!(
            "FROM busybox AS First\nRUN echo first > /f && chown 7:8 /f && chmod 604 /f && ln -s f /l\n\
             FROM first AS second\nRUN cat /f > /g; echo second >> /g\n{unused}\
             FROM scratch AS third\nCOPY --from=FIRST /f /l /by-name/\nCOPY --from=1 /g /by-number\nCOPY --from=image:1 /etc/pass* /of-image/\n\
             FROM busybox\nCOPY --from=third / /out/\n"
        );
        let _ = case.docker(["tag", "busybox", "image:1"]).text();
        let context = Context::new(&dockerfile);
        let said = case.build(&context, &["-t", "last"]).text();
        assert!(!said.contains("unused"), "{said}");
        let seen = case.look("last", "cd /out; cat by-name/f by-name/l by-number; ls of-image; stat -c '%a %u:%g %F' by-name/f by-name/l by-number");
        assert_eq!(seen, "first\nfirst\nfirst\nsecond\npasswd\n604 7:8 regular file\n604 7:8 regular file\n644 0:0 regular file");
        let _ = case.build(&context, &["-t", "target", "--target", "SECOND"]).text();
        assert_eq!(case.look("target", "cat /g"), "first\nsecond");
        let _ = case.docker(["rmi", "image:1"]).text();
    }
}
