//! An independent reader of trees: everything that a user can see of every entry, one line each.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Every entry below `root`, itself included: type, mode, owner, time stamp in nanoseconds, content, attributes, and the
/// first of the names that it shares an inode with.
pub fn list(root: &Path) -> String {
    let mut lines = String::new();
    entry(root, OsStr::new("."), &mut BTreeMap::new(), &mut lines);
    lines
}

/// Both listings have the same lines; else shows those that only one has.
#[track_caller]
pub fn assert_same(found: &str, expected: &str, when: &str) {
    if found != expected {
        let only = |one: &str, other: &str| {
            let other: Vec<_> = other.lines().collect();
            one.lines().filter(|line| !other.contains(line)).collect::<Vec<_>>().join("\n")
        };
        panic!("{when}: found only\n{}\nexpected only\n{}", only(found, expected), only(expected, found));
    }
}

fn entry(path: &Path, shown: &OsStr, inodes: &mut BTreeMap<(u64, u64), String>, lines: &mut String) {
    let stat = fs::symlink_metadata(path).unwrap();
    let name = shown.as_bytes().escape_ascii().to_string();
    let content = if stat.is_file() {
        fs::read(path).unwrap().escape_ascii().to_string().replace(r"\x00", "")
    } else if stat.is_symlink() {
        fs::read_link(path).unwrap().as_os_str().as_bytes().escape_ascii().to_string()
    } else {
        String::new()
    };
    let first = match stat.is_dir() {
        true => name.clone(),
        false => inodes.entry((stat.dev(), stat.ino())).or_insert_with(|| name.clone()).clone(),
    };
    let size = if stat.is_dir() { 0 } else { stat.len() };
    lines.push_str(&format!(
        "{name} {:o} {}:{} {}.{:09} {size} {first} {:?} {content}\n",
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.mtime(),
        stat.mtime_nsec(),
        attributes(path),
    ));
    if stat.is_dir() {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|each| each.unwrap().file_name()).collect();
        names.sort();
        for inner in names {
            let shown = Path::new(shown).join(&inner);
            entry(&path.join(&inner), shown.as_os_str(), inodes, lines);
        }
    }
}

fn attributes(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value[..length].escape_ascii().to_string()
    };
    names
        .filter(|name| *name != b"security.selinux")
        .map(|name| (name.escape_ascii().to_string(), value(name)))
        .collect()
}
