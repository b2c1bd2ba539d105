//! Bodies: bounded in length, in time and in number, and of the type that is asked for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::app::Shared;
use crate::config::Limits;
use crate::fault::{Fault, Result};

/// Room for bodies is counted in pieces of this many bytes.
const PIECE: usize = 1 << 10;

/// So much of a body that is refused is read, for so long.
const DRAINED: usize = 16 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Room for the bodies that are being read, in pieces.
pub fn room(limits: &Limits) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(limits.bodies / PIECE))
}

/// A body as it was read. Its room is free again when this goes.
#[derive(Debug)]
pub struct Held {
    /// The bytes.
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Reads a body within the limits.
///
/// # Errors
/// One that is too large or too slow, or no room.
pub async fn read(app: &Shared, headers: &HeaderMap, body: Body) -> Result<Held> {
    let limits = &app.config.limits;
    let too_large = || {
        let most = limits.body >> 20;
        Fault::new("body_too_large", format!("a body has at most {most} MiB"))
    };
    let told = headers.get(header::CONTENT_LENGTH);
    let told: usize = told
        .and_then(|v| v.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    let mut stream = body.into_data_stream();
    if told > limits.body {
        drain(stream).await;
        return Err(too_large());
    }
    let mut room = None;
    let mut reserved = 0;
    let mut reserve = |bytes: usize, room: &mut Option<OwnedSemaphorePermit>| -> Result<()> {
        let pieces = bytes.div_ceil(PIECE);
        let more = u32::try_from(pieces.saturating_sub(reserved)).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        let taken = app
            .bodies
            .clone()
            .try_acquire_many_owned(more)
            .map_err(|_| {
                let message = "too many bodies are being read; try again";
                Fault::new("bodies_in_flight", message).after(1)
            })?;
        reserved = pieces;
        match room {
            Some(room) => room.merge(taken),
            None => *room = Some(taken),
        }
        Ok(())
    };
    reserve(told, &mut room)?;
    let mut bytes = BytesMut::with_capacity(told.min(1 << 20));
    loop {
        let piece = timeout(limits.body_idle, stream.next())
            .await
            .map_err(|_| {
                let seconds = limits.body_idle.as_secs();
                Fault::new(
                    "body_too_slow",
                    format!("nothing of the body came for {seconds} s"),
                )
            })?;
        let Some(piece) = piece else { break };
        let piece = piece
            .map_err(|error| Fault::new("json_invalid", format!("the body broke off: {error}")))?;
        if bytes.len() + piece.len() > limits.body {
            drain(stream).await;
            return Err(too_large());
        }
        reserve(bytes.len() + piece.len(), &mut room)?;
        bytes.extend_from_slice(&piece);
    }
    Ok(Held {
        bytes: bytes.freeze(),
        _room: room,
    })
}

/// Reads on for a moment and forgets it: who is still sending would not see the answer.
async fn drain(mut stream: BodyDataStream) {
    let mut left = DRAINED;
    let read = async {
        while let Some(Ok(piece)) = stream.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
    };
    // Whether it came to its end is nobody's business.
    let _ = timeout(DRAIN_TIME, read).await;
}

fn media_type(headers: &HeaderMap) -> &str {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    given
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
}

/// A body of JSON, with the bytes it was read from.
#[derive(Debug)]
pub struct Json<T> {
    /// What it says.
    pub value: T,
    /// Where it stood. To be dropped before anything is waited for.
    pub held: Held,
}

impl<T> Json<T> {
    /// The same, if it is an object: a list is read as the fields in their order otherwise.
    ///
    /// # Errors
    /// It is a list.
    pub fn object(self) -> Result<Self> {
        let first = self
            .held
            .bytes
            .iter()
            .find(|byte| !byte.is_ascii_whitespace());
        match first {
            Some(b'{') => Ok(self),
            _ => Err(Fault::new("field_wrong_type", "the body is no object")),
        }
    }
}

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &Shared) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let kind = media_type(&parts.headers).to_ascii_lowercase();
        // A browser sends other types without asking first.
        if kind != "application/json" && !kind.ends_with("+json") {
            return Err(Fault::new(
                "json_expected",
                format!("the body is {kind:?}: expected content-type application/json"),
            ));
        }
        let held = read(app, &parts.headers, body).await?;
        check_depth(&held.bytes, app.config.limits.depth)?;
        let value = parse(&held.bytes)?;
        Ok(Self { value, held })
    }
}

