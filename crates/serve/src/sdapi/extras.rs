//! Pictures made larger, and what they say of themselves.

use axum::Json as Answer;
use axum::extract::State;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::error::Result;
use super::fields::{Field, Fields, Kind};
use crate::app::Shared;
use crate::engine::{Convert, Filter, Fit, Output};
use crate::fault::{Fault, Result as Outcome};
use crate::given;
use crate::guard::Json;

const EXTRAS: &[Field] = &[
    ("image", Kind::Text, "\"\""),
    ("imageList", Kind::List, "[]"),
    ("resize_mode", Kind::Whole, "0"),
    ("gfpgan_visibility", Kind::Number, "0"),
    ("codeformer_visibility", Kind::Number, "0"),
    ("upscaling_resize", Kind::Number, "2"),
    ("upscaling_resize_w", Kind::Whole, "512"),
    ("upscaling_resize_h", Kind::Whole, "512"),
    ("upscaling_crop", Kind::Flag, "true"),
    ("upscaler_1", Kind::Text, "\"None\""),
    ("upscaler_2", Kind::Text, "\"None\""),
    ("extras_upscaler_2_visibility", Kind::Number, "0"),
];

fn refused(field: &str, why: impl Into<String>) -> Fault {
    Fault::new("field_unusable", why).of(field)
}

/// What is to be done with a picture of that size.
fn plan(fields: &Fields, (width, height): (u32, u32), most: u64) -> Outcome<Convert> {
    for field in [
        "gfpgan_visibility",
        "codeformer_visibility",
        "extras_upscaler_2_visibility",
    ] {
        if fields.number(field).is_some_and(|share| share > 0.0) {
            return Err(refused(field, "is not offered: expected 0"));
        }
    }
    let filter = match fields.text("upscaler_1").unwrap_or("None") {
        "None" => None,
        "Lanczos" => Some(Filter::Lanczos),
        "Nearest" => Some(Filter::Nearest),
        other => {
            return Err(refused(
                "upscaler_1",
                format!("there is no upscaler {other:?}: expected None, Lanczos or Nearest"),
            ));
        }
    };
    let size = match fields.whole("resize_mode") {
        0 => {
            let factor = fields.number("upscaling_resize").unwrap_or(2.0);
            if !(factor > 0.0 && factor <= 16.0) {
                return Err(refused(
                    "upscaling_resize",
                    "expected a factor above 0, up to 16",
                ));
            }
            let side = |side: u32| (f64::from(side) * factor).round().max(1.0) as u32;
            (side(width), side(height))
        }
        1 => {
            let side = |field: &str| {
                let side = u32::try_from(fields.whole(field))
                    .ok()
                    .filter(|side| *side > 0);
                side.ok_or_else(|| refused(field, "expected pixels"))
            };
            (side("upscaling_resize_w")?, side("upscaling_resize_h")?)
        }
        _ => return Err(refused("resize_mode", "expected 0 or 1")),
    };
    if u64::from(size.0) * u64::from(size.1) > most {
        return Err(refused(
            "upscaling_resize",
            format!(
                "{}x{} is too large: expected at most {} million pixels",
                size.0,
                size.1,
                most / 1_000_000
            ),
        ));
    }
    Ok(Convert {
        size: filter.map(|_| size),
        filter: filter.unwrap_or_default(),
        fit: match fields.flag("upscaling_crop") {
            true => Fit::Crop,
            false => Fit::Stretch,
        },
        output: Output::default(),
    })
}

async fn enlarged(app: &Shared, fields: &Fields, field: &str, text: &str) -> Outcome<String> {
    let limits = &app.config.limits;
    let bytes = given::decode(text).map_err(|fault| fault.of(field))?;
    let header = given::header(&bytes, limits).map_err(|fault| fault.of(field))?;
    let to = plan(fields, (header.width, header.height), limits.pixels)?;
    let done = app
        .engine(move |engine| engine.convert(&bytes, &to))
        .await?;
    Ok(BASE64_STANDARD.encode(done.file))
}

/// `POST extra-single-image`.
pub async fn single(
    State(app): State<Shared>,
    body: Outcome<Json<Value>>,
) -> Result<Answer<Value>> {
    let fields = Fields::read(&body?.value, &[EXTRAS])?;
    let text = fields.text("image").unwrap_or_default();
    let image = enlarged(&app, &fields, "image", text).await?;
    Ok(Answer(json!({ "html_info": "", "image": image })))
}

/// `POST extra-batch-images`.
pub async fn batch(State(app): State<Shared>, body: Outcome<Json<Value>>) -> Result<Answer<Value>> {
    let fields = Fields::read(&body?.value, &[EXTRAS])?;
    let list = fields.0.get("imageList").and_then(Value::as_array).cloned();
    let mut images = Vec::new();
    for entry in list.unwrap_or_default() {
        let text = entry
            .get("data")
            .and_then(Value::as_str)
            .unwrap_or_default();
        images.push(enlarged(&app, &fields, "imageList", text).await?);
    }
    Ok(Answer(json!({ "html_info": "", "images": images })))
}

/// `POST png-info`.
pub async fn info(State(app): State<Shared>, body: Outcome<Json<Value>>) -> Result<Answer<Value>> {
    let fields = Fields::read(&body?.value, &[EXTRAS])?;
    let text = fields.text("image").unwrap_or_default();
    let bytes = given::decode(text).map_err(|fault| fault.of("image"))?;
    given::header(&bytes, &app.config.limits).map_err(|fault| fault.of("image"))?;
    let read = app.engine(move |engine| engine.read(&bytes)).await?;
    let mut items = Map::new();
    if !read.infotext.is_empty() {
        items.insert("parameters".into(), read.infotext.clone().into());
    }
    let parameters: Map<_, _> = read.items.into_iter().collect();
    Ok(Answer(
        json!({ "info": read.infotext, "items": items, "parameters": parameters }),
    ))
}
