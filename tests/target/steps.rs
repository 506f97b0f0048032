//! The fixed changes: `first` embeds three containers, `second` replaces one, adds one and removes one, `remove` takes
//! everything away; `open` only ends what was cut off.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use camino::Utf8Path;
use sysctr_compose::target::sysroot::{Access, Staging, Sysroot};
use sysctr_core::digest::Digest;
use sysctr_core::epoch::Epoch;
use sysctr_core::image::flatten::{ContentStore as _, ContentWriter as _};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::name::ContainerName;
use sysctr_core::placement::{Bundle, Change, PlacedFile, PlacedLeaf, Placement};
use sysctr_core::tree::{ContentId, Dir, FileName, ImageTree, Leaf, Mtime, Node, Stat, TreePath, Xattrs};

const UNITS: &str = "usr/lib/systemd/system";
const EMBEDDED: &str = "usr/lib/containers/atomic";

/// Makes the change `step` of the root at `root`.
pub fn run(step: &str, root: &Utf8Path, interrupt: &Interrupt) -> Result<()> {
    let sysroot = Sysroot::open(root, Access::Write)?;
    if step == "open" {
        return Ok(());
    }
    let staging = sysroot.begin(Epoch::from_variable(Some("1700000000"))?)?;
    let placement = match step {
        "first" => first(&staging)?,
        "second" => second(&staging)?,
        "remove" => remove(),
        "fails" => fails(&staging)?,
        other => bail!("no step {other}"),
    };
    staging.commit(&placement, interrupt)
}

fn first(staging: &Staging<'_>) -> Result<Placement> {
    let changes = vec![
        (format!("{EMBEDDED}/web").into(), bundle(staging, "web", "1")?),
        (format!("{EMBEDDED}/old").into(), bundle(staging, "old", "1")?),
        ("usr/lib/tmpfiles.d/sysctr-web.conf".into(), file("d /var/lib/sysctr/web\n")),
        (format!("{UNITS}/web.service").into(), file("[Service]\n")),
        (format!("{UNITS}/host.target.wants").into(), Change::MakeDirectory(Stat::implied(0o755))),
        (
            format!("{UNITS}/host.target.wants/web.service").into(),
            Change::Put(PlacedLeaf::Link("../web.service".into())),
        ),
        (format!("{EMBEDDED}/embedded.json").into(), file("{\"version\": 1}\n")),
    ];
    Ok(Placement { changes, ..Placement::default() })
}

fn second(staging: &Staging<'_>) -> Result<Placement> {
    let changes = vec![
        (format!("{EMBEDDED}/web").into(), bundle(staging, "web", "2")?),
        (format!("{EMBEDDED}/db").into(), bundle(staging, "db", "2")?),
        (format!("{EMBEDDED}/old").into(), Change::Remove),
        ("usr/lib/tmpfiles.d/sysctr-web.conf".into(), Change::Remove),
        (format!("{UNITS}/web.service").into(), file("[Service]\nRestart=no\n")),
        (format!("{UNITS}/host.service").into(), file("[Service]\nExecStart=ours\n")),
        (format!("{UNITS}/host.target.wants/web.service").into(), Change::Remove),
        (format!("{UNITS}/host.target.wants").into(), Change::RemoveDirectory),
        (format!("{EMBEDDED}/embedded.json").into(), file("{\"version\": 1, \"second\": true}\n")),
    ];
    Ok(Placement { changes, ..Placement::default() })
}

/// Takes away what [`first`] put.
fn remove() -> Placement {
    let removed = [
        format!("{EMBEDDED}/web"),
        format!("{EMBEDDED}/old"),
        "usr/lib/tmpfiles.d/sysctr-web.conf".to_owned(),
        format!("{UNITS}/web.service"),
        format!("{UNITS}/host.target.wants/web.service"),
        format!("{EMBEDDED}/embedded.json"),
    ];
    let emptied =
        [format!("{UNITS}/host.target.wants"), EMBEDDED.to_owned(), "usr/lib/containers".to_owned()];
    let removed = removed.map(|path| (path.into(), Change::Remove));
    let emptied = emptied.map(|path| (path.into(), Change::RemoveDirectory));
    Placement { changes: removed.into_iter().chain(emptied).collect(), ..Placement::default() }
}

/// [`second`] with a last change that can't be made.
fn fails(staging: &Staging<'_>) -> Result<Placement> {
    let mut placement = second(staging)?;
    placement.changes.push(("usr/lib/not-there/x.service".into(), file("")));
    Ok(placement)
}

