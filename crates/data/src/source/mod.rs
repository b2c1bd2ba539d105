//! Data sets as numbered pictures.

mod about;
mod detect;
mod entries;
mod folder;
mod idx;
mod parquet;
mod shards;
mod table;

use std::sync::Arc;

use crate::{
    DataConfig, Error, Labels, Raw,
    config::Format,
    store::{Listing, Place, Store},
};
pub(crate) use about::named;
pub use about::{About, counted, printable};
use entries::Entries;
pub(crate) use folder::{CAPTIONS, captions, stem};
pub(crate) use parquet::{Cells, Chunks};

/// The file that names classes.
const CLASSES: &str = "classes.txt";

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

    /// What belongs to one, without the picture; its mask only where `mask` is set.
    ///
    /// # Errors
    /// Those of [`read`](Self::read), but for the picture's own.
    fn labels(&self, index: usize, mask: bool) -> Result<Labels, Error> {
        let labels = Labels::from(self.read(index)?);
        Ok(Labels {
            mask: labels.mask.filter(|_| mask),
            ..labels
        })
    }

    /// The names of the classes in the order of their numbers; empty where classes have no names.
    fn classes(&self) -> &[String];

    /// How it was read, and what was left out.
    fn about(&self) -> About {
        About::default()
    }
}

/// Opens a data set: finds what there is, reads tables and the headers of shards, no pictures. `options` are keys of
/// the object store (`aws_access_key_id`, `aws_region`, …) and mean nothing for folders.
///
/// # Errors
/// A place that cannot be read or holds no pictures, a table without the columns that are named.
pub fn open(config: &DataConfig, options: &[(String, String)]) -> Result<Arc<dyn Source>, Error> {
    let (mut store, file) = Store::open(&config.path, options)?;
    let listing = match &file {
        Some(file) => Listing {
            files: vec![file.clone()],
            notes: Vec::new(),
        },
        None => store.list()?,
    };
    let (files, pairs) = (&listing.files, &config.pairs);
    let format = match config.format {
        Some(format) => format,
        None => detect::format(&config.path, files, pairs)?,
    };
    let found = config.format.is_none();
    let table = matches!(format, Format::Csv | Format::Jsonl | Format::Parquet);
    if let Some(column) = config.columns.also.first().filter(|_| !table) {
        return Err(Error::Column {
            name: config.path.clone(),
            wanted: format!("{column:?}"),
            found: format!("none, being read as the format \"{}\"", format.name()),
        });
    }
    let mut classes = class_names(config, &store)?;
    if format == Format::Idx {
        let mut idx = idx::Idx::open(&config.path, &store, files, classes)?;
        idx.about = about::about(files, &idx.used(), format, found, pairs);
        idx.about.notes.extend(listing.notes);
        return Ok(Arc::new(idx));
    }
    let Indexed {
        entries,
        read,
        notes,
        classes: named,
    } = match format {
        Format::Folder => folder::entries(files, pairs).into(),
        Format::Classes => folder::classes(files, pairs).into(),
        Format::Csv => table::csv(&store, files, &config.columns)?,
        Format::Jsonl => table::jsonl(&store, files, &config.columns)?,
        Format::Parquet => parquet::table(&store, files, &config.columns)?,
        Format::WebDataset => shards::entries(&store, files)?,
        Format::Idx => Vec::new().into(),
    };
    if entries.is_empty() {
        return Err(Error::Empty {
            path: config.path.clone(),
            reason: format!("looked for {}", detect::expected(format)),
        });
    }
    let mut used = about::used(&entries);
    used.extend(read.iter().map(String::as_str));
    let mut about = about::about(files, &used, format, found, pairs);
    about.notes.splice(0..0, notes);
    about.notes.extend(listing.notes);
    if classes.is_empty() {
        classes = named;
    }
    if classes.is_empty() {
        classes = entries::names(&entries);
    }
    Ok(Arc::new(Entries {
        store,
        entries,
        classes,
        background: config.background,
        about,
    }))
}

/// What an index holds.
#[derive(Default)]
struct Indexed {
    entries: Vec<entries::Entry>,
    /// The tables or shards that were read.
    read: Vec<String>,
    /// What was left out, a sentence each.
    notes: Vec<String>,
    /// The names of classes, where the tables say them.
    classes: Vec<String>,
}

impl From<Vec<entries::Entry>> for Indexed {
    fn from(entries: Vec<entries::Entry>) -> Self {
        Self {
            entries,
            ..Self::default()
        }
    }
}

/// The names the configuration gives, or the lines of `classes.txt`.
fn class_names(config: &DataConfig, store: &Store) -> Result<Vec<String>, Error> {
    if !config.classes.is_empty() {
        return Ok(config.classes.clone());
    }
    let place = Place::file(CLASSES);
    // Most sets have none, and a store has no cheaper way to ask.
    let Ok(bytes) = store.read(&place) else {
        return Ok(Vec::new());
    };
    let text = entries::text(&store.name(CLASSES), bytes)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}
