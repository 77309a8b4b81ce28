//! How the files of a container are reached.
//!
//! ```text
//! runs, paused:      its own shim
//! created, exited:   a session: a shim that has mounted the root filesystem, in a
//!                    virtual machine behind the hyperv wall, and runs nothing
//!                      begun by the first request, ended 2 s after the last one,
//!                      by a start (which waits for copies, a while), by a removal
//! ```
//!
//! A client asks for a path and then for its archive; both go through one
//! session. A session is in no record: after a SIGKILL of the engine its shim
//! is one that belongs to a container which does not run, and is removed.

use super::{
    actor::{Actor, Request as Ask},
    end as run_end,
    record::{Record, State},
    start::{explain, reap},
};
use crate::{
    Engine,
    shim::{Live, ShimDir},
    spec, volumes,
};
use hako_model::{Error, Result, policy};
use hako_task::files::{FilesReply, FilesRequest};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::UnixStream, sync::watch, time::timeout};

/// How long a session waits for the next request.
const IDLE: Duration = Duration::from_secs(2);
/// How long a start waits for a copy to end.
const GIVE_WAY: Duration = Duration::from_secs(10);
/// How long all sessions may take to end with the engine.
const END_LIMIT: Duration = Duration::from_secs(15);

/// A shim for files alone.
pub(super) struct Session {
    live: Live,
    pid: Option<i32>,
    users: Arc<watch::Sender<usize>>,
    number: u64,
}

/// The right to use a container's files. While it is held a session stays,
/// unless the container is started or removed.
pub struct Lease {
    live: Live,
    users: Option<Arc<watch::Sender<usize>>>,
}

impl Lease {
    fn new(live: Live, users: Option<Arc<watch::Sender<usize>>>) -> Self {
        if let Some(users) = &users {
            users.send_modify(|users| *users += 1);
        }
        Self { live, users }
    }

    /// A connection on which `request` is granted.
    ///
    /// # Errors
    /// What the other side of the wall says.
    pub async fn open(&self, request: &FilesRequest) -> Result<(UnixStream, FilesReply)> {
        self.live.files(request).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(users) = &self.users {
            users.send_modify(|users| *users -= 1);
        }
    }
}

/// In the owner: the files of the container, in whatever state it is.
pub(super) async fn run(actor: &mut Actor) -> Result<Lease> {
    match (&actor.record.state, &actor.live) {
        (State::Running(_) | State::Paused(_), Some(live)) => return Ok(Lease::new(live.clone(), None)),
        (State::Created { .. } | State::Exited(_) | State::Restarting(_), _) => {}
        (State::Starting { .. } | State::Running(_) | State::Paused(_), _) => {
            return Err(Error::conflict(format!("container {} is being started or ends", actor.record.id)));
        }
        (State::Removing { .. } | State::Dead { .. }, _) => {
            return Err(Error::conflict(format!("container {} is marked for removal", actor.record.id)));
        }
    }
    let session = match actor.files.take() {
        Some(session) => session,
        None => begin(actor).await?,
    };
    let lease = Lease::new(session.live.clone(), Some(session.users.clone()));
    actor.files = Some(session);
    Ok(lease)
}

/// Counts sessions.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// In the owner: the shim of a run that has ended serves its files, until it is idle.
pub(super) fn take_over(actor: &mut Actor, live: Live) {
    let users = Arc::new(watch::Sender::new(0));
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    watch_users(actor, users.subscribe(), number);
    actor.files = Some(Session { live, pid: None, users, number });
}

/// From a record to a mounted root filesystem; on an error nothing is left.
async fn begin(actor: &Actor) -> Result<Session> {
    let engine = actor.engine.clone();
    let id = actor.record.id.as_str().to_owned();
    let dir = ShimDir::new(engine.shim_dir(&id));
    volumes::mount::acquire(&engine, &actor.record).await?;
    let prepared = async {
        let mount = spec::prepare_files(&engine, &actor.record, &dir).await?;
        let child = crate::programs::present(&engine.programs.shim).and_then(|path| crate::shim::spawn(path, &dir))?;
        Ok((mount, child))
    };
    let (mount, child) = match prepared.await {
        Ok(prepared) => prepared,
        Err(err) => {
            volumes::mount::release(&engine, &id).await;
            dir.remove()?;
            return Err(err);
        }
    };
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    reap(child);
    let mounted = match Live::connect(&id, dir.clone()) {
        Ok(live) => live.mount(&mount).await.map(|()| {
            engine.templates.hear(live.dir());
            live
        }),
        Err(err) => Err(err),
    };
    match mounted {
        Ok(live) => {
            let users = Arc::new(watch::Sender::new(0));
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            watch_users(actor, users.subscribe(), number);
            Ok(Session { live, pid, users, number })
        }
        Err(err) => {
            let words = dir.last_words();
            run_end::end_sandbox(&engine, &actor.record, Live::connect(&id, dir).ok(), pid).await;
            Err(explain(err, &words).context(format!("reach the files of container {id}")))
        }
    }
}

