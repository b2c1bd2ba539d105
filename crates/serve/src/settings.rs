//! What holds where a request says nothing, and named pieces of prompts.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::engine::{Format, Output};
use crate::fault::{Fault, Result};

/// What holds where a request says nothing, for all interfaces. Kept in `settings.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The model; none is the first of the catalogue.
    pub model: Option<String>,
    /// An autoencoder in the place of the model's own.
    pub vae: Option<String>,
    /// The layer of the text encoder, 1 is the last; none is the model's own.
    #[schema(minimum = 1, maximum = 12)]
    pub clip_skip: Option<i32>,
    /// Added to the seed of ancestral noise.
    pub ensd: i64,
    /// Whose random numbers: `cpu` or `cuda`; none is the profile's own.
    pub rng: Option<String>,
    /// How pictures are kept.
    pub format: Format,
    /// JPEG's quality.
    #[schema(minimum = 1, maximum = 100)]
    pub quality: u8,
    /// Whether pictures carry their settings.
    pub text: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let output = Output::default();
        Self {
            model: None,
            vae: None,
            clip_skip: None,
            ensd: 0,
            rng: None,
            format: output.format,
            quality: output.quality,
            text: output.text,
        }
    }
}

impl Settings {
    /// Whether each is in its range. Names are checked by what they name.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, message: &str| {
            Err(Fault::asked("field_out_of_range", Some(field), message))
        };
        if !(1..=100).contains(&self.quality) {
            return wrong("quality", "expected 1 to 100");
        }
        if self.clip_skip.is_some_and(|skip| !(1..=12).contains(&skip)) {
            return wrong("clip_skip", "expected 1 to 12, or null");
        }
        if self
            .rng
            .as_deref()
            .is_some_and(|rng| !["cpu", "cuda"].contains(&rng))
        {
            return wrong("rng", "expected cpu, cuda or null");
        }
        Ok(())
    }

    /// Puts below a request what it does not state.
    pub fn below(&self, request: &mut Map<String, Value>) {
        let fields = [
            ("model", self.model.clone().map(Value::from)),
            ("vae", self.vae.clone().map(Value::from)),
            ("clip_skip", self.clip_skip.map(Value::from)),
            ("ensd", (self.ensd != 0).then(|| self.ensd.into())),
            ("rng", self.rng.clone().map(Value::from)),
        ];
        for (field, value) in fields {
            if let Some(value) = value.filter(|_| !request.contains_key(field)) {
                request.insert(field.to_owned(), value);
            }
        }
    }

    /// How files are encoded.
    pub fn output(&self) -> Output {
        Output {
            format: self.format,
            quality: self.quality,
            text: self.text,
            ..Output::default()
        }
    }
}

/// Pieces of prompts under a name. `{prompt}` stands for what it is applied to; without it, it is appended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Style {
    /// Its name.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// Of the prompt.
    #[serde(default)]
    pub prompt: String,
    /// Of the negative prompt.
    #[serde(default)]
    pub negative_prompt: String,
}

/// The prompts after the styles of those names, one after the other.
///
/// # Errors
/// A name that no style has.
pub fn styled(
    styles: &[Style],
    names: &[String],
    prompt: &str,
    negative: &str,
) -> Result<(String, String)> {
    let mut done = (prompt.to_owned(), negative.to_owned());
    for name in names
        .iter()
        .filter(|name| !name.is_empty() && *name != "None")
    {
        let style = styles.iter().find(|style| style.name == *name);
        let style = style.ok_or_else(|| {
            let message = format!("there is no style {name:?}");
            Fault::asked("field_unknown_choice", Some("styles"), message)
        })?;
        done = (
            merged(&style.prompt, &done.0),
            merged(&style.negative_prompt, &done.1),
        );
    }
    Ok(done)
}

fn merged(style: &str, text: &str) -> String {
    if style.contains("{prompt}") {
        return style.replace("{prompt}", text);
    }
    let parts = [text.trim(), style.trim()];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_go_around_or_behind() {
        let style = |name: &str, prompt: &str, negative: &str| Style {
            name: name.into(),
            prompt: prompt.into(),
            negative_prompt: negative.into(),
        };
        let styles = [
            style("oil", "oil on canvas", "photo"),
            style("of", "a picture of {prompt}, fine", ""),
        ];
        let names = ["oil".to_owned(), "of".to_owned(), "None".to_owned()];
        let (prompt, negative) = styled(&styles, &names, "an apple", "").expect("known");
        assert_eq!(prompt, "a picture of an apple, oil on canvas, fine");
        assert_eq!(negative, "photo");
        assert!(styled(&styles, &["none".into()], "", "").is_err());
    }

    #[test]
    fn settings_lie_below_what_is_stated() {
        let settings = Settings {
            model: Some("a".into()),
            clip_skip: Some(2),
            ..Settings::default()
        };
        let mut request = Map::new();
        request.insert("model".into(), "b".into());
        settings.below(&mut request);
        assert_eq!(request["model"], "b");
        assert_eq!(request["clip_skip"], 2);
        assert_eq!(request.len(), 2);
    }
}