pub fn file(text: &str) -> Change {
    Change::Put(PlacedLeaf::File(PlacedFile { bytes: text.into(), mode: 0o644, mtime: None }))
}

fn name(name: &[u8]) -> FileName {
    FileName::new(name).expect("a file name")
}

/// Stages a content as a layer's reader does.
pub fn stage(staging: &Staging<'_>, container: &ContainerName, ordinal: u32, bytes: &[u8]) -> Result<Leaf> {
    let id = ContentId { layer: 0, ordinal };
    let contents = staging.contents(container)?;
    let size = bytes.len() as u64;
    if size > 0 {
        let mut writer = contents.begin(id, &TreePath::root(), size, &Stat::implied(0o644))?;
        for piece in bytes.chunks(100_000) {
            writer.write(piece)?;
        }
        writer.finish(&Digest::of(bytes))?;
    }
    let stat = Stat { mtime: Some(Mtime { seconds: 1_600_000_000, nanoseconds: 7 }), ..Stat::implied(0o644) };
    Ok(Leaf::File { stat, size, digest: Digest::of(bytes), content: Some(id) })
}

/// A bundle with one of everything: owners, setuid, attributes, hard links, links, a sparse file, names of any bytes.
pub fn bundle(staging: &Staging<'_>, container: &str, version: &str) -> Result<Change> {
    let container: ContainerName = container.parse()?;
    let mut tree = ImageTree::new();
    tree.root.stat.mode = 0o751;
    let mut bin = Dir::empty(Stat { uid: 3, gid: 4, ..Stat::implied(0o2775) });
    let mut leaf = stage(staging, &container, 1, format!("su {version}").as_bytes())?;
    if let Leaf::File { stat, .. } = &mut leaf {
        (stat.uid, stat.gid, stat.mode) = (1000, 1001, 0o6755);
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        stat.xattrs = Some(Box::new(Xattrs::from([
            (b"security.capability"[..].into(), capability[..].into()),
            (b"user.note"[..].into(), b"a\nb\0c"[..].into()),
        ])));
    }
    let su = tree.add_leaf(leaf);
    let empty = stage(staging, &container, 2, b"")?;
    let empty = tree.add_leaf(empty);
    let link =
        |text: &[u8]| Leaf::Symlink { stat: Stat { uid: 5, ..Stat::implied(0o777) }, target: text.into() };
    let link = tree.add_leaf(link(b"../../../../etc/passwd"));
    bin.children = BTreeMap::from([
        (name(b"su"), Node::Leaf(su)),
        (name(b"su-again"), Node::Leaf(su)),
        (name(b"\xff\xfe"), Node::Leaf(empty)),
        (name(b"link"), Node::Leaf(link)),
    ]);
    tree.root.children = BTreeMap::from([
        (name(b"bin"), Node::Dir(Box::new(bin))),
        (name(b"su-third"), Node::Leaf(su)),
        (name(b"empty-again"), Node::Leaf(empty)),
        (name(b"sparse"), Node::Leaf(tree.add_leaf(sparse(staging, &container)?))),
    ]);
    let files = BTreeMap::from([(
        "config.json".to_owned(),
        PlacedLeaf::File(PlacedFile { bytes: version.into(), mode: 0o644, mtime: None }),
    )]);
    Ok(Change::PutBundle(Box::new(Bundle { name: container, tree: Some(tree), files })))
}

/// One byte, a hole of 16 KiB, one byte, a hole to the end.
fn sparse(staging: &Staging<'_>, container: &ContainerName) -> Result<Leaf> {
    const HOLE: usize = 1 << 14;
    let id = ContentId { layer: 3, ordinal: 9 };
    let contents = staging.contents(container)?;
    let bytes = [b"a", &vec![0; HOLE][..], b"b", &vec![0; HOLE][..]].concat();
    let mut writer = contents.begin(id, &TreePath::root(), bytes.len() as u64, &Stat::implied(0o644))?;
    for letter in ["a", "b"] {
        writer.write(letter.as_bytes())?;
        writer.hole(HOLE as u64)?;
    }
    writer.finish(&Digest::of(&bytes))?;
    let stat = Stat::implied(0o600);
    Ok(Leaf::File { stat, size: bytes.len() as u64, digest: Digest::of(&bytes), content: Some(id) })
}
