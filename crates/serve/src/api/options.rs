//! Settings, styles, and what this server can do.

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::app::Shared;
use crate::fault::{Fault, Problem, Result};
use crate::guard::Json;
use crate::settings::{Settings, Style};
use crate::submit::DRAW;

/// Styles, at most.
const STYLES: usize = 1000;

/// The styles.
#[utoipa::path(get, path = "/api/v1/styles", tag = "settings", responses((status = 200, body = Vec<Style>)))]
pub async fn styles(State(app): State<Shared>) -> Answer<Vec<Style>> {
    Answer(app.styles.get())
}

/// Put these styles in the place of all there are.
#[utoipa::path(put, path = "/api/v1/styles", tag = "settings", request_body = Vec<Style>, responses((status = 200, body = Vec<Style>), (status = 422, body = Problem)))]
pub async fn set_styles(
    State(app): State<Shared>,
    body: Json<Vec<Style>>,
) -> Result<Answer<Vec<Style>>> {
    let styles = body.value;
    let wrong = |message: &str| Err(Fault::asked("field_out_of_range", Some("name"), message));
    let mut names: Vec<_> = styles.iter().map(|style| style.name.as_str()).collect();
    if names.len() > STYLES || names.iter().any(|name| !(1..=100).contains(&name.len())) {
        return wrong("expected at most 1,000 styles with names of 1 to 100 bytes");
    }
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return wrong("two styles have one name");
    }
    keep(&app, move |app| app.styles.set(styles)).await?;
    Ok(Answer(app.styles.get()))
}

/// Writes settings where it may block.
///
/// # Errors
/// A disk that cannot be written.
pub async fn keep(
    app: &Shared,
    write: impl FnOnce(&Shared) -> std::io::Result<()> + Send + 'static,
) -> Result<()> {
    let shared = app.clone();
    app.engine(move |_| {
        write(&shared).map_err(|error| {
            tracing::error!(%error, "settings cannot be written");
            Fault::failed(
                "output_unwritable",
                "the settings cannot be written; the log says why",
            )
        })
    })
    .await
}

/// The settings.
#[utoipa::path(get, path = "/api/v1/settings", tag = "settings", responses((status = 200, body = Settings)))]
pub async fn settings(State(app): State<Shared>) -> Answer<Settings> {
    Answer(app.settings.get())
}

/// Change the settings that are stated.
#[utoipa::path(patch, path = "/api/v1/settings", tag = "settings", request_body = Settings, responses((status = 200, body = Settings), (status = 422, body = Problem)))]
pub async fn set_settings(
    State(app): State<Shared>,
    body: Json<Map<String, Value>>,
) -> Result<Answer<Settings>> {
    let mut tree = serde_json::to_value(app.settings.get()).unwrap_or_default();
    if let Some(fields) = tree.as_object_mut() {
        fields.extend(body.value);
    }
    let settings: Settings = serde_json::from_value(tree)
        .map_err(|error| Fault::new("field_wrong_type", error.to_string()))?;
    settings.check()?;
    check_names(&app, &settings).await?;
    keep(&app, move |app| app.settings.set(settings)).await?;
    Ok(Answer(app.settings.get()))
}

async fn check_names(app: &Shared, settings: &Settings) -> Result<()> {
    let catalogue = app.engine(|engine| Ok(engine.catalogue())).await?;
    let unknown = |field: &str, name: &str| {
        let message = format!("{name:?} is not in the catalogue: see GET /api/v1/models");
        Err(Fault::asked("model_unknown", Some(field), message))
    };
    if let Some(name) = &settings.model
        && !catalogue.models.iter().any(|model| model.name == *name)
    {
        return unknown("model", name);
    }
    match &settings.vae {
        Some(name) if !catalogue.vaes.contains(name) => unknown("vae", name),
        _ => Ok(()),
    }
}

/// What this server can do.
#[derive(Debug, Serialize, ToSchema)]
pub struct Capabilities {
    /// The program and its version.
    version: String,
    /// Kinds of jobs.
    kinds: Vec<&'static str>,
    /// Interfaces beside this one.
    interfaces: Vec<&'static str>,
    /// Formats of files.
    formats: Vec<&'static str>,
    /// Whether a user and password are asked for.
    auth: bool,
    /// Bytes of a body, at most.
    body_limit: usize,
    /// Pixels of a given picture, at most.
    pixel_limit: u64,
    /// Characters of a prompt, at most.
    prompt_limit: usize,
    /// Jobs of one user that may wait.
    queue_limit: u64,
    /// Samplers, by name.
    samplers: Vec<String>,
    /// σ ladders, by label.
    schedulers: Vec<String>,
    /// Ways to enlarge between two passes.
    upscalers: Vec<String>,
}

/// What this server can do.
#[utoipa::path(get, path = "/api/v1/capabilities", tag = "settings", responses((status = 200, body = Capabilities)))]
pub async fn capabilities(State(app): State<Shared>) -> Result<Answer<Capabilities>> {
    let (version, catalogue) = app
        .engine(|engine| Ok((engine.version(), engine.catalogue())))
        .await?;
    let compat = app.config.compat;
    let offered = [
        ("a1111", compat.a1111),
        ("openai", compat.openai),
        ("sdcpp", compat.sdcpp),
        ("comfyui", compat.comfyui),
    ];
    let upscalers = catalogue
        .latent_upscalers
        .into_iter()
        .chain(catalogue.upscalers);
    Ok(Answer(Capabilities {
        version,
        kinds: vec![DRAW],
        interfaces: offered
            .into_iter()
            .filter(|(_, on)| *on)
            .map(|(name, _)| name)
            .collect(),
        formats: vec!["png", "jpeg", "webp"],
        auth: !app.config.users.is_empty(),
        body_limit: app.config.limits.body,
        pixel_limit: app.config.limits.pixels,
        prompt_limit: app.config.limits.prompt,
        queue_limit: app.queue.limits().waiting_user,
        samplers: catalogue.samplers.into_iter().map(|s| s.name).collect(),
        schedulers: catalogue.schedulers.into_iter().map(|s| s.label).collect(),
        upscalers: upscalers.collect(),
    }))
}
