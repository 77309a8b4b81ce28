//! Bytes through pipes.

use hako_tests::{both_walls, sha256};
use rand::RngCore;

both_walls! {
    /// 10 MB of random bytes through `cat`, as they were.
    fn ten_megabytes_through_cat(case) {
        let mut bytes = vec![0; 10_000_000];
        rand::rng().fill_bytes(&mut bytes);
        let output = case.run(&["-i", "busybox", "cat"]).stdin(bytes.clone()).run();
        assert_eq!(output.code, 0, "exit code of cat: {}", output.err());
        assert_eq!(output.stdout.len(), bytes.len());
        assert_eq!(sha256(&output.stdout), sha256(&bytes));
        assert_eq!(output.err(), "");
    }

    fn ten_megabytes_into_exec(case) {
        case.idle("box");
        let mut bytes = vec![0; 10_000_000];
        rand::rng().fill_bytes(&mut bytes);
        let output = case.docker(["exec", "-i", "box", "sha256sum"]).stdin(bytes.clone()).run();
        assert_eq!(output.ok(), format!("{}  -", sha256(&bytes)));
    }

    fn stdout_and_stderr_apart(case) {
        let script = "for i in $(seq 1 500); do echo out $i; echo err $i >&2; done";
        let output = case.sh(&[], script).run();
        let lines = |word: &str| (1..=500).map(|i| format!("{word} {i}")).collect::<Vec<_>>().join("\n");
        assert_eq!(output.ok(), lines("out"));
        assert_eq!(output.err(), lines("err"));
    }

    /// What a short-lived process wrote last is not lost, and order is kept.
    fn the_last_byte_arrives(case) {
        for _ in 0..5 {
            let output = case.sh(&[], "seq 1 20000; printf end").run();
            let text = output.ok();
            assert!(text.ends_with("\n20000\nend"), "{output}");
            assert_eq!(text.lines().count(), 20_001);
        }
    }

    /// Without `-i` the command reads an end at once, whatever the client has.
    fn without_interactive_stdin_is_empty(case) {
        let output = case.run(&["busybox", "wc", "-c"]).stdin("not for you").run();
        assert_eq!(output.ok().trim(), "0");
    }

    /// A container that stops reading early ends the client all the same.
    fn an_early_end_of_reading(case) {
        let output = case.run(&["-i", "busybox", "head", "-c", "4"]).stdin(vec![b'x'; 1_000_000]).run();
        assert_eq!(output.ok(), "xxxx");
    }

    /// Lines arrive while the container still runs, and stdin goes on being read.
    fn streams_are_live(case) {
        let mut running = case.run(&["-i", "busybox", "sh", "-c", "while read x; do echo got $x; done"]).start();
        for word in ["one", "two", "three"] {
            running.send(format!("{word}\n"));
            running.expect(&format!("got {word}\n"));
        }
        running.close_stdin();
        assert_eq!(running.end().code, 0);
    }

    /// `docker attach` to a running container sees its output and types into it.
    fn attach(case) {
        case.daemon("box", &["-i", "busybox", "sh", "-c", "while read x; do [ $x = quit ] && exit 9; echo got $x; done"]);
        let mut attached = case.docker(["attach", "box"]).start();
        // Attach has no sign of being ready: type until something comes back.
        hako_tests::wait_until(std::time::Duration::from_secs(60), "attach to answer", || {
            attached.send("word\n");
            std::thread::sleep(std::time::Duration::from_millis(100));
            attached.stdout().contains("got word\n")
        });
        attached.send("quit\n");
        let output = attached.end();
        assert_eq!(output.code, 9, "{output}");
    }
}
