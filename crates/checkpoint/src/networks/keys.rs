//! Reading networks' settings as diffusers and transformers write them.
//!
//! Every key is either read, known not to change what the network computes, or required to have the one value that is
//! built here. A key outside these lists is an error unless it is null or false, so that a new setting is never passed over.

use serde_json::Value;

use super::DetectError;

/// A `config.json` being read.
pub(super) struct Keys<'a> {
    pub(super) what: &'static str,
    pub(super) value: &'a Value,
}

/// An entry of a list: a number, or a list of them.
pub(super) enum Nested {
    One(usize),
    Each(Vec<usize>),
}

/// A key with the only value accepted.
pub(super) type Only = (&'static str, Value);

impl<'a> Keys<'a> {
    /// Checks every key of `value` against the three lists.
    pub(super) fn check(
        what: &'static str,
        value: &'a Value,
        read: &[&str],
        free: &[&str],
        only: &[Only],
    ) -> Result<Self, DetectError> {
        let keys = Self { what, value };
        for (key, found) in value.as_object().into_iter().flatten() {
            let listed = |list: &[&str]| list.contains(&key.as_str());
            if key.starts_with('_') || listed(free) {
                continue;
            }
            let expected = only.iter().find(|(name, _)| name == key);
            if found.is_null() {
                // For most settings null is not "the default" but a network without that part.
                if expected.is_some() || (listed(read) && !NULLABLE.contains(&key.as_str())) {
                    return Err(keys.bad(key, "a value"));
                }
                continue;
            }
            if listed(read) {
                continue;
            }
            match expected {
                Some((_, expected)) if same(found, expected) => {}
                Some((_, expected)) => return Err(keys.bad(key, &expected.to_string())),
                None if found == &Value::Bool(false) => {}
                None => return Err(keys.bad(key, "absent: this setting is not known here")),
            }
        }
        Ok(keys)
    }

    pub(super) fn bad(&self, key: &str, expected: &str) -> DetectError {
        let value = self.value.get(key).map_or("absent".into(), short);
        DetectError::Key {
            what: self.what,
            key: key.to_owned(),
            value,
            expected: expected.to_owned(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn size(&self, key: &str, default: usize) -> Result<usize, DetectError> {
        self.optional_size(key).map(|n| n.unwrap_or(default))
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, DetectError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.as_u64().filter(|&n| n <= u64::from(u32::MAX));
        match number {
            Some(n) => Ok(Some(n as usize)),
            None => Err(self.bad(key, "a whole number")),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, DetectError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.bad(key, "a number")),
            },
        }
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, DetectError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.bad(key, "true or false")),
        }
    }

    pub(super) fn text(&self, key: &str, default: &'a str) -> Result<&'a str, DetectError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| self.bad(key, "text")),
        }
    }

    /// A list of whole numbers, or one number for all `count` entries.
    pub(super) fn sizes(
        &self,
        key: &str,
        count: usize,
        default: usize,
    ) -> Result<Vec<usize>, DetectError> {
        let Some(Value::Array(list)) = self.get(key) else {
            return Ok(vec![self.size(key, default)?; count]);
        };
        let expected = format!("a whole number, or a list of {count}");
        let numbers = list.iter().map(|v| v.as_u64().map(|n| n as usize));
        match numbers.collect::<Option<Vec<usize>>>() {
            Some(numbers) if numbers.len() == count => Ok(numbers),
            _ => Err(self.bad(key, &expected)),
        }
    }

    /// A list of whole numbers and lists of them, or one number for all `count` entries.
    pub(super) fn nested_sizes(
        &self,
        key: &str,
        count: usize,
        default: usize,
    ) -> Result<Vec<Nested>, DetectError> {
        let Some(Value::Array(list)) = self.get(key) else {
            let one = self.size(key, default)?;
            return Ok((0..count).map(|_| Nested::One(one)).collect());
        };
        let number = |value: &Value| value.as_u64().map(|n| n as usize);
        let entries = list.iter().map(|value| match value {
            Value::Array(list) => list
                .iter()
                .map(number)
                .collect::<Option<_>>()
                .map(Nested::Each),
            value => number(value).map(Nested::One),
        });
        match entries.collect::<Option<Vec<Nested>>>() {
            Some(entries) if entries.len() == count => Ok(entries),
            _ => {
                let expected = format!("a whole number, or a list of {count} numbers or lists");
                Err(self.bad(key, &expected))
            }
        }
    }

    /// The last number of a list, or the one number.
    pub(super) fn last_size(&self, key: &str, default: usize) -> Result<usize, DetectError> {
        match self.get(key) {
            Some(Value::Array(list)) => Ok(match list.last() {
                Some(Value::Array(list)) => list.last().and_then(Value::as_u64),
                Some(value) => value.as_u64(),
                None => None,
            }
            .map_or(default, |n| n as usize)),
            _ => self.size(key, default),
        }
    }

    /// A list of switches, or one for all `count` entries.
    pub(super) fn flags(
        &self,
        key: &str,
        count: usize,
        default: bool,
    ) -> Result<Vec<bool>, DetectError> {
        let Some(Value::Array(list)) = self.get(key) else {
            return Ok(vec![self.flag(key, default)?; count]);
        };
        let flags: Option<Vec<bool>> = list.iter().map(Value::as_bool).collect();
        let flags = flags.filter(|flags| flags.len() == count);
        flags.ok_or_else(|| self.bad(key, &format!("true or false, or a list of {count}")))
    }

    pub(super) fn texts(
        &self,
        key: &str,
        default: &[&'a str],
    ) -> Result<Vec<&'a str>, DetectError> {
        let Some(value) = self.get(key) else {
            return Ok(default.to_vec());
        };
        let texts = value.as_array().map(|list| list.iter().map(Value::as_str));
        let texts = texts.and_then(|list| list.collect::<Option<Vec<_>>>());
        texts.ok_or_else(|| self.bad(key, "a list of texts"))
    }
}

/// Settings that are null in an ordinary network.
const NULLABLE: [&str; 15] = [
    "mid_block_type",
    "reverse_transformer_layers_per_block",
    "time_cond_proj_dim",
    "num_attention_heads",
    "attention_head_dim",
    "class_embed_type",
    "num_class_embeds",
    "addition_embed_type",
    "projection_class_embeddings_input_dim",
    "mid_block_only_cross_attention",
    "vq_embed_dim",
    "scaling_factor",
    "shift_factor",
    "latents_mean",
    "latents_std",
];

/// Equal, with 1 and 1.0 the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// A value for a message, at most 60 characters.
pub(crate) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
