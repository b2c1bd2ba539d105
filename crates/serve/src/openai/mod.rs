//! .
pub mod error;
pub mod links;
use axum::Router;
use crate::app::Shared;
/// Where it lies.
pub const PATH: &str = "/v1/";
/// .
pub fn router() -> Router<Shared> { Router::new() }
