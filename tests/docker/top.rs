//! `docker top`: the same words behind both walls.

use hako_tests::{Case, Wall, both_walls};
use std::time::Duration;

fn top(case: &Case, name: &str, args: &[&str]) -> Vec<Vec<String>> {
    let text = case.docker(["top", name]).args(args).text();
    text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

both_walls! {
    fn the_usual_columns(case) {
        case.daemon("box", &["busybox", "sh", "-c", "sleep 1234 & wait"]);
        hako_tests::wait_until(Duration::from_secs(60), "both processes", || top(case, "box", &[]).len() == 3);
        let table = top(case, "box", &[]);
        assert_eq!(table[0].join(" "), "UID PID PPID C STIME TTY TIME CMD");
        let shell = table.iter().find(|row| row[7..].join(" ") == "sh -c sleep 1234 & wait").expect("the shell");
        let sleep = table.iter().find(|row| row[7..].join(" ") == "sleep 1234").expect("the sleep");
        assert_eq!((shell[0].as_str(), sleep[0].as_str()), ("root", "root"));
        assert_eq!(sleep[2], shell[1], "the shell is the parent");
        assert_eq!(shell[5], "?");
        if case.wall == Wall::Process {
            assert_eq!(shell[1], case.inspect("box", "{{.State.Pid}}"), "the host's numbers");
        }
        assert_eq!(
            top(case, "box", &["aux"])[0].join(" "),
            "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"
        );
        let chosen = top(case, "box", &["-eo", "pid,comm,user=WHO"]);
        assert_eq!(chosen[0].join(" "), "PID COMMAND WHO");
        let mut names: Vec<&str> = chosen[1..].iter().map(|row| row[1].as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["sh", "sleep"]);
        assert_eq!(top(case, "box", &["-o", "pid"]).len(), 3);
    }

    /// Execs are the container's processes, with their user and terminal.
    fn execs_users_and_terminals(case) {
        if hako_tests::not_on_reference("ps on the host cannot name a container's terminals") {
            return;
        }
        case.daemon("box", &["-t", "busybox", "sleep", "1000"]);
        let _ = case.docker(["exec", "-d", "-u", "1234", "box", "sleep", "777"]).text();
        hako_tests::wait_until(Duration::from_secs(60), "the exec", || top(case, "box", &[]).len() == 3);
        let table = top(case, "box", &["-eo", "pid,ruser,tty,stat,args"]);
        let find = |args: &str| table.iter().find(|row| row[4..].join(" ") == args).expect("a process");
        assert_eq!(find("sleep 777")[1], "1234");
        assert_eq!(find("sleep 777")[2], "?");
        assert_eq!(find("sleep 1000")[1], "root");
        assert!(find("sleep 1000")[2].starts_with("pts/"), "{table:?}");
        assert!(find("sleep 1000")[3].starts_with('S'), "{table:?}");
    }

    fn paused_and_not_running(case) {
        case.daemon("box", &["busybox", "sleep", "1000"]);
        let _ = case.docker(["pause", "box"]).text();
        assert_eq!(top(case, "box", &[]).len(), 2);
        let _ = case.docker(["unpause", "box"]).text();
        let _ = case.docker(["kill", "box"]).text();
        case.wait_for("box", "exited");
        case.docker(["top", "box"]).run().fails(1, "is not running");
        case.docker(["top", "nobody"]).run().fails(1, "No such container: nobody");
    }

    fn what_ps_would_not_do_either(case) {
        case.daemon("box", &["busybox", "sleep", "1000"]);
        case.docker(["top", "box", "-o", "pid,moon"]).run().fails(1, "unknown user-defined format specifier \"moon\"");
        case.docker(["top", "box", "-o", "user,comm"]).run().fails(1, "Couldn't find PID field in ps output");
    }

    /// A process's own words are shown and do nothing else.
    fn odd_names(case) {
        if hako_tests::not_on_reference("here a command line has a bound") {
            return;
        }
        case.daemon("box", &["busybox", "sleep", "1000"]);
        let long = "x".repeat(20_000);
        let _ = case.docker(["exec", "-d", "box", "sh", "-c", "sleep 1000; : $0", &long]).text();
        let show = || case.docker(["top", "box", "-o", "pid,args"]).text();
        hako_tests::wait_until(Duration::from_secs(60), "the execs", || show().contains("xxxx"));
        let text = show();
        assert!(text.len() < 20_000, "{}", text.len());
    }
}
