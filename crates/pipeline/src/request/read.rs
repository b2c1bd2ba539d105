//! Reading a request from JSON and TOML, with errors that name the nearest field.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{Request, RequestError, likeness::nearest};

/// A seed: −1 or null ask for a random one.
pub(super) fn seed<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Seed(u64),
        Negative(i64),
    }
    match Option::<Given>::deserialize(from) {
        Ok(None | Some(Given::Negative(-1))) => Ok(None),
        Ok(Some(Given::Seed(seed))) => Ok(Some(seed)),
        Ok(Some(Given::Negative(other))) => Err(serde::de::Error::custom(format!(
            "a seed is −1 (random) or 0 to 18446744073709551615, not {other}"
        ))),
        Err(_) => Err(serde::de::Error::custom(
            "a seed is −1 (random) or a whole number from 0 to 18446744073709551615",
        )),
    }
}

/// A value of a picture that was not taken over as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The field that it would have set; those of a table behind a dot (`hires.upscaler`), both sides as `size`.
    pub field: String,
    /// Key and value, as they stand.
    pub pair: String,
    /// Why not, and what holds in its place.
    pub reason: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pair, self.reason)
    }
}

/// The text of a file, whatever its byte order mark says: UTF-8 with and without one, UTF-16 with one, as some editors and
/// shells write.
///
/// # Errors
/// Bytes that are no text.
pub fn text_of(bytes: &[u8]) -> Result<String, RequestError> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        let text = String::from_utf16(&units).ok();
        text.filter(|_| rest.is_empty())
    };
    let text = match bytes {
        [0xFF, 0xFE, text @ ..] => utf16(text, u16::from_le_bytes),
        [0xFE, 0xFF, text @ ..] => utf16(text, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, text @ ..] | text => std::str::from_utf8(text).map(str::to_owned).ok(),
    };
    text.ok_or(RequestError::NotText)
}

impl Request {
    /// Reads a tree of values field by field: what this version cannot read keeps its default and is named. For what a program
    /// wrote into a picture; what a person wrote into a file is read by [`from_value`](Self::from_value).
    ///
    /// # Errors
    /// A value that is no table.
    pub fn from_value_each(value: Value) -> Result<(Self, Vec<Remark>), RequestError> {
        let Value::Object(fields) = value else {
            return Self::from_value(value).map(|request| (request, Vec::new()));
        };
        let mut remarks = Vec::new();
        let mut kept = Map::new();
        let mut judge = |name: String, value: &Value, alone: Value| {
            let read = Self::from_value(alone);
            read.map_err(|e| {
                remarks.push(Remark {
                    pair: format!("{name}: {value}"),
                    field: name,
                    reason: e.to_string(),
                })
            })
            .is_ok()
        };
        for (name, value) in fields {
            let alone =
                |value: &Value| Value::Object(Map::from_iter([(name.clone(), value.clone())]));
            let value = match value {
                Value::Object(mut table) => {
                    table.retain(|key, inner| {
                        let one = Map::from_iter([(key.clone(), inner.clone())]);
                        judge(format!("{name}.{key}"), inner, alone(&Value::Object(one)))
                    });
                    Value::Object(table)
                }
                plain if !judge(name.clone(), &plain, alone(&plain)) => continue,
                plain => plain,
            };
            kept.insert(name, value);
        }
        Ok((Self::from_value(Value::Object(kept))?, remarks))
    }

    /// Reads the JSON form. Fields that are left out keep their default; an unknown one is an error.
    pub fn from_json(text: &str) -> Result<Self, RequestError> {
        Self::from_value(Self::values_of_json(text)?)
    }

    /// Reads the TOML form.
    pub fn from_toml(text: &str) -> Result<Self, RequestError> {
        Self::from_value(Self::values_of_toml(text)?)
    }

    /// The fields that a text in JSON states, for [`from_value`](Self::from_value).
    pub fn values_of_json(text: &str) -> Result<Value, RequestError> {
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|e| {
            RequestError::Syntax {
                format: "JSON",
                reason: e.to_string(),
            }
        })
    }

    /// The fields that a text in TOML states, for [`from_value`](Self::from_value).
    pub fn values_of_toml(text: &str) -> Result<Value, RequestError> {
        toml::from_str(text.trim_start_matches('\u{feff}')).map_err(|e| RequestError::Syntax {
            format: "TOML",
            reason: e.to_string().trim_end().to_owned(),
        })
    }

    /// Reads a tree of values.
    pub fn from_value(value: Value) -> Result<Self, RequestError> {
        if !value.is_object() {
            return Err(RequestError::Syntax {
                format: "request",
                reason: "it must be a table of fields such as prompt = \"a cat\"".to_owned(),
            });
        }
        serde_json::from_value(value).map_err(|e| field_error(&e.to_string()))
    }
}

/// serde names an unknown field and every known one in backticks: turn that into one suggestion.
fn field_error(message: &str) -> RequestError {
    let mut names = message.split('`').skip(1).step_by(2);
    match (message.starts_with("unknown field"), names.next()) {
        (true, Some(field)) => RequestError::UnknownField {
            field: field.to_owned(),
            hint: nearest(field, names)
                .map(|name| format!("; did you mean `{name}`?"))
                .unwrap_or_default(),
        },
        _ => RequestError::Field {
            reason: message.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_with_tables() {
        let request = Request::from_toml(
            "prompt = \"a cat\"\nseed = -1\nsteps = 12\nseed_resize_from = \"512x768\"\n\
             compat = \"Diffusers\"\n[hires]\nscale = 1.5\nupscaler = \"Latent (nearest-exact)\"\n",
        )
        .unwrap();
        assert_eq!((request.steps, request.seed), (12, None));
        assert_eq!(request.hires.unwrap().scale, 1.5);
        assert_eq!(request.compat, super::super::Compat::Diffusers);
    }

    #[test]
    fn unknown_fields_suggest_the_nearest() {
        let top = Request::from_toml("step = 3").unwrap_err().to_string();
        assert!(top.contains("`step`") && top.contains("`steps`"), "{top}");
        let inner = Request::from_json(r#"{"hires": {"upscalr": "Latent"}}"#)
            .unwrap_err()
            .to_string();
        assert!(inner.contains("`upscaler`"), "{inner}");
        let far = Request::from_json(r#"{"zzzzzzzz": 1}"#)
            .unwrap_err()
            .to_string();
        assert!(!far.contains("did you mean"), "{far}");
    }

    #[test]
    fn wrong_types_are_errors() {
        for text in [
            r#"{"seed": -2}"#,
            r#"{"seed": 1.5}"#,
            r#"{"steps": "many"}"#,
            r#"{"compat": "invoke"}"#,
            r#"{"seed_resize_from": "512by"}"#,
            "[]",
            "{",
        ] {
            assert!(Request::from_json(text).is_err(), "{text}");
        }
        assert!(Request::from_toml("steps = [").is_err());
    }
}
