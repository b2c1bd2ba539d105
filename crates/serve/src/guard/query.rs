//! Parts of the address, with faults of our own.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use latent_queue::Ulid;
use serde::de::DeserializeOwned;

use crate::fault::Fault;

/// What stands behind the question mark.
#[derive(Debug)]
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let Query(value) = query.map_err(|error| Fault::new("query_invalid", error.body_text()))?;
        Ok(Self(value))
    }
}

/// The id in the path. What is no id is the id of nothing.
#[derive(Clone, Copy, Debug)]
pub struct Id(pub Ulid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|Path(text)| text.parse().ok());
        id.map(Self)
            .ok_or_else(|| Fault::new("not_found", "there is nothing of that id"))
    }
}
