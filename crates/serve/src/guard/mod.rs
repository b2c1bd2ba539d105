//! What every request passes before a handler sees it: where it comes from, who sends it, how often, how large it is.

pub mod auth;
pub mod body;
pub mod headers;
pub mod origin;
pub mod query;
pub mod rate;

pub use auth::Caller;
pub use body::Json;
pub use query::{Asked, Id};
