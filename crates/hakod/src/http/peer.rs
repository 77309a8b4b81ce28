//! Who is at the other end of a connection: what the administrator's policy may
//! ask for.

use hako_platform::Caller;
use std::{fs, sync::Arc};

/// What is known of a client.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Its user, as the kernel says; unknown by TCP.
    pub uid: Option<u32>,
    /// The socket's path, or the address that is listened on.
    pub socket: Option<Arc<str>>,
}

impl Peer {
    /// The client as rules name it: its user by number and by the names that
    /// `/etc/passwd` has for it, the first of them last.
    #[must_use]
    pub fn caller(&self) -> Caller {
        let users = self.uid.map(|uid| {
            let all = fs::read_to_string("/etc/passwd").unwrap_or_default();
            let mut users: Vec<String> = names(&all, uid).map(str::to_owned).collect();
            users.push(uid.to_string());
            users.reverse();
            users
        });
        Caller { users: users.unwrap_or_default(), socket: self.socket.as_deref().map(str::to_owned) }
    }
}

/// Read by hand, as [`super::bind`] reads groups.
fn names(users: &str, uid: u32) -> impl Iterator<Item = &str> {
    users.lines().filter_map(move |line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nci:x:1001:1001::/:/bin/false\n\ntoor:x:0:0::/:/bin/sh\n";
        let of = |uid| names(users, uid).collect::<Vec<_>>();
        assert_eq!((of(1001), of(0)), (vec!["ci"], vec!["root", "toor"]));
        assert!(of(7).is_empty());
        let unknown = Peer { uid: Some(u32::MAX - 7), socket: None }.caller();
        assert_eq!(unknown.users, ["4294967288"]);
        assert_eq!(Peer::default().caller(), Caller::default());
    }
}
