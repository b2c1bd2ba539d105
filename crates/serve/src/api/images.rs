//! The gallery.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use latent_queue::{Picture, Search, Ulid};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::jobs::{cursor, limit};
use crate::app::Shared;
use crate::engine::{Convert, Fit, Format, Output};
use crate::fault::{Fault, Problem, Result};
use crate::guard::{Asked, Caller, Id, Json};

/// The longer side of a thumbnail, in pixels.
const THUMB: u32 = 320;

/// A picture of the gallery.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImageView {
    /// Its id.
    id: String,
    /// The job that made it; none for an import.
    job: Option<String>,
    /// Which of its job's, from 0.
    n: u32,
    /// In pixels.
    width: u32,
    /// In pixels.
    height: u32,
    /// Its file's type.
    media_type: &'static str,
    /// Its file's length.
    bytes: u64,
    /// Milliseconds since 1970.
    created: i64,
    /// Its seed, as a text: it may be larger than JavaScript's numbers.
    seed: Option<String>,
    /// The sampler.
    sampler: Option<String>,
    /// The steps.
    steps: Option<u32>,
    /// The model.
    model: Option<String>,
    /// The prompt.
    prompt: String,
    /// The negative prompt.
    negative_prompt: String,
    /// Whether it is starred.
    starred: bool,
    /// Its tags.
    tags: Vec<String>,
    /// When it was put into the bin.
    deleted: Option<i64>,
    /// A1111's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    infotext: Option<String>,
    /// The request that makes exactly this picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Value>,
}

/// As it is told in a list.
pub fn view(picture: &Picture) -> ImageView {
    ImageView {
        id: picture.id.to_string(),
        job: picture.job.map(|job| job.to_string()),
        n: picture.n,
        width: picture.width,
        height: picture.height,
        media_type: picture.format.media_type(),
        bytes: picture.bytes,
        created: picture.created_ms,
        seed: picture.seed.map(|seed| seed.to_string()),
        sampler: picture.sampler.clone(),
        steps: picture.steps,
        model: picture.model.clone(),
        prompt: picture.prompt.clone(),
        negative_prompt: picture.negative.clone(),
        starred: picture.starred,
        tags: picture.tags.clone(),
        deleted: picture.deleted_ms,
        infotext: None,
        request: None,
    }
}

/// With everything.
pub fn whole(picture: &Picture) -> ImageView {
    ImageView {
        infotext: Some(picture.infotext.clone()),
        request: serde_json::from_str(&picture.request).ok(),
        ..view(picture)
    }
}

/// A part of the gallery, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImageList {
    /// The pictures.
    images: Vec<ImageView>,
    /// Give it as `cursor` to read on.
    next: Option<String>,
}

/// What to look for; everything that is given must fit.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Words in prompt, negative prompt, model or tags: `"a phrase"`, `begin*`, `-without`.
    q: Option<String>,
    /// The model.
    model: Option<String>,
    /// The sampler.
    sampler: Option<String>,
    /// The seed.
    seed: Option<u64>,
    /// `WIDTHxHEIGHT`.
    size: Option<String>,
    /// The steps.
    steps: Option<u32>,
    /// At least so many steps.
    steps_from: Option<u32>,
    /// At most so many.
    steps_to: Option<u32>,
    /// Not before, in milliseconds since 1970.
    from: Option<i64>,
    /// Before, in milliseconds since 1970.
    to: Option<i64>,
    /// Starred or not.
    starred: Option<bool>,
    /// A tag.
    tag: Option<String>,
    /// The job that made it.
    job: Option<String>,
    /// Those in the bin, and no others.
    bin: bool,
    /// Where to go on.
    cursor: Option<String>,
    /// At most so many, 1 to 500; 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Pictures that fit, the newest first.
