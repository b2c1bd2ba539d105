//! Tables of paths and captions: CSV and JSON lines; Parquet has its own file.
//!
//! Each becomes rows of JSON values under column names; from there on they are one format. A row that cannot be read is
//! a broken picture, not the end of the table.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{
    Cells, Indexed,
    detect::at_root,
    entries::{BOXES, CAPTION, CLASS, Entry, Part, caption, class},
};
use crate::{
    Error,
    config::{Columns, Format},
    store::{Place, Store, Stretch},
};

pub(super) const PICTURE: &[&str] = &["file_name", "path", "image", "picture", "file"];
const MASK: &[&str] = &["mask"];
const LOW: &[&str] = &["low"];

/// A row, or why it cannot be read.
type Row = Result<Map<String, Value>, String>;

/// The tables of a format: the named file, or all at the root.
pub(super) fn tables(files: &[String], format: Format) -> Vec<&String> {
    match files {
        [file] => vec![file],
        files => at_root(files, format).collect(),
    }
}

pub(super) fn csv(store: &Store, files: &[String], columns: &Columns) -> Result<Indexed, Error> {
    let mut indexed = Indexed::default();
    for file in tables(files, Format::Csv) {
        let name = store.name(file);
        let mut reader = csv::Reader::from_reader(store.reader(file)?);
        let header = reader.headers().map_err(|e| Error::damaged(&name, e))?;
        let header: Vec<String> = header
            .iter()
            .map(|cell| cell.trim_start_matches('\u{feff}').trim().to_owned())
            .collect();
        let found = header.iter().cloned().collect();
        let roles = Roles::find(&name, columns, &found, BTreeMap::new())?;
        for (number, record) in reader.records().enumerate() {
            let row = record.map_err(|e| e.to_string()).map(|record| {
                let values = header.iter().cloned().zip(record.iter());
                values
                    .map(|(key, cell)| (key, Value::String(cell.to_owned())))
                    .collect()
            });
            indexed.entries.push(roles.entry(store, file, number, row));
        }
        indexed.add_table(file, &roles);
    }
    Ok(indexed)
}

pub(super) fn jsonl(store: &Store, files: &[String], columns: &Columns) -> Result<Indexed, Error> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let mut indexed = Indexed::default();
    for file in tables(files, Format::Jsonl) {
        let name = store.name(file);
        let mut rows: Vec<Row> = Vec::new();
        for (number, line) in BufReader::new(store.reader(file)?).split(b'\n').enumerate() {
            let line = line.map_err(|e| Error::read(&name, e))?;
            if number == 0 && (line.starts_with(&[0xFF, 0xFE]) || line.starts_with(&[0xFE, 0xFF])) {
                return Err(Error::damaged(&name, "it is UTF-16: save it as UTF-8"));
            }
            let line = match number {
                0 => line.strip_prefix(MARK).unwrap_or(&line),
                _ => &line,
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            rows.push(serde_json::from_slice(line).map_err(|e| e.to_string()));
        }
        let found = rows.iter().flatten().flat_map(Map::keys).cloned().collect();
        let roles = Roles::find(&name, columns, &found, BTreeMap::new())?;
        let numbered = rows.into_iter().enumerate();
        let entries = numbered.map(|(number, row)| roles.entry(store, file, number, row));
        indexed.entries.extend(entries);
        indexed.add_table(file, &roles);
    }
    Ok(indexed)
}

/// Which columns hold what: of several, the first that is filled in a row.
pub(super) struct Roles {
    picture: Vec<String>,
    caption: Vec<String>,
    class: Vec<String>,
    mask: Vec<String>,
    boxes: Vec<String>,
    low: Vec<String>,
    also: Vec<String>,
    /// Columns that hold files themselves.
    inside: BTreeMap<String, Arc<Cells>>,
    /// How many rows had their caption from which column.
    captions: RefCell<BTreeMap<String, usize>>,
}

impl Roles {
    /// By the columns that were found, `inside` of which are files. A name that is given must be there.
    pub fn find(
        table: &str,
        columns: &Columns,
        found: &BTreeSet<String>,
        inside: BTreeMap<String, Arc<Cells>>,
    ) -> Result<Self, Error> {
        let role = |given: &Option<String>, usual: &[&str]| match given {
            Some(name) if found.contains(name) => Ok(vec![name.clone()]),
            Some(name) => Err(missing(table, format!("{name:?}"), found)),
            None => {
                let usual = usual.iter().map(|name| (*name).to_owned());
                let mut names: Vec<String> = usual.filter(|name| found.contains(name)).collect();
                names.sort_by_key(|name| !inside.contains_key(name));
                Ok(names)
            }
        };
        if let Some(name) = columns.also.iter().find(|name| !found.contains(*name)) {
            return Err(missing(table, format!("{name:?}"), found));
        }
        let picture = role(&columns.picture, PICTURE)?;
        if picture.is_empty() {
            return Err(missing(table, PICTURE.join(" or "), found));
        }
        Ok(Self {
            picture,
            caption: role(&columns.caption, CAPTION)?,
            class: role(&columns.class, CLASS)?,
            mask: role(&columns.mask, MASK)?,
            boxes: role(&columns.boxes, BOXES)?,
            low: role(&columns.low, LOW)?,
            also: columns.also.clone(),
            inside,
            captions: RefCell::default(),
        })
    }

