//! Data sets as numbered pictures.

mod detect;
mod entries;
mod folder;
mod idx;
mod shards;
mod table;

use std::sync::Arc;

use crate::{
    DataConfig, Error, Raw,
    config::Format,
    store::{Place, Store},
};
use entries::Entries;

/// Numbered pictures with what belongs to them. Reading is from any thread, in any order.
pub trait Source: Send + Sync {
    /// How many there are, broken ones included.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What messages call one: path, shard member or row.
    fn id(&self, index: usize) -> String;

    /// Height and width of one, from the beginning of its file where that suffices.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn size(&self, index: usize) -> Result<[u32; 2], Error>;

    /// Reads one.
    ///
    /// # Errors
    /// A file that cannot be read, parts that do not fit together, an unknown class.
    fn read(&self, index: usize) -> Result<Raw, Error>;

    /// The names of the classes in the order of their numbers; empty where classes have no names.
    fn classes(&self) -> &[String];
}

/// Opens a data set: finds what there is, reads tables and the headers of shards, no pictures. `options` are keys of
/// the object store (`aws_access_key_id`, `aws_region`, …) and mean nothing for folders.
///
/// # Errors
/// A place that cannot be read or holds no pictures, a table without the columns that are named.
pub fn open(config: &DataConfig, options: &[(String, String)]) -> Result<Arc<dyn Source>, Error> {
    let (store, file) = Store::open(&config.path, options)?;
    let files = match &file {
        Some(file) => vec![file.clone()],
        None => store.list()?,
    };
    let format = match config.format {
        Some(format) => format,
        None => detect::format(&config.path, &files, &config.pairs)?,
    };
    if format == Format::Idx {
        let classes = class_names(config, &store)?;
        return Ok(Arc::new(idx::Idx::open(
            &config.path,
            &store,
            &files,
            classes,
        )?));
    }
    let entries = match format {
        Format::Folder => folder::entries(&files, &config.pairs),
        Format::Classes => folder::classes(&files, &config.pairs),
        Format::Csv => table::csv(&store, &files, &config.columns)?,
        Format::Jsonl => table::jsonl(&store, &files, &config.columns)?,
        Format::Parquet => table::parquet(&store, &files, &config.columns)?,
        Format::WebDataset => shards::entries(&store, &files)?,
        Format::Idx => Vec::new(),
    };
    if entries.is_empty() {
        return Err(Error::Empty {
            path: config.path.clone(),
            reason: format!("looked for {}", detect::expected(format)),
        });
    }
    let mut classes = class_names(config, &store)?;
    if classes.is_empty() {
        classes = entries::names(&entries);
    }
    Ok(Arc::new(Entries {
        store,
        entries,
        classes,
        background: config.background,
    }))
}

/// The names the configuration gives, or the lines of `classes.txt`.
fn class_names(config: &DataConfig, store: &Store) -> Result<Vec<String>, Error> {
    const FILE: &str = "classes.txt";
    if !config.classes.is_empty() {
        return Ok(config.classes.clone());
    }
    let place = Place::file(FILE);
    // Most sets have none, and a store has no cheaper way to ask.
    let Ok(bytes) = store.read(&place) else {
        return Ok(Vec::new());
    };
    let text = entries::text(&store.name(FILE), bytes)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}
