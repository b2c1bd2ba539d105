//! Reading a request from JSON and TOML, with errors that name the nearest field.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::wrong::field_error;
use super::{Request, RequestError, once::Once};

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

/// The flat names that fields had before they stood in tables, each with where its field stands now.
pub(super) const FLAT: [(&str, [&str; 2]); 25] = [
    ("cfg_scale", ["guidance", "scale"]),
    ("cfg_rescale", ["guidance", "rescale"]),
    ("guidance_interval", ["guidance", "interval"]),
    ("dynamic_thresholding", ["guidance", "threshold"]),
    ("init_image", ["start", "image"]),
    ("resize_mode", ["start", "resize_mode"]),
    ("strength", ["start", "strength"]),
    ("mask", ["start", "mask"]),
    ("mask_blur", ["start", "mask_blur"]),
    ("mask_invert", ["start", "mask_invert"]),
    ("inpaint_fill", ["start", "fill"]),
    ("inpaint_only_masked", ["start", "only_masked"]),
    ("inpaint_padding", ["start", "padding"]),
    ("outpaint", ["start", "outpaint"]),
    ("class", ["condition", "class"]),
    ("semantic_map", ["condition", "semantic_map"]),
    ("layout", ["condition", "layout"]),
    ("upscale", ["condition", "upscale"]),
    ("depth", ["condition", "depth"]),
    ("images", ["condition", "images"]),
    ("noise_level", ["condition", "noise_level"]),
    ("near", ["condition", "near"]),
    ("sizes", ["condition", "sizes"]),
    ("dtype", ["compute", "dtype"]),
    ("vae_tiling", ["compute", "vae_tiling"]),
];

/// Fields under their flat names, in their tables.
///
/// # Errors
/// A field that is stated under both names.
pub(crate) fn in_tables(
    mut fields: Map<String, Value>,
) -> Result<Map<String, Value>, RequestError> {
    for (old, [table, name]) in FLAT {
        let Some(value) = fields.remove(old) else {
            continue;
        };
        let inner = fields
            .entry(table)
            .or_insert_with(|| Map::new().into())
            .as_object_mut();
        let twice = match inner {
            Some(inner) => inner.insert(name.to_owned(), value).is_some(),
            None => true,
        };
        if twice {
            return Err(RequestError::Field {
                reason: format!(
                    "`{old}` is another name of `{table}.{name}`, and `{table}` is stated too: leave one out"
                ),
            });
        }
    }
    Ok(fields)
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
        let fields = in_tables(fields)?;
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
        let read = serde_json::from_str(text.trim_start_matches('\u{feff}'));
        let Once(value) = read.map_err(|e| RequestError::Syntax {
            format: "JSON",
            reason: e.to_string(),
        })?;
        Ok(value)
    }

    /// The fields that a text in TOML states, for [`from_value`](Self::from_value).
    pub fn values_of_toml(text: &str) -> Result<Value, RequestError> {
        let wrong = |reason: &str| RequestError::Syntax {
            format: "TOML",
            reason: reason.trim_end().to_owned(),
        };
        let read = toml::from_str(text.trim_start_matches('\u{feff}'));
        let value: toml::Value = read.map_err(|e| wrong(&e.to_string()))?;
        if let Some((path, value)) = endless("", &value) {
            return Err(RequestError::range(&path, value, "a finite number"));
        }
        serde_json::to_value(value).map_err(|e| wrong(&e.to_string()))
    }

    /// Reads a tree of values.
    pub fn from_value(value: Value) -> Result<Self, RequestError> {
        let Value::Object(fields) = value else {
            return Err(RequestError::Syntax {
                format: "JSON",
                reason: "it must be a table of fields such as prompt = \"a cat\"".to_owned(),
            });
        };
        for (table, value) in TABLES
            .iter()
            .filter_map(|name| Some((name, fields.get(*name)?)))
        {
            // serde would read a list as the fields in their order.
            if !(value.is_object() || *table == "hires" && value.is_null()) {
                return Err(RequestError::Field {
                    reason: format!("`{table}` is {value}: expected a table of fields"),
                });
            }
        }
        let read = serde_path_to_error::deserialize(Value::Object(in_tables(fields)?));
        read.map_err(|e| field_error(&e.path().to_string(), &e.inner().to_string()))
    }
}

/// The first number that JSON has not: infinite, or none.
fn endless(path: &str, value: &toml::Value) -> Option<(String, f64)> {
    match value {
        toml::Value::Float(number) if !number.is_finite() => Some((path.to_owned(), *number)),
        toml::Value::Array(values) => values.iter().find_map(|value| endless(path, value)),
        toml::Value::Table(fields) => fields.iter().find_map(|(name, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            endless(&format!("{path}{dot}{name}"), value)
        }),
        _ => None,
    }
}

