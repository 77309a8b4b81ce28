//! Who a process runs as: what `-u` says, looked up in the container's own
//! `/etc/passwd` and `/etc/group`, by Docker's rules. Pure; the texts of the
//! files come from [`crate::rootfs`].

/// Ids beyond this are not accepted, as Docker does.
pub const MAX_ID: u32 = i32::MAX as u32;

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Groups that list the user as a member.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn passwd_entries(text: &str) -> impl Iterator<Item = Passwd<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Passwd { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or("") })
    })
}

/// Resolves `user`, `uid`, `user:group`, `uid:gid` or `:group`; an empty text
/// is user id 0. A number that no file has is taken as it is.
pub fn resolve(spec: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (user_arg, group_arg) = spec.split_once(':').unwrap_or((spec, ""));
    let wanted_uid = if user_arg.is_empty() { Some(0) } else { number(user_arg)? };
    let entry = passwd_entries(passwd).find(|entry| entry.name == user_arg || Some(entry.uid) == wanted_uid);
    let mut user = match (&entry, wanted_uid) {
        (Some(entry), _) => User { uid: entry.uid, gid: entry.gid, groups: Vec::new(), home: entry.home.to_owned() },
        (None, Some(uid)) => User { uid, gid: 0, groups: Vec::new(), home: String::new() },
        (None, None) => return Err(format!("unable to find user {user_arg}: no matching entries in passwd file")),
    };
    if user.home.is_empty() {
        user.home = "/".to_owned();
    }
    if group_arg.is_empty() {
        if let Some(entry) = entry {
            user.groups = groups_of(entry.name, group);
        }
    } else {
        user.gid = find_group(group_arg, group)?;
    }
    Ok(user)
}

/// A group's id from its name or number.
pub fn find_group(name: &str, group: &str) -> Result<u32, String> {
    let wanted = number(name)?;
    match group_entries(group).find(|entry| entry.name == name || Some(entry.gid) == wanted) {
        Some(entry) => Ok(entry.gid),
        None => wanted.ok_or_else(|| format!("unable to find group {name}: no matching entries in group file")),
    }
}

/// The home of a user id, `/` if it has none.
pub fn home_of(uid: u32, passwd: &str) -> String {
    let home = passwd_entries(passwd).find(|entry| entry.uid == uid).map_or("", |entry| entry.home);
    if home.is_empty() { "/".to_owned() } else { home.to_owned() }
}

fn groups_of(name: &str, group: &str) -> Vec<u32> {
    group_entries(group).filter(|g| g.members.split(',').any(|member| member == name)).map(|g| g.gid).collect()
}

fn number(text: &str) -> Result<Option<u32>, String> {
    match text.parse::<i64>() {
        Ok(id) if (0..=i64::from(MAX_ID)).contains(&id) => Ok(Some(id as u32)),
        Ok(_) => Err(format!("uids and gids must be in range 0-{MAX_ID}")),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbad line\nann:x:1000:100::/home/ann:/bin/sh\n";
    const GROUP: &str = "root:x:0:root\nwheel:x:10:root,ann\nusers:x:100:\nstaff:x:50:ann\n";

    fn user(spec: &str) -> Result<User, String> {
        resolve(spec, PASSWD, GROUP)
    }

    #[test]
    fn names_and_numbers() {
        let ann = User { uid: 1000, gid: 100, groups: vec![10, 50], home: "/home/ann".into() };
        assert_eq!(user("ann").unwrap(), ann);
        assert_eq!(user("1000").unwrap(), ann);
        assert_eq!(user("").unwrap().groups, [0, 10]);
        assert_eq!(user("7").unwrap(), User { uid: 7, gid: 0, groups: vec![], home: "/".into() });
    }

    #[test]
    fn groups_replace_the_memberships() {
        let ann = User { uid: 1000, gid: 50, groups: vec![], home: "/home/ann".into() };
        assert_eq!(user("ann:staff").unwrap(), ann);
        assert_eq!(user("1000:50").unwrap(), ann);
        assert_eq!(user(":staff").unwrap().uid, 0);
        assert_eq!(user("7:9").unwrap(), User { uid: 7, gid: 9, groups: vec![], home: "/".into() });
    }

    #[test]
    fn what_is_missing_is_named_as_docker_does() {
        assert_eq!(user("eve").unwrap_err(), "unable to find user eve: no matching entries in passwd file");
        assert_eq!(user("ann:zoo").unwrap_err(), "unable to find group zoo: no matching entries in group file");
        assert_eq!(user("-1").unwrap_err(), "uids and gids must be in range 0-2147483647");
        assert!(resolve("ann", "", "").is_err());
    }
}
