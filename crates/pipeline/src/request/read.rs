//! Reading a request from JSON and TOML, with errors that name the nearest field.

use serde::{Deserialize, Deserializer};

use super::{Request, RequestError, validate::nearest};

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

impl Request {
    /// Reads the JSON form. Fields that are left out keep their default; an unknown one is an error.
    pub fn from_json(text: &str) -> Result<Self, RequestError> {
        Self::from_value(Self::values_of_json(text)?)
    }

    /// Reads the TOML form.
    pub fn from_toml(text: &str) -> Result<Self, RequestError> {
        Self::from_value(Self::values_of_toml(text)?)
    }

    /// The fields that a text in JSON states, for [`from_value`](Self::from_value).
    pub fn values_of_json(text: &str) -> Result<serde_json::Value, RequestError> {
        serde_json::from_str(text).map_err(|e| RequestError::Syntax {
            format: "JSON",
            reason: e.to_string(),
        })
    }

    /// The fields that a text in TOML states, for [`from_value`](Self::from_value).
    pub fn values_of_toml(text: &str) -> Result<serde_json::Value, RequestError> {
        toml::from_str(text).map_err(|e| RequestError::Syntax {
            format: "TOML",
            reason: e.to_string().trim_end().to_owned(),
        })
    }

    /// Reads a tree of values.
    pub fn from_value(value: serde_json::Value) -> Result<Self, RequestError> {
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