    /// All columns that are of use.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let all = [
            &self.picture,
            &self.caption,
            &self.class,
            &self.mask,
            &self.boxes,
            &self.low,
            &self.also,
        ];
        all.into_iter().flatten().map(String::as_str)
    }

    /// The columns of classes.
    pub fn classes(&self) -> &[String] {
        &self.class
    }

    /// The entry of a row; `number` counts rows from 0.
    pub fn entry(&self, store: &Store, table: &str, number: usize, row: Row) -> Entry {
        let name = format!("{table}, row {}", number + 1);
        let broken = |reason: String| Entry::new(&name, Err(reason));
        let row = match row {
            Ok(row) => row,
            Err(reason) => return broken(reason),
        };
        // The first that is filled, else one that is empty.
        let cell = |names: &[String]| {
            let there = |name: &String| {
                let value = row.get(name).filter(|value| !value.is_null())?;
                Some((name.clone(), value))
            };
            let cells: Vec<_> = names.iter().filter_map(there).collect();
            let filled = cells.iter().find(|(_, value)| **value != *"");
            filled.or(cells.first()).cloned()
        };
        let filled = |names: &[String]| cell(names).filter(|(_, value)| **value != *"");
        let place = |names: &[String]| {
            let inside = names.iter().find_map(|name| self.inside.get(name));
            if let Some(cells) = inside {
                let part = Stretch::Cell(cells.clone(), number);
                return Ok(Some(Place {
                    file: table.into(),
                    part,
                }));
            }
            match filled(names) {
                None => Ok(None),
                Some((_, Value::String(path))) => Ok(Some(beside(store, table, path))),
                // The form of the Hugging Face Hub, with the picture elsewhere.
                Some((_, Value::Object(of))) if of.get("path").is_some_and(Value::is_string) => {
                    let path = of["path"].as_str().unwrap_or_default();
                    Ok(Some(beside(store, table, path)))
                }
                Some((name, _)) => Err(format!("{name} holds no path")),
            }
        };
        let parts = || {
            let names = &self.picture;
            let picture = place(names)?.ok_or_else(|| format!("{} is empty", names[0]))?;
            let id = match (&picture.part, filled(names)) {
                (Stretch::Whole, _) => picture.file.to_string(),
                (_, Some((_, Value::Object(of))))
                    if of.get("path").is_some_and(Value::is_string) =>
                {
                    format!("{table}/{}", of["path"].as_str().unwrap_or_default())
                }
                _ => name.clone(),
            };
            let mut entry = Entry::new(id, Ok(picture));
            if let Some((column, value)) = cell(&self.caption) {
                entry.caption = Some(Part::Given(caption(value)?));
                *self.captions.borrow_mut().entry(column).or_default() += 1;
            }
            let value = filled(&self.class).map(|(_, value)| class(value));
            entry.class = value.transpose()?.map(Part::Given);
            let value = filled(&self.boxes).map(|(_, value)| boxes(value));
            entry.boxes = value.transpose()?.map(Part::Given);
            entry.mask = place(&self.mask)?;
            entry.low = place(&self.low)?;
            entry.columns = self.also.iter().map(|name| text(row.get(name))).collect();
            Ok(entry)
        };
        parts().unwrap_or_else(broken)
    }
}

impl Indexed {
    /// Notes that a table was read, and which of its columns where that is not plain.
    pub fn add_table(&mut self, table: &str, roles: &Roles) {
        self.read.push(table.to_owned());
        let captions = roles.captions.borrow();
        if captions.len() > 1 {
            let each = captions
                .iter()
                .map(|(column, rows)| format!("{column} in {rows} rows"));
            let each = each.collect::<Vec<_>>().join(", ");
            self.notes
                .push(format!("{table}: captions are of several columns, {each}"));
        }
    }
}

fn missing(table: &str, wanted: String, found: &BTreeSet<String>) -> Error {
    Error::Column {
        name: table.to_owned(),
        wanted,
        found: found.iter().cloned().collect::<Vec<_>>().join(", "),
    }
}

/// A path that a table gives, relative to the store's root; with Windows' separators where there is no such name.
fn beside(store: &Store, table: &str, path: &str) -> Place {
    let absolute = path.starts_with('/');
    let from_root = |path: &str| match table.rsplit_once('/').filter(|_| !absolute) {
        Some((folder, _)) => format!("{folder}/{path}"),
        None => path.to_owned(),
    };
    let own = from_root(path);
    match path.contains('\\') && !store.has(&own) {
        true => Place::file(from_root(&path.replace('\\', "/"))),
        false => Place::file(own),
    }
}

/// What a cell holds, as a text.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Boxes as JSON, or as a text that is JSON.
fn boxes(value: &Value) -> Result<Value, String> {
    match value {
        Value::String(text) => serde_json::from_str(text).map_err(|e| format!("boxes: {e}")),
        other => Ok(other.clone()),
    }
}
