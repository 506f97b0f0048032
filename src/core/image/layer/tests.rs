use super::*;
use crate::image::testing::{Head, Tar, dump_of, flatten_tars};
use crate::tree::dump;

#[test]
fn a_whiteout_s_place_and_type_do_not_matter() {
    let lower = Tar::default().file("d/a", b"1").file("d/b", b"2").file("e", b"3").end();
    let entries: [fn(Tar) -> Tar; 4] = [
        |tar| tar.file("d/.wh.a", b""),
        |tar| tar.file("d/a", b"new"),
        |tar| tar.other(b'1', ".wh.e", ".wh..wh.aufs"),
        |tar| tar.file("d/.wh..wh..opq", b""),
    ];
    let build = |order: [usize; 4]| {
        let upper = order.into_iter().fold(Tar::default(), |tar, index| entries[index](tar));
        let (flat, store) = flatten_tars(&[&lower, &upper.end()]).unwrap();
        assert_eq!(store.contents.into_inner().unwrap().into_values().collect::<Vec<_>>(), [b"new".to_vec()]);
        String::from_utf8(dump::write(&flat.tree)).unwrap()
    };
    let expected =
        format!("/ d 0755 0 0 -\n/d d 0755 0 0 -\n/d/a f 0644 0 0 1.000000000 3 {}\n", Digest::of(b"new"));
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]] {
        assert_eq!(build(order), expected, "{order:?}");
    }
}

#[test]
fn special_files_are_told_and_left_out() {
    let mut overlay = Head { name: b"a/gone", flag: b'3', ..Head::default() }.block();
    overlay[329..345].copy_from_slice(b"0000000\x000000000\0");
    crate::image::testing::seal(&mut overlay);
    let lower = Tar::default().file("a/gone", b"x").file("kept", b"y").end();
    let upper = Tar::default().raw(&overlay).other(b'6', "pipe", "").other(b'4', "disk", "").end();
    let (flat, store) = flatten_tars(&[&lower, &upper]).unwrap();
    let left_out: Vec<_> = flat.left_out.iter().map(|one| format!("{} {:?}", one.path, one.kind)).collect();
    assert_eq!(left_out, ["\"/a/gone\" CharacterDevice", "\"/disk\" BlockDevice", "\"/pipe\" Fifo"]);
    assert_eq!(store.contents.into_inner().unwrap().len(), 1);
    assert_eq!(flat.tree.walk().count(), 2);
}

#[test]
fn aufs_notes_are_passed_over() {
    let tar = Tar::default()
        .file(".wh..wh.aufs", b"note")
        .dir(".wh..wh.plnk/", 0o700)
        .file(".wh..wh.plnk/1.2", b"x");
    assert_eq!(dump_of(&tar.end()), "");
}
