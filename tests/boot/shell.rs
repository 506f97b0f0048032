//! `make boot-shell`, with somebody at the terminal.

use sysctr_tests::{Command, source_dir};

#[test]
#[ignore = "a boot"]
fn people_log_in_reboot_and_power_off() {
    let here = source_dir().join("tests/boot");
    let shell = Command::new("python3").arg(here.join("shell.py")).arg("bash").arg(here.join("shell.sh"));
    shell.run().expect_ok();
}
