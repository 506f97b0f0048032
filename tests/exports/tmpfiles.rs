//! Our reading of tmpfiles.d(5) lines against systemd-tmpfiles, which is asked to create each in an empty root.

use std::fs;
use std::path::Path;
use std::process::Command;

use sysctr_core::exports::template::Expanded;
use sysctr_core::exports::tmpfiles;

/// What systemd-tmpfiles says to a line: whether it takes it, and its words.
fn asked(line: &str, root: &Path) -> (bool, String) {
    fs::create_dir(root.join("etc")).expect("a directory");
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:\netcd:x:998:998::/:\n").expect("users");
    fs::write(root.join("etc/group"), "root:x:0:\nadm:x:4:\n").expect("groups");
    let release = "ID=x\nVERSION_ID=1\nBUILD_ID=2\nVARIANT_ID=y\n";
    fs::write(root.join("etc/os-release"), release).expect("a release");
    fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").expect("a machine-id");
    let file = root.join("etc/line.conf");
    fs::write(&file, format!("{line}\n")).expect("a file");
    let mut create = Command::new("systemd-tmpfiles");
    let output = create.arg(format!("--root={}", root.display())).args(["--create", "--boot"]).arg(&file);
    let output = output.output().expect("systemd-tmpfiles");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// `tmpfiles-lines.txt` has lines of every type, modifier, field and specifier, good and bad.
#[test]
fn lines_are_taken_and_refused_as_systemd_does() {
    let lines = include_str!("tmpfiles-lines.txt").lines();
    let (mut taken, mut refused, mut differ) = (0, 0, Vec::new());
    for line in lines {
        let root = tempfile::tempdir().expect("a directory");
        let (theirs, words) = asked(line, root.path());
        let ours = tmpfiles::check(&Expanded::literal(line.as_bytes()));
        *(if theirs { &mut taken } else { &mut refused }) += 1;
        match &ours {
            Ok(_) if !theirs => differ.push(format!("{line:?} is refused: {words}")),
            Err(why) if theirs => differ.push(format!("{line:?} is taken, we say {why}")),
            Ok(fragment) => {
                // What we count on is there. Specifiers are the host's to replace.
                for path in fragment.makes.iter().filter(|path| !path.contains('%')) {
                    let made = fs::symlink_metadata(root.path().join(path.trim_start_matches('/')));
                    // Without a source or a credential there is nothing to make.
                    if made.is_err() && !line.starts_with('C') && !line.contains('^') {
                        differ.push(format!("{line:?} does not make {path}"));
                    }
                }
            }
            Err(_) => {}
        }
    }
    assert_eq!(differ, [""; 0]);
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
}
