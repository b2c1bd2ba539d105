//! WebDataset: tar files whose members belong together by their names up to the first dot.
//!
//! `0001.jpg`, `0001.txt`, `0001.cls`, `0001.json`, `0001.mask.png`, `0001.low.png`. Only headers are read here; a
//! member's bytes are read from the middle of the shard when they are needed.

use std::sync::Arc;

use super::{
    detect::at_root,
    entries::{Entry, Part},
};
use crate::{
    Error,
    config::Format,
    decode::ENDINGS,
    store::{Place, Store},
};

pub(super) fn entries(store: &Store, files: &[String]) -> Result<Vec<Entry>, Error> {
    let shards: Vec<&String> = match files {
        [file] => vec![file],
        files => at_root(files, Format::WebDataset).collect(),
    };
    let mut entries = Vec::new();
    for shard in shards {
        let name = store.name(shard);
        let file: Arc<str> = shard.as_str().into();
        let mut archive = tar::Archive::new(store.reader(shard)?);
        let members = archive
            .entries_with_seek()
            .map_err(|e| Error::damaged(&name, e))?;
        let mut group: Option<(String, Entry)> = None;
        for member in members {
            let member = member.map_err(|e| Error::damaged(&name, e))?;
            if !member.header().entry_type().is_file() {
                continue;
            }
            let path = member.path().map_err(|e| Error::damaged(&name, e))?;
            let path = path.to_string_lossy();
            let (key, ending) = split(&path);
            if group.as_ref().is_none_or(|(last, _)| last != key) {
                entries.extend(group.take().map(|(_, entry)| entry));
                let id = format!("{shard}/{key}");
                let none = Err("it has no .png, .jpg, .jpeg or .webp".to_owned());
                group = Some((key.to_owned(), Entry::new(id, none)));
            }
            let place = Place {
                file: file.clone(),
                range: Some((member.raw_file_position(), member.size())),
            };
            if let Some((_, entry)) = &mut group {
                add(entry, &ending.to_ascii_lowercase(), place);
            }
        }
        entries.extend(group.map(|(_, entry)| entry));
    }
    Ok(entries)
}

/// A member's key, folders included, and what follows the first dot of its name.
fn split(path: &str) -> (&str, &str) {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[name..].find('.') {
        Some(dot) => (&path[..name + dot], &path[name + dot + 1..]),
        None => (path, ""),
    }
}

fn add(entry: &mut Entry, ending: &str, place: Place) {
    let (kind, last) = ending.rsplit_once('.').unwrap_or(("", ending));
    match (kind, last) {
        ("", "txt" | "caption") => entry.caption = Some(Part::File(place)),
        ("", "cls") => entry.class = Some(Part::File(place)),
        ("", "json") => entry.json = Some(place),
        ("boxes", "json") => entry.boxes = Some(Part::File(place)),
        (kind, last) if ENDINGS.contains(&last) => match kind {
            "" => entry.picture = Ok(place),
            "mask" => entry.mask = Some(place),
            "low" => entry.low = Some(place),
            _ => {}
        },
        _ => {}
    }
}
