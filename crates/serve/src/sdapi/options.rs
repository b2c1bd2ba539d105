//! A1111's options: a few of them are settings here, the others say how it is.

use std::path::Path;

use axum::Json as Answer;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::error::Result;
use super::names;
use crate::api::{keep, load_model};
use crate::app::Shared;
use crate::engine::{Catalogue, Format};
use crate::fault::{Fault, Result as Outcome};
use crate::guard::Json;
use crate::settings::Settings;

/// Options that say how it is and are taken back unchanged.
const FIXED: &[(&str, &str)] = &[
    ("samples_save", "true"),
    ("grid_save", "false"),
    ("webp_lossless", "true"),
    ("live_previews_enable", "true"),
    ("show_progress_every_n_steps", "1"),
    ("show_progress_type", "\"Approx NN\""),
    ("return_grid", "true"),
    ("emphasis", "\"Original\""),
    ("inpainting_mask_weight", "1.0"),
];

fn fixed(name: &str) -> Option<Value> {
    let found = FIXED.iter().find(|(fixed, _)| *fixed == name);
    found.and_then(|(_, value)| serde_json::from_str(value).ok())
}

/// Whether two values are the same, however a number is written.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// All options as they stand.
pub fn flat(settings: &Settings, catalogue: &Catalogue) -> Map<String, Value> {
    let named = settings
        .model
        .as_ref()
        .and_then(|name| catalogue.models.iter().find(|model| model.name == *name));
    let model = named.or(catalogue.models.first());
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| all.insert(name.to_owned(), value);
    put("sd_model_checkpoint", model.map(names::title).into());
    put(
        "sd_checkpoint_hash",
        model.and_then(|model| model.sha256.clone()).into(),
    );
    put(
        "sd_vae",
        settings
            .vae
            .clone()
            .unwrap_or_else(|| "Automatic".to_owned())
            .into(),
    );
    put(
        "CLIP_stop_at_last_layers",
        settings.clip_skip.unwrap_or(1).into(),
    );
    put("samples_format", ending(settings.format).into());
    put("jpeg_quality", settings.quality.into());
    put("enable_pnginfo", settings.text.into());
    put("eta_noise_seed_delta", settings.ensd.into());
    put("randn_source", source(settings).into());
    for (name, _) in FIXED {
        put(name, fixed(name).unwrap_or_default());
    }
    all
}

fn ending(format: Format) -> &'static str {
    match format {
        Format::Png => "png",
        Format::Jpeg => "jpg",
        Format::Webp => "webp",
    }
}

fn source(settings: &Settings) -> &'static str {
    match settings.rng.as_deref() {
        Some("cpu") => "CPU",
        Some(_) => "NV",
        None => "GPU",
    }
}

/// Takes one option over. Whether it is known here.
fn take(
    settings: &mut Settings,
    name: &str,
    value: &Value,
    catalogue: &Catalogue,
) -> Outcome<bool> {
    let wrong = |expected: &str| {
        Err(Fault::asked(
            "field_wrong_type",
            Some(name),
            format!("is {value}: expected {expected}"),
        ))
    };
    let text = value.as_str().unwrap_or_default();
    let whole = value.as_i64().or_else(|| value.as_f64().map(|v| v as i64));
    match name {
        "sd_model_checkpoint" => match value {
            Value::Null => settings.model = None,
            Value::String(_) => {
                settings.model = Some(names::find(catalogue, name, text)?.name.clone())
            }
            _ => return wrong("the title of a model"),
        },
        "sd_vae" => match text {
            "" | "Automatic" | "None" => settings.vae = None,
            text => {
                let mut known = catalogue.vaes.iter();
                let bare =
                    |vae: &String| Path::new(vae).file_name().is_some_and(|name| name == text);
                let found = known.find(|vae| *vae == text || bare(vae));
                let unknown =
                    || Fault::new("model_unknown", format!("no VAE {text:?} is known")).of(name);
                settings.vae = Some(found.ok_or_else(unknown)?.clone());
            }
        },
        "CLIP_stop_at_last_layers" => match whole {
            Some(1) => settings.clip_skip = None,
            Some(layer @ 2..=12) => settings.clip_skip = i32::try_from(layer).ok(),
            _ => return wrong("1 to 12"),
        },
        "samples_format" => match Format::named(text) {
            Some(format) => settings.format = format,
            None => return wrong("png, jpg or webp"),
        },
        "jpeg_quality" => match whole {
            Some(quality @ 1..=100) => settings.quality = quality as u8,
            _ => return wrong("1 to 100"),
        },
        "enable_pnginfo" => match value.as_bool() {
            Some(text) => settings.text = text,
            None => return wrong("true or false"),
        },
        "eta_noise_seed_delta" => match whole {
            Some(delta) => settings.ensd = delta,
            None => return wrong("a whole number"),
        },
        "randn_source" => match text {
            "GPU" => settings.rng = None,
            "NV" => settings.rng = Some("cuda".to_owned()),
            "CPU" => settings.rng = Some("cpu".to_owned()),
            _ => return wrong("GPU, CPU or NV"),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// The settings with options of one request over them. Options that nobody knows here do nothing, as with unknown fields.
///
/// # Errors
/// A value that an option does not take.
pub fn overridden(
    mut settings: Settings,
    options: &Map<String, Value>,
    catalogue: &Catalogue,
) -> Outcome<Settings> {
    for (name, value) in options {
        take(&mut settings, name, value, catalogue).map_err(|mut fault| {
            fault.field = Some(format!("override_settings.{name}"));
            fault
        })?;
    }
    Ok(settings)
}

/// `GET options`.
pub async fn get(State(app): State<Shared>) -> Result<Answer<Map<String, Value>>> {
    let catalogue = app.engine(|engine| Ok(engine.catalogue())).await?;
    Ok(Answer(flat(&app.settings.get(), &catalogue)))
}

/// `POST options`: answers when a model that was named is loaded.
pub async fn set(
    State(app): State<Shared>,
    body: Outcome<Json<Map<String, Value>>>,
) -> Result<Answer<Value>> {
    let options = body?.value;
    let catalogue = app.engine(|engine| Ok(engine.catalogue())).await?;
    let before = app.settings.get();
    let mut settings = before.clone();
    let now = flat(&before, &catalogue);
    for (name, value) in &options {
        let stays = now.get(name).is_some_and(|now| same(now, value));
        if stays || take(&mut settings, name, value, &catalogue)? {
            continue;
        }
        let why = match now.get(name) {
            Some(now) => format!("is always {now} here"),
            None => "is no option here: GET options lists those there are".to_owned(),
        };
        return Err(Fault::asked("field_unknown", Some(name), why).into());
    }
    if settings.model != before.model || options.contains_key("sd_model_checkpoint") {
        load_model(&app, settings.model.clone()).await?;
    }
    if settings != before {
        keep(&app, move |app| app.settings.set(settings)).await?;
    }
    Ok(Answer(json!(null)))
}
