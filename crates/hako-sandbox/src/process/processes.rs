//! The container's processes, read from `/proc` of the kernel that runs them.

use super::init::Container;
use hako_model::{Error, ErrorKind, MOST_COMMAND_BYTES, MOST_PROCESSES, ProcessList, Result};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// How long reading may take. A command line lies in its process's memory, and
/// a process can arrange that reading it never ends.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads them on a thread of its own, which is given up when it does not come back.
pub(super) async fn list(container: Arc<Container>) -> Result<ProcessList> {
    let (reply, answer) = oneshot::channel();
    std::thread::Builder::new()
        .name("processes".to_owned())
        .stack_size(128 << 10)
        .spawn(move || {
            // Nobody waits any more where this took too long.
            let _ = reply.send(read(&container));
        })
        .map_err(|err| Error::internal(format!("read the processes: {err}")))?;
    match tokio::time::timeout(LIMIT, answer).await {
        Ok(Ok(list)) => list,
        Ok(Err(_)) => Err(Error::internal("reading the processes broke off")),
        Err(_) => {
            Err(Error::new(ErrorKind::DeadlineExceeded, "a process of the container keeps its command line back"))
        }
    }
}

fn read(container: &Container) -> Result<ProcessList> {
    let pids = container.pids()?;
    if pids.len() > MOST_PROCESSES {
        return Err(Error::internal(format!(
            "the container has {} processes, more than the {MOST_PROCESSES} that can be listed",
            pids.len()
        )));
    }
    // Those that end meanwhile are left out.
    let mut processes: Vec<_> = pids.into_iter().filter_map(|pid| hako_os::proc::process(pid).ok()).collect();
    // A number that was given to a stranger meanwhile is no longer in the group.
    let still: HashSet<i32> = container.pids()?.into_iter().collect();
    processes.retain(|process| still.contains(&process.pid));
    processes.sort_by_key(|process| process.pid);
    let mut room = MOST_COMMAND_BYTES;
    for process in &mut processes {
        if process.args.len() > room {
            process.args = String::new();
        }
        room -= process.args.len();
    }
    Ok(ProcessList { uptime: hako_os::proc::uptime(), memory: hako_os::proc::kernel().memory, processes })
}
