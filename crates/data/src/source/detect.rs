//! What lies at a path, by the names of the files.

use std::collections::BTreeSet;

use super::{about::named, folder};
use crate::{
    Error,
    config::{Format, Pairs},
    decode::is_picture_name,
};

/// The format of a file by its ending.
pub fn of_file(name: &str) -> Option<Format> {
    let name = name.to_ascii_lowercase();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    if is_idx_images(&name) {
        return Some(Format::Idx);
    }
    match ending {
        "csv" => Some(Format::Csv),
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        "parquet" => Some(Format::Parquet),
        "tar" => Some(Format::WebDataset),
        _ => None,
    }
}

/// Whether a file is called like the pictures of MNIST.
pub fn is_idx_images(name: &str) -> bool {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    name.ends_with("images-idx3-ubyte") || name.ends_with("images.idx3-ubyte")
}

/// The files of a format at the root.
pub fn at_root(files: &[String], format: Format) -> impl Iterator<Item = &String> {
    files
        .iter()
        .filter(move |file| !file.contains('/') && of_file(file) == Some(format))
}

/// Finds the format. A table wins where no picture has a caption's file; tar files where there are no pictures; folders are
/// classes where there are several and no picture lies at the root or has a caption. Folders of `pairs` do not count.
///
/// # Errors
/// Nothing that is known.
pub fn format(path: &str, files: &[String], pairs: &Pairs) -> Result<Format, Error> {
    let pictures = || {
        let pictures = files.iter().filter(|file| is_picture_name(file));
        pictures.filter(|file| !pairs.hold(file))
    };
    // Other texts, such as a licence, may lie among the pictures.
    let texts = folder::captions(files);
    let captions = pictures().any(|file| texts.contains_key(folder::stem(file)));
    let tables = [Format::Idx, Format::Jsonl, Format::Csv, Format::Parquet];
    let table = tables
        .into_iter()
        .find(|format| at_root(files, *format).next().is_some());
    if let Some(table) = table.filter(|_| !captions) {
        return Ok(table);
    }
    if pictures().next().is_none() {
        return match at_root(files, Format::WebDataset).next() {
            Some(_) => Ok(Format::WebDataset),
            None => Err(Error::Empty {
                path: path.to_owned(),
                reason: format!(
                    "looked for pictures (.png, .jpg, .webp), tables (.csv, .jsonl, .parquet), shards (.tar) \
                     and IDX files (…-images-idx3-ubyte){}",
                    deeper(files)
                ),
            }),
        };
    }
    let folders: BTreeSet<_> = pictures()
        .map(|file| file.split_once('/').map(|(folder, _)| folder))
        .collect();
    match !captions && folders.len() > 1 && !folders.contains(&None) {
        true => Ok(Format::Classes),
        false => Ok(Format::Folder),
    }
}

/// Tables and shards that would be read if their folder were the path.
fn deeper(files: &[String]) -> String {
    let tables = files.iter().filter(|file| of_file(file).is_some());
    match named(tables.map(String::as_str)) {
        names if names.is_empty() => names,
        names => format!("; {names} would be read with its own folder as the path"),
    }
}

/// What a format consists of.
pub fn expected(format: Format) -> &'static str {
    match format {
        Format::Folder => "files ending in .png, .jpg, .jpeg, .jfif or .webp",
        Format::Classes => "folders of files ending in .png, .jpg, .jpeg, .jfif or .webp",
        Format::Csv => "rows in files ending in .csv",
        Format::Jsonl => "lines in files ending in .jsonl or .ndjson",
        Format::Parquet => "rows in files ending in .parquet",
        Format::WebDataset => "pictures in files ending in .tar",
        Format::Idx => "files ending in images-idx3-ubyte or images-idx3-ubyte.gz",
    }
}
