//! Pictures that a request names: uploads by hash, pictures of the gallery by id. Nothing else is a name.

use latent_queue::Ulid;
use serde_json::{Map, Value};

use crate::app::Shared;
use crate::fault::{Fault, Result};
use crate::given::Given;
use crate::guard::Caller;

/// Where a request may name a picture, as paths of fields; `*` is each of a list.
const FIELDS: &[&str] = &[
    "start.image",
    "start.mask",
    "condition.semantic_map",
    "condition.upscale",
    "condition.depth",
    "condition.images.*.image",
    "control.*.image",
    "control.*.mask",
    "control.*.hires_image",
    "ip_adapter.*.images.*",
    "ip_adapter.*.mask",
    "reference.*.image",
];

/// Finds the pictures of a request, and puts in the place of each name the name of its bytes.
///
/// # Errors
/// A name of nothing.
pub async fn resolve(
    app: &Shared,
    caller: &Caller,
    request: &mut Map<String, Value>,
) -> Result<Given> {
    let mut given = Given::default();
    for field in FIELDS {
        let mut places = Vec::new();
        let (first, rest) = field.split_once('.').unwrap_or((field, ""));
        if let Some(value) = request.get_mut(first) {
            find(value, rest, &mut places);
        }
        for place in places {
            let named = match &*place {
                Value::Null => continue,
                Value::String(name) => name.clone(),
                _ => return Err(unnamed(field, "a list or a number")),
            };
            let bytes = bytes(app, caller, field, &named).await?;
            *place = given.add(field, bytes, &app.config.limits)?.into();
        }
    }
    Ok(given)
}

fn find<'a>(at: &'a mut Value, rest: &str, found: &mut Vec<&'a mut Value>) {
    if rest.is_empty() {
        found.push(at);
        return;
    }
    let (first, rest) = rest.split_once('.').unwrap_or((rest, ""));
    match at {
        Value::Array(values) if first == "*" => {
            for value in values {
                find(value, rest, found);
            }
        }
        Value::Object(fields) => {
            if let Some(value) = fields.get_mut(first) {
                find(value, rest, found);
            }
        }
        _ => {}
    }
}

fn unnamed(field: &str, name: &str) -> Fault {
    let message = format!(
        "{name} names no picture: expected upload:HASH, as POST /api/v1/uploads answers, or image:ID of the gallery"
    );
    Fault::new("picture_not_named", message).of(field)
}

async fn bytes(app: &Shared, caller: &Caller, field: &str, name: &str) -> Result<Vec<u8>> {
    if let Some(id) = name.strip_prefix("image:") {
        let id: Ulid = id.parse().map_err(|_| unnamed(field, name))?;
        let picture = app.queue.picture(id, caller.user()).await?;
        let picture = picture.ok_or_else(|| unnamed(field, name))?;
        return Ok(app
            .queue
            .store()
            .picture(picture.id, picture.format)
            .await?);
    }
    let hash = name.strip_prefix("upload:").unwrap_or(name);
    if !is_hash(hash) {
        return Err(unnamed(field, name));
    }
    upload(app, hash).await.map_err(|fault| fault.of(field))
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The bytes of an upload.
///
/// # Errors
/// There is none of that hash.
pub async fn upload(app: &Shared, hash: &str) -> Result<Vec<u8>> {
    if !is_hash(hash) {
        let message = format!("{hash:?} is no upload: expected its SHA-256");
        return Err(Fault::new("not_found", message));
    }
    Ok(app.queue.input(hash).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_found_in_lists() {
        let mut value =
            json!([{"images": ["a", "b"]}, {"images": []}, {"images": ["c"], "x": 1}, 3]);
        let mut found = Vec::new();
        find(&mut value, "*.images.*", &mut found);
        assert_eq!(found, ["a", "b", "c"]);
    }
}
