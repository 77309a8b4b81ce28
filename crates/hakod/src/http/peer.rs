//! Who is at the other end of a connection: what the administrator's policy may
//! ask for.

use hako_platform::Caller;
use std::{fs, sync::Arc};

/// What is known of a client.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Its user, as the kernel says; unknown by TCP.
    pub uid: Option<u32>,
    /// The socket's path, or the address that it has connected to.
    pub socket: Option<Arc<str>>,
}

impl Peer {
    /// The client as rules name it: its user by the name that `/etc/passwd` has,
    /// or else by number.
    #[must_use]
    pub fn caller(&self) -> Caller {
        let user = self.uid.map(|uid| {
            let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
            name(&users, uid).map_or_else(|| uid.to_string(), str::to_owned)
        });
        Caller { user, socket: self.socket.as_deref().map(str::to_owned) }
    }
}

/// Read by hand, as [`super::bind`] reads groups.
fn name(users: &str, uid: u32) -> Option<&str> {
    let mut lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.get(2).is_some_and(|text| text.parse::<u32>() == Ok(uid)))?.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nci:x:1001:1001::/:/bin/false\n\n";
        assert_eq!((name(users, 1001), name(users, 7)), (Some("ci"), None));
        let unknown = Peer { uid: Some(u32::MAX - 7), socket: None }.caller();
        assert_eq!(unknown.user.as_deref(), Some("4294967288"));
        assert_eq!(Peer::default().caller(), Caller::default());
    }
}
