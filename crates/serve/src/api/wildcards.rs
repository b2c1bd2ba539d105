//! Lists of words that prompts name as `__name__`. They are kept here for all, and put in by whoever writes the prompt.

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::options::keep;
use crate::app::Shared;
use crate::fault::{Fault, Problem, Result};
use crate::guard::Json;

/// Lists, at most.
const LISTS: usize = 1000;
/// Entries of one, at most.
const ENTRIES: usize = 10_000;
/// Bytes of one entry, at most.
const BYTES: usize = 2000;

/// A list of words under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wildcard {
    /// Its name: letters, digits, `_`, `-`, `.` and `/`.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// What it may stand for.
    #[schema(min_items = 1, max_items = 10000)]
    pub entries: Vec<String>,
}

/// The lists.
#[utoipa::path(get, path = "/api/v1/wildcards", tag = "settings", responses((status = 200, body = Vec<Wildcard>)))]
pub async fn wildcards(State(app): State<Shared>) -> Answer<Vec<Wildcard>> {
    Answer(app.wildcards.get())
}

/// Put these lists in the place of all there are.
#[utoipa::path(put, path = "/api/v1/wildcards", tag = "settings", request_body = Vec<Wildcard>, responses((status = 200, body = Vec<Wildcard>), (status = 422, body = Problem)))]
pub async fn set_wildcards(
    State(app): State<Shared>,
    body: Json<Vec<Wildcard>>,
) -> Result<Answer<Vec<Wildcard>>> {
    let lists = body.value;
    check(&lists)?;
    keep(&app, move |app| app.wildcards.set(lists)).await?;
    Ok(Answer(app.wildcards.get()))
}

fn check(lists: &[Wildcard]) -> Result<()> {
    let wrong =
        |field: &str, message: &str| Err(Fault::asked("field_out_of_range", Some(field), message));
    let plain = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    let mut names: Vec<_> = lists.iter().map(|list| list.name.as_str()).collect();
    let named = |name: &&str| (1..=100).contains(&name.len()) && name.chars().all(plain);
    if names.len() > LISTS || !names.iter().all(named) {
        return wrong(
            "name",
            "expected at most 1,000 lists with names of 1 to 100 letters, digits, _ - . and /",
        );
    }
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return wrong("name", "two lists have one name");
    }
    let fits = |list: &Wildcard| {
        let short = list.entries.iter().all(|entry| entry.len() <= BYTES);
        (1..=ENTRIES).contains(&list.entries.len()) && short
    };
    match lists.iter().all(fits) {
        true => Ok(()),
        false => wrong(
            "entries",
            "expected 1 to 10,000 entries of at most 2,000 bytes",
        ),
    }
}
