//! As whom the payload runs: `user[:group]` of an image or a user, looked up in the image's own passwd and group files
//! (passwd(5), group(5)), with the rules that container engines share.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// The other groups that the group file has the user in, sorted.
    pub additional_gids: Vec<u32>,
    /// The home directory, if the passwd file has the user.
    pub home: Option<String>,
}

struct PasswdEntry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

struct GroupEntry<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

/// Resolves `text`, which is `user[:group]` with names or numbers; empty is root.
///
/// A user without a group gets that of the passwd file and the further groups that the group file puts its name into; a
/// number that is not in the passwd file gets group 0. A given group is the only one.
///
/// # Errors
/// When a name is not in the image's file, or a number is none that Linux knows.
pub fn resolve(text: &str, passwd: Option<&[u8]>, group: Option<&[u8]>) -> Result<User> {
    let (user_text, group_text) = text.split_once(':').unwrap_or((text, ""));
    let user_text = if user_text.is_empty() { "0" } else { user_text };
    let number = numeric(user_text)?;
    let entry = passwd.into_iter().flat_map(passwd_entries).find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None => entry.name == user_text.as_bytes(),
    });
    let (uid, own_gid) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(uid)) => (uid, 0),
        (None, None) => bail!("{}", unknown("user", user_text, "/etc/passwd", passwd.is_some())),
    };
    let home = entry.as_ref().map(|entry| home(entry.home));
    if !group_text.is_empty() {
        let gid = group_id(group_text, group)?;
        return Ok(User { uid, gid, additional_gids: Vec::new(), home });
    }
    let name = entry.map(|entry| entry.name);
    let mut gids: BTreeSet<u32> = group
        .into_iter()
        .flat_map(group_entries)
        .filter(|entry| name.is_some_and(|name| entry.members.split(|&byte| byte == b',').any(|m| m == name)))
        .map(|entry| entry.gid)
        .collect();
    gids.remove(&own_gid);
    Ok(User { uid, gid: own_gid, additional_gids: gids.into_iter().collect(), home })
}

fn group_id(text: &str, group: Option<&[u8]>) -> Result<u32> {
    if let Some(gid) = numeric(text)? {
        return Ok(gid);
    }
    let entry = group.into_iter().flat_map(group_entries).find(|entry| entry.name == text.as_bytes());
    entry.map(|entry| entry.gid).with_context(|| unknown("group", text, "/etc/group", group.is_some()))
}

/// `Some` for digits only: as a number they are meant then, and must be one that Linux has.
fn numeric(text: &str) -> Result<Option<u32>> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        // -1 means "leave as it is" to chown(2) and setresuid(2).
        Ok(number) if number != u32::MAX => Ok(Some(number)),
        _ => bail!("{text} is not the number of a user or group: they go from 0 to {}", u32::MAX - 1),
    }
}

fn unknown(what: &str, name: &str, file: &str, has_file: bool) -> String {
    if has_file {
        format!("{what} {name:?} is not in the image's {file}; give one that is, or a number")
    } else {
        format!("{what} {name:?} can't be looked up: the image has no {file}; give a number")
    }
}

/// What can't be a value of `HOME` is `/`.
fn home(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.starts_with('/') && !text.contains('\0') => text.to_owned(),
        _ => "/".to_owned(),
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|&byte| byte == b'\n').map(|line| line.split(|&byte| byte == b':').collect())
}

/// Entries that are whole; a line that is not is nobody's.
fn passwd_entries(file: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    lines(file).filter_map(|fields| match fields.as_slice() {
        [name, _, uid, gid, _, home, ..] if !name.is_empty() => {
            Some(PasswdEntry { name, uid: id(uid)?, gid: id(gid)?, home })
        }
        _ => None,
    })
}

fn group_entries(file: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    lines(file).filter_map(|fields| match fields.as_slice() {
        [name, _, gid, members, ..] if !name.is_empty() => {
            Some(GroupEntry { name, gid: id(gid)?, members: members.trim_ascii_end() })
        }
        [name, _, gid] if !name.is_empty() => Some(GroupEntry { name, gid: id(gid)?, members: b"" }),
        _ => None,
    })
}

fn id(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok().filter(|&number| number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbroken:x:zero:0::/:\n\
        nginx:x:101:102:nginx:/var/cache/nginx:/sbin/nologin\n7:x:70:70::/seven:\nbytes\xff:x:9:9::/\xff:\nnohome:x:8:8:::\n";
    const GROUP: &[u8] =
        b"root:x:0:root\nadm:x:4:root,nginx\ntty:x:5:\nnginx:x:102:\nwww:x:33:nginx,other\nshort:x:6\n";

    fn user(text: &str) -> (u32, u32, Vec<u32>, Option<String>) {
        let user = resolve(text, Some(PASSWD), Some(GROUP)).unwrap();
        (user.uid, user.gid, user.additional_gids, user.home)
    }

    #[test]
    fn table_of_users() {
        let home = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("", (0, 0, vec![4], home("/root"))),
            ("root", (0, 0, vec![4], home("/root"))),
            ("nginx", (101, 102, vec![4, 33], home("/var/cache/nginx"))),
            ("101", (101, 102, vec![4, 33], home("/var/cache/nginx"))),
            ("nginx:", (101, 102, vec![4, 33], home("/var/cache/nginx"))),
            ("nginx:www", (101, 33, vec![], home("/var/cache/nginx"))),
            ("nginx:6", (101, 6, vec![], home("/var/cache/nginx"))),
            (":short", (0, 6, vec![], home("/root"))),
            ("12345", (12345, 0, vec![], None)),
            ("12345:12345", (12345, 12345, vec![], None)),
            // Digits are a number, whoever has them as a name.
            ("7", (7, 0, vec![], None)),
            ("9", (9, 9, vec![], home("/"))),
            ("nohome", (8, 8, vec![], home("/"))),
        ] {
            assert_eq!(user(text), expected, "{text:?}");
        }
    }

    #[test]
    fn who_is_not_there_is_told_with_a_way_out() {
        let error = |text: &str, passwd, group| resolve(text, passwd, group).unwrap_err().to_string();
        assert_eq!(
            error("broken", Some(PASSWD), None),
            "user \"broken\" is not in the image's /etc/passwd; give one that is, or a number"
        );
        assert_eq!(
            error("web", None, None),
            "user \"web\" can't be looked up: the image has no /etc/passwd; give a number"
        );
        assert_eq!(
            error("0:web", Some(PASSWD), Some(GROUP)),
            "group \"web\" is not in the image's /etc/group; give one that is, or a number"
        );
        assert_eq!(
            error("4294967295", None, None),
            "4294967295 is not the number of a user or group: they go from 0 to 4294967294"
        );
    }
}
