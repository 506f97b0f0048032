//! What an author of an image should know about its templates, with file and line (A§1.6). What a compose changes or
//! refuses is told by rendering; this adds the advice that needs the template's own text, and finds the places of both.

pub(super) mod fields;

use std::collections::BTreeMap;

use super::brought::{Brought, Config};
use super::template::Expanded;
use super::{settings, template, tmpfiles, unit};
use fields::Field;

/// A sentence about a file of `/exports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// `exports/…`.
    pub file: String,
    /// From 1; unknown for what is missing.
    pub line: Option<usize>,
    /// The sentence.
    pub message: String,
}

/// Directories of the host that have a variable, so that one image fits every host.
const DIRECTORIES: [(&str, &str); 3] =
    [("/var/lib", "STATE_DIRECTORY"), ("/var/run", "RUN_DIRECTORY"), ("/run", "RUN_DIRECTORY")];

/// What an image brings, and where the lines of what becomes of it come from.
#[derive(Debug, Clone, Default)]
pub struct Places {
    brought: Brought,
    expanded: BTreeMap<&'static str, Expanded>,
}

impl Places {
    /// Of files as they are.
    pub fn of(brought: &Brought) -> Self {
        Self { brought: brought.clone(), expanded: BTreeMap::new() }
    }

    /// Of a file whose variables were replaced.
    pub(super) fn expanded(&mut self, file: &'static str, text: Expanded) {
        self.expanded.insert(file, text);
    }

    /// Finds what a sentence of a compose is about: `FILE: …` or `reading FILE: …` with a file of `/exports`. Without one,
    /// the sentence is about something else.
    pub fn locate(&self, sentence: &str) -> Option<Advice> {
        let start = sentence.find("exports/")?;
        let rest = &sentence[start..];
        let length =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c))).unwrap_or(rest.len());
        let file = rest[..length].trim_end_matches('.');
        let text = text_of(&self.brought, file)?;
        let after = rest[length..].strip_prefix(": ").or_else(|| rest[length..].strip_prefix(", "))?;
        let (line, message) = match numbered(after) {
            Some((line, message)) => (Some(line), message),
            None => (self.line(file, text, after), after),
        };
        Some(Advice { file: file.to_owned(), line, message: message.to_owned() })
    }

    /// The line that a sentence without a number is about. Fields and lines are those of the text without variables.
    fn line(&self, file: &str, text: &[u8], sentence: &str) -> Option<usize> {
        let expanded = self.expanded.get(file);
        let rendered = expanded.map_or(text, |expanded| &expanded.text);
        let line = match file {
            unit::FILE => assigned(rendered, sentence)?,
            tmpfiles::FILE => return None,
            _ => field(rendered, sentence).or_else(|| said(sentence))?,
        };
        Some(expanded.map_or(line, |expanded| expanded.lines.of(line)))
    }
}

/// Advice about what composes as it is.
pub fn advise(brought: &Brought) -> Vec<Advice> {
    let mut advice = Vec::new();
    if let Some(Config::Template(text)) = &brought.config {
        advice.extend(hard_coded(text));
    }
    if let Some(text) = &brought.service {
        advice.extend(unit_variables(text));
    }
    advice
}

/// Bind sources by a path that another host may have elsewhere.
fn hard_coded(text: &[u8]) -> Vec<Advice> {
    let advise = |field: &Field| {
        let is_source = field.path.starts_with("mounts[") && field.path.ends_with("].source");
        let source = &field.text.as_ref().filter(|_| is_source)?.value;
        let below = |directory: &str| source.strip_prefix(directory)?.strip_prefix('/').map(drop);
        let (directory, variable) = DIRECTORIES.iter().find(|(directory, _)| below(directory).is_some())?;
        Some(Advice {
            file: super::CONFIG_TEMPLATE.to_owned(),
            line: Some(field.line),
            message: format!("{}: {source} is hard-coded; ${variable} stands for {directory}", field.path),
        })
    };
    fields::all(text).iter().filter_map(advise).collect()
}

