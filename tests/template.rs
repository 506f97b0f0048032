//! The `$VAR` expander against its model, Python's `string.Template.substitute` (A§2.3): the same bytes, or the same first
//! fault at the same place, for many texts of fragments that are likely to go wrong.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sysctr_core::exports::template::{Wrong, render};
use sysctr_tests::Random;

/// For each line `[text, values]`: `["ok", text]`, `["undefined", name]` or `["malformed", line, column]`.
const ORACLE: &str = r#"
import json, re, string, sys
for line in sys.stdin:
    text, values = json.loads(line)
    try:
        answer = ["ok", string.Template(text).substitute(values)]
    except KeyError as error:
        answer = ["undefined", error.args[0]]
    except ValueError as error:
        answer = ["malformed", *map(int, re.search(r"line (\d+), col (\d+)", str(error)).groups())]
    print(json.dumps(answer))
"#;

const FRAGMENTS: &[&str] = &[
    "$",
    "$$",
    "${",
    "}",
    "{",
    "NAME",
    "name",
    "_x",
    "1",
    "A",
    "é",
    "\u{17f}",
    "\u{212a}",
    "\u{130}",
    " ",
    "-",
    ".",
    "\"",
    "\\",
    "(",
    "\n",
    "$NAME",
    "${NAME}",
    "$name",
    "$UNDEFINED",
    "${UNDEFINED}",
    "${A-b}",
    "${}",
    "$1",
    "text",
    "\t",
    "日本",
    "\u{0}",
    "'",
];

fn answers(cases: &[String], values: &BTreeMap<String, String>) -> Vec<Value> {
    let mut python = Command::new("python3")
        .args(["-c", ORACLE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut input = python.stdin.take().expect("a pipe");
    let lines: String = cases.iter().map(|case| format!("{}\n", json!([case, values]))).collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = python.wait_with_output().expect("python3 ends");
    writer.join().expect("the writer ends").expect("python3 reads");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_expander_agrees_with_pythons_template() {
    let values: BTreeMap<String, String> =
        [("NAME", "etcd"), ("name", "$NAME ${A} $$"), ("A", ""), ("_x", "é\n\"")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into();
    let mut random = Random(0x5eed);
    let mut cases: Vec<String> = FRAGMENTS.iter().map(|text| (*text).to_owned()).collect();
    for _ in 0..30_000 {
        let length = 1 + random.below(9);
        cases.push((0..length).map(|_| FRAGMENTS[random.below(FRAGMENTS.len())]).collect());
    }
    let answers = answers(&cases, &values);
    assert_eq!(answers.len(), cases.len());
    let mut seen = BTreeMap::new();
    for (case, answer) in cases.iter().zip(&answers) {
        let ours = match render(case.as_bytes(), &values) {
            Ok(rendered) => json!(["ok", String::from_utf8(rendered).expect("UTF-8 stays UTF-8")]),
            Err(faults) => match &faults[0].wrong {
                Wrong::Undefined(name) => json!(["undefined", name]),
                Wrong::TooEarly(_) => panic!("nothing is bound late here"),
                Wrong::Malformed => json!(["malformed", faults[0].line, faults[0].column]),
            },
        };
        assert_eq!(ours, *answer, "{case:?}");
        *seen.entry(answer[0].to_string()).or_insert(0_u32) += 1;
    }
    assert!(seen.len() == 3 && seen.values().all(|&count| count > 1_000), "{seen:?}");
}
