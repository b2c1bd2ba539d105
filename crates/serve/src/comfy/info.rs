//! What there is, and files by name.

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::table::{CLASSES, find};
use super::{Result, uploads};
use crate::app::Shared;
use crate::engine::{Catalogue, Convert, Format, Output};
use crate::fault::{Fault, Result as Outcome};
use crate::guard::{Asked, Caller};

async fn catalogue(app: &Shared) -> Outcome<Catalogue> {
    app.engine(|engine| Ok(engine.catalogue())).await
}

/// `GET /object_info`.
pub async fn nodes(State(app): State<Shared>) -> Result<Answer<Value>> {
    let catalogue = catalogue(&app).await?;
    let all = CLASSES
        .iter()
        .map(|class| (class.name.to_owned(), class.info(&catalogue)));
    Ok(Answer(Value::Object(all.collect())))
}

/// `GET /object_info/{class}`: an empty object for one that is not known, as there.
pub async fn node(State(app): State<Shared>, Path(name): Path<String>) -> Result<Answer<Value>> {
    let catalogue = catalogue(&app).await?;
    let mut all = Map::new();
    if let Some(class) = find(&name) {
        all.insert(name, class.info(&catalogue));
    }
    Ok(Answer(Value::Object(all)))
}

/// `GET /system_stats`.
pub async fn system(State(app): State<Shared>) -> Result<Answer<Value>> {
    let memory = app.engine(|engine| Ok(engine.memory())).await?;
    let device = json!({
        "name": "cpu", "type": "cpu", "index": 0,
        "vram_total": memory.total, "vram_free": memory.free, "torch_vram_total": memory.total, "torch_vram_free": memory.free,
    });
    let system = json!({
        "os": std::env::consts::OS, "ram_total": memory.total, "ram_free": memory.free, "comfyui_version": app.engine.version(),
        "python_version": "", "pytorch_version": "", "embedded_python": false, "argv": [],
    });
    Ok(Answer(json!({ "system": system, "devices": [device] })))
}

/// `GET /embeddings`.
pub async fn embeddings(State(app): State<Shared>) -> Result<Answer<Vec<String>>> {
    let embeddings = catalogue(&app).await?.embeddings.into_iter();
    Ok(Answer(embeddings.map(|embedding| embedding.name).collect()))
}

/// `GET /models`: the folders.
pub async fn folders() -> Answer<Value> {
    Answer(json!([
        "checkpoints",
        "loras",
        "vae",
        "embeddings",
        "controlnet",
        "hypernetworks"
    ]))
}

/// `GET /models/{folder}`.
pub async fn folder(
    State(app): State<Shared>,
    Path(name): Path<String>,
) -> Result<Answer<Vec<String>>> {
    let catalogue = catalogue(&app).await?;
    let names = match name.as_str() {
        "checkpoints" => catalogue
            .models
            .into_iter()
            .map(|model| model.name)
            .collect(),
        "loras" => catalogue.loras.into_iter().map(|lora| lora.name).collect(),
        "vae" => catalogue.vaes,
        "embeddings" => catalogue
            .embeddings
            .into_iter()
            .map(|embedding| embedding.name)
            .collect(),
        "controlnet" => catalogue.controls,
        "hypernetworks" => catalogue.hypernetworks,
        other => {
            return Err(Fault::new("not_found", format!("there is no folder {other:?}")).into());
        }
    };
    Ok(Answer(names))
}

/// Which file, and how.
#[derive(Debug, Deserialize)]
pub struct View {
    filename: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    subfolder: String,
    #[serde(default)]
    preview: Option<String>,
}

/// `GET /view`: pictures that were drawn as they are; uploads, and previews, encoded anew. A name is looked up, never opened.
pub async fn view(
    State(app): State<Shared>,
    caller: Caller,
    asked: Outcome<Asked<View>>,
) -> Result<Response> {
    let Asked(asked) = asked?;
    let input = asked.kind.as_deref() == Some("input");
    let bytes = match (input, asked.subfolder.is_empty()) {
        (true, true) => uploads::upload(&app, &caller, &asked.filename).await?,
        (true, false) => {
            uploads::upload(
                &app,
                &caller,
                &format!("{}/{}", asked.subfolder, asked.filename),
            )
            .await?
        }
        (false, _) => uploads::drawn(&app, &caller, &asked.filename).await?,
    };
    let bytes = bytes.ok_or_else(|| Fault::new("not_found", "there is no such picture"))?;
    let output = match &asked.preview {
        Some(preview) => Some(preview_output(preview)?),
        None => input.then(|| Output {
            text: false,
            ..Output::default()
        }),
    };
    let (format, bytes) = match output {
        None => (
            crate::given::header(&bytes, &app.config.limits)?.format,
            bytes,
        ),
        Some(output) => {
            let to = Convert {
                output,
                ..Convert::default()
            };
            let made = app
                .engine(move |engine| engine.convert(&bytes, &to))
                .await?;
            (output.format, made.file)
        }
    };
    let kind = latent_queue::Format::from(format).media_type();
    Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
}

/// `webp;90` or `jpeg`.
fn preview_output(text: &str) -> Outcome<Output> {
    let (name, quality) = text.split_once(';').unwrap_or((text, "90"));
    let wrong = || {
        Fault::asked(
            "field_unknown_choice",
            Some("preview"),
            format!("{text:?}: expected webp or jpeg, and ;QUALITY"),
        )
    };
    let quality = quality
        .parse()
        .ok()
        .filter(|quality| (1..=100).contains(quality));
    Ok(Output {
        format: Format::named(name)
            .filter(|format| *format != Format::Png)
            .ok_or_else(wrong)?,
        quality: quality.ok_or_else(wrong)?,
        text: false,
        transparent: false,
    })
}
