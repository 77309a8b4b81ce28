//! Cases of the first process and of the container.

use super::{Case, Fixture, MEMORY, Made, PIPES, PIPES_WITH_STDIN, TTY, ensure, process, read_all, same, text};
use hako_model::{ErrorKind, NetworkChange};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

pub(super) async fn exit_codes_pass(fixture: &dyn Fixture) -> Case {
    for code in [0, 1, 42, 255] {
        let made = Made::sh(fixture, &format!("exit {code}")).await?;
        made.start().await?;
        made.ends_with(code).await?;
    }
    Ok(())
}

pub(super) async fn death_by_signal_is_128_and_the_signal(fixture: &dyn Fixture) -> Case {
    let made = Made::sh(fixture, "sleep 100").await?;
    made.start().await?;
    made.sandbox().kill(None, 9, false).await.map_err(text)?;
    same("exit code", made.ended().await?.exit_code, 137)?;
    match made.sandbox().kill(None, 9, false).await {
        Err(err) => same("kill of an ended process", err.kind, ErrorKind::NotFound)?,
        Ok(()) => return Err("an ended process was killed".to_owned()),
    }
    made.delete().await
}

pub(super) async fn stdin_ends_when_it_is_dropped(fixture: &dyn Fixture) -> Case {
    let mut made = Made::create(fixture, &["cat"], PIPES_WITH_STDIN, MEMORY).await?;
    let mut stdin = made.stdio.stdin.take().ok_or("no stdin")?;
    let stdout = made.stdio.stdout.take();
    made.start().await?;
    let sent: String = (0..200_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let data = sent.clone();
    let writer = tokio::spawn(async move {
        stdin.write_all(data.as_bytes()).await?;
        stdin.shutdown().await
    });
    let got = read_all(stdout).await?;
    ensure(matches!(writer.await, Ok(Ok(()))), "stdin took all")?;
    ensure(got == sent, format!("{} bytes came back of {}", got.len(), sent.len()))?;
    made.ends_with(0).await
}

pub(super) async fn stdout_and_stderr_are_apart(fixture: &dyn Fixture) -> Case {
    let mut made = Made::sh(fixture, "echo out; echo err >&2").await?;
    made.start().await?;
    let (stdout, stderr) = (made.stdio.stdout.take(), made.stdio.stderr.take());
    let (out, err) = tokio::join!(read_all(stdout), read_all(stderr));
    same("stdout", out?, "out\n".to_owned())?;
    same("stderr", err?, "err\n".to_owned())?;
    made.ends_with(0).await
}

pub(super) async fn without_stdin_the_process_reads_nothing(fixture: &dyn Fixture) -> Case {
    let made = Made::create(fixture, &["cat"], PIPES, MEMORY).await?;
    ensure(made.stdio.stdin.is_none(), "stdin was not asked for")?;
    made.start().await?;
    made.ends_with(0).await
}

pub(super) async fn a_tty_has_a_size_and_one_stream(fixture: &dyn Fixture) -> Case {
    let mut made = Made::create(fixture, &["sh", "-c", "read x; stty size; echo $x"], TTY, MEMORY).await?;
    ensure(made.stdio.stderr.is_none(), "a tty has no stderr")?;
    let mut stdin = made.stdio.stdin.take().ok_or("no stdin")?;
    made.sandbox().resize(None, 101, 33).await.map_err(text)?;
    made.start().await?;
    stdin.write_all(b"word\n").await.map_err(|err| err.to_string())?;
    let out = read_all(made.stdio.stdout.take()).await?;
    ensure(out.contains("33 101\r\n") && out.ends_with("word\r\n"), format!("{out:?}"))?;
    made.ends_with(0).await
}

pub(super) async fn a_missing_program_fails_create_and_leaves_nothing(fixture: &dyn Fixture) -> Case {
    for (name, want) in [
        ("no-such-program", "exec: \"no-such-program\": executable file not found in $PATH"),
        ("/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory"),
        ("/tmp", "exec: \"/tmp\": is a directory"),
    ] {
        let subject = fixture.subject(process(&[name], false), PIPES, MEMORY).await.map_err(text)?;
        match subject.sandbox.create(subject.request.clone()).await {
            Err(err) => same("error", err.message.as_str(), want)?,
            Ok(_) => return Err(format!("{name} was created")),
        }
        let left = fixture.leftovers(&subject).await;
        ensure(left.is_empty(), format!("left behind: {left:?}"))?;
    }
    Ok(())
}

pub(super) async fn a_second_create_is_refused(fixture: &dyn Fixture) -> Case {
    let made = Made::sh(fixture, "exit 0").await?;
    match made.sandbox().create(made.subject.request.clone()).await {
        Err(err) => same("second create", err.kind, ErrorKind::Conflict)?,
        Ok(_) => return Err("created twice".to_owned()),
    }
    made.delete().await
}

pub(super) async fn verbs_before_create_and_after_delete_are_refused(fixture: &dyn Fixture) -> Case {
    let subject = fixture.subject(process(&["true"], false), PIPES, MEMORY).await.map_err(text)?;
    let sandbox = &*subject.sandbox;
    ensure(sandbox.start(None).await.is_err(), "start before create")?;
    ensure(sandbox.kill(None, 9, true).await.is_err(), "kill before create")?;
    ensure(sandbox.pids().await.is_err(), "pids before create")?;
    ensure(sandbox.delete(None).await.is_err(), "delete before create")?;
    sandbox.create(subject.request.clone()).await.map_err(text)?;
    sandbox.delete(None).await.map_err(text)?;
    ensure(sandbox.start(None).await.is_err(), "start after delete")?;
    ensure(sandbox.delete(None).await.is_err(), "delete after delete")
}

pub(super) async fn kill_all_reaches_every_process(fixture: &dyn Fixture) -> Case {
    let made = Made::sh(fixture, "sleep 100 & sleep 100 & wait").await?;
    made.start().await?;
    for _ in 0..100 {
        if made.sandbox().pids().await.map_err(text)?.len() == 3 {
            made.sandbox().kill(None, 9, true).await.map_err(text)?;
            return made.ends_with(137).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("pids: {:?}, expected three", made.sandbox().pids().await))
}

pub(super) async fn pause_and_resume(fixture: &dyn Fixture) -> Case {
    let made = Made::sh(fixture, "sleep 0.3; exit 5").await?;
    made.start().await?;
    made.sandbox().pause().await.map_err(text)?;
    let early = tokio::time::timeout(Duration::from_millis(900), made.ended()).await;
    ensure(early.is_err(), "a frozen process does not end")?;
    made.sandbox().resume().await.map_err(text)?;
    made.ends_with(5).await
}

pub(super) async fn figures_of_the_workload(fixture: &dyn Fixture) -> Case {
    let made = Made::sh(fixture, "sleep 100").await?;
    made.start().await?;
    let figures = made.sandbox().stats().await.map_err(text)?;
    let said = figures.type_url.starts_with("io.containerd.cgroups.v") && figures.metrics.len() > 20;
    ensure(said, format!("{figures:?}"))?;
    let kernel = figures.kernel;
    ensure(kernel.cpu_ns > 0 && kernel.cpus > 0 && kernel.memory > 16 << 20, format!("{kernel:?}"))?;
    let vm = made.sandbox().vm().is_some();
    same("figures of a VM where there is one", figures.vm.is_some(), vm)?;
    ensure(figures.vm.is_none_or(|vm| vm.resident > 1 << 20 && vm.user_ns > 0), format!("{:?}", figures.vm))?;
    made.delete().await
}

pub(super) async fn processes_and_what_they_are(fixture: &dyn Fixture) -> Case {
    let made = Made::sh(fixture, "sleep 1234 & wait").await?;
    made.start().await?;
    for _ in 0..100 {
        let list = made.sandbox().processes().await.map_err(text)?;
        let first = list.processes.iter().find(|process| process.args.starts_with("sh -c sleep"));
        let sleep = list.processes.iter().find(|process| process.args == "sleep 1234");
        if let (Some(first), Some(sleep)) = (first, sleep) {
            same("processes", list.processes.len(), 2)?;
            same("the parent", sleep.ppid, first.pid)?;
            ensure(sleep.rss > 0 && sleep.start <= list.uptime && list.memory > 0, format!("{list:?}"))?;
            return made.delete().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("processes: {:?}", made.sandbox().processes().await))
}

pub(super) async fn a_limit_can_be_changed(fixture: &dyn Fixture) -> Case {
    let made = Made::sh(fixture, "sleep 100").await?;
    made.start().await?;
    made.sandbox().update(br#"{"memory":{"limit":33554432}}"#.to_vec()).await.map_err(text)?;
    let figures = made.sandbox().stats().await.map_err(text)?;
    // 33554432 as a varint is in the message.
    ensure(
        figures.metrics.windows(4).any(|bytes| bytes == [0x80, 0x80, 0x80, 0x10]),
        "the new limit is in the figures",
    )?;
    made.delete().await
}

pub(super) async fn out_of_memory_is_told(fixture: &dyn Fixture) -> Case {
    let made = Made::create(fixture, &["sh", "-c", "x=x; while true; do x=$x$x; done"], PIPES, 16 << 20).await?;
    made.start().await?;
    let details = made.ended().await?;
    same("exit code", details.exit_code, 137)?;
    ensure(details.oom_killed, "oom_killed")?;
    made.delete().await
}

pub(super) async fn delete_ends_what_runs(fixture: &dyn Fixture) -> Case {
    let made = Made::sh(fixture, "trap '' TERM; while true; do sleep 1; done").await?;
    made.start().await?;
    made.delete().await
}

pub(super) async fn without_a_network_there_is_a_loopback(fixture: &dyn Fixture) -> Case {
    let mut made = Made::sh(fixture, "cat /proc/net/dev /proc/net/route; cat /proc/net/fib_trie").await?;
    made.start().await?;
    let (stdout, stderr) = (made.stdio.stdout.take(), made.stdio.stderr.take());
    let (out, err) = tokio::join!(read_all(stdout), read_all(stderr));
    let (out, err) = (out?, err?);
    let devices: Vec<&str> = out.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    ensure(devices.contains(&"lo"), format!("the interfaces: {out}"))?;
    ensure(!devices.iter().any(|name| name.starts_with("eth")), format!("the interfaces: {out}"))?;
    ensure(out.contains("127.0.0.1"), format!("lo has an address: {out}{err}"))?;
    made.ends_with(0).await
}

pub(super) async fn an_interface_that_is_not_there_is_said_so(fixture: &dyn Fixture) -> Case {
    let made = Made::sh(fixture, "sleep 100").await?;
    made.start().await?;
    match made.sandbox().network(NetworkChange::Disconnect("eth7".to_owned())).await {
        // Behind the process wall the engine does it, whatever it is.
        Err(err) => {
            let kinds = [ErrorKind::NotFound, ErrorKind::Unsupported];
            ensure(kinds.contains(&err.kind), format!("an absent interface: {err:?}"))?;
        }
        Ok(()) => return Err("an absent interface was removed".to_owned()),
    }
    made.sandbox().kill(None, 9, true).await.map_err(text)?;
    made.ends_with(137).await
}
