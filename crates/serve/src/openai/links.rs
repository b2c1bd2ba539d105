//! Addresses of pictures that need no key, since an `<img>` has none: nobody guesses them, and they end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use latent_queue::Ulid;

use crate::app::Shared;
use crate::config::digest;
use crate::fault::{Fault, Result};

/// Where they lie.
pub const PATH: &str = "/files/";

/// Which picture an address stands for, and until when, by the hash of the address.
#[derive(Debug, Default)]
pub struct Links(Mutex<HashMap<[u8; 32], (Ulid, i64)>>);

impl Links {
    /// `word` stands for a picture until that time.
    pub fn put(&self, word: &str, picture: Ulid, now_ms: i64, until_ms: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, until)| *until > now_ms);
        all.insert(digest(word), (picture, until_ms));
    }

    /// The picture of an address.
    pub fn get(&self, word: &str, now_ms: i64) -> Option<Ulid> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (picture, until) = all.get(&digest(word))?;
        (*until > now_ms).then_some(*picture)
    }
}

/// The picture at such an address.
pub async fn file(
    State(app): State<Shared>,
    Path(word): Path<String>,
) -> Result<impl IntoResponse> {
    let gone = || Fault::new("not_found", "there is no such picture, or its time is over");
    let id = app.links.get(&word, app.now()).ok_or_else(gone)?;
    let picture = app.queue.picture(id, None).await?;
    let picture = picture
        .filter(|p| p.deleted_ms.is_none())
        .ok_or_else(gone)?;
    let bytes = app.queue.store().picture(id, picture.format).await?;
    Ok(([(header::CONTENT_TYPE, picture.format.media_type())], bytes))
}
