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

both_walls! {
    /// A stage whose turn to speak has not come says much, and holds the cache
    /// that the stage before it waits for.
    fn much_output_before_its_turn(case) {
        if Engine::is_reference() {
            return;
        }
        let cache = "--mount=type=cache,id=one,sharing=locked,target=/c";
        let context = Context::new(&format!(
            "FROM busybox AS first\nRUN sleep 4\nRUN {cache} cat /c/who > /who\n\
             FROM busybox AS second\nRUN {cache} echo second > /c/who; seq 1 1300000; sleep 3; echo end of it\n\
             FROM busybox\nCOPY --from=first /who /\nCOPY --from=second /etc/passwd /\n"
        ));
        let said = case.build(&context, &["-t", "much"]).deadline(std::time::Duration::from_secs(180)).text();
        assert_eq!(case.look("much", "cat /who"), "second");
        let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text} was not said"));
        assert!(said.len() > 9_000_000 && at("cat /c/who") < at("\n1299999\n") && at("\n1299999\n") < at("\nend of it"));
    }
}
