//! A1111's interface, `/sdapi/v1` and what lies around it, as its last release 1.10 answers.
//!
//! Unknown keys are ignored, known ones that cannot be honoured are refused by name.

mod answer;
mod control;
mod draw;
mod error;
mod extras;
mod fields;
mod lists;
pub mod names;
mod options;
mod progress;
mod translate;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::api::load_model;
use crate::app::Shared;
use crate::fault::Fault;
use crate::guard::Caller;
use error::{Error, Result};

/// Its routes.
pub fn router() -> Router<Shared> {
    let nothing = async || Json(json!({}));
    let none = async || Json(json!([]));
    let api = Router::new()
        .route("/txt2img", post(draw::txt2img))
        .route("/img2img", post(draw::img2img))
        .route("/extra-single-image", post(extras::single))
        .route("/extra-batch-images", post(extras::batch))
        .route("/png-info", post(extras::info))
        .route("/interrogate", post(no_captioner))
        .route("/progress", get(progress::progress))
        .route("/interrupt", post(progress::interrupt))
        .route("/skip", post(progress::skip))
        .route("/options", get(options::get).post(options::set))
        .route("/cmd-flags", get(lists::flags))
        .route("/samplers", get(lists::samplers))
        .route("/schedulers", get(lists::schedulers))
        .route("/upscalers", get(lists::upscalers))
        .route("/latent-upscale-modes", get(lists::latent_modes))
        .route("/sd-models", get(lists::models))
        .route("/sd-vae", get(lists::vaes))
        .route("/sd-modules", get(lists::vaes))
        .route("/hypernetworks", get(lists::hypernetworks))
        .route("/face-restorers", get(none))
        .route("/realesrgan-models", get(none))
        .route("/extensions", get(none))
        .route("/prompt-styles", get(lists::styles))
        .route("/embeddings", get(lists::embeddings))
        .route("/loras", get(lists::loras))
        .route("/scripts", get(lists::scripts))
        .route("/script-info", get(lists::script_info))
        .route("/memory", get(lists::memory))
        .route("/refresh-checkpoints", post(refresh))
        .route("/refresh-vae", post(refresh))
        .route("/refresh-embeddings", post(refresh))
        .route("/refresh-loras", post(refresh))
        .route("/unload-checkpoint", post(unload))
        .route("/reload-checkpoint", post(reload))
        .route("/create/{what}", post(no_training))
        .route("/train/{what}", post(no_training));
    Router::new()
        .nest("/sdapi/v1", api.fallback(missing))
        .route("/internal/ping", get(nothing))
        .route("/internal/progress", post(progress::task))
        .route("/internal/pending-tasks", get(progress::pending))
        .route("/controlnet/model_list", get(lists::controls))
        .route(
            "/controlnet/module_list",
            get(async || Json(json!({ "module_list": ["none", "reference_only"] }))),
        )
        .route(
            "/controlnet/version",
            get(async || Json(json!({ "version": 3 }))),
        )
        .route("/controlnet/detect", post(no_detecting))
        .route("/config", get(page_config))
        .route("/user", get(user))
}

/// A1111's error for a path that it has not.
async fn missing() -> Error {
    Fault::new("not_found", "Not Found").into()
}

/// What gradio says of its page. Here there is none: it has the two choices that aiyabot reads from it. It takes the empty LoRA out
/// of its list, and ends where there is none.
async fn page_config(State(app): State<Shared>) -> Result<Json<Value>> {
    let all = app.engine(|engine| Ok(engine.catalogue())).await?;
    let choice = |id: &str, choices: Vec<&str>| json!({ "type": "dropdown", "props": { "elem_id": id, "choices": choices } });
    let loras = all.loras.iter().map(|lora| lora.name.as_str());
    let upscalers = all.latent_upscalers.iter().chain(&all.upscalers);
    let components = [
        choice(
            "setting_sd_lora",
            std::iter::once("").chain(loras).collect(),
        ),
        choice(
            "txt2img_hr_upscaler",
            upscalers.map(String::as_str).collect(),
        ),
    ];
    Ok(Json(json!({
        "version": app.engine.version(), "mode": "blocks", "components": components, "dependencies": [],
    })))
}

/// Who asks, as gradio says it; the Photoshop plugin sees by it that somebody is there.
async fn user(caller: Caller) -> Json<Option<String>> {
    Json(caller.user().map(str::to_owned))
}

async fn no_detecting() -> Error {
    Fault::new(
        "not_offered",
        "preprocessors are not offered here: use latent preprocess",
    )
    .into()
}

async fn no_captioner() -> Error {
    Fault::new("not_found", "Model not found").into()
}

async fn no_training() -> Error {
    Fault::new(
        "not_offered",
        "training is not offered here: use latent train",
    )
    .into()
}

async fn refresh(State(app): State<Shared>) -> Result<Json<Value>> {
    app.engine(|engine| engine.scan()).await?;
    Ok(Json(Value::Null))
}

async fn unload(State(app): State<Shared>) -> Result<Json<Value>> {
    let unloaded = app.engine(|engine| {
        engine.unload();
        Ok(())
    });
    unloaded.await?;
    Ok(Json(json!({})))
}

async fn reload(State(app): State<Shared>) -> Result<Json<Value>> {
    load_model(&app, app.settings.get().model).await?;
    Ok(Json(json!({})))
}
