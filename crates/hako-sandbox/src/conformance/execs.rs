//! Cases of further processes.

use super::{Case, Fixture, Made, PIPES, PIPES_WITH_STDIN, TTY, ensure, process, read_all, same, text};
use crate::{Stdio, StdioRequest};
use hako_model::ErrorKind;
use tokio::io::AsyncWriteExt;

async fn sleeper(fixture: &dyn Fixture) -> Result<Made<'_>, String> {
    let made = Made::sh(fixture, "sleep 1000").await?;
    made.start().await?;
    Ok(made)
}

async fn exec(made: &Made<'_>, id: &str, args: &[&str], stdio: StdioRequest) -> Result<Stdio, String> {
    let process = process(args, stdio.terminal).to_string().into_bytes();
    made.sandbox().exec(id, process, stdio).await.map_err(text)
}

pub(super) async fn an_exec_has_its_own_streams_and_end(fixture: &dyn Fixture) -> Case {
    let made = sleeper(fixture).await?;
    let mut stdio = exec(&made, "a", &["sh", "-c", "cat; echo err >&2; exit 7"], PIPES_WITH_STDIN).await?;
    ensure(made.sandbox().wait(Some("nobody")).await.is_err(), "wait for an unknown exec")?;
    made.sandbox().start(Some("a")).await.map_err(text)?;
    let mut stdin = stdio.stdin.take().ok_or("no stdin")?;
    stdin.write_all(b"in").await.map_err(|err| err.to_string())?;
    stdin.shutdown().await.map_err(|err| err.to_string())?;
    drop(stdin);
    let (out, err) = tokio::join!(read_all(stdio.stdout.take()), read_all(stdio.stderr.take()));
    same("stdout", out?, "in".to_owned())?;
    same("stderr", err?, "err\n".to_owned())?;
    same("exit code", made.sandbox().wait(Some("a")).await.map_err(text)?.exit_code, 7)?;
    same("asked again", made.sandbox().wait(Some("a")).await.map_err(text)?.exit_code, 7)?;
    made.sandbox().delete(Some("a")).await.map_err(text)?;
    match made.sandbox().wait(Some("a")).await {
        Err(err) => same("wait for a deleted exec", err.kind, ErrorKind::NotFound)?,
        Ok(_) => return Err("a deleted exec is known".to_owned()),
    }
    made.delete().await
}

pub(super) async fn an_exec_with_a_tty(fixture: &dyn Fixture) -> Case {
    let made = sleeper(fixture).await?;
    let mut stdio = exec(&made, "t", &["sh", "-c", "read x; stty size; echo $x"], TTY).await?;
    made.sandbox().start(Some("t")).await.map_err(text)?;
    made.sandbox().resize(Some("t"), 99, 11).await.map_err(text)?;
    let mut stdin = stdio.stdin.take().ok_or("no stdin")?;
    stdin.write_all(b"word\n").await.map_err(|err| err.to_string())?;
    let out = read_all(stdio.stdout.take()).await?;
    ensure(out.contains("11 99\r\n") && out.ends_with("word\r\n"), format!("{out:?}"))?;
    same("exit code", made.sandbox().wait(Some("t")).await.map_err(text)?.exit_code, 0)?;
    made.delete().await
}

pub(super) async fn an_exec_that_cannot_start_says_why(fixture: &dyn Fixture) -> Case {
    let made = sleeper(fixture).await?;
    let mut stdio = exec(&made, "x", &["no-such-program"], PIPES).await?;
    match made.sandbox().start(Some("x")).await {
        Err(err) => {
            same("error", err.message.as_str(), "exec: \"no-such-program\": executable file not found in $PATH")?;
        }
        Ok(_) => return Err("it started".to_owned()),
    }
    same("stdout", read_all(stdio.stdout.take()).await?, String::new())?;
    same("stderr", read_all(stdio.stderr.take()).await?, String::new())?;
    made.sandbox().delete(Some("x")).await.map_err(text)?;
    made.delete().await
}

pub(super) async fn a_running_exec_is_not_forgotten(fixture: &dyn Fixture) -> Case {
    let made = sleeper(fixture).await?;
    exec(&made, "a", &["sleep", "1000"], PIPES).await?;
    ensure(made.sandbox().exec("a", Vec::new(), PIPES).await.is_err(), "an id is taken once")?;
    made.sandbox().start(Some("a")).await.map_err(text)?;
    ensure(made.sandbox().start(Some("a")).await.is_err(), "started once")?;
    match made.sandbox().delete(Some("a")).await {
        Err(err) => same("delete of a running exec", err.kind, ErrorKind::Conflict)?,
        Ok(()) => return Err("a running exec was deleted".to_owned()),
    }
    made.sandbox().kill(Some("a"), 15, false).await.map_err(text)?;
    same("exit code", made.sandbox().wait(Some("a")).await.map_err(text)?.exit_code, 143)?;
    made.sandbox().delete(Some("a")).await.map_err(text)?;
    made.delete().await
}

pub(super) async fn the_containers_end_ends_its_execs(fixture: &dyn Fixture) -> Case {
    let made = sleeper(fixture).await?;
    exec(&made, "a", &["sleep", "1000"], PIPES).await?;
    made.sandbox().start(Some("a")).await.map_err(text)?;
    made.sandbox().kill(None, 9, false).await.map_err(text)?;
    same("exit code", made.sandbox().wait(Some("a")).await.map_err(text)?.exit_code, 137)?;
    made.ends_with(137).await
}
