//! How a place was read, and what of it was left out.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use serde::Serialize;

use super::{
    detect,
    entries::{Entry, Part},
    folder,
};
use crate::{
    config::{Format, Pairs},
    decode::is_picture_name,
    store::Place,
};

/// How a place was read, and what of it was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// What it was read as; none for sources that are no place.
    pub format: Option<Format>,
    /// Whether that was found out by looking; otherwise the configuration says it.
    pub found: bool,
    /// The files that were read, by their endings in small letters, the most first.
    pub files: Vec<(String, usize)>,
    /// What was left out, or is read otherwise than one may expect: a sentence each.
    pub notes: Vec<String>,
}

/// `folder, found by looking: 3 .png, 3 .txt`
impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Some(format) => write!(f, "{}", format.name())?,
            None => return write!(f, "a source without files"),
        }
        if self.found {
            write!(f, ", found by looking")?;
        }
        for (number, (ending, count)) in self.files.iter().enumerate() {
            let before = if number == 0 { ": " } else { ", " };
            write!(f, "{before}{count} {ending}")?;
        }
        Ok(())
    }
}

/// A name as one line of text: control characters as escapes, so that no name moves a terminal's cursor.
pub fn printable(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c.is_control() {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
    }
    text
}

/// A number of things: `1 picture`, `2 pictures`.
pub fn counted(count: usize, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

/// Names in a note.
const NAMED: usize = 3;

/// The first of the names, and how many more there are.
pub(crate) fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let first: Vec<String> = names.iter().take(NAMED).map(|n| printable(n)).collect();
    match names.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A name's ending with its dot, in small letters; the whole name where it has none.
fn ending(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    match name.rsplit_once('.') {
        Some((_, ending)) => format!(".{}", ending.to_lowercase()),
        None => name.to_owned(),
    }
}

/// How many files there are of each ending, the most first.
pub(super) fn endings<'a>(files: impl IntoIterator<Item = &'a str>) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        *counts.entry(ending(file)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// The files that entries consist of.
pub(super) fn used(entries: &[Entry]) -> HashSet<&str> {
    let mut used = HashSet::new();
    fn file<T>(part: &Option<Part<T>>) -> Option<&Place> {
        match part {
            Some(Part::File(place)) => Some(place),
            _ => None,
        }
    }
    for entry in entries {
        let places = [
            entry.picture.as_ref().ok(),
            file(&entry.caption),
            file(&entry.class),
            file(&entry.boxes),
            entry.mask.as_ref(),
            entry.low.as_ref(),
            entry.json.as_ref(),
        ];
        used.extend(places.into_iter().flatten().map(|place| &*place.file));
        if entry.picture.is_err() {
            used.insert(&entry.id);
        }
    }
    used
}

/// What was found out about a folder's files.
pub(super) fn about(
    files: &[String],
    used: &HashSet<&str>,
    format: Format,
    found: bool,
    pairs: &Pairs,
) -> About {
    // Tables write `./a.png`.
    let taken = |file: &str| used.contains(file) || used.contains(format!("./{file}").as_str());
    let (read, left): (Vec<&str>, Vec<&str>) = files
        .iter()
        .map(String::as_str)
        .partition(|file| taken(file));
    let mut notes = Vec::new();
    if let (Format::Folder, true) = (format, found) {
        notes.extend(folder::not_classes(&read, pairs));
    }
    let is_table = |file: &str| detect::of_file(file).is_some();
    let is_caption = |file: &str| folder::CAPTIONS.contains(&ending(file).as_str());
    let (tables, left): (Vec<&str>, Vec<&str>) = left.into_iter().partition(|f| is_table(f));
    let (deep, at_root): (Vec<&str>, Vec<&str>) = tables.into_iter().partition(|f| f.contains('/'));
    if !at_root.is_empty() {
        let names = named(at_root.iter().copied());
        notes.push(match (format, detect::of_file(at_root[0])) {
            (Format::Folder, Some(other)) => format!(
                "not read: {names}, since pictures have texts beside them; format = \"{}\" reads tables instead of these",
                other.name()
            ),
            _ => format!("not read: {names}, of another format than {}", format.name()),
        });
    }
    if !deep.is_empty() {
        notes.push(format!(
            "not read: {}, which lie in folders of their own; a table is read where its folder or itself is the path",
            named(deep)
        ));
    }
    let (pictures, left): (Vec<&str>, Vec<&str>) =
        left.into_iter().partition(|f| is_picture_name(f));
    if !pictures.is_empty() {
        let why = match format {
            Format::Folder | Format::Classes if pictures.len() == 1 => {
                "that is the partner of no picture"
            }
            Format::Folder | Format::Classes => "that are partners of no picture",
            Format::Idx | Format::WebDataset => "beside the files that are read",
            _ => "that the table does not name",
        };
        notes.push(format!(
            "left out: {} {why}: {}",
            counted(pictures.len(), "picture"),
            named(pictures)
        ));
    }
    let texts = |format| matches!(format, Format::Folder | Format::Classes);
    let (captions, left): (Vec<&str>, Vec<&str>) = left
        .into_iter()
        .partition(|f| texts(format) && is_caption(f) && *f != super::CLASSES);
    if !captions.is_empty() {
        notes.push(format!(
            "left out: {} first of no picture's name: {}",
            match captions.len() {
                1 => "1 text that is the".to_owned(),
                count => format!("{count} texts that are the"),
            },
            named(captions)
        ));
    }
    let other: Vec<&str> = left.into_iter().filter(|f| *f != super::CLASSES).collect();
    if !other.is_empty() {
        let counts = endings(other.iter().copied());
        let counts = counts
            .iter()
            .map(|(ending, count)| format!("{count} {ending}"));
        let counts: Vec<String> = counts.collect();
        notes.push(format!(
            "other files, not read: {} ({})",
            named(counts.iter().map(String::as_str)),
            named(other)
        ));
    }
    About {
        format: Some(format),
        found,
        files: endings(read),
        notes,
    }
}
