//! What can be named in a request.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::engine::Catalogue;
use crate::fault::{Problem, Result};

/// The catalogue, and what of it is loaded.
#[derive(Debug, Serialize, ToSchema)]
pub struct Models {
    /// The model in memory.
    loaded: Option<String>,
    /// Everything that can be named.
    #[serde(flatten)]
    catalogue: Catalogue,
}

async fn seen(app: &Shared) -> Result<Json<Models>> {
    app.engine(|engine| {
        Ok(Json(Models {
            loaded: engine.loaded(),
            catalogue: engine.catalogue(),
        }))
    })
    .await
}

/// Everything that can be named in a request.
#[utoipa::path(get, path = "/api/v1/models", tag = "models", responses((status = 200, body = Models)))]
pub async fn list(State(app): State<Shared>) -> Result<Json<Models>> {
    seen(&app).await
}

/// Look through the folders anew.
#[utoipa::path(post, path = "/api/v1/models/scan", tag = "models", responses((status = 200, body = Models)))]
pub async fn scan(State(app): State<Shared>) -> Result<Json<Models>> {
    app.engine(|engine| engine.scan()).await?;
    seen(&app).await
}

/// Load a model, so that the next picture begins at once. A `/` in its name is written `%2F`.
#[utoipa::path(post, path = "/api/v1/models/{id}/load", tag = "models", params(("id" = String, Path)), responses((status = 200, body = Models), (status = 404, body = Problem)))]
pub async fn load(State(app): State<Shared>, Path(name): Path<String>) -> Result<Json<Models>> {
    load_model(&app, Some(name)).await?;
    seen(&app).await
}

/// Give up the loaded model and its memory.
#[utoipa::path(post, path = "/api/v1/models/unload", tag = "models", responses((status = 204)))]
pub async fn unload(State(app): State<Shared>) -> Result<StatusCode> {
    app.engine(|engine| {
        engine.unload();
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Loads a model (none: the first of the catalogue), seen as loading meanwhile.
///
/// # Errors
/// No such model.
pub async fn load_model(app: &Shared, name: Option<String>) -> Result<String> {
    app.loading_ms.store(app.now(), Ordering::Relaxed);
    let loaded = app.engine(move |engine| engine.load(name.as_deref())).await;
    app.loading_ms.store(0, Ordering::Relaxed);
    loaded
}
