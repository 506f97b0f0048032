//! Fixed changes, for any target: `first` embeds two containers, `second` replaces one, adds one and removes one,
//! `remove` takes everything away; `small` embeds a container of few files.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use camino::Utf8Path;
use sysctr_compose::target::commit::{Commit, Parent, Revision, Written};
use sysctr_compose::target::signing::UNSIGNED;
use sysctr_core::digest::Digest;
use sysctr_core::image::flatten::{ContentStore, ContentWriter as _, Cost, ReadLayer};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::name::ContainerName;
use sysctr_core::placement::{Bundle, Change, PlacedFile, PlacedLeaf, Placement};
use sysctr_core::tree::{
    ContentId, Dir, Entry, FileName, ImageTree, LayerDiff, Leaf, Node, Stat, TreePath, Xattrs,
};

const UNITS: &str = "usr/lib/systemd/system";
const EMBEDDED: &str = "usr/lib/containers/atomic";

/// Composes `step` on the commit `base` of the repository, and moves `reference` to it.
pub fn run(step: &str, repo: &Utf8Path, base: &str, reference: &str, jobs: usize) -> Result<Written> {
    let base = Commit::open(repo, base)?;
    let composing = base.begin(revision(reference, jobs))?;
    let placement = placement(step, |name, version| bundle(&composing.contents(name), name, version))?;
    composing.commit(&placement, &Interrupt::default())
}

/// A revision without anything that is its own.
pub fn revision(reference: &str, jobs: usize) -> Revision<'_> {
    let (subject, parent, signers) = (Some("composed"), Parent::None, &UNSIGNED);
    Revision { reference, subject, parent, timestamp: None, jobs, signers }
}

/// The changes of a step.
pub fn placement(
    step: &str,
    mut make: impl FnMut(&ContainerName, &str) -> Result<Bundle>,
) -> Result<Placement> {
    let mut bundle = |name: &str, version: &str| -> Result<Change> {
        Ok(Change::PutBundle(Box::new(make(&name.parse()?, version)?)))
    };
    let changes = match step {
        "first" => vec![
            (EMBEDDED.into(), Change::MakeDirectory(Stat::implied(0o755))),
            (format!("{EMBEDDED}/web").into(), bundle("web", "1")?),
            (format!("{EMBEDDED}/old").into(), bundle("old", "1")?),
            // Through a link of the host, as a path of the host may lead.
            ("lib/tmpfiles.d/sysctr-web.conf".into(), file("d /var/lib/sysctr/web\n")),
            (format!("{UNITS}/web.service").into(), file("[Service]\n")),
            (format!("{UNITS}/host.target.wants").into(), Change::MakeDirectory(Stat::implied(0o755))),
            (
                format!("{UNITS}/host.target.wants/web.service").into(),
                Change::Put(PlacedLeaf::Link("../web.service".into())),
            ),
            (format!("{EMBEDDED}/embedded.json").into(), file(&index(&["old", "web"]))),
        ],
        "second" => vec![
            (format!("{EMBEDDED}/web").into(), bundle("web", "2")?),
            (format!("{EMBEDDED}/db").into(), bundle("db", "2")?),
            (format!("{EMBEDDED}/old").into(), Change::Remove),
            ("usr/lib/tmpfiles.d/sysctr-web.conf".into(), Change::Remove),
            (format!("{UNITS}/host.service").into(), file("[Service]\nExecStart=ours\n")),
            (format!("{UNITS}/host.target.wants/web.service").into(), Change::Remove),
            (format!("{UNITS}/host.target.wants").into(), Change::RemoveDirectory),
            (format!("{EMBEDDED}/embedded.json").into(), file(&index(&["db", "web"]))),
        ],
        "small" => vec![
            (EMBEDDED.into(), Change::MakeDirectory(Stat::implied(0o755))),
            (format!("{EMBEDDED}/web").into(), bundle("web", "small")?),
            (format!("{EMBEDDED}/embedded.json").into(), file(&index(&["web"]))),
        ],
        "remove" => vec![
            (format!("{EMBEDDED}/web").into(), Change::Remove),
            (format!("{EMBEDDED}/old").into(), Change::Remove),
            ("usr/lib/tmpfiles.d/sysctr-web.conf".into(), Change::Remove),
            (format!("{UNITS}/web.service").into(), Change::Remove),
            (format!("{UNITS}/host.target.wants/web.service").into(), Change::Remove),
            (format!("{EMBEDDED}/embedded.json").into(), Change::Remove),
            (format!("{UNITS}/host.target.wants").into(), Change::RemoveDirectory),
            (EMBEDDED.into(), Change::RemoveDirectory),
        ],
        other => bail!("no step {other}"),
    };
    Ok(Placement { changes, ..Placement::default() })
}

fn index(names: &[&str]) -> String {
    let digest = Digest::of(b"");
    let entry = |name: &&str| {
        format!(
            "\"{name}\": {{\"group\": \"g\", \"image\": \"oci:{name}\", \"config\": \"{digest}\", \
             \"inputs\": \"{digest}\", \"origin\": \"{digest}\", \"record\": \"{digest}\"}}"
        )
    };
    let entries: Vec<_> = names.iter().map(entry).collect();
    format!(
        "{{\"version\": 1, \"tool\": \"t\", \"containers\": {{{}}}, \"directories\": []}}\n",
        entries.join(", ")
    )
}

fn file(text: &str) -> Change {
    Change::Put(PlacedLeaf::File(PlacedFile { bytes: text.into(), mode: 0o644, mtime: None }))
}

fn name(name: &str) -> FileName {
    FileName::new(name.as_bytes()).expect("a file name")
}

