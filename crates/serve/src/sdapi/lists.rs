//! The lists of what is there.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::error::Result;
use super::names;
use crate::app::Shared;
use crate::engine::Catalogue;

async fn catalogue(app: &Shared) -> Result<Catalogue> {
    Ok(app.engine(|engine| Ok(engine.catalogue())).await?)
}

async fn list<T>(
    app: Shared,
    of: impl Fn(&Catalogue) -> &Vec<T>,
    one: impl Fn(&T) -> Value,
) -> Result<Json<Value>> {
    let catalogue = catalogue(&app).await?;
    Ok(Json(of(&catalogue).iter().map(one).collect()))
}

/// `GET samplers`.
pub async fn samplers(State(app): State<Shared>) -> Result<Json<Value>> {
    list(
        app,
        |all| &all.samplers,
        |s| json!({ "name": s.name, "aliases": s.aliases, "options": s.options }),
    )
    .await
}

/// `GET schedulers`.
pub async fn schedulers(State(app): State<Shared>) -> Result<Json<Value>> {
    let one = |s: &crate::engine::Scheduler| {
        json!({
            "name": s.name, "label": s.label, "aliases": s.aliases,
            "default_rho": s.rho.unwrap_or(-1.0), "need_inner_model": s.reads_model,
        })
    };
    list(app, |all| &all.schedulers, one).await
}

/// `GET sd-models`.
pub async fn models(State(app): State<Shared>) -> Result<Json<Value>> {
    let one = |model: &crate::engine::Model| {
        json!({
            "title": names::title(model), "model_name": names::model_name(&model.name),
            "hash": names::short_hash(model), "sha256": model.sha256, "filename": model.name, "config": null,
        })
    };
    list(app, |all| &all.models, one).await
}

/// `GET sd-vae`, and Forge's `sd-modules`.
pub async fn vaes(State(app): State<Shared>) -> Result<Json<Value>> {
    list(
        app,
        |all| &all.vaes,
        |name| json!({ "model_name": name, "filename": name }),
    )
    .await
}

/// `GET upscalers`. The first is None: clients put the latent modes behind it.
pub async fn upscalers(State(app): State<Shared>) -> Result<Json<Value>> {
    let none = "None".to_owned();
    let catalogue = catalogue(&app).await?;
    let names = std::iter::once(&none).chain(&catalogue.upscalers);
    let one = |name: &String| json!({ "name": name, "model_name": null, "model_path": null, "model_url": null, "scale": 4 });
    Ok(Json(names.map(one).collect()))
}

/// `GET latent-upscale-modes`.
pub async fn latent_modes(State(app): State<Shared>) -> Result<Json<Value>> {
    list(
        app,
        |all| &all.latent_upscalers,
        |name| json!({ "name": name }),
    )
    .await
}

/// `GET embeddings`.
pub async fn embeddings(State(app): State<Shared>) -> Result<Json<Value>> {
    let catalogue = catalogue(&app).await?;
    let loaded: Map<_, _> = catalogue
        .embeddings
        .iter()
        .map(|e| {
            let told = json!({ "step": null, "sd_checkpoint": null, "sd_checkpoint_name": null, "shape": e.width, "vectors": e.vectors });
            (e.name.clone(), told)
        })
        .collect();
    Ok(Json(json!({ "loaded": loaded, "skipped": {} })))
}

/// `GET loras`.
pub async fn loras(State(app): State<Shared>) -> Result<Json<Value>> {
    let one = |lora: &crate::engine::Adapter| {
        json!({
            "name": lora.name, "alias": lora.alias.as_ref().unwrap_or(&lora.name),
            "path": lora.name, "metadata": lora.metadata,
        })
    };
    list(app, |all| &all.loras, one).await
}

/// `GET hypernetworks`.
pub async fn hypernetworks(State(app): State<Shared>) -> Result<Json<Value>> {
    list(
        app,
        |all| &all.hypernetworks,
        |name| json!({ "name": name, "path": name }),
    )
    .await
}

/// `GET prompt-styles`.
pub async fn styles(State(app): State<Shared>) -> Json<Value> {
    Json(json!(app.styles.get()))
}

/// The scripts that are there.
async fn script_names(app: &Shared) -> Result<Vec<&'static str>> {
    let has = !catalogue(app).await?.controls.is_empty();
    Ok(if has { vec!["controlnet"] } else { Vec::new() })
}

/// `GET scripts`.
pub async fn scripts(State(app): State<Shared>) -> Result<Json<Value>> {
    let names = script_names(&app).await?;
    Ok(Json(json!({ "txt2img": names, "img2img": names })))
}

/// `GET script-info`.
pub async fn script_info(State(app): State<Shared>) -> Result<Json<Value>> {
    let names = script_names(&app).await?;
    let both = names.iter().flat_map(|name| {
        [false, true].map(|img2img| json!({ "name": name, "is_alwayson": true, "is_img2img": img2img, "args": [] }))
    });
    Ok(Json(both.collect()))
}

/// `GET /controlnet/model_list`.
pub async fn controls(State(app): State<Shared>) -> Result<Json<Value>> {
    Ok(Json(
        json!({ "model_list": catalogue(&app).await?.controls }),
    ))
}

/// `GET memory`.
pub async fn memory(State(app): State<Shared>) -> Result<Json<Value>> {
    let memory = app.engine(|engine| Ok(engine.memory())).await?;
    Ok(Json(json!({
        "ram": { "free": memory.free, "used": memory.used, "total": memory.total },
        "cuda": { "error": "unavailable" },
    })))
}

/// `GET cmd-flags`.
pub async fn flags(State(app): State<Shared>) -> Json<Value> {
    let config = &app.config;
    Json(json!({
        "api": true,
        "api_auth": null,
        // aiyabot ends where this key is missing.
        "gradio_auth": null,
        "cors_allow_origins": config.cors_origins.join(","),
        "listen": !config.listen.ip().is_loopback(),
        "port": config.listen.port(),
        "nowebui": false,
    }))
}
