//! Units of A1111's ControlNet extension, where they are what a request's tables hold.

use serde_json::{Map, Value};

use super::translate::Beside;
use crate::fault::{Fault, Result};
use crate::given::Given;

const FIELD: &str = "alwayson_scripts.controlnet";

fn refused(why: impl Into<String>) -> Fault {
    Fault::new("field_unusable", why).of(FIELD)
}

/// The name of a choice, given by name or by number.
fn choice(
    unit: &Map<String, Value>,
    key: &str,
    names: &[(&str, &'static str)],
) -> Result<Option<&'static str>> {
    let found = match unit.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => {
            let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| names.get(at))
        }
        Some(Value::String(text)) => names
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text)),
        Some(_) => None,
    };
    match found {
        Some((_, name)) => Ok(Some(name)),
        None => {
            let known: Vec<_> = names.iter().map(|(name, _)| *name).collect();
            Err(refused(format!(
                "{key}: expected one of {}",
                known.join(", ")
            )))
        }
    }
}

/// Adds a unit to a request.
///
/// # Errors
/// A preprocessor or a model that is not there, and what no table holds.
pub fn add(
    unit: &Value,
    request: &mut Map<String, Value>,
    given: &mut Given,
    beside: &Beside<'_>,
) -> Result<()> {
    let Some(unit) = unit.as_object() else {
        return Err(refused("a unit is an object"));
    };
    if unit.get("enabled").and_then(Value::as_bool) == Some(false) {
        return Ok(());
    }
    let text = |key: &str| {
        unit.get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let number = |key: &str| unit.get(key).and_then(Value::as_f64);
    let module = text("module").unwrap_or("none").to_lowercase();
    let reference = match module.as_str() {
        "none" => false,
        "reference_only" => true,
        other => {
            return Err(refused(format!(
                "the preprocessor {other:?} is not offered: send the finished picture with module none"
            )));
        }
    };
    let mut table = Map::new();
    let image = match unit.get("image").or_else(|| unit.get("input_image")) {
        Some(Value::String(image)) => Some(image.as_str()),
        Some(Value::Object(both)) => both.get("image").and_then(Value::as_str),
        _ => None,
    };
    if let Some(image) = image.filter(|image| !image.is_empty()) {
        table.insert(
            "image".into(),
            given.add_text(FIELD, image, beside.limits)?.into(),
        );
    }
    if let Some(mask) = text("mask").or_else(|| text("mask_image")) {
        table.insert(
            "mask".into(),
            given.add_text(FIELD, mask, beside.limits)?.into(),
        );
    }
    for (ours, theirs) in [
        ("weight", "weight"),
        ("start", "guidance_start"),
        ("end", "guidance_end"),
    ] {
        if let Some(value) = number(theirs) {
            table.insert(ours.into(), value.into());
        }
    }
    let modes = [
        ("Balanced", "balanced"),
        ("My prompt is more important", "prompt"),
        ("ControlNet is more important", "control"),
    ];
    if let Some(mode) = choice(unit, "control_mode", &modes)? {
        table.insert("mode".into(), mode.into());
    }
    let fits = [
        ("Just Resize", "stretch"),
        ("Crop and Resize", "crop"),
        ("Resize and Fill", "fill"),
    ];
    if let Some(fit) = choice(unit, "resize_mode", &fits)? {
        table.insert("resize_mode".into(), fit.into());
    }
    let list = if reference {
        if let Some(fidelity) = number("threshold_a").filter(|fidelity| *fidelity >= 0.0) {
            table.insert("fidelity".into(), fidelity.into());
        }
        "reference"
    } else {
        let named = text("model").filter(|name| !name.eq_ignore_ascii_case("none"));
        let named = named.ok_or_else(|| refused("a unit names its model"))?;
        let bare = named.split_once(" [").map_or(named, |(name, _)| name);
        let mut known = beside.catalogue.controls.iter();
        let stem = |name: &str| {
            name.rsplit_once('.')
                .map_or(name, |(stem, _)| stem)
                .to_owned()
        };
        let found = known.find(|name| *name == bare || stem(name) == bare);
        let found = found.ok_or_else(|| {
            refused(format!(
                "there is no ControlNet {named:?}: see GET /controlnet/model_list"
            ))
        })?;
        table.insert("model".into(), found.clone().into());
        "control"
    };
    let units = request
        .entry(list)
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Some(units) = units.as_array_mut() {
        units.push(table.into());
    }
    Ok(())
}
