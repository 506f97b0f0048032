use crate::digest::Digest;
use crate::image::testing::{GNU, Head, Tar, V7, dump_of, flatten_tars, record, seal};

fn sha(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

#[test]
fn a_ustar_stream_with_every_type() {
    let tar = Tar::default()
        .dir("./", 0o711)
        .dir("d/", 0o2750)
        .file("d/f", b"hello")
        .head(&Head { name: b"d/set", mode: 0o104_755, ..Head::default() })
        .other(b'1', "hard", "./d/f")
        .other(b'2', "sym", "../d//f")
        .head(&Head { name: b"cont", flag: b'7', size: 2, ..Head::default() })
        .data(b"ok")
        .end();
    let (hello, ok, empty) = (sha(b"hello"), sha(b"ok"), sha(b""));
    assert_eq!(
        dump_of(&tar),
        format!(
            "/cont f 0644 0 0 1.000000000 2 {ok}\n\
             /d d 2750 0 0 1.000000000\n\
             /d/f f 0644 0 0 1.000000000 5 {hello}\n\
             /d/set f 4755 0 0 1.000000000 0 {empty}\n\
             /hard h /d/f\n\
             /sym l 0777 0 0 1.000000000 ../d//f\n"
        )
    );
}

#[test]
fn streams_from_before_ustar() {
    let v7 = |name, flag, size| Head { name, flag, size, magic: V7, ..Head::default() };
    let tar = Tar::default().head(&v7(b"dir/", 0, 0)).head(&v7(b"dir/f", 0, 1)).data(b"x").end();
    let x = sha(b"x");
    assert_eq!(dump_of(&tar), format!("/dir d 0644 0 0 1.000000000\n/dir/f f 0644 0 0 1.000000000 1 {x}\n"));
}

#[test]
fn the_end_mark_may_be_missing_and_garbage_may_follow_it() {
    let file = || Tar::default().file("f", b"x");
    let complete = dump_of(&file().end());
    assert_eq!(complete, format!("/f f 0644 0 0 1.000000000 1 {}\n", sha(b"x")));
    let unpadded = file().0[..513].to_vec();
    for tar in [file().0, unpadded, file().raw(&[0; 512]).0, file().raw(&[0; 1024]).raw(&[7; 700_000]).0] {
        assert_eq!(dump_of(&tar), complete);
    }
}

#[test]
fn cut_off_streams_are_errors() {
    let big = vec![b'x'; 1000];
    let whole = Tar::default().file("a", b"").file("f", &big).0;
    assert_eq!(dump_of(&whole[..1500]), "entry \"/f\": it is cut off 524 bytes before its end");
    assert_eq!(dump_of(&whole[..600]), "its last header is cut off");
    let pax = Tar::default().pax(b'x', &[("path", b"long")]).0;
    assert_eq!(dump_of(&pax), "its last header is cut off");
    // What is left out is measured too.
    let skipped =
        Tar::default().head(&Head { name: b".wh.x", size: 1000, ..Head::default() }).data(&[1; 400]).0;
    assert_eq!(dump_of(&skipped), "it is cut off 488 bytes before its end");
}

#[test]
fn gnu_long_names_and_old_extensions() {
    let (name, target) = (["long"; 40].join("/"), "t".repeat(150));
    let long = |flag, text: &str| Head {
        name: b"././@LongLink",
        flag,
        size: text.len() as u64 + 1,
        magic: GNU,
        ..Head::default()
    };
    let tar = Tar::default()
        .head(&long(b'L', &name))
        .data(&[name.as_bytes(), b"\0"].concat())
        .head(&long(b'K', &target))
        .data(&[target.as_bytes(), b"\0"].concat())
        .head(&Head { name: b"cut", flag: b'2', link: b"cut", magic: GNU, ..Head::default() })
        .end();
    let dump = dump_of(&tar);
    assert!(dump.ends_with(&format!("/{name} l 0777 0 0 1.000000000 {target}\n")), "{dump}");
}

#[test]
fn numbers_in_base_256_and_times_before_1970() {
    let negative = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
    let tar = Tar::default()
        .head(&Head {
            name: b"a",
            magic: GNU,
            mtime: &negative,
            uid: &[0x80, 0, 0, 0, 0xee, 0x6b, 0x28, 0],
            ..Head::default()
        })
        .pax(b'x', &[("mtime", b"-1.25"), ("uid", b"4000000000"), ("gid", b"5")])
        .file("b", b"")
        .end();
    let empty = sha(b"");
    assert_eq!(
        dump_of(&tar),
        format!(
            "/a f 0644 4000000000 0 -2.000000000 0 {empty}\n/b f 0644 4000000000 5 -2.750000000 0 {empty}\n"
        )
    );
    let nobody =
        Head { name: b"a", magic: GNU, uid: &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], ..Head::default() };
    assert_eq!(
        dump_of(&Tar::default().head(&nobody).end()),
        "entry \"a\": its owner is not a number below 2^32-1"
    );
    let mut block = Head { name: b"a", magic: GNU, ..Head::default() }.block();
    block[124..136].copy_from_slice(&[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    seal(&mut block);
    assert_eq!(
        dump_of(&Tar::default().raw(&block).data(b"x").end()),
        "entry \"a\": its size is negative or above 2^64"
    );
}

#[test]
fn pax_names_sizes_and_attributes() {
    let value = b"\x01\0\n=\xff";
    let tar = Tar::default()
        .pax(b'g', &[("gid", b"7"), ("comment", b"all")])
        .pax(
            b'x',
            &[
                ("path", b"caf\xc3\xa9/\xff"),
                ("size", b"3"),
                ("SCHILY.xattr.user.k", value),
                ("SCHILY.xattr.security.selinux", b"never"),
            ],
        )
        .head(&Head { name: b"cut", ..Head::default() })
        .data(b"abc")
        .file("z", b"")
        .end();
    assert_eq!(
        dump_of(&tar),
        format!(
            "/caf\\xc3\\xa9 d 0755 0 0 -\n\
             /caf\\xc3\\xa9/\\xff f 0644 0 7 1.000000000 3 {} user.k=01000a3dff\n\
             /z f 0644 0 7 1.000000000 0 {}\n",
            sha(b"abc"),
            sha(b"")
        )
    );
}

/// `ab`, 1022 zeros, `cd`, 510 zeros up to 1536.
fn sparse() -> (Vec<u8>, Vec<u8>) {
    let mut whole = vec![0; 1536];
    whole[..2].copy_from_slice(b"ab");
    whole[1024..1026].copy_from_slice(b"cd");
    (b"abcd".to_vec(), whole)
}

#[test]
fn sparse_files_of_every_form_have_their_holes() {
    let (stored, whole) = sparse();
    let size = stored.len() as u64;
    let head = || Head { name: b"s", size, ..Head::default() };
    let map = b"0,2,1024,2,1536,0";
    let old = {
        let mut block = Head { name: b"s", flag: b'S', size, magic: GNU, ..Head::default() }.block();
        for (index, number) in [0u64, 2, 1024, 2, 1536, 0].into_iter().enumerate() {
            block[386 + index * 12..][..11].copy_from_slice(format!("{number:011o}").as_bytes());
        }
        block[483..494].copy_from_slice(format!("{:011o}", 1536).as_bytes());
        seal(&mut block);
        Tar::default().raw(&block).data(&stored)
    };
    let zero_zero = [("GNU.sparse.size", &b"1536"[..]), ("GNU.sparse.numblocks", b"2")]
        .into_iter()
        .chain([("GNU.sparse.offset", &b"0"[..]), ("GNU.sparse.numbytes", b"2")])
        .chain([("GNU.sparse.offset", &b"1024"[..]), ("GNU.sparse.numbytes", b"2")]);
    let zero_zero = Tar::default().pax(b'x', &zero_zero.collect::<Vec<_>>()).head(&head()).data(&stored);
    let name = ("GNU.sparse.name", &b"s"[..]);
    let strange = Head { name: b"GNUSparseFile.1/s", ..head() };
    let zero_one = Tar::default()
        .pax(
            b'x',
            &[name, ("GNU.sparse.size", b"1536"), ("GNU.sparse.numblocks", b"3"), ("GNU.sparse.map", map)],
        )
        .head(&strange)
        .data(&stored);
    let version =
        [name, ("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"1536")];
    let one_zero = |more: &[(&str, &[u8])], size| {
        let text = b"3\n0\n2\n1024\n2\n1536\n0\n";
        let head = Head { size, ..Head { name: b"GNUSparseFile.1/s", ..Head::default() } };
        Tar::default().pax(b'x', &[&version[..], more].concat()).head(&head).data(text).data(&stored)
    };
    let expected = format!("/s f 0644 0 0 1.000000000 1536 {}\n", sha(&whole));
    let plain = one_zero(&[], 512 + size);
    // Above 8 GiB the size stands in the extended header.
    let large = one_zero(&[("size", b"516")], 516);
    for tar in [old, zero_zero, zero_one, plain, large] {
        let (_, store) = flatten_tars(&[&tar.clone().end()]).unwrap();
        assert!(store.contents.into_inner().unwrap().into_values().eq([whole.clone()]));
        assert_eq!(dump_of(&tar.file("after", b"").end()).lines().nth(1), expected.lines().next());
    }
}

#[test]
fn sparse_maps_that_lie_are_errors() {
    let with = |map: &[u8], stored: &[u8]| {
        let head = Head { name: b"s", size: stored.len() as u64, ..Head::default() };
        let pax = [("GNU.sparse.size", &b"1536"[..]), ("GNU.sparse.map", map)];
        dump_of(&Tar::default().pax(b'x', &pax).head(&head).data(stored).end())
    };
    let overlap = "entry \"s\": its sparse map has parts that overlap or lie outside of the file";
    assert_eq!(with(b"0,2,1,2", b"abcd"), overlap);
    assert_eq!(with(b"1535,2", b"ab"), overlap);
    assert_eq!(with(b"18446744073709551615,2", b"ab"), overlap);
    assert_eq!(with(b"0,2", b"abc"), "entry \"s\": its sparse map has 2 bytes of data, and 3 are stored");
}

#[test]
fn links_with_a_size_may_have_content_or_not() {
    let file = || Tar::default().file("f", b"hello");
    let link = || Head { name: b"l", flag: b'1', size: 5, link: b"f", ..Head::default() };
    let expected = dump_of(&file().other(b'1', "l", "f").file("z", b"").end());
    assert_eq!(dump_of(&file().head(&link()).data(b"hello").file("z", b"").end()), expected);
    assert_eq!(dump_of(&file().head(&link()).file("z", b"").end()), expected);
    assert_eq!(dump_of(&file().file("z", b"").head(&link()).end()), expected);
}

#[test]
fn what_no_layer_may_have_is_refused_by_name() {
    let volume = Head { name: b"v", flag: b'V', magic: GNU, ..Head::default() };
    for (tar, message) in [
        (
            Tar::default().head(&volume),
            "entry \"v\": its type \"V\" is a GNU volume label, which layers don't have",
        ),
        (
            Tar::default().other(b'Q', "q", ""),
            "entry \"q\": its type \"Q\" is unknown, which layers don't have",
        ),
        (
            Tar::default().file("../x", b""),
            "name \"../x\" has a `..` component, which could lead out of the root",
        ),
        (
            Tar::default().file("/x", b""),
            "name \"/x\" is absolute; names in a layer are relative to its root",
        ),
        (Tar::default().pax(b'x', &[("path", b"a\0b")]).file("f", b""), "name \"a\\0b\" has a NUL byte"),
        (
            Tar::default().other(b'1', "l", "/etc/x"),
            "entry \"/l\": its hard link leads nowhere: name \"/etc/x\" is absolute; names in a layer are relative to \
             its root",
        ),
        (
            Tar::default().other(b'1', "l", "../../etc/shadow"),
            "entry \"/l\": its hard link leads nowhere: name \"../../etc/shadow\" has a `..` component, which could \
             lead out of the root",
        ),
        (
            Tar::default().other(b'1', "l", "etc/x"),
            "hard link \"/l\" to \"/etc/x\": there is no such file in this layer so far or in the layers below",
        ),
        (Tar::default().other(b'2', "l", ""), "entry \"/l\": no symbolic link can have the target \"\""),
        (
            Tar::default().pax(b'g', &[("path", b"x")]),
            "a global extended header gives every entry the same \"path\"",
        ),
        (
            Tar::default().pax(b'x', &[("size", b"-1")]).file("f", b""),
            "entry \"f\": its \"size\" is not valid: \"-1\" is not a number that fits",
        ),
        (Tar::default().raw(&record("x", b"no header").repeat(50)), "header error: "),
    ] {
        let found = dump_of(&tar.end());
        assert!(found.starts_with(message), "{found}\n{message}");
    }
}