/// Reads JSON, and tells syntax from meaning.
///
/// # Errors
/// 400 for what is no JSON, 422 for a value that a field does not take.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| match error.is_data() {
        true => Fault::new("field_wrong_type", error.to_string()),
        false => Fault::new("json_invalid", format!("the body is no JSON: {error}")),
    })
}

/// Refuses lists within lists within lists.
fn check_depth(bytes: &[u8], most: usize) -> Result<()> {
    let (mut depth, mut text, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match (text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => text = !text,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > most {
            let message = format!("lists and objects lie in each other at most {most} deep");
            return Err(Fault::new("json_too_deep", message));
        }
    }
    Ok(())
}

/// A picture's file as a body of its own.
#[derive(Debug)]
pub struct PictureBody(pub Held);

impl FromRequest<Shared> for PictureBody {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &Shared) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let kind = media_type(&parts.headers).to_ascii_lowercase();
        if !["image/png", "image/jpeg", "image/webp"].contains(&kind.as_str()) {
            return Err(Fault::new(
                "picture_expected",
                format!("the body is {kind:?}: expected image/png, image/jpeg or image/webp"),
            ));
        }
        read(app, &parts.headers, body).await.map(Self)
    }
}

/// Fields of a form and files of it, in order.
#[derive(Debug)]
pub struct Parts {
    /// Name and value of each.
    pub fields: Vec<(String, Bytes)>,
    /// The names of their files.
    pub files: Vec<Option<String>>,
}

impl FromRequest<Shared> for Parts {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &Shared) -> Result<Self> {
        let invalid = |error: &dyn std::fmt::Display| {
            Fault::new(
                "multipart_invalid",
                format!("the form cannot be read: {error}"),
            )
        };
        let (parts, body) = request.into_parts();
        let held = read(app, &parts.headers, body).await?;
        let request = Request::from_parts(parts, Body::from(held.bytes.clone()));
        let form = Multipart::from_request(request, app).await;
        let mut form = form.map_err(|error| {
            let message = format!("{}: expected multipart/form-data", error.body_text());
            Fault::new("multipart_invalid", message).with(error.status())
        })?;
        let (mut fields, mut files) = (Vec::new(), Vec::new());
        while let Some(field) = form.next_field().await.map_err(|e| invalid(&e))? {
            let name = field.name().unwrap_or_default().to_owned();
            let file = field.file_name().map(str::to_owned);
            let value = field.bytes().await.map_err(|e| invalid(&e))?;
            if fields.len() == 64 {
                return Err(invalid(&"it has more than 64 fields"));
            }
            fields.push((name, value));
            files.push(file);
        }
        Ok(Self { fields, files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn depth_is_counted_outside_texts() {
        assert!(check_depth(br#"{"a": "[[[[[", "b": ["\"]"]}"#, 2).is_ok());
        assert!(check_depth(b"[[[]]]", 2).is_err());
        assert!(check_depth(b"[[],[],[]]", 2).is_ok());
        assert!(check_depth(&b"[".repeat(100_000), 32).is_err());
    }

    #[test]
    fn syntax_and_meaning_are_told_apart() {
        assert_eq!(parse::<Value>(b"{").expect_err("no JSON").status, 400);
        assert_eq!(parse::<Value>(b"").expect_err("no JSON").status, 400);
        assert_eq!(parse::<u32>(b"\"x\"").expect_err("no number").status, 422);
    }
}
