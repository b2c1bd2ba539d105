//! Pictures that come in: to be used in requests, to be put into the gallery, to be read.

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use latent_queue::NewPicture;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::images::{ImageView, fixed, small, whole};
use super::names;
use crate::app::Shared;
use crate::engine::{Convert, Format, Output, Read};
use crate::fault::{Problem, Result};
use crate::given::header;
use crate::guard::Caller;
use crate::guard::body::PictureBody;

/// An upload.
#[derive(Debug, Serialize, ToSchema)]
pub struct Upload {
    /// The name that requests have for it, `upload:` and its SHA-256.
    name: String,
    /// By its content, whatever was said.
    format: Format,
    /// In pixels.
    width: u32,
    /// In pixels.
    height: u32,
}

/// Upload a picture for requests. It is kept as long as a job names it, at least 24 hours.
#[utoipa::path(post, path = "/api/v1/uploads", tag = "images", request_body(content = Vec<u8>, content_type = "image/png", description = "The file: PNG, JPEG or WebP"),
    responses((status = 201, body = Upload), (status = 415, body = Problem), (status = 422, body = Problem)))]
pub async fn upload(
    State(app): State<Shared>,
    PictureBody(body): PictureBody,
) -> Result<(StatusCode, Answer<Upload>)> {
    let said = header(&body.bytes, &app.config.limits)?;
    let input = app.queue.put_input(body.bytes.to_vec()).await?;
    let upload = Upload {
        name: format!("upload:{}", input.sha256),
        format: said.format,
        width: said.width,
        height: said.height,
    };
    Ok((StatusCode::CREATED, Answer(upload)))
}

/// A small copy of an upload, of at most 320 pixels a side.
#[utoipa::path(get, path = "/api/v1/uploads/{hash}/thumb", tag = "images", params(("hash" = String, Path, description = "The upload's SHA-256")),
    responses((status = 200, description = "A JPEG file", content_type = "image/jpeg"), (status = 404, body = Problem)))]
pub async fn upload_thumb(
    State(app): State<Shared>,
    headers: HeaderMap,
    Path(hash): Path<String>,
) -> Result<Response> {
    let bytes = names::upload(&app, &hash).await?;
    let said = header(&bytes, &app.config.limits)?;
    let to = small(said.width, said.height);
    let made = app
        .engine(move |engine| engine.convert(&bytes, &to))
        .await?;
    let tag = format!("{hash}-thumb");
    let name = format!("{hash}-thumb.jpg");
    Ok(fixed(&headers, "image/jpeg", &name, &tag, made.file))
}

/// Read what a picture's file says of how it was made, by whatever program.
#[utoipa::path(post, path = "/api/v1/images/read", tag = "images", request_body(content = Vec<u8>, content_type = "image/png", description = "The file: PNG, JPEG or WebP"),
    responses((status = 200, body = Read), (status = 415, body = Problem), (status = 422, body = Problem)))]
pub async fn read(
    State(app): State<Shared>,
    PictureBody(body): PictureBody,
) -> Result<Answer<Read>> {
    header(&body.bytes, &app.config.limits)?;
    app.engine(move |engine| engine.read(&body.bytes))
        .await
        .map(Answer)
}

/// Put a picture into the gallery. It is encoded anew, with its text.
#[utoipa::path(post, path = "/api/v1/images/import", tag = "images", request_body(content = Vec<u8>, content_type = "image/png", description = "The file: PNG, JPEG or WebP"),
    responses((status = 201, body = ImageView), (status = 415, body = Problem), (status = 422, body = Problem)))]
pub async fn import(
    State(app): State<Shared>,
    caller: Caller,
    PictureBody(body): PictureBody,
) -> Result<(StatusCode, Answer<ImageView>)> {
    let said = header(&body.bytes, &app.config.limits)?;
    let to = Convert {
        output: Output {
            format: said.format,
            quality: 95,
            text: true,
            ..Output::default()
        },
        ..Convert::default()
    };
    let both = app.engine(move |engine| {
        let read = engine.read(&body.bytes)?;
        Ok((engine.convert(&body.bytes, &to)?, read))
    });
    let (encoded, read) = both.await?;
    let text = |field: &str| {
        read.request
            .get(field)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let number = |field: &str| read.request.get(field).and_then(Value::as_u64);
    let picture = NewPicture {
        n: 0,
        format: said.format.into(),
        width: encoded.width,
        height: encoded.height,
        seed: number("seed"),
        sampler: text("sampler"),
        steps: number("steps").and_then(|steps| u32::try_from(steps).ok()),
        model: text("model"),
        prompt: text("prompt").unwrap_or_default(),
        negative: text("negative_prompt").unwrap_or_default(),
        infotext: read.infotext,
        request: Value::Object(read.request.clone()).to_string(),
        bytes: encoded.file,
    };
    let picture = app.queue.import(caller.owner(), &picture).await?;
    Ok((StatusCode::CREATED, Answer(whole(&picture))))
}
