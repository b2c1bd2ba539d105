//! Pictures that a graph loads by name: uploads, and pictures that were drawn.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::Json as Answer;
use axum::extract::State;
use latent_queue::Ulid;
use serde_json::{Value, json};

use super::graph::Graph;
use super::{Error, Result};
use crate::app::Shared;
use crate::fault::{Fault, Result as Outcome};
use crate::given::header;
use crate::guard::Caller;
use crate::guard::body::Parts;

/// So many names are known.
const NAMES: usize = 1000;
/// Bytes of a name and its folder.
const LONG: usize = 400;

/// The names that clients gave their uploads, the last thousand. They are names and no paths: the bytes lie by their hash.
#[derive(Debug, Default)]
pub struct Names(Mutex<VecDeque<[String; 3]>>);

impl Names {
    fn put(&self, user: &str, name: &str, hash: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|[owner, known, _]| owner != user || known != name);
        all.push_back([user, name, hash].map(str::to_owned));
        if all.len() > NAMES {
            all.pop_front();
        }
    }

    fn find(&self, user: &str, name: &str) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = all.iter().rev();
        let found = names.find(|[owner, known, _]| owner == user && known == name);
        found.map(|[_, _, hash]| hash.clone())
    }
}

/// The files of a graph, by the names that it has for them.
#[derive(Debug, Default)]
pub struct Uploaded(BTreeMap<String, Vec<u8>>);

impl Uploaded {
    /// A file.
    pub fn find(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// All files that a graph names and that the caller may see.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub async fn of(app: &Shared, caller: &Caller, graph: &Graph) -> Outcome<Self> {
        let mut files = BTreeMap::new();
        for name in graph.files() {
            if let Some(bytes) = bytes(app, caller, name).await? {
                header(&bytes, &app.config.limits)?;
                files.insert(name.to_owned(), bytes);
            }
        }
        Ok(Self(files))
    }
}

/// The bytes behind a name.
async fn bytes(app: &Shared, caller: &Caller, name: &str) -> Outcome<Option<Vec<u8>>> {
    let (name, kind) = match name.rsplit_once(" [") {
        Some((name, kind)) => (name, kind.trim_end_matches(']')),
        None => (name, "input"),
    };
    match kind {
        "input" => upload(app, caller, name).await,
        _ => drawn(app, caller, name).await,
    }
}

/// An upload, by the name that was answered or by its own.
///
/// # Errors
/// A file that cannot be read.
pub async fn upload(app: &Shared, caller: &Caller, name: &str) -> Outcome<Option<Vec<u8>>> {
    let name = name.trim_start_matches('/');
    let known = app.comfy.names.find(caller.owner(), name);
    let last = name.rsplit('/').next().unwrap_or_default();
    let stem = last.split('.').next().unwrap_or_default();
    let is_hash = stem.len() == 64 && stem.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let Some(hash) = known.or_else(|| is_hash.then(|| stem.to_owned())) else {
        return Ok(None);
    };
    match app.queue.input(&hash).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(latent_queue::Error::NoInput { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A picture that was drawn, by its file's name.
///
/// # Errors
/// A file that cannot be read.
pub async fn drawn(app: &Shared, caller: &Caller, name: &str) -> Outcome<Option<Vec<u8>>> {
    let Some(id) = picture_id(name) else {
        return Ok(None);
    };
    match app.queue.picture(id, caller.user()).await? {
        Some(picture) => {
            let store = app.queue.store();
            Ok(Some(store.picture(id, picture.format).await?))
        }
        None => Ok(None),
    }
}

fn picture_id(name: &str) -> Option<Ulid> {
    let (stem, _) = name.rsplit_once('.')?;
    stem.parse().ok()
}

/// `POST /upload/image`. The name that is answered holds as long as the file does.
pub async fn take(
    State(app): State<Shared>,
    caller: Caller,
    form: Outcome<Parts>,
) -> Result<Answer<Value>> {
    let form = form?;
    let text = |name: &str| {
        let field = form.fields.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let at = form.fields.iter().position(|(field, _)| field == "image");
    let at = at.ok_or_else(|| {
        Fault::new("field_missing", "expected a file in the field image").of("image")
    })?;
    let file = &form.fields[at].1;
    header(file, &app.config.limits).map_err(|fault| fault.of("image"))?;
    let folder = text("subfolder").unwrap_or_default();
    let own = form.files[at].clone().unwrap_or_default();
    if folder.len() + own.len() > LONG {
        let message = format!("name and subfolder have at most {LONG} bytes together");
        return Err(Error::from(Fault::asked(
            "field_out_of_range",
            Some("subfolder"),
            message,
        )));
    }
    let input = app.queue.put_input(file.to_vec()).await?;
    let folder = folder.trim_matches('/');
    let named = match folder.is_empty() {
        true => own,
        false => format!("{folder}/{own}"),
    };
    app.comfy.names.put(caller.owner(), &named, &input.sha256);
    Ok(Answer(
        json!({ "name": format!("{}.png", input.sha256), "subfolder": folder, "type": "input" }),
    ))
}
