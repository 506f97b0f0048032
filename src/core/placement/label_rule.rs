//! The rule about the roots of containers in the policy's own files. Whoever labels the tree again (rpm-ostree at commit,
//! bootc at import, restorecon) reads it there.
//!
//! It is the last line of `contexts/files/file_contexts.local`, which is read last, so that it wins. A build of the policy
//! makes that file from its store, so where the tree has the store, the line stands there too. The compiled form of the
//! file is preferred where it is not older (in a commit nothing is), so it is put aside.

use std::collections::BTreeMap;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use super::policy::{Policy, ROOTS, text};
use super::{Change, Found, Ground, PlacedFile, PlacedLeaf};
use crate::record::{Before, LabelRule};
use crate::tree::Mtime;

/// A compiled form of rules has some MB.
const MAX_COMPILED_BYTES: u64 = 256 << 20;

/// What is to be done about the rule, and what the index will say of it.
#[derive(Debug, Default)]
pub struct RuleChange {
    /// Changes, and whether something stands at their paths before.
    pub changes: Vec<(Utf8PathBuf, Change, Found)>,
    /// The rule as it is then.
    pub rule: Option<LabelRule>,
}

/// Brings the rule of `policy` into the target, or takes it out when there is none. `recorded` is what the index says now.
///
/// # Errors
/// When the policy's files can't be read.
pub fn settle(
    ground: &impl Ground,
    policy: Option<&Policy>,
    recorded: Option<&LabelRule>,
) -> Result<RuleChange> {
    let mut change = RuleChange::default();
    let known = recorded.map(|recorded| recorded.files.clone()).unwrap_or_default();
    let Some(policy) = policy else {
        for (path, before) in &known {
            change.take_out(ground, path, *before)?;
        }
        return Ok(change);
    };
    let rule = policy.rule();
    let mut files = BTreeMap::new();
    for path in places(ground, policy)? {
        let before = change.put_in(ground, &path, &rule)?;
        let before = known.get(&path).copied().unwrap_or(before);
        files.insert(path, before);
    }
    // The policy may have another name than before.
    for (path, before) in known.iter().filter(|(path, _)| !files.contains_key(*path)) {
        change.take_out(ground, path, *before)?;
    }
    change.rule = Some(LabelRule { rule, files });
    Ok(change)
}

/// The files in which the rule stands.
fn places(ground: &impl Ground, policy: &Policy) -> Result<Vec<Utf8PathBuf>> {
    let mut places = vec![policy.rules_dir().join("file_contexts.local")];
    let store = policy.dir().join("active");
    if ground.probe(&store)? == Found::Directory {
        places.push(store.join("file_contexts.local"));
    }
    Ok(places)
}

/// Where the compiled form of these rules lies, and where it is put aside.
fn compiled(path: &Utf8Path) -> [Utf8PathBuf; 2] {
    [format!("{path}.bin").into(), format!("{path}.bin.sysctr-aside").into()]
}

/// A file's bytes, mode and time stamp.
type Standing = (Vec<u8>, u16, Mtime);

fn standing(ground: &impl Ground, path: &Utf8Path) -> Result<(Option<Standing>, Found)> {
    let found = ground.probe(path)?;
    let Found::File { mode, mtime, .. } = found else { return Ok((None, found)) };
    let bytes = ground.read(path, MAX_COMPILED_BYTES)?;
    Ok((bytes.map(|bytes| (bytes, mode, mtime)), found))
}

impl RuleChange {
    /// Puts the rule into the file at `path`; tells what was there before.
    fn put_in(&mut self, ground: &impl Ground, path: &Utf8Path, rule: &str) -> Result<Before> {
        let [compiled, aside] = compiled(path);
        self.rename(ground, compiled, aside)?;
        let (there, found) = standing(ground, path)?;
        let before = if there.is_some() { Before::There } else { Before::Missing };
        // The store is its owner's alone.
        let new = if path.as_str().contains("/active/") { 0o600 } else { 0o644 };
        // With its old time stamp it has that again when the rule is gone.
        let (bytes, mode, mtime) = match there {
            Some((bytes, mode, mtime)) => (bytes, mode, Some(mtime)),
            None => (Vec::new(), new, None),
        };
        let ruled = with_rule(&bytes, rule);
        if ruled != bytes {
            self.put(path.to_owned(), PlacedFile { bytes: ruled, mode, mtime }, found);
        }
        Ok(before)
    }

