//! Tables of paths and captions: CSV, JSON lines, Parquet.
//!
//! Each becomes rows of JSON values under column names; from there on they are one format. A row that cannot be read is
//! a broken picture, not the end of the table.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
};

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
    schema::types::Type,
};
use serde_json::{Map, Value};

use super::{
    detect::at_root,
    entries::{BOXES, CAPTION, CLASS, Entry, Part, class, member},
};
use crate::{
    Error,
    config::{Columns, Format},
    store::{Place, Store},
};

const PICTURE: &[&str] = &["file_name", "path", "image", "picture", "file"];
const MASK: &[&str] = &["mask"];
const LOW: &[&str] = &["low"];

/// A row, or why it cannot be read.
type Row = Result<Map<String, Value>, String>;

/// The tables of a format: the named file, or all at the root.
fn tables(files: &[String], format: Format) -> Vec<&String> {
    match files {
        [file] => vec![file],
        files => at_root(files, format).collect(),
    }
}

pub(super) fn csv(store: &Store, files: &[String], columns: &Columns) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for file in tables(files, Format::Csv) {
        let name = store.name(file);
        let mut reader = csv::Reader::from_reader(store.reader(file)?);
        let header = reader.headers().map_err(|e| Error::damaged(&name, e))?;
        let header: Vec<String> = header
            .iter()
            .map(|cell| cell.trim_start_matches('\u{feff}').trim().to_owned())
            .collect();
        let roles = Roles::find(&name, columns, &header.iter().cloned().collect())?;
        for (number, record) in reader.records().enumerate() {
            let row = record.map_err(|e| e.to_string()).map(|record| {
                let cells = record.iter().filter(|cell| !cell.is_empty()).count();
                let values = header.iter().cloned().zip(record.iter());
                let filled = values.filter(|(_, cell)| cells > 0 && !cell.is_empty());
                filled
                    .map(|(key, cell)| (key, Value::String(cell.to_owned())))
                    .collect()
            });
            entries.push(roles.entry(file, number, row));
        }
    }
    Ok(entries)
}

pub(super) fn jsonl(
    store: &Store,
    files: &[String],
    columns: &Columns,
) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for file in tables(files, Format::Jsonl) {
        let name = store.name(file);
        let mut rows: Vec<Row> = Vec::new();
        for line in BufReader::new(store.reader(file)?).split(b'\n') {
            let line = line.map_err(|e| Error::read(&name, e))?;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            rows.push(serde_json::from_slice(&line).map_err(|e| e.to_string()));
        }
        let found = rows.iter().flatten().flat_map(Map::keys).cloned().collect();
        let roles = Roles::find(&name, columns, &found)?;
        let numbered = rows.into_iter().enumerate();
        entries.extend(numbered.map(|(number, row)| roles.entry(file, number, row)));
    }
    Ok(entries)
}

pub(super) fn parquet(
    store: &Store,
    files: &[String],
    columns: &Columns,
) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for file in tables(files, Format::Parquet) {
        let name = store.name(file);
        let failed = |e: parquet::errors::ParquetError| Error::damaged(&name, e);
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut store.reader(file)?, &mut bytes)
            .map_err(|e| Error::read(&name, e))?;
        // The reader is the format's own, and has been seen to panic on damaged files.
        let read = std::panic::catch_unwind(|| {
            let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).map_err(failed)?;
            let schema = reader.metadata().file_metadata().schema();
            let found = schema
                .get_fields()
                .iter()
                .map(|f| f.name().to_owned())
                .collect();
            let roles = Roles::find(&name, columns, &found)?;
            // Only these columns are unpacked: others may hold the pictures themselves.
            let fields = schema
                .get_fields()
                .iter()
                .filter(|f| roles.names().any(|n| n == f.name()));
            let projection = Type::group_type_builder(schema.name())
                .with_fields(fields.cloned().collect())
                .build()
                .map_err(failed)?;
            let mut entries = Vec::new();
            let rows = reader.get_row_iter(Some(projection)).map_err(failed)?;
            for (number, row) in rows.enumerate() {
                let row = row.map_err(failed)?;
                let values = row.into_columns().into_iter();
                let row = values.map(|(key, field)| (key, value(&field))).collect();
                entries.push(roles.entry(file, number, Ok(row)));
            }
            Ok(entries)
        });
        entries.extend(read.map_err(|_| Error::damaged(&name, "it is no whole Parquet file"))??);
    }
    Ok(entries)
}

