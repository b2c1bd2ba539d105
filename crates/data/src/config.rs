//! What a data set is and how its pictures are prepared: a small TOML file, or a path by itself.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Crop, Error, Fit, settings};

/// A data set.
///
/// ```toml
/// path = "pictures"        # beside this file; or s3://bucket/folder, in a build with object stores
/// size = 256
/// crop = "random"
/// flip = 0.5
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A folder, a table, a tar shard, an IDX file, or the URL of one of these.
    pub path: String,
    /// What lies there; found out by looking where this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The names of a table's columns.
    #[serde(default)]
    pub columns: Columns,
    /// Folders, relative to `path`, that hold the partners of a folder's pictures under the same names.
    #[serde(default)]
    pub pairs: Pairs,
    /// The names of the classes, in the order of their numbers. Where it is empty, the folders' or the column's sorted
    /// names, or the lines of `classes.txt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The size of examples: one number for squares, or height and width. Left out: every picture at its own size, which
    /// only a batch of one can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Which part stays where the shapes differ.
    #[serde(default)]
    pub crop: Crop,
    /// How often an example is mirrored, in 0..=1.
    #[serde(default)]
    pub flip: f64,
    /// Several shapes of about `size` × `size` pixels in place of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Buckets>,
    /// What transparent pixels show: red, green, blue in 0..=255.
    #[serde(default = "white")]
    pub background: [u8; 3],
}

fn white() -> [u8; 3] {
    [255; 3]
}

/// A kind of data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Pictures in a folder and those below it, with captions in `.txt` or `.caption` files beside them.
    Folder,
    /// A folder of folders, one for each class; names that are all numbers stand in the order of numbers.
    Classes,
    /// A table with a header line.
    Csv,
    /// A table of one JSON object a line.
    Jsonl,
    /// A table.
    Parquet,
    /// Tar files whose members are grouped by name.
    WebDataset,
    /// The format of MNIST and Fashion-MNIST.
    Idx,
}

impl Format {
    /// Its word in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Classes => "classes",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
            Self::WebDataset => "webdataset",
            Self::Idx => "idx",
        }
    }
}

/// The columns of a table. A name that is given must exist; where none is, usual ones are tried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// The picture's path, relative to the table, or in Parquet the picture itself: `file_name`, `path`, `image`,
    /// `picture` or `file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// Its caption: `text`, `caption` or `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Its class, a number or a name: `class` or `label`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The path of its mask: `mask`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// Its boxes, as in [`crate::json`]: `boxes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boxes: Option<String>,
    /// The path of its low-resolution partner: `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<String>,
    /// Further columns, whose values come with each example. Not in the file: who reads the data asks for them.
    #[serde(skip)]
    pub also: Vec<String>,
}

/// The folders of a folder's partners.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pairs {
    /// Masks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masks: Option<String>,
    /// Boxes, one JSON file for each picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boxes: Option<String>,
    /// Low-resolution pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<String>,
}

/// A square's side, or height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number, or a list of height and width"
)]
pub enum Size {
    /// Height and width alike.
    Square(u32),
    /// Height and width.
    Sides([u32; 2]),
}

/// Aspect-ratio buckets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buckets {
    /// Sides are multiples of this.
    #[serde(default = "step")]
    pub step: u32,
    /// No shape is wider or higher than this many times its other side.
    #[serde(default = "ratio")]
    pub ratio: f64,
}

fn step() -> u32 {
    64
}

fn ratio() -> f64 {
    2.0
}

impl Pairs {
    /// Whether a file is a partner and no picture of its own.
    pub(crate) fn hold(&self, file: &str) -> bool {
        let folders = [&self.masks, &self.boxes, &self.low].into_iter().flatten();
        let mut names = folders.map(|folder| folder.trim_matches('/'));
        names.any(|folder| {
            file.strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

impl DataConfig {
    /// The data set at a path or URL, prepared in no way.
    pub fn of(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            format: None,
            columns: Columns::default(),
            pairs: Pairs::default(),
            classes: Vec::new(),
            size: None,
            crop: Crop::default(),
            flip: 0.0,
            buckets: None,
            background: white(),
        }
    }

    /// Reads a TOML file. A relative `path` in it is relative to the file.
    ///
    /// # Errors
    /// A file that cannot be read, a key that is not known, a value out of range.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|e| Error::read(&name, e))?;
        let wrong = |reason| Error::Config {
            path: name.clone(),
            reason,
        };
        let mut config: Self = settings::from_toml(&text).map_err(&wrong)?;
        config.relative_to(file.parent().unwrap_or(Path::new("")));
        config.fit().map_err(|e| wrong(e.to_string()))?;
        Ok(config)
    }

    /// Puts `folder` before a relative path.
    pub fn relative_to(&mut self, folder: &Path) {
        if !self.path.contains("://") {
            self.path = folder.join(&self.path).display().to_string();
        }
    }

    /// How pictures become examples.
    ///
    /// # Errors
    /// A value out of range.
    pub fn fit(&self) -> Result<Fit, Error> {
        Fit::new(self)
    }
}
