//! OpenAI's interface for pictures, `/v1`, as its clients of 2026 speak it.

mod answer;
mod ask;
mod draw;
pub mod error;
pub mod links;
mod mask;
mod models;
mod stream;

use axum::Router;
use axum::routing::{get, post};

use crate::app::Shared;
use crate::fault::Fault;
use error::Error;

/// Where it lies.
pub const PATH: &str = "/v1/";

/// Its routes.
pub fn router() -> Router<Shared> {
    let api = Router::new()
        .route("/images/generations", post(draw::generations))
        .route("/images/edits", post(draw::edits))
        .route("/models", get(models::list))
        .route("/models/{id}", get(models::one))
        .fallback(async || Error(Fault::new("not_found", "there is no such path")));
    Router::new()
        .nest("/v1", api)
        .route(&format!("{}{{word}}", links::PATH), get(links::file))
}
