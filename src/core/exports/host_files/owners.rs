//! Numeric owners: a number that is one user in the image may be another on the host (A§8; kubernetes' uid 996).

use std::collections::{BTreeMap, BTreeSet};

use super::HostFile;

/// Users or groups by number, from passwd(5) or group(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<u32, String>);

impl Names {
    /// Reads `/etc/passwd` or `/etc/group`; the first name of a number counts. Lines of another form are skipped, as the
    /// C library does.
    pub fn read(bytes: &[u8]) -> Self {
        let mut names = BTreeMap::new();
        for line in String::from_utf8_lossy(bytes).lines() {
            let mut fields = line.split(':');
            let (name, number) = (fields.next(), fields.nth(1));
            if let (Some(name), Some(Ok(number))) = (name, number.map(str::parse::<u32>)) {
                names.entry(number).or_insert_with(|| name.to_owned());
            }
        }
        Self(names)
    }

    /// The name of a number.
    pub fn name(&self, number: u32) -> Option<&str> {
        self.0.get(&number).map(String::as_str)
    }

    /// Whether somebody has this name.
    pub fn knows(&self, name: &str) -> bool {
        self.0.values().any(|known| known == name)
    }
}

/// What a number means on either side, if that is not the same; `who` is "uid" or "gid", `what` whose it is.
pub fn stranger(what: &str, who: &str, number: u32, image: &Names, target: &Names) -> Option<String> {
    // Everybody agrees about root and about nobody's overflow number.
    if number == 0 || number == 65534 {
        return None;
    }
    match (image.name(number), target.name(number)) {
        (Some(own), Some(other)) if own == other => None,
        (own, Some(other)) => {
            let own = own.map(|own| format!("{own} in the image, ")).unwrap_or_default();
            Some(format!("{what} has {who} {number}: {own}{other} on the host"))
        }
        (Some(own), None) => {
            Some(format!("{what} has {who} {number}: {own} in the image, nobody on the host"))
        }
        (None, None) => None,
    }
}

/// Users and groups of an image and of its target.
#[derive(Debug, Clone, Default)]
pub struct Sides {
    /// Users by the image's `/etc/passwd`, and by the target's.
    pub users: (Names, Names),
    /// Groups by the image's `/etc/group`, and by the target's.
    pub groups: (Names, Names),
}

impl Sides {
    /// Host files, and the payload's user, whose numbers mean somebody else on the host. Each number is told once, with
    /// the first that has it.
    pub fn strangers(&self, files: &[HostFile], user: Option<&(u32, u32, Vec<u32>)>) -> Vec<String> {
        let mut owners: Vec<(String, u32, Vec<u32>)> = Vec::new();
        owners.extend(
            user.map(|(uid, gid, more)| {
                ("process.user".to_owned(), *uid, [&[*gid], more.as_slice()].concat())
            }),
        );
        owners.extend(
            files
                .iter()
                .map(|file| (format!("host file {}", file.path), file.stat().uid, vec![file.stat().gid])),
        );
        let (mut uids, mut gids) = (BTreeSet::new(), BTreeSet::new());
        let mut told = Vec::new();
        for (what, uid, groups) in owners {
            if uids.insert(uid) {
                told.extend(stranger(&what, "uid", uid, &self.users.0, &self.users.1));
            }
            for gid in groups {
                if gids.insert(gid) {
                    told.extend(stranger(&what, "gid", gid, &self.groups.0, &self.groups.1));
                }
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_mean_somebody_else_are_told() {
        let image = Names::read(
            b"root:x:0:0::/:\nkube:x:996:994::/:/sbin/nologin\nown:x:7:7::/:\n#c\n+:::\nbad:x:y:\n",
        );
        let target = Names::read(b"root:x:0:0\npolkitd:x:996:\nalias:x:996:\nkube:x:995:\nmail:x:8:\n");
        let told = |number| stranger("process.user", "uid", number, &image, &target);
        assert_eq!(
            told(996).as_deref(),
            Some("process.user has uid 996: kube in the image, polkitd on the host")
        );
        assert_eq!(told(7).as_deref(), Some("process.user has uid 7: own in the image, nobody on the host"));
        assert_eq!(told(8).as_deref(), Some("process.user has uid 8: mail on the host"));
        assert_eq!((told(0), told(5), told(65534)), (None, None, None));
        assert!(target.knows("kube") && !target.knows("own"));
    }
}