/// Bytes that do not repeat, the same every time.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Six bits a byte, so that it can be compressed.
        ((state >> 33) & 63) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Stages a content as a layer's reader does, which has `hint` for it, while the tree decides on `stat`.
fn stage<S: ContentStore>(store: &S, ordinal: u32, bytes: &[u8], hint: &Stat, stat: Stat) -> Result<Leaf> {
    let id = ContentId { layer: 0, ordinal };
    let size = bytes.len() as u64;
    if size > 0 {
        let mut writer = store.begin(id, &TreePath::root(), size, hint)?;
        for piece in bytes.chunks(100_000) {
            writer.write(piece)?;
        }
        writer.finish(&Digest::of(bytes))?;
    }
    Ok(Leaf::File { stat, size, digest: Digest::of(bytes), content: Some(id) })
}

/// One byte, a hole of 16 KiB, one byte, a hole to the end.
fn sparse<S: ContentStore>(store: &S) -> Result<Leaf> {
    const HOLE: usize = 1 << 14;
    let id = ContentId { layer: 3, ordinal: 9 };
    let bytes = [b"a", &vec![0; HOLE][..], b"b", &vec![0; HOLE][..]].concat();
    let stat = Stat::implied(0o600);
    let mut writer = store.begin(id, &TreePath::root(), bytes.len() as u64, &stat)?;
    for letter in ["a", "b"] {
        writer.write(letter.as_bytes())?;
        writer.hole(HOLE as u64)?;
    }
    writer.finish(&Digest::of(&bytes))?;
    Ok(Leaf::File { stat, size: bytes.len() as u64, digest: Digest::of(&bytes), content: Some(id) })
}

/// A bundle with one of everything: owners, modes from none to setuid, attributes, hard links, links, long names, a sparse
/// file, a file above what is written whole, one whose layer has other metadata, and many small ones.
pub fn bundle<S: ContentStore>(store: &S, container: &ContainerName, version: &str) -> Result<Bundle> {
    let mut tree = ImageTree::new();
    tree.root.stat.mode = 0o751;
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let xattrs = Some(Box::new(Xattrs::from([
        (b"security.capability"[..].into(), capability[..].into()),
        (b"user.note"[..].into(), b"a\nb\0c"[..].into()),
    ])));
    let special = Stat { uid: 1000, gid: 1001, mode: 0o755, mtime: None, xattrs };
    let plain = Stat::implied(0o644);
    let mut many = Dir::empty(Stat { uid: 3, gid: 4, ..Stat::implied(0o2775) });
    for number in 0..if version == "small" { 2 } else { 200_u32 } {
        let bytes = noise(number, 37 * number as usize);
        let stat = Stat { mode: [0o644, 0o000, 0o4755, 0o222][number as usize % 4], ..plain.clone() };
        let leaf = tree.add_leaf(stage(store, 100 + number, &bytes, &stat, stat.clone())?);
        many.children.insert(name(&format!("file {number}")), Node::Leaf(leaf));
    }
    let su = stage(store, 1, format!("su {version} {container}").as_bytes(), &plain, special.clone())?;
    let su = tree.add_leaf(su);
    let same = tree.add_leaf(stage(store, 2, b"the same everywhere\n", &plain, plain.clone())?);
    // Few calls for a run that is disturbed at each of them: zeros take hardly any space in an archive.
    let large = |seed| if version == "small" { vec![0; 5 << 20] } else { noise(seed, 5 << 20) };
    let large_other = tree.add_leaf(stage(store, 4, &large(8), &plain, special)?);
    let large = tree.add_leaf(stage(store, 3, &large(7), &plain, plain.clone())?);
    let empty = tree.add_leaf(stage(store, 5, b"", &plain, plain.clone())?);
    let sparse = tree.add_leaf(sparse(store)?);
    // As if a layer had been read, so that the repository gets to know it.
    let added = vec![(TreePath::parse(b"sparse")?, Entry::Leaf(tree.leaf(sparse).clone()))];
    let diff = LayerDiff { added, ..LayerDiff::default() };
    store.learn(3, &Digest::of(b"layer"), &ReadLayer { diff, cost: Cost::default() });
    let link = |text: &str| Leaf::Symlink {
        stat: Stat { uid: 5, ..Stat::implied(0o777) },
        target: text.as_bytes().into(),
    };
    let (link, long) =
        (tree.add_leaf(link("../../../../etc/passwd")), tree.add_leaf(link(&"l".repeat(3000))));
    let longest = "n".repeat(255);
    for (path, node) in [
        ("many", Node::Dir(Box::new(many))),
        ("none", Node::Dir(Box::new(Dir::empty(Stat { uid: 9, ..Stat::implied(0) })))),
        ("su", Node::Leaf(su)),
        ("su-again", Node::Leaf(su)),
        ("same", Node::Leaf(same)),
        ("large", Node::Leaf(large)),
        ("large-other", Node::Leaf(large_other)),
        ("empty", Node::Leaf(empty)),
        ("sparse", Node::Leaf(sparse)),
        ("ä link", Node::Leaf(link)),
        ("long link", Node::Leaf(long)),
        (&longest, Node::Leaf(same)),
    ] {
        tree.root.children.insert(name(path), node);
    }
    Ok(Bundle { name: container.clone(), tree: Some(tree), files: files(version) })
}

/// What lies beside the `rootfs`.
pub fn files(version: &str) -> BTreeMap<String, PlacedLeaf> {
    let config = PlacedFile { bytes: version.into(), mode: 0o644, mtime: None };
    BTreeMap::from([("config.json".to_owned(), PlacedLeaf::File(config))])
}
