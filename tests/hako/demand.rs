//! Without a running engine, `hako` starts one and says so.

use hako_tests::{Client, Engine, Options, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, thread, time::Duration};

fn hako(engine: &Engine, args: &[&str]) -> Client {
    let hako = Client::new(&hako_tests::bin_dir().join("hako"));
    let hako = match engine.network() {
        Some(network) => hako.within(network),
        None => hako,
    };
    hako.args(args)
        .env("HOME", engine.path("home"))
        .env("HAKO_DATA_ROOT", engine.data_root())
        .env("HAKO_EXEC_ROOT", engine.exec_root())
}

fn engines(engine: &Engine) -> usize {
    engine.traces().processes.iter().filter(|line| line.contains("/hakod ")).count()
}

fn stop(engine: &Engine) {
    let pid: i32 = fs::read_to_string(engine.exec_root().join("hakod.pid")).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    wait_until(Duration::from_secs(30), "the engine to end", || engines(engine) == 0);
}

/// One command, no registry, no network, no engine: `hello` behind both walls.
#[test]
fn hello_starts_the_engine() {
    let engine = Engine::prepare(Options { networks: true, ..Options::default() });
    let first = hako(&engine, &["run", "--rm", "--isolation=process", "hello"]).run();
    assert_eq!(first.code, 0, "{first}");
    assert!(first.err().contains("Starting the engine"), "{first}");
    let second = hako(&engine, &["run", "--rm", "--isolation=hyperv", "hello"]).run();
    assert_eq!(second.code, 0, "{second}");
    assert!(!second.err().contains("Starting the engine"), "{second}");
    assert_ne!(first.out(), second.out());
    assert_eq!(engines(&engine), 1);
    stop(&engine);
}

/// Clients that come at once end with one engine.
#[test]
fn many_clients_start_one_engine() {
    let engine = Engine::prepare(Options { networks: true, ..Options::default() });
    let clients: Vec<Client> = (0..5).map(|_| hako(&engine, &["ps"])).collect();
    let threads: Vec<_> = clients.into_iter().map(|client| thread::spawn(move || client.run())).collect();
    let outputs: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    for output in &outputs {
        assert_eq!(output.code, 0, "{output}");
    }
    assert_eq!(engines(&engine), 1);
    assert_eq!(outputs.iter().filter(|output| output.err().contains("Starting the engine")).count(), 1);
    stop(&engine);
}

/// Another address that nobody serves is an error, not a start.
#[test]
fn no_engine_for_another_address() {
    let engine = Engine::prepare(Options { networks: true, ..Options::default() });
    let output = hako(&engine, &["--host", &format!("unix://{}", engine.path("other.sock").display()), "ps"]).run();
    output.fails(1, "other.sock");
    assert_eq!(engines(&engine), 0);
}
