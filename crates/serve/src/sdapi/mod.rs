//! .
use axum::Router;
use crate::app::Shared;
/// .
pub fn router() -> Router<Shared> { Router::new() }
