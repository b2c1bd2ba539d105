//! ComfyUI's interface, for graphs that are a request of latent's: a translator, no engine of nodes.
//!
//! A graph is followed from its outputs to its loaders ([`chain`]) and becomes one job; any other node is refused by its id and
//! class. Files have names here, and are no paths: an upload lies by its hash, a picture by its id.

mod chain;
mod graph;
mod history;
mod info;
mod pixels;
mod prompt;
mod record;
mod refusal;
mod socket;
mod table;
mod translate;
mod uploads;
mod watch;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::app::Shared;
use crate::fault::Fault;
use refusal::Refusal;

/// So many listen at once.
const SOCKETS: usize = 256;

/// What this interface keeps in memory.
#[derive(Debug)]
pub struct Comfy {
    names: uploads::Names,
    sockets: Arc<Semaphore>,
}

impl Default for Comfy {
    fn default() -> Self {
        Self {
            names: uploads::Names::default(),
            sockets: Arc::new(Semaphore::new(SOCKETS)),
        }
    }
}

/// Its routes, each also below `/api`.
pub fn router() -> Router<Shared> {
    Router::new().merge(routes()).nest("/api", routes())
}

fn routes() -> Router<Shared> {
    Router::new()
        .route("/prompt", get(prompt::show).post(prompt::take))
        .route("/history", get(history::all).post(history::change))
        .route("/history/{id}", get(history::one))
        .route("/queue", get(history::queue).post(history::change_queue))
        .route("/interrupt", post(history::interrupt))
        .route("/free", post(history::free))
        .route("/view", get(info::view))
        .route("/upload/image", post(uploads::take))
        .route("/object_info", get(info::nodes))
        .route("/object_info/{class}", get(info::node))
        .route("/system_stats", get(info::system))
        .route("/embeddings", get(info::embeddings))
        .route("/extensions", get(async || Json(json!([]))))
        .route("/models", get(info::folders))
        .route("/models/{folder}", get(info::folder))
        .route("/ws", get(watch::listen))
}

/// An error in its form.
#[derive(Debug)]
pub enum Error {
    /// Of the request.
    Fault(Fault),
    /// Of the graph; with the nodes that cannot be given out for it.
    Graph(Box<Refusal>, Vec<String>),
}

/// What became of a call.
pub type Result<T> = std::result::Result<T, Error>;

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<latent_queue::Error> for Error {
    fn from(error: latent_queue::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Graph(refusal, outputs) => {
                (StatusCode::BAD_REQUEST, Json(refusal.body(&outputs))).into_response()
            }
            Self::Fault(fault) => {
                let status = match fault.status {
                    StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                    status => status,
                };
                let error = json!({ "type": fault.code, "message": fault.to_string(), "details": "", "extra_info": {} });
                let body = json!({ "error": error, "node_errors": {} });
                let mut response = (status, Json(body)).into_response();
                fault.add_headers(&mut response);
                response
            }
        }
    }
}
