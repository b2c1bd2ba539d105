//! TODO

pub mod infotext;
pub mod picture;
pub mod request;

pub use request::{Request, RequestError};