/// Tells the owner when nobody has used the session for a while.
fn watch_users(actor: &Actor, mut users: watch::Receiver<usize>, session: u64) {
    let owner = actor.ear();
    tokio::spawn(async move {
        // The sender goes with the session and its last user.
        while users.wait_for(|users| *users == 0).await.is_ok() {
            let used = timeout(IDLE, users.wait_for(|users| *users > 0)).await.map(|used| used.is_ok());
            match used {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    if owner.send(Ask::FilesIdle { session }).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
}

/// In the owner: ends a session that is still as idle as its watcher found it.
pub(super) async fn idle(actor: &mut Actor, number: u64) {
    if actor.files.as_ref().is_some_and(|session| session.number == number && *session.users.borrow() == 0) {
        end(actor).await;
    }
}

/// In the owner: a start wants the root filesystem for itself.
pub(super) async fn give_way(actor: &mut Actor) {
    if let Some(session) = &actor.files {
        let mut users = session.users.subscribe();
        // A client that does not read holds up no start for ever.
        let _ = timeout(GIVE_WAY, users.wait_for(|users| *users == 0)).await;
    }
    end(actor).await;
}

/// In the owner: ends the session, if there is one, with whoever uses it.
pub(super) async fn end(actor: &mut Actor) {
    if let Some(session) = actor.files.take() {
        run_end::end_sandbox(&actor.engine, &actor.record, Some(session.live), session.pid).await;
    }
}

/// Ends every session: the engine ends, and nobody would.
pub async fn end_all(engine: &Arc<Engine>) {
    let mut work = tokio::task::JoinSet::new();
    for container in engine.containers.all() {
        // One that is gone has none.
        work.spawn(async move { container.ask(Ask::FilesEnd).await.is_ok() });
    }
    let ended = timeout(END_LIMIT, async { while work.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!("shims for files did not all end; the next start removes them");
    }
}

/// Mount points that the runtime makes in the root filesystem. Docker has them
/// in a layer of its own, so they are no changes of the container. `more` are
/// those of a build's step.
pub fn mount_points(more: &[String]) -> Vec<String> {
    let own = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts", spec::mounts::INIT];
    let mut points: Vec<String> = own.map(str::to_owned).into();
    points.extend(policy::default_mounts().into_iter().map(|mount| mount.destination));
    points.extend_from_slice(more);
    // The directories that lead there.
    let mut all = Vec::new();
    for point in &points {
        let mut path = point.as_str();
        while let Some(slash) = path.rfind('/').filter(|slash| *slash > 0) {
            all.push(path.to_owned());
            path = &path[..slash];
        }
        all.push(path.to_owned());
    }
    all.sort();
    all.dedup();
    all
}

/// Where a container that was never started has its mounts: to reach its files
/// these are made, which no start has done yet.
pub fn not_made_yet(record: &Record) -> Vec<String> {
    match &record.state {
        State::Created { .. } => record.mounts.iter().map(|mount| mount.point.destination.clone()).collect(),
        State::Starting { .. }
        | State::Running(_)
        | State::Paused(_)
        | State::Restarting(_)
        | State::Exited(_)
        | State::Removing { .. }
        | State::Dead { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::mount_points;

    #[test]
    fn mount_points_with_their_parents() {
        let points = mount_points(&[]);
        for point in ["/etc", "/etc/hosts", "/dev", "/dev/shm", "/proc", "/sys", "/sbin", "/sbin/docker-init"] {
            assert!(points.iter().any(|known| known == point), "{point} in {points:?}");
        }
        assert!(!points.iter().any(|point| point.is_empty() || point == "/"));
    }
}
