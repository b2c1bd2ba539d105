//! Models as A1111 names them.

use crate::engine::{Catalogue, Model};
use crate::fault::{Fault, Result};

/// The hash that is shown: ten digits.
pub fn short_hash(model: &Model) -> Option<&str> {
    model.sha256.as_deref().and_then(|hash| hash.get(..10))
}

/// `name [hash]`, or the name while the hash is not known.
pub fn title(model: &Model) -> String {
    match short_hash(model) {
        Some(hash) => format!("{} [{hash}]", model.name),
        None => model.name.clone(),
    }
}

/// The name without its ending, and with `_` for what divides folders.
pub fn model_name(name: &str) -> String {
    let stem = match name.rsplit_once('.') {
        Some((stem, ending))
            if !ending.contains('/') && ["safetensors", "ckpt", "pt", "pth"].contains(&ending) =>
        {
            stem
        }
        _ => name,
    };
    stem.replace(['/', '\\'], "_")
}

/// Whether that is its name, with or without folders and ending.
fn is_called(model: &Model, text: &str) -> bool {
    let file = model.name.rsplit('/').next().unwrap_or_default();
    [
        &model.name,
        file,
        &model_name(&model.name),
        &model_name(file),
    ]
    .contains(&text)
}

/// The model of that title, name or hash.
///
/// # Errors
/// None, of the field.
pub fn find<'a>(catalogue: &'a Catalogue, field: &str, text: &str) -> Result<&'a Model> {
    let text = text.trim();
    let is_hash = text.len() >= 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let named = |model: &&Model| text == title(model) || is_called(model, text);
    let hashed = |model: &&Model| {
        let hash = model.sha256.as_deref();
        is_hash && hash.is_some_and(|hash| hash.starts_with(&text.to_lowercase()))
    };
    // A title whose hash is another's is found by its name.
    let bare = text.split_once(" [").map_or(text, |(name, _)| name);
    let by_name = |model: &&Model| is_called(model, bare);
    let mut models = catalogue.models.iter();
    let found = models
        .clone()
        .find(named)
        .or_else(|| models.clone().find(hashed))
        .or_else(|| models.find(by_name));
    found
        .ok_or_else(|| Fault::new("model_unknown", format!("no model {text:?} is known")).of(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_many_names() {
        let model = Model {
            name: "sub/a.v1.safetensors".into(),
            sha256: Some("0123456789abcdef".repeat(4)),
            ..Model::default()
        };
        let catalogue = Catalogue {
            models: vec![model],
            ..Catalogue::default()
        };
        for text in [
            "sub/a.v1.safetensors [0123456789]",
            "sub/a.v1.safetensors",
            "sub_a.v1",
            "0123456789",
            "01234567",
            "a.v1",
            "sub_a.v1 [ffffffffff]",
        ] {
            assert!(find(&catalogue, "x", text).is_ok(), "{text}");
        }
        for text in ["", "a", "0123", "../sub/a.v1.safetensors", "89abcdef"] {
            assert!(find(&catalogue, "x", text).is_err(), "{text}");
        }
    }
}
