//! From stable-diffusion.cpp's fields to latent's tables.

use serde_json::{Map, Value, json};

use crate::config::Limits;
use crate::fault::{Fault, Result};
use crate::given::Given;

/// What it takes and what is empty there, so that it may be sent along; anything else in these is refused.
const UNUSED: &[&str] = &["control_image", "ip_adapter_image", "end_image"];

fn refused(field: &str, why: impl Into<String>) -> Fault {
    Fault::new("field_unusable", why).of(field)
}

fn put(table: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    table.insert(field.to_owned(), value.into());
}

/// What is stated: neither missing nor null.
fn stated<'a>(fields: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    fields.get(field).filter(|value| !value.is_null())
}

fn number(fields: &Map<String, Value>, field: &str) -> Result<Option<f64>> {
    let read = stated(fields, field).map(|value| {
        let number = value.as_f64();
        number.ok_or_else(|| {
            Fault::new(
                "field_wrong_type",
                format!("{field} is {value}: expected a number"),
            )
            .of(field)
        })
    });
    read.transpose()
}

fn whole(fields: &Map<String, Value>, field: &str) -> Result<Option<i64>> {
    let read = stated(fields, field).map(|value| {
        let number = value.as_i64();
        number.ok_or_else(|| {
            Fault::new(
                "field_wrong_type",
                format!("{field} is {value}: expected a whole number"),
            )
            .of(field)
        })
    });
    read.transpose()
}

fn text<'a>(fields: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>> {
    let read = stated(fields, field).map(|value| {
        let text = value.as_str();
        text.ok_or_else(|| {
            Fault::new(
                "field_wrong_type",
                format!("{field} is {value}: expected a text"),
            )
            .of(field)
        })
    });
    Ok(read.transpose()?.filter(|text| !text.is_empty()))
}

fn table(fields: &Map<String, Value>, field: &str) -> Result<Map<String, Value>> {
    match stated(fields, field) {
        None => Ok(Map::new()),
        Some(Value::Object(table)) => Ok(table.clone()),
        Some(_) => {
            Err(Fault::new("field_wrong_type", format!("{field}: expected an object")).of(field))
        }
    }
}

/// Makes tables of the fields that are stated.
///
/// # Errors
/// The first that cannot be honoured.
pub fn lay(
    request: &mut Map<String, Value>,
    given: &mut Given,
    fields: &Map<String, Value>,
    limits: &Limits,
) -> Result<()> {
    for field in UNUSED {
        if text(fields, field)?.is_some() {
            return Err(refused(
                field,
                "no network that reads it can be named here: use /api/v1",
            ));
        }
    }
    if stated(fields, "ref_images")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty())
    {
        return Err(refused(
            "ref_images",
            "pictures to refer to are not offered here: use /api/v1",
        ));
    }
    for field in ["prompt", "negative_prompt"] {
        if let Some(value) = text(fields, field)? {
            put(request, field, value);
        }
    }
    for (ours, theirs) in [
        ("width", "width"),
        ("height", "height"),
        ("batch_count", "batch_count"),
    ] {
        if let Some(value) = whole(fields, theirs)? {
            put(request, ours, value);
        }
    }
    if let Some(seed) = whole(fields, "seed")?.filter(|seed| *seed >= 0) {
        put(request, "seed", seed);
    }
    if let Some(skip) = whole(fields, "clip_skip")?.filter(|skip| *skip > 0) {
        put(request, "clip_skip", skip);
    }
    sampling(request, &table(fields, "sample_params")?)?;
    start(request, given, fields, limits)?;
    hires(request, &table(fields, "hires")?)?;
    if table(fields, "vae_tiling_params")?.get("enabled") == Some(&Value::Bool(true)) {
        put(request, "compute", json!({ "vae_tiling": "on" }));
    }
    loras(request, fields)
}

