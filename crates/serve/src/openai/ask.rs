//! From OpenAI's fields to latent's tables.

use serde_json::{Map, Value, json};

use super::models;
use crate::engine::{Catalogue, Format, Output};
use crate::fault::{Fault, Result};
use crate::settings::Settings;

/// What is asked, and how it is to be answered.
#[derive(Debug)]
pub struct Wanted {
    /// The tables.
    pub request: Map<String, Value>,
    /// How pictures are encoded.
    pub output: Output,
    /// Whom it is for, as the client says; told again, and nothing else.
    pub identifier: Option<String>,
    /// Answer with addresses in the place of bytes.
    pub url: bool,
    /// Answer with events.
    pub stream: bool,
    /// Previews, at most.
    pub partial: u64,
    /// `quality` as it was sent.
    pub quality: String,
}

fn refused(field: &str, why: impl Into<String>) -> Fault {
    Fault::new("field_unusable", why).of(field)
}

/// Fields that nothing here uses, and that would change the picture elsewhere.
const UNUSED: &[&str] = &[
    "markup",
    "svg",
    "complexity",
    "frame_count",
    "frame_duration_ms",
];

/// Reads the fields. Those of a form are texts.
///
/// # Errors
/// The first that cannot be honoured.
pub fn read(
    fields: &Map<String, Value>,
    settings: &Settings,
    catalogue: &Catalogue,
) -> Result<Wanted> {
    let stated = |field: &str| fields.get(field).filter(|value| !value.is_null());
    let text = |field: &'static str| match stated(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(refused(field, format!("is {other}: expected a text"))),
    };
    let number = |field: &'static str| match stated(field) {
        None => Ok(None),
        Some(value) => {
            let read = value.as_f64().or_else(|| value.as_str()?.parse().ok());
            let finite = read.filter(|number: &f64| number.is_finite());
            finite
                .map(Some)
                .ok_or_else(|| refused(field, format!("is {value}: expected a number")))
        }
    };
    let whole = |field: &'static str, least: u64, most: u64| -> Result<Option<u64>> {
        let Some(value) = stated(field) else {
            return Ok(None);
        };
        let read = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let inside = read.filter(|number| (least..=most).contains(number));
        let expected = || refused(field, format!("is {value}: expected {least} to {most}"));
        inside.map(Some).ok_or_else(expected)
    };
    let flag = |field: &'static str| match stated(field) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(word)) if word == "true" || word == "false" => Ok(word == "true"),
        Some(other) => Err(refused(
            field,
            format!("is {other}: expected true or false"),
        )),
    };
    if let Some(field) = UNUSED.iter().find(|field| stated(field).is_some()) {
        return Err(refused(field, "nothing here uses it: leave it out"));
    }
    let mut request = Map::new();
    let mut put = |field: &str, value: Value| request.insert(field.to_owned(), value);
    let prompt = text("prompt")?.filter(|prompt| !prompt.is_empty());
    let missing = || Fault::new("field_missing", "prompt: say what to draw").of("prompt");
    put("prompt", prompt.ok_or_else(missing)?.into());
    let model = models::find(catalogue, settings.model.as_deref(), text("model")?)?;
    put("model", model.name.clone().into());
    put("batch_count", whole("n", 1, 10)?.unwrap_or(1).into());
    match text("size")?.unwrap_or("auto") {
        "auto" => {}
        size => {
            let sides = size.split_once('x');
            let sides =
                sides.and_then(|(w, h)| Some((w.parse::<u32>().ok()?, h.parse::<u32>().ok()?)));
            let (width, height) = sides.ok_or_else(|| {
                refused(
                    "size",
                    format!("is {size:?}: expected auto or WIDTHxHEIGHT"),
                )
            })?;
            put("width", width.into());
            put("height", height.into());
        }
    }
    let quality = text("quality")?.unwrap_or("auto");
    let factor = match quality {
        "low" => 0.5,
        "auto" | "medium" | "standard" => 1.0,
        "high" | "hd" => 1.5,
        "xhigh" => 2.0,
        "max" => 3.0,
        _ => {
            return Err(refused(
                "quality",
                format!("is {quality:?}: expected auto, low, medium, high, xhigh or max"),
            ));
        }
    };
    // Fields of our own, which clients send as `extra_body`.
    if let Some(steps) = whole("steps", 1, 1000)? {
        put("steps", steps.into());
    } else if factor != 1.0 {
        let steps = (f64::from(model.steps) * factor).round().max(1.0);
        put("steps", (steps as u64).into());
    }
    if let Some(seed) =
        stated("seed").filter(|seed| seed.as_i64() != Some(-1) && seed.as_str() != Some("-1"))
    {
        let read = seed.as_u64().or_else(|| seed.as_str()?.parse().ok());
        put(
            "seed",
            read.ok_or_else(|| refused("seed", "expected a whole number, or -1"))?
                .into(),
        );
    }
    for field in ["sampler", "scheduler", "negative_prompt"] {
        if let Some(value) = text(field)? {
            put(field, value.into());
        }
    }
    if let Some(scale) = number("cfg_scale")? {
        put("guidance", json!({ "scale": scale }));
    }
    let transparent = match text("background")?.unwrap_or("auto") {
        "auto" | "opaque" => false,
        "transparent" => true,
        other => {
            return Err(refused(
                "background",
                format!("is {other:?}: expected auto, opaque or transparent"),
            ));
        }
    };
    let named = text("output_format")?;
    let format = match named.map(Format::named) {
        None => Format::Png,
        Some(Some(format)) => format,
        Some(None) => return Err(refused("output_format", "expected png, jpeg or webp")),
    };
    if transparent && format == Format::Jpeg {
        return Err(refused(
            "output_format",
            "JPEG has no transparency: expected png or webp with this background",
        ));
    }
    let quality_of_file = whole("output_compression", 0, 100)?;
    let url = match text("response_format")?.unwrap_or("b64_json") {
        "b64_json" => false,
        "url" => true,
        other => {
            return Err(refused(
                "response_format",
                format!("is {other:?}: expected b64_json or url"),
            ));
        }
    };
    let stream = flag("stream")?;
    let partial = whole("partial_images", 0, 3)?.unwrap_or(0);
    if stream && request["batch_count"] != 1 {
        return Err(refused("n", "a stream ends with one picture: expected 1"));
    }
    Ok(Wanted {
        request,
        output: Output {
            format,
            quality: quality_of_file.map_or(settings.quality, |q| q.clamp(1, 100) as u8),
            text: settings.text,
            transparent,
        },
        identifier: text("safety_identifier")?
            .filter(|given| !given.is_empty())
            .or(text("user")?)
            .map(str::to_owned),
        url,
        stream,
        partial,
        quality: quality.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Model;

    fn ask(fields: Value) -> Result<Wanted> {
        let model = Model {
            name: "tiny".into(),
            steps: 20,
            ..Model::default()
        };
        let catalogue = Catalogue {
            models: vec![model],
            ..Catalogue::default()
        };
        let fields = fields.as_object().cloned().unwrap_or_default();
        read(&fields, &Settings::default(), &catalogue)
    }

    #[test]
    fn their_words_become_ours() {
        let wanted = ask(json!({"prompt": "a", "model": "gpt-image-1", "size": "64x128", "quality": "high", "n": "2", "seed": 3, "cfg_scale": "5"})).expect("read");
        let request = wanted.request;
        assert_eq!(
            (&request["width"], &request["height"]),
            (&json!(64), &json!(128))
        );
        assert_eq!(
            (&request["steps"], &request["batch_count"]),
            (&json!(30), &json!(2))
        );
        assert_eq!(
            (&request["seed"], &request["guidance"]["scale"]),
            (&json!(3), &json!(5.0))
        );
        assert!(!wanted.url && request["model"] == "tiny");
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for (fields, field) in [
            (json!({}), "prompt"),
            (json!({"prompt": 1}), "prompt"),
            (json!({"prompt": "a", "n": 11}), "n"),
            (json!({"prompt": "a", "size": "large"}), "size"),
            (json!({"prompt": "a", "model": "none"}), "model"),
            (json!({"prompt": "a", "background": "blue"}), "background"),
            (
                json!({"prompt": "a", "background": "transparent", "output_format": "jpeg"}),
                "output_format",
            ),
            (
                json!({"prompt": "a", "output_format": "gif"}),
                "output_format",
            ),
            (json!({"prompt": "a", "stream": true, "n": 2}), "n"),
            (json!({"prompt": "a", "svg": {}}), "svg"),
        ] {
            let fault = ask(fields.clone()).expect_err("refused");
            assert_eq!(fault.field.as_deref(), Some(field), "{fields}");
        }
    }
}
