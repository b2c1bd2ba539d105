//! stable-diffusion.cpp's asynchronous interface, `/sdcpp/v1`.

mod capabilities;
mod jobs;
pub mod translate;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::app::Shared;
use crate::fault::Fault;

/// Its routes.
pub fn router() -> Router<Shared> {
    let api = Router::new()
        .route("/capabilities", get(capabilities::show))
        .route("/img_gen", post(jobs::submit))
        .route(
            "/vid_gen",
            post(async || {
                Error(Fault::new(
                    "not_offered",
                    "no model here draws moving pictures",
                ))
            }),
        )
        .route("/jobs/{id}", get(jobs::show))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .fallback(async || Error(Fault::new("not_found", "there is no such path")));
    Router::new().nest("/sdcpp/v1", api)
}

/// An error in its form.
#[derive(Debug)]
pub struct Error(Fault);

/// What became of a call.
pub type Result<T> = std::result::Result<T, Error>;

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl From<latent_queue::Error> for Error {
    fn from(error: latent_queue::Error) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match self.0.status {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        let body = json!({ "error": self.0.code, "message": self.0.to_string() });
        let mut response = (status, Json(body)).into_response();
        self.0.add_headers(&mut response);
        response
    }
}
