//! Whether a configuration's fields are what the table of the schema says.

use anyhow::{Result, bail};
use serde_json::Value;

use super::schema::{Kind, SHAPES};

/// Checks all fields, and that there is a program to run.
///
/// # Errors
/// When a field is missing or of another type; the message has its path.
pub fn check(config: &Value) -> Result<()> {
    for (places, fields) in SHAPES {
        for (place, object) in places.iter().flat_map(|place| at(config, place)) {
            for (field, kind) in *fields {
                let (field, required) =
                    field.strip_prefix('!').map_or((*field, false), |field| (field, true));
                let values = step(&place, object, field);
                if required && values.is_empty() {
                    bail!("it has no {}", below(&place, field));
                }
                if let Some((place, value)) = values.iter().find(|(_, value)| !fits(value, *kind)) {
                    bail!("{place} is {}not {}", shown(value), expected(*kind));
                }
            }
        }
    }
    if config["process"]["args"] == Value::Array(Vec::new()) {
        bail!("process.args is empty, so there is no program to run");
    }
    Ok(())
}

/// Every value at `path` with the path it was found at.
fn at<'a>(config: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
    let mut found = vec![(String::new(), config)];
    for field in path.split('.').filter(|field| !field.is_empty()) {
        let (field, each) = field.strip_suffix("[]").map_or((field, false), |field| (field, true));
        let fields = found.iter().flat_map(|(place, value)| step(place, value, field));
        let elements = |(place, value): (String, &'a Value)| match value {
            Value::Array(list) if each => {
                list.iter().enumerate().map(|(index, value)| (format!("{place}[{index}]"), value)).collect()
            }
            _ if each => Vec::new(),
            value => vec![(place, value)],
        };
        found = fields.flat_map(elements).collect();
    }
    found
}

/// The field of an object, `*` for all of them.
fn step<'a>(place: &str, object: &'a Value, field: &str) -> Vec<(String, &'a Value)> {
    match object {
        Value::Object(map) if field == "*" => {
            map.iter().map(|(field, value)| (below(place, field), value)).collect()
        }
        _ => object.get(field).map(|value| (below(place, field), value)).into_iter().collect(),
    }
}

fn below(place: &str, field: &str) -> String {
    if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") }
}

fn whole(value: &Value) -> Option<i128> {
    value.as_u64().map(i128::from).or_else(|| value.as_i64().map(i128::from))
}

fn fits(value: &Value, kind: Kind) -> bool {
    let all = |fit: &dyn Fn(&Value) -> bool| value.as_array().is_some_and(|list| list.iter().all(fit));
    let one = |value: &Value, texts: &[&str]| value.as_str().is_some_and(|text| texts.contains(&text));
    let within = |value: &Value, from, to| whole(value).is_some_and(|number| (from..=to).contains(&number));
    match kind {
        Kind::Text => value.is_string(),
        Kind::Texts => all(&Value::is_string),
        Kind::SomeTexts => all(&Value::is_string) && value.get(0).is_some(),
        Kind::Flag => value.is_boolean(),
        Kind::Whole(from, to) => within(value, from, to),
        Kind::Ids => all(&|value| within(value, 0, u32::MAX.into())),
        Kind::Object => value.is_object(),
        Kind::Objects => all(&Value::is_object),
        Kind::TextMap => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
        Kind::One(texts) => one(value, texts),
        Kind::Some(texts) => all(&|value| one(value, texts)),
        Kind::Like(is_it, _) => value.as_str().is_some_and(is_it),
    }
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Text => "a text".to_owned(),
        Kind::Texts => "a list of texts".to_owned(),
        Kind::SomeTexts => "a list of one text or more".to_owned(),
        Kind::Flag => "true or false".to_owned(),
        Kind::Whole(i128::MIN, _) => "a whole number".to_owned(),
        Kind::Whole(from, i128::MAX) => format!("a whole number from {from}"),
        Kind::Whole(from, to) => format!("a whole number from {from} to {to}"),
        Kind::Ids => "a list of whole numbers from 0 to 4294967295".to_owned(),
        Kind::Object => "an object".to_owned(),
        Kind::Objects => "a list of objects".to_owned(),
        Kind::TextMap => "an object of texts".to_owned(),
        Kind::One(texts) => format!("one of {}", texts.join(", ")),
        Kind::Some(texts) => format!("a list of {}", texts.join(", ")),
        Kind::Like(_, form) => form.to_owned(),
    }
}

/// What stands there, unless it is long.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => String::new(),
        value => {
            let text = value.to_string();
            if text.len() <= 60 { format!("{text}, ") } else { String::new() }
        }
    }
}