/// A unit that starts and stops the container by the variables that do it, in the bundle. What a comment says does nothing.
fn unit_variables(text: &[u8]) -> Vec<Advice> {
    let lossy = String::from_utf8_lossy(text);
    let code: Vec<(usize, &str)> =
        (1..).zip(lossy.lines()).filter(|(_, line)| !line.trim_start().starts_with(['#', ';'])).collect();
    let mut advice = Vec::new();
    for (key, variable, why) in [
        ("ExecStart", "EXEC_START", "the container is started by it"),
        ("ExecStop", "EXEC_STOP", "the container is stopped by it"),
        ("WorkingDirectory", "DESTDIR", "other runtimes find the bundle by it"),
    ] {
        if code.iter().any(|(_, line)| template::names(line.as_bytes(), variable)) {
            continue;
        }
        let is_it = |line: &str| line.split_once('=').is_some_and(|(own, _)| own.trim() == key);
        let line = code.iter().find(|(_, line)| is_it(line)).map(|(number, _)| *number);
        let message = format!("{key}= does not use ${variable}: {why}");
        advice.push(Advice { file: unit::FILE.to_owned(), line, message });
    }
    advice
}

fn text_of<'a>(brought: &'a Brought, file: &str) -> Option<&'a [u8]> {
    let text = match file {
        super::CONFIG | super::CONFIG_TEMPLATE => match brought.config.as_ref()? {
            Config::Literal(text) | Config::Template(text) => text,
        },
        unit::FILE => brought.service.as_ref()?,
        tmpfiles::FILE => brought.tmpfiles.as_ref()?,
        settings::FILE => brought.settings.as_ref()?,
        _ => return None,
    };
    Some(text)
}

/// `line 3: …`
fn numbered(text: &str) -> Option<(usize, &str)> {
    let (number, rest) = text.strip_prefix("line ")?.split_once(": ")?;
    Some((number.parse().ok()?, rest))
}