    /// Takes the rule out of the file at `path`.
    fn take_out(&mut self, ground: &impl Ground, path: &Utf8Path, before: Before) -> Result<()> {
        let [compiled, aside] = compiled(path);
        self.rename(ground, aside, compiled)?;
        let (Some((bytes, mode, mtime)), found) = standing(ground, path)? else { return Ok(()) };
        let left = without_rule(&bytes);
        if left.is_empty() && before == Before::Missing {
            self.changes.push((path.to_owned(), Change::Remove, found));
        } else if left != bytes {
            self.put(path.to_owned(), PlacedFile { bytes: left, mode, mtime: Some(mtime) }, found);
        }
        Ok(())
    }

    fn rename(&mut self, ground: &impl Ground, from: Utf8PathBuf, to: Utf8PathBuf) -> Result<()> {
        let (Some((bytes, mode, mtime)), found) = standing(ground, &from)? else { return Ok(()) };
        let over = ground.probe(&to)?;
        self.put(to, PlacedFile { bytes, mode, mtime: Some(mtime) }, over);
        self.changes.push((from, Change::Remove, found));
        Ok(())
    }

    fn put(&mut self, path: Utf8PathBuf, file: PlacedFile, over: Found) {
        self.changes.push((path, Change::Put(PlacedLeaf::File(file)), over));
    }
}

/// Whether the rule is where the index says, in each file: the files that lack it, or have it aside its compiled form.
///
/// # Errors
/// When they can't be read.
pub fn lacking(ground: &(impl Ground + ?Sized), recorded: &LabelRule) -> Result<Vec<Utf8PathBuf>> {
    let mut lacking = Vec::new();
    for path in recorded.files.keys() {
        let rules = text(ground, path)?.unwrap_or_default();
        let [compiled, _] = compiled(path);
        if rules.lines().next_back() != Some(recorded.rule.as_str())
            || ground.probe(&compiled)? != Found::Nothing
        {
            lacking.push(path.clone());
        }
    }
    Ok(lacking)
}

/// These rules with `rule` as their last. A last line without a line feed stays so, for the way back.
fn with_rule(rules: &[u8], rule: &str) -> Vec<u8> {
    let others = without_rule(rules);
    let cut_off = !others.is_empty() && !others.ends_with(b"\n");
    if cut_off {
        [&others[..], b"\n", rule.as_bytes()].concat()
    } else {
        [&others[..], rule.as_bytes(), b"\n"].concat()
    }
}

/// These rules without the one about the roots of containers.
fn without_rule(rules: &[u8]) -> Vec<u8> {
    let ours = |line: &[u8]| {
        line.strip_prefix(ROOTS.as_bytes())
            .is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_whitespace))
    };
    let mut left: Vec<u8> = Vec::new();
    for line in rules.split_inclusive(|byte| *byte == b'\n') {
        if !ours(line) {
            left.extend_from_slice(line);
        } else if !line.ends_with(b"\n") {
            left.pop();
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: &str = "/usr/lib/containers/atomic/[^/]+/rootfs(/.*)?\tu:r:t:s0";

    proptest! {
        #[test]
        fn a_rule_that_came_and_went_leaves_every_byte(lines in "(([/a-z# \u{e4}]{0,9}|/usr/lib/containers/atomic/[\\[x]{1,3})\n?){0,6}") {
            let before = lines.as_bytes();
            let after = with_rule(before, RULE);
            prop_assert_eq!(after.split(|byte| *byte == b'\n').filter(|line| *line == RULE.as_bytes()).count(), 1);
            prop_assert_eq!(std::str::from_utf8(&after).unwrap().lines().next_back(), Some(RULE));
            prop_assert_eq!(with_rule(&after, RULE), after.clone());
            prop_assert_eq!(without_rule(&after), before);
        }
    }

    #[test]
    fn a_rule_that_a_policy_tool_wrote_again_is_ours_still() {
        let spaced =
            "/x    u:r:t:s0\n/usr/lib/containers/atomic/[^/]+/rootfs(/.*)?    u:r:old:s0\n/y  u:r:t:s0\n";
        assert_eq!(without_rule(spaced.as_bytes()), b"/x    u:r:t:s0\n/y  u:r:t:s0\n");
        assert!(with_rule(spaced.as_bytes(), RULE).ends_with(format!("/y  u:r:t:s0\n{RULE}\n").as_bytes()));
    }
}
