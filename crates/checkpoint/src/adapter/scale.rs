//! Alpha where it stands in settings and not in tensors: PEFT's `adapter_config.json`, and diffusers' metadata of the same words.
//!
//! Source: `LoraConfig` and `get_pattern_key` of huggingface/peft; `lora_adapter_metadata` of diffusers 0.34 and later.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::Error;
use crate::networks::Role;
use crate::report::ModelError;

/// The metadata key.
pub const KEY: &str = "lora_adapter_metadata";

/// What settings say of one network's modules.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// Whose modules; all where the settings do not say.
    pub role: Option<Role>,
    /// `None`: as the rank.
    alpha: Option<f64>,
    /// Alphas of modules, by the end of their path.
    patterns: Vec<(String, f64)>,
    /// α/√r in the place of α/r.
    root: bool,
}

impl Scales {
    /// What a change of the module at `path` is multiplied by.
    pub fn factor(&self, path: &str, rank: usize) -> f64 {
        let ends = |end: &str| {
            path.strip_suffix(end)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let own = self.patterns.iter().find(|(end, _)| ends(end));
        let rank = rank as f64;
        let alpha = own.map(|(_, alpha)| *alpha).or(self.alpha);
        let by = if self.root { rank.sqrt() } else { rank };
        alpha.map_or(1.0, |alpha| alpha / by)
    }

    fn of(role: Option<Role>, get: impl Fn(&str) -> Option<Value>) -> Result<Self, String> {
        let number = |name: &str, value: &Value| {
            let number = value.as_f64().filter(|v| v.is_finite());
            number.ok_or_else(|| format!("`{name}` is {value}: expected a number"))
        };
        let alpha = get("lora_alpha").filter(|v| !v.is_null());
        let patterns = match get("alpha_pattern") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(patterns)) => patterns,
            Some(other) => return Err(format!("`alpha_pattern` is {other}: expected a table")),
        };
        let patterns = patterns.iter().map(|(end, value)| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
            match end.chars().all(plain) {
                true => Ok((end.clone(), number("alpha_pattern", value)?)),
                false => Err(format!(
                    "`alpha_pattern` names modules by the regular expression {end:?}; here the ends of their paths are read alone"
                )),
            }
        });
        Ok(Self {
            role,
            alpha: alpha.map(|v| number("lora_alpha", &v)).transpose()?,
            patterns: patterns.collect::<Result<_, String>>()?,
            root: get("use_rslora").and_then(|v| v.as_bool()) == Some(true),
        })
    }
}

/// Those of the metadata of a file of diffusers': none where it has no such text.
///
/// # Errors
/// Settings that cannot be read, as a sentence.
pub fn diffusers_scales(metadata: &BTreeMap<String, String>) -> Result<Vec<Scales>, String> {
    let Some(text) = metadata.get(KEY) else {
        return Ok(Vec::new());
    };
    let wrong = |problem: String| format!("its metadata `{KEY}` cannot be read: {problem}");
    let read: Result<Map<String, Value>, _> = serde_json::from_str(text);
    let settings = read.map_err(|e| wrong(e.to_string()))?;
    let roles = [Role::DENOISER, Role::TEXT_ENCODER, Role::TEXT_ENCODER_2];
    let there = roles.into_iter().filter(|role| {
        let start = format!("{}.", role.folder());
        settings.keys().any(|key| key.starts_with(&start))
    });
    let each = there.map(|role| {
        let get = |name: &str| settings.get(&format!("{}.{name}", role.folder())).cloned();
        Scales::of(Some(role), get)
    });
    each.collect::<Result<_, _>>().map_err(wrong)
}

/// Those of a folder of PEFT's.
///
/// # Errors
/// A file that cannot be read, or an adapter of another kind than LoRA.
pub fn peft_scales(path: &Path, role: Option<Role>) -> Result<Scales, ModelError> {
    let wrong = |problem| Error::Json {
        path: path.to_owned(),
        problem,
    };
    let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let settings: Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    match settings.get("peft_type").and_then(Value::as_str) {
        None | Some("LORA") => {}
        Some(other) => {
            let problem = format!(
                "`peft_type` is {other:?}: expected LORA, the kind that is read from such folders"
            );
            return Err(wrong(problem).into());
        }
    }
    Ok(Scales::of(role, |name| settings.get(name).cloned()).map_err(wrong)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_of_a_module_comes_before_that_of_all() {
        let text = r#"{"unet.r": 4, "unet.lora_alpha": 2, "unet.alpha_pattern": {"attn1.to_q": 1.0}, "text_encoder.lora_alpha": 8,
            "text_encoder.use_rslora": true}"#;
        let scales =
            diffusers_scales(&BTreeMap::from([(KEY.to_owned(), text.to_owned())])).unwrap();
        assert_eq!(scales.len(), 2);
        assert_eq!(scales[0].factor("a.attn1.to_q", 4), 0.25);
        assert_eq!(scales[0].factor("a.xattn1.to_q", 4), 0.5);
        assert_eq!(scales[1].factor("x", 4), 4.0);
        let bad = |text: &str| {
            let metadata = BTreeMap::from([(KEY.to_owned(), text.to_owned())]);
            diffusers_scales(&metadata).unwrap_err()
        };
        assert!(bad("[").contains(KEY));
        assert!(bad(r#"{"unet.lora_alpha": "x"}"#).contains("lora_alpha"));
        assert!(bad(r#"{"unet.alpha_pattern": {".*to_q": 1}}"#).contains("regular expression"));
    }
}
