//! `generations` and `edits`: enqueue, then wait or stream.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::answer::Told;
use super::ask::{self, Wanted};
use super::error::Error;
use super::{answer, mask, stream};
use crate::app::Shared;
use crate::fault::{Fault, Result};
use crate::given::Given;
use crate::guard::body::Parts;
use crate::guard::{Caller, Json};
use crate::submit::{Ask, Waiter, place, submit};
use crate::{extra, wait};

type Answer = std::result::Result<Response, Error>;

/// `POST images/generations`.
pub async fn generations(
    State(app): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Json<Map<String, Value>>>,
) -> Answer {
    let Json { value, held } = body?;
    drop(held);
    Ok(draw(app, caller, &headers, value, None).await?)
}

/// The pictures of an edit.
struct Edited {
    picture: Vec<u8>,
    mask: Option<Vec<u8>>,
}

/// `POST images/edits`.
pub async fn edits(
    State(app): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    parts: Result<Parts>,
) -> Answer {
    let mut fields = Map::new();
    let (mut pictures, mut mask) = (Vec::new(), None);
    for (name, value) in parts?.fields {
        match name.as_str() {
            "image" | "image[]" => pictures.push(value.to_vec()),
            "mask" => mask = Some(value.to_vec()),
            _ => {
                fields.insert(name, String::from_utf8_lossy(&value).into_owned().into());
            }
        }
    }
    let mut pictures = pictures.into_iter();
    let missing = || Fault::new("field_missing", "image: send the picture to edit").of("image");
    let picture = pictures.next().ok_or_else(missing)?;
    if pictures.next().is_some() {
        let message = "several pictures are not used here: send one";
        return Err(Fault::new("field_unusable", message).of("image").into());
    }
    Ok(draw(
        app,
        caller,
        &headers,
        fields,
        Some(Edited { picture, mask }),
    )
    .await?)
}

async fn draw(
    app: Shared,
    caller: Caller,
    headers: &HeaderMap,
    fields: Map<String, Value>,
    edited: Option<Edited>,
) -> Result<Response> {
    let place = place(&app)?;
    let mut fields = Value::Object(fields);
    let more = extra::of_prompt(&mut fields)?;
    let fields = fields.as_object().cloned().unwrap_or_default();
    let catalogue = app.engine(|engine| Ok(engine.catalogue())).await?;
    let Wanted {
        mut request,
        output,
        identifier,
        url,
        stream,
        partial,
        quality,
    } = ask::read(&fields, &app.settings.get(), &catalogue)?;
    let mut given = Given::default();
    let edits = edited.is_some();
    if let Some(edited) = edited {
        let start = start(&app, &fields, edited, &mut given).await?;
        request.insert("start".into(), start.into());
    }
    if let Some(more) = more {
        extra::lay(&mut request, &mut given, &more, &app.config.limits)?;
    }
    let ask = Ask {
        request,
        given,
        output: Some(output),
        front: "openai",
        ..Ask::default()
    };
    let mut changes = app.live.changes();
    changes.mark_changed();
    let taken = submit(&app, &caller, ask).await?;
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let told = Told {
        base: url.then(|| format!("{}://{}", scheme(headers), host.unwrap_or("localhost"))),
        quality,
        identifier,
        order: taken.order,
        edits,
    };
    let waiter = Waiter::new(&app, taken.job.id, false, place);
    if stream {
        return Ok(stream::answer(
            &app,
            waiter,
            taken.job.id,
            told,
            partial,
            changes,
        ));
    }
    let shared = app.clone();
    wait::answer(&app, waiter, move |job| async move {
        answer::of(&shared, &job, &told).await
    })
    .await
}

/// What a proxy says it was asked by.
fn scheme(headers: &HeaderMap) -> &'static str {
    let said = headers
        .get("x-forwarded-proto")
        .and_then(|v| v.to_str().ok());
    match said {
        Some("https") => "https",
        _ => "http",
    }
}

/// The table of the picture that is started from.
async fn start(
    app: &Shared,
    fields: &Map<String, Value>,
    edited: Edited,
    given: &mut Given,
) -> Result<Map<String, Value>> {
    let limits = app.config.limits.clone();
    let split = app.engine(move |_| mask::split(&edited.picture, edited.mask.as_deref(), &limits));
    let (picture, mask) = split.await?;
    let limits = &app.config.limits;
    let mut start = Map::new();
    start.insert("image".into(), given.add("image", picture, limits)?.into());
    let strength = match fields.get("strength") {
        None => {
            if mask.is_some() {
                1.0
            } else {
                0.75
            }
        }
        Some(value) => {
            let read = value.as_f64().or_else(|| value.as_str()?.parse().ok());
            read.ok_or_else(|| Fault::new("field_unusable", "expected 0 to 1").of("strength"))?
        }
    };
    start.insert("strength".into(), json!(strength));
    if let Some(mask) = mask {
        start.insert("mask".into(), given.add("mask", mask, limits)?.into());
    }
    Ok(start)
}
