//! JSON as the standard has it (RFC 8259): one value, nothing after it. Keys that stand twice in one object are told,
//! since programs disagree about which of them counts.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A value and the keys that stand in it twice, as paths (`linux.devices[0].path`). The last one of them counts, as for
/// Python and Go.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The value.
    pub value: Value,
    /// Keys that stand twice.
    pub repeated: Vec<String>,
}

/// Parses one value.
///
/// # Errors
/// When `bytes` are anything else; the error has line and column.
pub fn parse(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
    let mut repeated = Vec::new();
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { path: String::new(), repeated: &mut repeated }.deserialize(&mut parser)?;
    parser.end()?;
    Ok(Parsed { value, repeated })
}

struct Seed<'a> {
    path: String,
    repeated: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, values.len());
            match list.next_element_seed(Seed { path, repeated: &mut *self.repeated })? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            let value = object.next_value_seed(Seed { path: path.clone(), repeated: &mut *self.repeated })?;
            if map.insert(key, value).is_some() {
                self.repeated.push(path);
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_library_and_repeated_keys_are_told() {
        let text = br#"{"a": [1, -2, 2.5, 18446744073709551615, "x\u00e9", null, true], "b": {"c": {}}}"#;
        let parsed = parse(text).unwrap();
        assert_eq!(parsed.value, serde_json::from_slice::<Value>(text).unwrap());
        assert_eq!(parsed.repeated, [""; 0]);
        let parsed = parse(br#"{"a": 1, "l": [{}, {"x": 1, "y": 2, "x": 3}], "a": 2}"#).unwrap();
        assert_eq!(parsed.repeated, ["l[1].x", "a"]);
        assert_eq!(parsed.value["l"][1]["x"], 3);
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, message) in [
            ("{} x", "trailing characters at line 1 column 4"),
            ("{\"a\": 1,\n}", "trailing comma at line 2 column 1"),
            ("{'a': 1}", "key must be a string at line 1 column 2"),
            ("", "EOF while parsing a value at line 1 column 0"),
            ("NaN", "expected value at line 1 column 1"),
            ("\u{feff}{}", "expected value at line 1 column 1"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), message, "{text}");
        }
        assert!(parse("[".repeat(200).as_bytes()).unwrap_err().to_string().starts_with("recursion limit"));
    }
}
