//! The same request for many names at once.

use crate::error::{Error, Result};
use crate::term::print_line;
use futures::StreamExt;

/// How many requests run at the same time, as in Docker's client.
const PARALLEL: usize = 50;

/// Runs `action` for every name; prints what each answers if it
/// is not empty, in the order of the names. Failures are told on stderr and make the exit code 1, after all have run.
pub(super) async fn for_each<'n, F, O>(names: &'n [String], action: F) -> Result<()>
where
    F: Fn(&'n str) -> O,
    O: Future<Output = Result<String>>,
{
    let mut failed = false;
    let mut answers = futures::stream::iter(names).map(|name| action(name)).buffered(PARALLEL);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(text) if text.is_empty() => {}
            Ok(text) => print_line(text)?,
            Err(err) => {
                eprintln!("hako: {err}");
                failed = true;
            }
        }
    }
    if failed { Err(Error::exit(1)) } else { Ok(()) }
}