fn value(field: &Field) -> Value {
    match field {
        // Writers may leave out that bytes are text.
        Field::Bytes(bytes) => match bytes.as_utf8() {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => Value::Null,
        },
        other => other.to_json_value(),
    }
}

/// Which column holds what.
struct Roles {
    picture: String,
    caption: Option<String>,
    class: Option<String>,
    mask: Option<String>,
    boxes: Option<String>,
    low: Option<String>,
}

impl Roles {
    fn find(table: &str, columns: &Columns, found: &BTreeSet<String>) -> Result<Self, Error> {
        let role = |given: &Option<String>, usual: &[&str]| match given {
            Some(name) if found.contains(name) => Ok(Some(name.clone())),
            Some(name) => Err(missing(table, format!("{name:?}"), found)),
            None => Ok(usual
                .iter()
                .find(|name| found.contains(**name))
                .map(|n| (*n).to_owned())),
        };
        let picture = role(&columns.picture, PICTURE)?;
        Ok(Self {
            picture: picture.ok_or_else(|| missing(table, PICTURE.join(" or "), found))?,
            caption: role(&columns.caption, CAPTION)?,
            class: role(&columns.class, CLASS)?,
            mask: role(&columns.mask, MASK)?,
            boxes: role(&columns.boxes, BOXES)?,
            low: role(&columns.low, LOW)?,
        })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let rest = [
            &self.caption,
            &self.class,
            &self.mask,
            &self.boxes,
            &self.low,
        ];
        let rest = rest.into_iter().filter_map(|name| name.as_deref());
        std::iter::once(self.picture.as_str()).chain(rest)
    }

    /// The entry of a row; `number` counts rows from 0.
    fn entry(&self, table: &str, number: usize, row: Row) -> Entry {
        let name = format!("{table}, row {}", number + 1);
        let broken = |reason: String| Entry::new(&name, Err(reason));
        let row = match row {
            Ok(row) => row,
            Err(reason) => return broken(reason),
        };
        let cell = |role: &Option<String>| role.as_ref().and_then(|role| member(&row, &[role]));
        let path = |role: &Option<String>| match cell(role) {
            None => Ok(None),
            Some(Value::String(path)) if !path.is_empty() => Ok(Some(beside(table, path))),
            Some(_) => Err(format!(
                "{} holds no path",
                role.as_deref().unwrap_or_default()
            )),
        };
        let parts = || {
            let picture = path(&Some(self.picture.clone()))?
                .ok_or_else(|| format!("{} is empty", self.picture))?;
            let mut entry = Entry::new(picture.file.to_string(), Ok(picture));
            entry.caption = cell(&self.caption).and_then(caption).map(Part::Given);
            entry.class = cell(&self.class).map(class).transpose()?.map(Part::Given);
            entry.boxes = cell(&self.boxes).map(boxes).transpose()?.map(Part::Given);
            entry.mask = path(&self.mask)?;
            entry.low = path(&self.low)?;
            Ok(entry)
        };
        parts().unwrap_or_else(broken)
    }
}

fn missing(table: &str, wanted: String, found: &BTreeSet<String>) -> Error {
    Error::Column {
        name: table.to_owned(),
        wanted,
        found: found.iter().cloned().collect::<Vec<_>>().join(", "),
    }
}

/// A path that a table gives, relative to the store's root.
fn beside(table: &str, path: &str) -> Place {
    let absolute = path.starts_with('/');
    match table.rsplit_once('/').filter(|_| !absolute) {
        Some((folder, _)) => Place::file(format!("{folder}/{path}")),
        None => Place::file(path),
    }
}

/// A caption, or the first of several.
fn caption(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => list.first().and_then(caption),
        _ => None,
    }
}

/// Boxes as JSON, or as a text that is JSON.
fn boxes(value: &Value) -> Result<Value, String> {
    match value {
        Value::String(text) => serde_json::from_str(text).map_err(|e| format!("boxes: {e}")),
        other => Ok(other.clone()),
    }
}