#[utoipa::path(get, path = "/api/v1/images", tag = "images", params(Filter), responses((status = 200, body = ImageList), (status = 422, body = Problem)))]
pub async fn list(
    State(app): State<Shared>,
    caller: Caller,
    Asked(filter): Asked<Filter>,
) -> Result<Answer<ImageList>> {
    let wrong = |field: &str, message: &str| Fault::asked("field_wrong_type", Some(field), message);
    let size = filter.size.as_deref().map(|size| {
        let sides = size.split_once('x');
        let sides = sides.and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        sides.ok_or_else(|| wrong("size", "expected WIDTHxHEIGHT, such as 512x768"))
    });
    let job = filter.job.as_deref().map(|job| {
        let id = job.parse::<Ulid>();
        id.map_err(|_| wrong("job", "expected the id of a job"))
    });
    let search = Search {
        user: caller.user().map(str::to_owned),
        words: filter.q.filter(|words| !words.trim().is_empty()),
        model: filter.model,
        sampler: filter.sampler,
        seed: filter.seed,
        size: size.transpose()?,
        steps: filter.steps,
        steps_from: filter.steps_from,
        steps_to: filter.steps_to,
        from_ms: filter.from,
        to_ms: filter.to,
        starred: filter.starred,
        tag: filter.tag,
        job: job.transpose()?,
        bin: filter.bin,
    };
    let before = cursor(filter.cursor.as_deref())?;
    let page = app
        .queue
        .search(&search, before, limit(filter.limit)?)
        .await?;
    Ok(Answer(ImageList {
        images: page.items.iter().map(view).collect(),
        next: page.next.map(|row| row.to_string()),
    }))
}

async fn find(app: &Shared, caller: &Caller, id: Ulid) -> Result<Picture> {
    let picture = app.queue.picture(id, caller.user()).await?;
    picture.ok_or_else(|| latent_queue::Error::NoPicture.into())
}

/// A picture's settings.
#[utoipa::path(get, path = "/api/v1/images/{id}", tag = "images", params(("id" = String, Path)), responses((status = 200, body = ImageView), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<ImageView>> {
    Ok(Answer(whole(&find(&app, &caller, id).await?)))
}

/// A file that never changes. `tag` names its content.
pub fn fixed(
    headers: &HeaderMap,
    kind: &'static str,
    name: &str,
    tag: &str,
    bytes: Vec<u8>,
) -> Response {
    let tag = format!("\"{tag}\"");
    let known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|given| given == tag.as_str());
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, kind)], bytes).into_response(),
    };
    let disposition = format!("inline; filename=\"{name}\"");
    for (name, value) in [
        (
            header::CACHE_CONTROL,
            "private, max-age=31536000, immutable",
        ),
        (header::ETAG, &tag),
        (header::CONTENT_DISPOSITION, &disposition),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A picture's file, with what it says of how it was made.
#[utoipa::path(get, path = "/api/v1/images/{id}/file", tag = "images", params(("id" = String, Path)),
    responses((status = 200, description = "The file", content_type = "image/png"), (status = 404, body = Problem)))]
pub async fn file(
    State(app): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    Id(id): Id,
) -> Result<Response> {
    let picture = find(&app, &caller, id).await?;
    let bytes = app.queue.store().picture(id, picture.format).await?;
    let name = format!("{id}.{}", picture.format.extension());
    Ok(fixed(
        &headers,
        picture.format.media_type(),
        &name,
        &picture.sha256,
        bytes,
    ))
}

/// A small copy, of at most 320 pixels a side.
#[utoipa::path(get, path = "/api/v1/images/{id}/thumb", tag = "images", params(("id" = String, Path)),
    responses((status = 200, description = "A JPEG file", content_type = "image/jpeg"), (status = 404, body = Problem)))]
