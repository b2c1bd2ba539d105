//! What is known of composed scenes, out of the table that they were written with.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, ErrorKind},
    path::Path,
};

use serde::Deserialize;
use serde_json::Value;

use super::scene::{Background, Group, Relation};
use crate::Error;

/// What a scene's caption was made of.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Facts {
    /// Objects of one kind each, in the order of the caption.
    pub groups: Vec<Group>,
    /// How the groups lie; `None` for a drawing on its own, which nothing was composed of.
    #[serde(default)]
    pub relation: Option<Relation>,
    /// What is behind them.
    pub background: Background,
}

impl Facts {
    /// The facts of a data set's scenes, by what [`Example::id`](crate::Example::id) calls a picture: the rows of its
    /// `metadata.jsonl` that have `groups`. `data` is the set's folder or that file. Empty where there is no such file.
    ///
    /// # Errors
    /// A file that cannot be read, `groups` of another form than the composer writes.
    pub fn read(data: &Path) -> Result<BTreeMap<String, Self>, Error> {
        const FILE: &str = "metadata.jsonl";
        let path = match data.extension().is_some_and(|e| e == "jsonl") {
            true => data.to_owned(),
            false => data.join(FILE),
        };
        let name = path.display().to_string();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(BTreeMap::new());
            }
            Err(e) => return Err(Error::read(name, e)),
        };
        let mut all = BTreeMap::new();
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|e| Error::read(&name, e))?;
            // A row that is no JSON is a broken picture, of which opening the set speaks.
            let Ok(row) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let (Some(picture), true) = (row["file_name"].as_str(), row["groups"].is_array())
            else {
                continue;
            };
            let id = picture.to_owned();
            let facts = Self::deserialize(row).map_err(|e| {
                let place = format!("{name}, row {}", number + 1);
                Error::damaged(place, format!("it has `groups` that are no scene's: {e}"))
            })?;
            all.insert(id, facts);
        }
        Ok(all)
    }
}
