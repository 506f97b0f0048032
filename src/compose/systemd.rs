//! Units that images and users wrote, held against the builder's `systemd-analyze verify`, if there is one. What it says is
//! told, and decides nothing: the same inputs compose on every builder alike (docs/decisions.md, "Units are held against a
//! table of ours").

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result};
use sysctr_core::exports::unit::FILE;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::prepare::Writer;

use crate::embed::Embedded;

const PROGRAM: &str = "systemd-analyze";

/// A unit whose words are not ours.
#[derive(Debug)]
pub struct Unit {
    container: ContainerName,
    text: Vec<u8>,
    writer: Writer,
}

/// What systemd's checker says.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One sentence each, of the containers of which it says something.
    Said(BTreeMap<ContainerName, Vec<String>>),
    /// It can't be asked here, for this reason.
    Silent(String),
}

impl Unit {
    /// A container's unit, if it has one that is not ours.
    pub fn of(embedded: &Embedded) -> Option<Self> {
        let container = embedded.draft.record.name.clone();
        let text = embedded.draft.files.get(&container.unit())?.clone();
        let writer = embedded.writer.clone();
        (writer != Writer::Sysctr).then_some(Self { container, text, writer })
    }

    /// What a line of the checker says about this unit, whose file is `path`. What is missing on the builder is no fault.
    fn sentence(&self, path: &str, said: &str) -> Option<String> {
        let (line, words) = match said.strip_prefix(path).and_then(|rest| rest.strip_prefix(':')) {
            Some(rest) => {
                let (line, words) = rest.split_once(": ")?;
                (line.parse().ok()?, words)
            }
            None => (0, said.strip_prefix(&self.container.unit())?.strip_prefix(": ")?),
        };
        // In a root that has nothing but units no program is there; and the fatal line itself was told.
        if words.contains(" is not executable") || words.starts_with("Unit configuration has fatal error") {
            return None;
        }
        let (file, line) = match &self.writer {
            Writer::Image(lines) => (FILE.to_owned(), lines.of(line)),
            Writer::User | Writer::Sysctr => (self.container.unit(), line),
        };
        let line = if line > 0 { format!("line {line}: ") } else { String::new() };
        Some(format!("{file}: {line}{PROGRAM} says: {words}"))
    }
}

/// Asks the checker about units, in a root that has these and nothing else.
pub fn judge(units: &[Unit]) -> Verdict {
    if units.is_empty() {
        return Verdict::Said(BTreeMap::new());
    }
    match ask(units) {
        Ok(said) => Verdict::Said(said),
        Err(error) => Verdict::Silent(format!("{error:#}")),
    }
}

fn ask(units: &[Unit]) -> Result<BTreeMap<ContainerName, Vec<String>>> {
    let doing = || format!("holding units against {PROGRAM}");
    let root = tempfile::tempdir().with_context(doing)?;
    // Links in its path are followed in what the program prints.
    let path = fs::canonicalize(root.path()).with_context(doing)?;
    let directory = path.join(place::UNIT_DIR);
    fs::create_dir_all(&directory).with_context(doing)?;
    let mut verify = Command::new(PROGRAM);
    verify.args(["verify", "--man=no", "--generators=no", "--recursive-errors=no"]);
    verify.arg(format!("--root={}", path.display()));
    for unit in units {
        fs::write(directory.join(unit.container.unit()), &unit.text).with_context(doing)?;
        verify.arg(unit.container.unit());
    }
    // Whatever its user's environment says: plain lines, and those of warnings, too.
    verify.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
    let output = verify.stdin(Stdio::null()).output().with_context(doing)?;
    let text = String::from_utf8_lossy(&output.stderr);
    let mut said: BTreeMap<ContainerName, Vec<String>> = BTreeMap::new();
    for unit in units {
        let file = directory.join(unit.container.unit()).display().to_string();
        let sentences = text.lines().filter_map(|line| unit.sentence(&file, line));
        said.entry(unit.container.clone()).or_default().extend(sentences);
    }
    said.retain(|_, sentences| !sentences.is_empty());
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, text: &str, writer: Writer) -> Unit {
        Unit { container: name.parse().expect("a name"), text: text.as_bytes().to_vec(), writer }
    }

    #[test]
    fn systemds_words_are_told_by_the_line_of_the_template() {
        let image = "[Unit]\nRequires=missing.service\n[Service]\nExecStart=/no/such/program\nLimitNOFILE=lots\nColour=red\n";
        let units = [
            unit("web", image, Writer::Image([1, 1, 3, 0, 7, 9].into_iter().collect())),
            unit("web2", "[Service]\nType=forking\nExecStart=/a\nExecStart=/b\n", Writer::User),
            unit(
                "good",
                "[Service]\nExecStart=/no/such/program\n[Install]\nWantedBy=multi-user.target\n",
                Writer::User,
            ),
        ];
        let said = [
            (
                "web",
                vec![
                    "exports/service.template: line 7: systemd-analyze says: Failed to parse resource value, ignoring: lots",
                    "exports/service.template: line 9: systemd-analyze says: Unknown key 'Colour' in section [Service], \
                     ignoring.",
                ],
            ),
            (
                "web2",
                vec![
                    "web2.service: systemd-analyze says: Service has more than one ExecStart= setting, which is only \
                     allowed for Type=oneshot services. Refusing.",
                ],
            ),
        ];
        let said = said.map(|(name, told)| {
            (name.parse().expect("a name"), told.into_iter().map(str::to_owned).collect())
        });
        assert_eq!(judge(&units), Verdict::Said(said.into()));
        assert_eq!(judge(&[]), Verdict::Said(BTreeMap::new()));
    }
}
