//! References that are and that are none.

use proptest::prelude::*;

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn table_of_references() {
    let digest = || Selector::Digest(Digest::of(b""));
    let tag = |tag: &str| Selector::Tag(tag.to_owned());
    for (text, transport, path, selector, name) in [
        ("oci:etcd", Transport::Oci, "etcd", Selector::Only, "etcd"),
        ("oci:images/etcd:3.5", Transport::Oci, "images/etcd", tag("3.5"), "etcd-3.5"),
        ("oci:images/etcd:latest", Transport::Oci, "images/etcd", tag("latest"), "etcd"),
        ("oci:i:quay.io/coreos/etcd:3.5", Transport::Oci, "i", tag("quay.io/coreos/etcd:3.5"), "etcd-3.5"),
        (&format!("oci:etcd@sha256:{HEX}"), Transport::Oci, "etcd", digest(), "etcd"),
        ("oci-archive:/a/etcd.tar.gz:v1", Transport::OciArchive, "/a/etcd.tar.gz", tag("v1"), "etcd-v1"),
        ("oci-archive:x@y.tar", Transport::OciArchive, "x@y.tar", Selector::Only, "x@y"),
        ("docker-archive:a.tar:nginx:1", Transport::DockerArchive, "a.tar", tag("nginx:1"), "nginx-1"),
        ("docker-archive:a.tar:nginx", Transport::DockerArchive, "a.tar", tag("nginx"), "nginx"),
        ("docker-archive:a.tar", Transport::DockerArchive, "a.tar", Selector::Only, "a"),
        (
            "docker://r.example:5000/a/etcd:3.5",
            Transport::Docker,
            "r.example:5000/a/etcd",
            tag("3.5"),
            "etcd-3.5",
        ),
        ("docker://r.example:5000/etcd", Transport::Docker, "r.example:5000/etcd", Selector::Only, "etcd"),
        (&format!("docker://r/etcd@sha256:{HEX}"), Transport::Docker, "r/etcd", digest(), "etcd"),
        ("dir:a/b:c", Transport::Dir, "a/b:c", Selector::Only, "b:c"),
        ("containers-storage:etcd:1", Transport::ContainersStorage, "etcd", tag("1"), "etcd-1"),
        (
            "containers-storage:[vfs@/a:b]etcd",
            Transport::ContainersStorage,
            "[vfs@/a:b]etcd",
            Selector::Only,
            "etcd",
        ),
    ] {
        let reference: ImageRef = text.parse().unwrap();
        assert_eq!(reference, ImageRef { transport, path: path.into(), selector }, "{text}");
        assert_eq!(reference.to_string(), text);
        assert_eq!(reference.default_name(), name, "{text}");
    }
    let colon: ImageRef = format!("docker-archive:a.tar:@sha256:{HEX}").parse().unwrap();
    assert_eq!(colon.to_string(), format!("docker-archive:a.tar@sha256:{HEX}"));
}

#[test]
fn what_is_no_reference_says_why_and_the_way_out() {
    for (text, message) in [
        (
            "docker-daemon:nginx:1",
            "image \"docker-daemon:nginx:1\" has the transport docker-daemon:, which is not read; copy it first: \
             skopeo copy docker-daemon:nginx:1 oci:DIR:TAG",
        ),
        (
            "ftp:x",
            "image \"ftp:x\" has the unknown transport \"ftp\"; known are oci:, oci-archive:, docker-archive:, \
             docker:, containers-storage:, dir:",
        ),
        (
            "nginx",
            "image \"nginx\" has no transport; known are oci:, oci-archive:, docker-archive:, docker:, \
             containers-storage:, dir:, such as oci:nginx",
        ),
        ("docker:x/y", "image \"docker:x/y\" has no // after docker:"),
        (
            "docker://nginx",
            "image \"docker://nginx\" has no registry; spell it docker://REGISTRY/NAME, such as \
             docker://docker.io/library/NAME",
        ),
        ("docker://r/n:", "image \"docker://r/n:\" has an empty tag; leave out the last `:`"),
        ("docker://r/n: 1", "image \"docker://r/n: 1\" has white space in its name"),
        (
            &format!("docker://r/n:1@sha256:{HEX}"),
            &format!("image \"docker://r/n:1@sha256:{HEX}\" names a tag and a digest; choose one"),
        ),
        ("oci:", "image \"oci:\" has no path after oci:"),
        ("oci:d:", "image \"oci:d:\" has an empty tag; leave out the last `:`"),
        ("oci:d:a b", "image \"oci:d:a b\" has the tag \"a b\", which has white space"),
        (
            "oci:d:@sha256:12",
            "image \"oci:d:@sha256:12\" has the digest \"sha256:12\", which is not `sha256:` and 64 hexadecimal \
             digits",
        ),
        (
            &format!("oci:d:1@sha256:{HEX}"),
            &format!("image \"oci:d:1@sha256:{HEX}\" names a tag and a digest; choose one"),
        ),
        (
            &format!("oci:d@sha512:{HEX}{HEX}"),
            &format!(
                "image \"oci:d@sha512:{HEX}{HEX}\" cannot be read: digest \"sha512:{HEX}{HEX}\" is not a sha256 \
                 digest; only sha256 is supported"
            ),
        ),
    ] {
        assert_eq!(text.parse::<ImageRef>().unwrap_err().to_string(), message, "{text}");
    }
}

proptest! {
    #[test]
    fn what_parses_is_spelled_so_that_it_parses_the_same(
        transport in prop::sample::select(vec!["oci-archive:", "docker://", "containers-storage:", "dir:"]),
        rest in "[a-z@:./0-9-]{0,24}",
        digest in any::<bool>(),
    ) {
        let text = format!("{transport}{rest}{}", if digest { format!("@sha256:{HEX}") } else { String::new() });
        if let Ok(reference) = text.parse::<ImageRef>() {
            prop_assert_eq!(reference.to_string().parse::<ImageRef>().unwrap(), reference);
        }
    }
}