/// `… at line 3 column 6 …`
fn said(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once(" at line ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The line of the assignment that a sentence begins with, `KEY=` or `KEY=VALUE`.
fn assigned(text: &[u8], sentence: &str) -> Option<usize> {
    let (key, said) = sentence.split_once('=')?;
    let text = String::from_utf8_lossy(text);
    let unit = unit::UnitFile::parse(&text).ok()?;
    let of_key: Vec<_> = unit.assignments().filter(|assignment| assignment.key == key).collect();
    // The last one counts, unless the sentence has the value.
    let same = of_key.iter().rev().find(|a| !a.value.is_empty() && said.starts_with(a.value));
    same.or(of_key.last()).map(|assignment| assignment.line)
}

/// The line of the field that a sentence begins with.
fn field(text: &[u8], sentence: &str) -> Option<usize> {
    let word = sentence.split([' ', ':']).next()?;
    let all = fields::all(text);
    let mut path = word;
    loop {
        if let Some(field) = all.iter().find(|field| field.path == path) {
            return Some(field.line);
        }
        // Of what is missing, its parent tells where.
        path = &path[..path.rfind(['.', '['])?];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "{\n \"root\": {\"path\": \"rootfs\",\n  \"readonly\": false},\n \"mounts\": [\n  \
        {\"type\": \"bind\", \"source\": \"/var/lib/x\"},\n  {\"source\": \"$RUN_DIRECTORY/y\"},\n  \
        {\"source\": \"/run/z\",\n   \"type\": \"rbind\"}$ADDTL_MOUNTS\n ]\n}\n";
    const SERVICE: &str =
        "[Unit]\n[Service]\n Type = forking\nExecStart=/usr/bin/python3\nExecStop=${EXEC_STOP}\n";

    fn brought() -> Brought {
        Brought {
            config: Some(Config::Template(CONFIG.into())),
            service: Some(SERVICE.into()),
            settings: Some(b"{\n\"defaultValues\": {},\n\"strange\": 1}".to_vec()),
            tmpfiles: Some(b"d /x\n".to_vec()),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn what_is_hard_coded_or_started_by_hand_is_told_with_its_line() {
        let told = advise(&brought());
        let told: Vec<_> =
            told.iter().map(|it| format!("{}:{}: {}", it.file, it.line.unwrap_or(0), it.message)).collect();
        assert_eq!(
            told,
            [
                "exports/config.json.template:5: mounts[0].source: /var/lib/x is hard-coded; $STATE_DIRECTORY stands for \
                 /var/lib",
                "exports/config.json.template:7: mounts[2].source: /run/z is hard-coded; $RUN_DIRECTORY stands for /run",
                "exports/service.template:4: ExecStart= does not use $EXEC_START: the container is started by it",
                "exports/service.template:0: WorkingDirectory= does not use $DESTDIR: other runtimes find the bundle by it",
            ]
        );
        let commented = format!("{SERVICE}# $EXEC_START in $DESTDIR\n ;ExecStart=$EXEC_START\n");
        let commented = Brought { service: Some(commented.into()), config: None, ..brought() };
        let told: Vec<_> = advise(&commented).into_iter().map(|it| it.message).collect();
        assert!(told[0].starts_with("ExecStart=") && told[1].starts_with("WorkingDirectory="), "{told:?}");
        let good = "[Service]\nExecStart=$EXEC_START\nExecStop=$EXEC_STOP\nWorkingDirectory=$DESTDIR\n";
        let good = Brought { service: Some(good.into()), config: None, ..brought() };
        assert_eq!(advise(&good), []);
    }

    #[test]
    fn sentences_find_their_place() {
        for (sentence, expected) in [
            (
                "exports/config.json.template: root.readonly is false; true is used",
                Some((3, "root.readonly is false; true is used")),
            ),
            (
                "exports/config.json.template: mounts[2].type is \"rbind\"",
                Some((8, "mounts[2].type is \"rbind\"")),
            ),
            ("exports/config.json.template: mounts[1].type.x is", Some((6, "mounts[1].type.x is"))),
            ("exports/config.json.template: process.user is missing", Some((0, "process.user is missing"))),
            (
                "embedding container a: reading exports/service.template: line 3: \"x\" is not KEY=VALUE",
                Some((3, "\"x\" is not KEY=VALUE")),
            ),
            ("exports/service.template: Type=forking does not fit", Some((3, "Type=forking does not fit"))),
            ("exports/service.template: it has no [Install]", Some((0, "it has no [Install]"))),
            ("reading exports/tmpfiles.template: line 1: no", Some((1, "no"))),
            ("exports/manifest.json: strange has no meaning", Some((3, "strange has no meaning"))),
            (
                "reading exports/config.json.template, its variables replaced: expected `,` at line 9 column 2: \"x\"",
                Some((9, "its variables replaced: expected `,` at line 9 column 2: \"x\"")),
            ),
            ("label atomic.type=system is missing, though the image has /exports", None),
            ("run.cap_add has no effect", None),
        ] {
            let found = Places::of(&brought()).locate(sentence);
            let found = found.as_ref().map(|it| (it.line.unwrap_or(0), it.message.as_str()));
            assert_eq!(found, expected, "{sentence}");
        }
    }

    /// A value of several lines moves what follows it.
    #[test]
    fn places_are_those_of_the_template() {
        let config = "{\"caps\": [$CAPS],\n \"mounts\": [\n  {\"source\": \"/a\"}$MORE,\n  {\"type\": \"rbind\"}],\n \"x\": 1,\n}\n";
        let service = "[Service]\n$LINES\nRestart=always\nType=$KIND\n[Install]\n";
        let values = [
            ("CAPS", "\"A\",\n\"B\",\n\"C\""),
            ("MORE", ",\n{\"source\": \"/b\"}"),
            ("LINES", "Restart=no\nType=simple"),
            ("KIND", "exec"),
        ];
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let brought = Brought {
            config: Some(Config::Template(config.into())),
            service: Some(service.into()),
            ..Brought::default()
        };
        let mut places = Places::of(&brought);
        places.expanded(super::super::CONFIG_TEMPLATE, template::expand(config.as_bytes(), &values));
        places.expanded(unit::FILE, template::expand(service.as_bytes(), &values));
        for (sentence, line) in [
            ("exports/config.json.template: mounts[0].source is", Some(3)),
            ("exports/config.json.template: mounts[1].source is", Some(3)),
            ("exports/config.json.template: mounts[2].type is \"rbind\"", Some(4)),
            (
                "exports/config.json.template, its variables replaced: trailing comma at line 9 column 1: \"}\"",
                Some(6),
            ),
            ("exports/service.template: Type=exec does not fit", Some(4)),
            ("exports/service.template: Restart=no can't be", Some(2)),
            ("exports/service.template: Restart= means nothing", Some(3)),
            ("exports/service.template: it has no [Install]", None),
        ] {
            assert_eq!(places.locate(sentence).unwrap().line, line, "{sentence}");
        }
    }
}
