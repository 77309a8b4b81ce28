//! Containers on a terminal.

use hako_tests::{Client, Terminal, both_walls, wait_until};
use serde_json::json;
use std::time::Duration;

/// Types `stty size` until the answer is `size`: a resize takes its own way.
fn expect_size(terminal: &mut Terminal, size: &str) {
    for _ in 0..100 {
        terminal.send("stty size\r");
        std::thread::sleep(Duration::from_millis(100));
        if terminal.screen().contains(size) {
            return;
        }
    }
    panic!("the terminal never had the size {size}:\n{}", terminal.screen());
}

fn shell(terminal: &mut Terminal) {
    terminal.expect("# ");
    terminal.send("tty; test -t 0 -a -t 1 -a -t 2 && echo is-a-$((1+1))-tty\r");
    terminal.expect("is-a-2-tty");
    expect_size(terminal, "31 117");
    terminal.resize(44, 133);
    expect_size(terminal, "44 133");
    terminal.send("sleep 1000\r");
    std::thread::sleep(Duration::from_millis(300));
    terminal.send("\x03");
    terminal.send("echo still-$((40+2))\r");
    terminal.expect("still-42");
    terminal.send("exit 5\r");
}

both_walls! {
    fn run_on_a_terminal(case) {
        let client: Client = case.run(&["-it", "busybox", "sh"]);
        let mut terminal = Terminal::start(client, 31, 117);
        shell(&mut terminal);
        assert_eq!(terminal.end(), 5);
    }

    fn exec_on_a_terminal(case) {
        case.idle("box");
        let mut terminal = Terminal::start(case.docker(["exec", "-it", "box", "sh"]), 31, 117);
        shell(&mut terminal);
        assert_eq!(terminal.end(), 5);
        assert_eq!(case.inspect("box", "{{.State.Running}}"), "true");
    }

    /// A terminal has one stream, with its own line ends, and TERM is set.
    fn one_stream_and_term(case) {
        let terminal = Terminal::start(case.sh(&["-it"], "echo to-out; echo to-err >&2; echo TERM=$TERM"), 24, 80);
        terminal.expect("to-out\r\n");
        terminal.expect("to-err\r\n");
        terminal.expect("TERM=xterm");
        assert_eq!(terminal.end(), 0);
    }

    /// ctrl-p ctrl-q leaves the container running; attach comes back to it.
    fn detach_and_attach_again(case) {
        let client = case.walled("run", &["-it", "--name", "box", "busybox", "sh"]);
        let mut terminal = Terminal::start(client, 24, 80);
        terminal.expect("# ");
        terminal.send("word=kept\r");
        terminal.send("\x10\x11");
        assert_eq!(terminal.end(), 0);
        assert_eq!(case.inspect("box", "{{.State.Running}}"), "true");
        let mut again = Terminal::start(case.docker(["attach", "box"]), 24, 80);
        std::thread::sleep(Duration::from_millis(500));
        again.send("echo it-is-$word\r");
        again.expect("it-is-kept");
        again.send("exit 6\r");
        assert_eq!(again.end(), 6);
        let _ = case.docker(["rm", "box"]).text();
    }

    /// A size that is told before the process has started is its size.
    fn size_before_the_start(case) {
        case.daemon("box", &["busybox", "sleep", "1000"]);
        let script = "sleep 1; stty -F /dev/tty size > /size";
        let body = json!({"Tty": true, "AttachStdout": true, "Cmd": ["sh", "-c", script]});
        let made = case.engine.http("POST", "/v1.41/containers/box/exec", Some(&body)).json();
        let path = format!("/v1.41/exec/{}", made["Id"].as_str().expect("an identifier"));
        std::thread::scope(|scope| {
            let resize = scope.spawn(|| case.engine.http("POST", &format!("{path}/resize?h=31&w=117"), None).status);
            std::thread::sleep(Duration::from_millis(500));
            let start = json!({"Detach": true, "Tty": true});
            assert_eq!(case.engine.http("POST", &format!("{path}/start"), Some(&start)).status, 200);
            assert!(matches!(resize.join().expect("an answer"), 200 | 201));
        });
        wait_until(Duration::from_secs(30), "the size", || case.exec("box", "cat /size").out() == "31 117");
        let _ = case.docker(["rm", "-f", "box"]).text();
    }
}
