//! The host image's own kernel: slow without virtualization, so one boot.

use crate::images;
use crate::life::small;
use crate::machine::{Desk, Entry, Runtime};

#[test]
#[ignore = "a boot"]
fn a_host_boots_by_its_own_kernel() {
    let disk = small(Runtime::Runc.on("bookworm").with_its_own_kernel()).disk(&["first"]);
    let desk = Desk::new();
    images::web("2", &desk.file("web2"));
    let report = desk.boot(&disk, Entry::Newest, include_str!("guest/own-kernel.sh"));
    assert!(report.has_ended(), "{}", report.story());
    for (name, tried) in &report.tried {
        assert!(tried.result == "ok", "{name}: {}\n{}", tried.text, report.story());
    }
    assert_eq!(report.tried.len(), 3, "{}", report.story());
}