pub async fn thumb(
    State(app): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    Id(id): Id,
) -> Result<Response> {
    let picture = find(&app, &caller, id).await?;
    let store = app.queue.store();
    let bytes = match store.thumb(id).await? {
        Some(bytes) => bytes,
        None => {
            let whole = store.picture(id, picture.format).await?;
            let to = small(picture.width, picture.height);
            let made = app
                .engine(move |engine| engine.convert(&whole, &to))
                .await?;
            store.put_thumb(id, made.file.clone()).await?;
            made.file
        }
    };
    let tag = format!("{}-thumb", picture.sha256);
    Ok(fixed(
        &headers,
        "image/jpeg",
        &format!("{id}-thumb.jpg"),
        &tag,
        bytes,
    ))
}

/// How a picture of a size becomes a thumbnail.
pub fn small(width: u32, height: u32) -> Convert {
    Convert {
        size: Some(within(width, height, THUMB)),
        fit: Fit::Stretch,
        output: Output {
            format: Format::Jpeg,
            quality: 85,
            text: false,
            ..Output::default()
        },
        ..Convert::default()
    }
}

/// The size with that longer side at most, of the same aspect.
fn within(width: u32, height: u32, most: u32) -> (u32, u32) {
    let longer = width.max(height).max(1);
    if longer <= most {
        return (width.max(1), height.max(1));
    }
    let side = |side: u32| (u64::from(side) * u64::from(most) / u64::from(longer)).max(1) as u32;
    (side(width), side(height))
}

/// What may be changed of a picture.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageChange {
    /// Star it, or take the star away.
    starred: Option<bool>,
    /// Its tags, in the place of those it has.
    #[schema(max_items = 64)]
    tags: Option<Vec<String>>,
}

/// Star or tag a picture.
#[utoipa::path(patch, path = "/api/v1/images/{id}", tag = "images", params(("id" = String, Path)), request_body = ImageChange,
    responses((status = 200, body = ImageView), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn change(
    State(app): State<Shared>,
    caller: Caller,
    Id(id): Id,
    body: Json<ImageChange>,
) -> Result<Answer<ImageView>> {
    let change = body.object()?.value;
    if let Some(tags) = &change.tags {
        app.queue.tag(id, caller.user(), tags).await?;
    }
    if let Some(starred) = change.starred {
        app.queue.star(id, caller.user(), starred).await?;
    }
    Ok(Answer(whole(&find(&app, &caller, id).await?)))
}

/// How to delete.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct Removal {
    /// At once and for ever; otherwise it stays in the bin for 30 days.
    forever: bool,
}

/// Put a picture into the bin.
#[utoipa::path(delete, path = "/api/v1/images/{id}", tag = "images", params(("id" = String, Path), Removal),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn remove(
    State(app): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Asked(how): Asked<Removal>,
) -> Result<StatusCode> {
    match how.forever {
        true => app.queue.purge(id, caller.user()).await?,
        false => app.queue.delete(id, caller.user()).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Take a picture out of the bin.
#[utoipa::path(post, path = "/api/v1/images/{id}/restore", tag = "images", params(("id" = String, Path)), responses((status = 200, body = ImageView), (status = 404, body = Problem)))]
pub async fn restore(
    State(app): State<Shared>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<ImageView>> {
    app.queue.restore(id, caller.user()).await?;
    Ok(Answer(whole(&find(&app, &caller, id).await?)))
}

/// A tag.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tag {
    /// The tag.
    name: String,
    /// How many pictures carry it.
    count: u64,
}

/// The tags of the user's pictures, the most frequent first.
#[utoipa::path(get, path = "/api/v1/tags", tag = "images", responses((status = 200, body = Vec<Tag>)))]
pub async fn tags(State(app): State<Shared>, caller: Caller) -> Result<Answer<Vec<Tag>>> {
    let tags = app.queue.tags(caller.user()).await?.into_iter();
    Ok(Answer(
        tags.map(|(name, count)| Tag { name, count }).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn small_copies_keep_the_aspect() {
        assert_eq!(within(1024, 512, 320), (320, 160));
        assert_eq!(within(100, 50, 320), (100, 50));
        assert_eq!(within(64_000, 1, 320), (320, 1));
    }
}
