//! Network namespaces: each engine's host is one, so that its bridges and rules
//! are not this machine's, and what an engine leaves there can be seen.

use crate::{deb, programs};
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::thread;

/// A namespace, which lives as long as this or a process in it.
#[derive(Clone)]
pub struct Namespace(Arc<File>);

impl Namespace {
    /// A new one, in which only `lo` is there, and up.
    pub fn new() -> Result<Self> {
        let made = thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
            File::open("/proc/thread-self/ns/net").context("opening a network namespace")
        });
        let file = made.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
        let namespace = Self(Arc::new(file));
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Does `work` in the namespace, on a thread of its own: what it starts runs there.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&*self.0, CloneFlags::CLONE_NEWNET).context("entering a network namespace")?;
                work()
            });
            inside.join().unwrap_or_else(|_| bail!("a thread panicked"))
        })
    }

    /// `ip` with these words, which must succeed.
    pub fn ip(&self, words: &str) -> Result<()> {
        self.tool("ip", words).map(drop)
    }

    /// A tool of the machine with these words; what it prints.
    pub fn tool(&self, program: &str, words: &str) -> Result<String> {
        let found = programs::find(program).with_context(|| format!("{program} is not installed"))?;
        self.within(|| deb::output(Command::new(found).args(words.split_whitespace())))
            .with_context(|| format!("{program} {words}"))
    }

    /// Its name for tools, while this process has it open.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Interfaces but `lo`, and tables of the packet filter: what an engine that
    /// has ended has left there.
    pub fn left(&self) -> Result<Vec<String>> {
        let table = self.within(|| fs::read_to_string("/proc/thread-self/net/dev").context("listing interfaces"))?;
        let names = table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
        let mut left: Vec<String> =
            names.filter(|name| *name != "lo").map(|name| format!("interface {name}")).collect();
        // Without the program nobody has made a table.
        if programs::find("nft").is_some() {
            left.extend(self.tool("nft", "list tables")?.lines().map(str::to_owned));
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::Namespace;

    #[test]
    fn what_is_left_is_seen() {
        // Namespaces are root's, as all that is measured.
        let namespace = Namespace::new().unwrap();
        assert!(namespace.left().unwrap().is_empty());
        namespace.ip("link add left0 type bridge").unwrap();
        namespace.tool("nft", "add table inet left").unwrap();
        assert_eq!(namespace.left().unwrap(), ["interface left0", "table inet left"]);
        assert!(Namespace::new().unwrap().left().unwrap().is_empty(), "another one");
    }
}
