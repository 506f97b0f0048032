use super::*;

fn checked(text: &str) -> anyhow::Result<Fragment> {
    let fragment = check(&Expanded::literal(text.as_bytes()));
    fragment.or_else(|faults| faults.finish().map(|()| Fragment::default()))
}

#[test]
fn lines_of_every_kind_pass() {
    let text = "# etcd\nd /var/lib/etcd 0700 0 0 - -\nZ /var/lib/etcd - etcd etcd - -\n\nD! /run/x :0755 root :adm 10d\n\
        r /run/flannel/subnet.env\nL+ /etc/x - - - - ../usr/x y\nf /run/f ~644 - - - a line\nC /etc/c\n\
        c+ /dev/x 0600 - - - 1:3\nd \"/var/lib/a b\" - - - aBm:1h30min\na+ /var/log - - - - g:adm:r\nx /tmp/%m-*\ne /x\nF /a//./b/ - - - 1.5d 100%";
    let fragment = checked(text).unwrap();
    assert_eq!(fragment.text, Some(format!("{text}\n").into_bytes()));
    assert_eq!(
        fragment.makes,
        ["/var/lib/etcd", "/run/x", "/etc/x", "/run/f", "/etc/c", "/dev/x", "/var/lib/a b", "/a/b"]
    );
    assert_eq!((fragment.users, fragment.groups), (vec!["etcd".into()], vec!["adm".into(), "etcd".into()]));
}

#[test]
fn an_empty_fragment_means_nothing() {
    for text in ["", "\n", "# only this\n\n"] {
        assert_eq!(checked(text).unwrap(), Fragment::default());
    }
}

#[test]
fn what_systemd_would_refuse_is_refused() {
    for (line, message) in [
        ("d", "\"d\" has no path"),
        ("k /x", "\"k\" is no type of tmpfiles.d(5)"),
        ("d? /x", "\"d?\" is no type of tmpfiles.d(5)"),
        ("d x", "path \"x\" is not absolute"),
        ("d++ /x", "\"d++\" is no type of tmpfiles.d(5)"),
        ("d /a/../b", "path \"/a/../b\" has a `..`"),
        ("f /a - - - - %z", "argument \"%z\" has a `%` that begins no specifier; write `%%` for a `%`"),
        ("f /a - - - - \\z", "\"\\\\z\" has a backslash that begins no escape"),
        ("C /a - - - - b", "path \"b\" is not absolute"),
        ("h /a - - - - +z", "\"+z\" are no file attributes such as +i"),
        ("d^ /a", "\"\" is no credential's name"),
        ("f~ /a - - - - *", "\"*\" is no base64 text"),
        ("d /a%z", "path \"/a%z\" has a `%` that begins no specifier; write `%%` for a `%`"),
        ("d /x 0999", "\"0999\" is no octal mode"),
        ("d /x 17777", "\"17777\" is no octal mode"),
        ("d /x 0755 a/b", "\"a/b\" is no user or group"),
        ("d /x - - - soon", "\"soon\" is no age such as 10d or 1h30min"),
        ("w /x - - - -", "type w needs an argument"),
        ("c /x - - - - 1", "\"1\" is no device number MAJOR:MINOR"),
        ("d \"/x", "a quote is not closed"),
    ] {
        let error = format!("{:#}", checked(&format!("\n{line}\n")).unwrap_err());
        assert_eq!(error, format!("reading exports/tmpfiles.template: line 2: {message}"), "{line}");
    }
}

#[test]
fn lines_against_the_targets_go() {
    let theirs = made(b"L /var/run - - - - ../run\nd /var/log 0755 root root -\nf /var/log/wtmp\n");
    let text =
        b"# a comment\nd /var/run 0755 - - - -\nd /var/log 0700\nd /var/log/x\nZ /var/run\nf /var/log/wtmp";
    let (kept, paths) = without_clashes(text, &theirs);
    assert_eq!(
        String::from_utf8(kept).unwrap(),
        "# a comment\nd /var/log 0700\nd /var/log/x\nZ /var/run\nf /var/log/wtmp"
    );
    assert_eq!(paths, ["/var/run"]);
}

#[test]
fn own_lines_read_back() {
    let text = directories(&["/var/run/a b", "/var/lib/100%", "/srv/\"q\"\\"]);
    assert_eq!(
        text,
        "d \"/run/a b\" 0700 0 0 - -\nd /var/lib/100%% 0700 0 0 - -\nd \"/srv/\\\"q\\\"\\\\\" 0700 0 0 - -\n"
    );
    assert_eq!(checked(&text).unwrap().makes, ["/run/a b", "/var/lib/100%%", "/srv/\"q\"\\"]);
}

#[test]
fn guesses() {
    for (source, in_image, expected) in [
        ("/var/lib/x", None, Guess::Directory),
        ("/var/lib/x", Some(false), Guess::FileOrSocket),
        ("/etc/x.conf", Some(true), Guess::Directory),
        ("/etc/x.conf", None, Guess::FileOrSocket),
        ("/etc/redhat-release", None, Guess::FileOrSocket),
        ("/run/docker.sock", None, Guess::FileOrSocket),
        ("/dev/virtio-ports", None, Guess::Hosts),
        ("/usr/share/x", None, Guess::Hosts),
        ("/sysroot", Some(true), Guess::Hosts),
        ("/lib/modules", None, Guess::Hosts),
    ] {
        assert_eq!(guess(source, in_image), expected, "{source}");
    }
}

#[test]
fn all_bad_lines_are_told_as_the_template_has_them() {
    let values = std::collections::BTreeMap::from([("TWO".to_owned(), "d a\nd b".to_owned())]);
    let expanded = crate::exports::template::expand(b"d /x\n$TWO\nd c $NONE\nd d\n", &values);
    let lines = |bad: Vec<BadLine>| bad.iter().map(|bad| bad.line).collect::<Vec<_>>();
    assert_eq!(lines(wrong_lines(&expanded)), [2, 2, 4]);
    assert_eq!(check(&expanded).unwrap_err().others.len(), 4);
}
