//! Models, under their own names and under OpenAI's.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::Error;
use crate::app::Shared;
use crate::engine::{Catalogue, Model};
use crate::fault::{Fault, Result};
use crate::sdapi::names;

/// Names of OpenAI's models begin so; they mean the model that is drawn with where none is named.
const THEIRS: &[&str] = &["gpt-image-", "dall-e-", "chatgpt-image-"];

/// The model of that name.
///
/// # Errors
/// None.
pub fn find<'a>(
    catalogue: &'a Catalogue,
    usual: Option<&str>,
    name: Option<&str>,
) -> Result<&'a Model> {
    let own = name
        .filter(|name| !name.is_empty() && !THEIRS.iter().any(|theirs| name.starts_with(theirs)));
    let found = match own.or(usual) {
        Some(name) => names::find(catalogue, "model", name).ok(),
        None => catalogue.models.first(),
    };
    found.ok_or_else(|| {
        let name = own.unwrap_or_default();
        let mut fault = Fault::new(
            "model_unknown",
            format!("the model {name:?} does not exist"),
        )
        .of("model");
        "model_not_found".clone_into(&mut fault.code);
        fault
    })
}

fn told(model: &Model) -> Value {
    json!({ "id": model.name, "object": "model", "created": 0, "owned_by": "latent" })
}

/// `GET models`.
pub async fn list(State(app): State<Shared>) -> Result<Json<Value>, Error> {
    let catalogue = app.engine(|engine| Ok(engine.catalogue())).await?;
    let data: Vec<_> = catalogue.models.iter().map(told).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// `GET models/{id}`.
pub async fn one(State(app): State<Shared>, Path(id): Path<String>) -> Result<Json<Value>, Error> {
    let catalogue = app.engine(|engine| Ok(engine.catalogue())).await?;
    let usual = app.settings.get().model;
    Ok(Json(told(find(&catalogue, usual.as_deref(), Some(&id))?)))
}