fn sampling(request: &mut Map<String, Value>, params: &Map<String, Value>) -> Result<()> {
    if let Some(steps) = whole(params, "sample_steps")? {
        put(request, "steps", steps);
    }
    for (ours, theirs) in [("sampler", "sample_method"), ("scheduler", "scheduler")] {
        // `discrete` is its word for the model's own levels.
        if let Some(name) = text(params, theirs)?.filter(|name| *name != "default") {
            put(
                request,
                ours,
                if name == "discrete" { "normal" } else { name },
            );
        }
    }
    if let Some(eta) = number(params, "eta")?.filter(|eta| eta.is_finite() && *eta >= 0.0) {
        put(request, "eta", eta);
    }
    let guidance = table(params, "guidance")?;
    let mut ours = Map::new();
    if let Some(scale) = number(&guidance, "txt_cfg")? {
        put(&mut ours, "scale", scale);
    }
    let skip = table(&guidance, "slg")?;
    if let Some(scale) = number(&skip, "scale")?.filter(|scale| *scale != 0.0) {
        let mut layers = Map::new();
        put(&mut layers, "scale", scale);
        for (ours, theirs) in [
            ("layers", "layers"),
            ("start", "layer_start"),
            ("end", "layer_end"),
        ] {
            if let Some(value) = stated(&skip, theirs) {
                put(&mut layers, ours, value.clone());
            }
        }
        put(&mut ours, "skip_layers", layers);
    }
    if !ours.is_empty() {
        put(request, "guidance", ours);
    }
    let sigmas = stated(params, "custom_sigmas")
        .filter(|list| list.as_array().is_some_and(|list| !list.is_empty()));
    if let Some(sigmas) = sigmas {
        put(request, "sigmas", sigmas.clone());
    }
    Ok(())
}

fn start(
    request: &mut Map<String, Value>,
    given: &mut Given,
    fields: &Map<String, Value>,
    limits: &Limits,
) -> Result<()> {
    let Some(image) = text(fields, "init_image")? else {
        return match text(fields, "mask_image")? {
            Some(_) => Err(refused(
                "mask_image",
                "a mask says which part of init_image is painted anew",
            )),
            None => Ok(()),
        };
    };
    let mut start = Map::new();
    put(
        &mut start,
        "image",
        given.add_text("init_image", image, limits)?,
    );
    put(
        &mut start,
        "strength",
        number(fields, "strength")?.unwrap_or(0.75),
    );
    if let Some(mask) = text(fields, "mask_image")? {
        put(
            &mut start,
            "mask",
            given.add_text("mask_image", mask, limits)?,
        );
        put(&mut start, "mask_blur", 0);
    }
    put(request, "start", start);
    Ok(())
}

fn hires(request: &mut Map<String, Value>, fields: &Map<String, Value>) -> Result<()> {
    if fields.get("enabled") != Some(&Value::Bool(true)) {
        return Ok(());
    }
    let mut hires = Map::new();
    for (ours, theirs) in [
        ("scale", "scale"),
        ("denoising_strength", "denoising_strength"),
    ] {
        if let Some(value) = number(fields, theirs)? {
            put(&mut hires, ours, value);
        }
    }
    for (ours, theirs) in [
        ("width", "target_width"),
        ("height", "target_height"),
        ("steps", "steps"),
    ] {
        if let Some(value) = whole(fields, theirs)?.filter(|value| *value > 0) {
            put(&mut hires, ours, value);
        }
    }
    if hires.contains_key("width") || hires.contains_key("height") {
        hires.remove("scale");
    }
    if let Some(upscaler) = text(fields, "upscaler")? {
        put(&mut hires, "upscaler", upscaler);
    }
    put(request, "hires", hires);
    Ok(())
}

fn loras(request: &mut Map<String, Value>, fields: &Map<String, Value>) -> Result<()> {
    let list = stated(fields, "lora").and_then(Value::as_array);
    let mut loras = Vec::new();
    for lora in list.into_iter().flatten() {
        let name = lora.get("path").and_then(Value::as_str);
        let name =
            name.ok_or_else(|| refused("lora", "each has a path, as GET capabilities lists them"))?;
        if lora.get("is_high_noise") == Some(&Value::Bool(true)) {
            return Err(refused(
                "lora",
                "no model here has a network for high noise alone",
            ));
        }
        let strength = lora
            .get("multiplier")
            .and_then(Value::as_f64)
            .unwrap_or(1.0);
        loras.push(json!({ "name": name, "strength": strength }));
    }
    if !loras.is_empty() {
        put(request, "loras", loras);
    }
    Ok(())
}