/// The fields that are tables themselves.
const TABLES: [&str; 5] = ["guidance", "start", "condition", "compute", "hires"];

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

    /// Files that were written before fields stood in tables.
    #[test]
    fn flat_names_are_read() {
        let flat = Request::from_toml(
            "cfg_scale = 5\nstrength = 0.5\ninit_image = \"a.png\"\nmask = \"m.png\"\ninpaint_fill = \"fill\"\ndtype = \"bf16\"\n\
             class = 3\nguidance_interval = [0.1, 0.8]\n[sizes]\ncrop = [1, 2]\n[guidance]\nperp_neg = 1\n",
        )
        .unwrap();
        let nested = Request::from_toml(
            "[guidance]\nscale = 5\ninterval = [0.1, 0.8]\nperp_neg = 1\n[start]\nstrength = 0.5\nimage = \"a.png\"\nmask = \"m.png\"\n\
             fill = \"fill\"\n[condition]\nclass = 3\n[condition.sizes]\ncrop = [1, 2]\n[compute]\ndtype = \"bf16\"\n",
        )
        .unwrap();
        assert_eq!(flat, nested);
        assert!(!nested.to_json().contains("cfg_scale") && nested.guidance.scale == 5.0);
        let (each, remarks) = Request::from_value_each(
            serde_json::json!({"cfg_scale": 5, "mask_blur": "soft", "seed": 4}),
        )
        .unwrap();
        assert_eq!((each.guidance.scale, each.seed), (5.0, Some(4)));
        assert_eq!(remarks[0].field, "start.mask_blur");
        let both = Request::from_json(r#"{"strength": 0.5, "start": {"strength": 0.4}}"#);
        assert!(both.unwrap_err().to_string().contains("`start.strength`"));
    }

    #[test]
    fn unknown_fields_suggest_the_nearest() {
        let top = Request::from_toml("step = 3").unwrap_err().to_string();
        assert!(top.contains("`step`") && top.contains("`steps`"), "{top}");
        let inner = Request::from_json(r#"{"hires": {"upscalr": "Latent"}}"#)
            .unwrap_err()
            .to_string();
        assert!(inner.contains("`upscaler`"), "{inner}");
        let moved = Request::from_json(r#"{"init_imag": "a.png"}"#).unwrap_err();
        assert!(moved.to_string().contains("`start.image`"), "{moved}");
        for (field, meant) in [
            ("size", "`width` and `height`"),
            ("image", "`start.image`"),
            ("hires_scale", "`hires.scale`"),
            ("upscaler", "`hires.upscaler`"),
            ("scale", "`guidance.scale`"),
            ("guidance_scale", "`guidance.scale`"),
        ] {
            let error = Request::from_json(&format!(r#"{{"{field}": 1}}"#)).unwrap_err();
            assert!(error.to_string().contains(meant), "{field}: {error}");
        }
        let far = Request::from_json(r#"{"zzzzzzzz": 1}"#)
            .unwrap_err()
            .to_string();
        assert!(!far.contains("did you mean"), "{far}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_field() {
        let error = |text: &str| Request::from_json(text).unwrap_err().to_string();
        for (text, expected) in [
            (
                r#"{"steps": "many"}"#,
                "`steps`: invalid type: string \"many\", expected a whole number from 0",
            ),
            (
                r#"{"cfg_scale": null}"#,
                "`guidance.scale`: invalid type: null, expected a number",
            ),
            (
                r#"{"start": {"outpaint": "32"}}"#,
                "`start.outpaint`: invalid type: string \"32\", expected a table of fields",
            ),
            (
                r#"{"guidance": [2, 0.5]}"#,
                "`guidance` is [2,0.5]: expected a table of fields",
            ),
            (
                r#"{"guidance": 7, "cfg_scale": 3}"#,
                "`guidance` is 7: expected a table of fields",
            ),
            (
                r#"{"start": {"init_image": "a.png"}}"#,
                "did you mean `start.image`?",
            ),
            (
                r#"{"condition": {"sizes": {"original": "big"}}}"#,
                "`condition.sizes.original` is big: expected WIDTHxHEIGHT",
            ),
            (
                r#"{"guidance": {"pag": {"layers": "middle"}}}"#,
                "`guidance.pag.layers` is middle: expected attention blocks",
            ),
            (
                r#"{"compute": {"dtype": "f99"}}"#,
                "`compute.dtype` is \"f99\": expected one of",
            ),
            (
                r#"{"guidance": {"pag": {"scal": 3}}}"#,
                "no field `guidance.pag.scal`; did you mean `scale`?",
            ),
            (r#"{"hires": {"scal": 3}}"#, "no field `hires.scal`; did"),
            ("[]", "this is not a JSON request: it must be a table"),
            (r#"{"steps": 1, "steps": 2}"#, "`steps` is stated twice"),
            (
                r#"{"guidance": {"cfg_scale": 3}}"#,
                "did you mean `guidance.scale`?",
            ),
        ] {
            assert!(error(text).contains(expected), "{text}: {}", error(text));
        }
        assert!(Request::from_json(r#"{"hires": null}"#).is_ok());
        let error = Request::from_toml("[guidance]\nscale = nan")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`guidance.scale` is NaN: expected a finite number"),
            "{error}"
        );
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
