//! A network namespace that stands for an engine's host: its bridges, rules and
//! ports are its own, so that tests beside each other do not meet.

use nix::sched::{CloneFlags, setns, unshare};
use std::{fs::File, os::fd::AsRawFd, process::Command, sync::Arc, thread};

/// The namespace; it lives as long as somebody holds it.
#[derive(Clone)]
pub struct NetworkNamespace(Arc<File>);

impl NetworkNamespace {
    /// A new one, in which only `lo` is there, and up.
    ///
    /// # Panics
    /// The kernel refuses.
    #[must_use]
    pub fn new() -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            File::open("/proc/thread-self/ns/net").expect("the thread's namespace")
        });
        let network = Self(Arc::new(made.join().expect("the thread does not panic")));
        network.tool("ip", &["link", "set", "lo", "up"]);
        network
    }

    /// Does `work` in the namespace, on a thread of its own: what it starts
    /// runs there.
    ///
    /// # Panics
    /// As `work` does.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&*self.0, CloneFlags::CLONE_NEWNET).expect("the namespace can be entered");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a tool of the machine inside, which must succeed; what it printed.
    ///
    /// # Panics
    /// It fails.
    pub fn tool(&self, program: &str, args: &[&str]) -> String {
        let output = self.within(|| Command::new(program).args(args).output());
        let output = output.unwrap_or_else(|err| panic!("{program}: {err}"));
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A cable: the interface `here`, whose other end is `there` in another
    /// namespace; both are down.
    ///
    /// # Panics
    /// One of them is there.
    pub fn join(&self, other: &Self, here: &str, there: &str) {
        let path = format!("/proc/{}/fd/{}", std::process::id(), other.0.as_raw_fd());
        self.tool("ip", &["link", "add", here, "type", "veth", "peer", "name", there, "netns", &path]);
    }

    /// The interfaces but `lo`, by name.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        let table = self.within(|| std::fs::read_to_string("/proc/thread-self/net/dev")).expect("a table");
        let names = table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
        names.filter(|name| name != "lo").collect()
    }

    /// The packet filter's tables.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        self.tool("nft", &["list", "tables"]).lines().map(str::to_owned).collect()
    }

    /// What an engine that has ended has left: nothing.
    #[must_use]
    pub fn left(&self) -> String {
        let mut left = self.interfaces();
        left.extend(self.tables());
        left.join("\n")
    }

    /// As after a boot: no interface, no rule, no forwarding.
    pub fn clear(&self) {
        for name in self.interfaces() {
            // Its other end may have taken it along.
            self.within(|| Command::new("ip").args(["link", "delete", &name]).output()).expect("ip runs");
        }
        self.tool("nft", &["flush", "ruleset"]);
        self.tool("sysctl", &["-qw", "net.ipv4.ip_forward=0"]);
    }
}

impl Default for NetworkNamespace {
    fn default() -> Self {
        Self::new()
    }
}
