//! WebDataset: tar files whose members belong together by their names up to the first dot.
//!
//! `0001.jpg`, `0001.txt`, `0001.cls`, `0001.json`, `0001.mask.png`, `0001.low.png`. Only headers are read here; a
//! member's bytes are read from the middle of the shard when they are needed.

use std::{
    io::{Read, Seek, SeekFrom},
    sync::Arc,
};

use super::{
    Indexed, about,
    detect::at_root,
    entries::{Entry, Part},
};
use crate::{
    Error,
    config::Format,
    decode::ENDINGS,
    store::{Place, Store, Stretch},
};

/// The pictures of all shards. One that breaks off costs its rest: the picture that it breaks off in is a broken one.
pub(super) fn entries(store: &Store, files: &[String]) -> Result<Indexed, Error> {
    let shards: Vec<&String> = match files {
        [file] => vec![file],
        files => at_root(files, Format::WebDataset).collect(),
    };
    let mut entries = Vec::new();
    let mut notes = Vec::new();
    let mut strange = Vec::new();
    let mut failure = None;
    for shard in &shards {
        let before = entries.len();
        let Err(reason) = members(store, shard, &mut entries, &mut strange)? else {
            continue;
        };
        let whole = entries.len() - before;
        failure.get_or_insert_with(|| Error::damaged(store.name(shard), &reason));
        notes.push(format!(
            "{shard} breaks off after {} pictures, and its rest is left out: {reason}",
            whole.saturating_sub(1)
        ));
    }
    // Nothing can be read at all.
    if let Some(failure) = failure
        && !entries.iter().any(|entry| entry.picture.is_ok())
    {
        return Err(failure);
    }
    if !strange.is_empty() {
        let counts = about::endings(strange.iter().map(String::as_str));
        let counts: Vec<String> = counts
            .iter()
            .map(|(ending, count)| format!("{count} {ending}"))
            .collect();
        let counts = about::named(counts.iter().map(String::as_str));
        notes.push(format!("members of shards that are not read: {counts}"));
    }
    Ok(Indexed {
        entries,
        read: shards.into_iter().cloned().collect(),
        notes,
        ..Indexed::default()
    })
}

/// Adds the pictures of a shard; within the result, why it breaks off, and the last picture is a broken one then.
fn members(
    store: &Store,
    shard: &str,
    entries: &mut Vec<Entry>,
    strange: &mut Vec<String>,
) -> Result<Result<(), String>, Error> {
    let file: Arc<str> = shard.into();
    let mut reader = store.reader(shard)?;
    let (length, ended) = end(&mut reader).map_err(|e| Error::read(store.name(shard), e))?;
    let mut archive = tar::Archive::new(reader);
    let mut group: Option<(String, Entry)> = None;
    let mut add_all = || -> Result<(), String> {
        for member in archive.entries_with_seek().map_err(|e| e.to_string())? {
            let member = member.map_err(|e| e.to_string())?;
            if !member.header().entry_type().is_file() {
                continue;
            }
            let path = member.path().map_err(|e| e.to_string())?;
            let path = path.to_string_lossy();
            let (key, ending) = split(&path);
            if group.as_ref().is_none_or(|(last, _)| last != key) {
                entries.extend(group.take().map(|(_, entry)| entry));
                let id = format!("{shard}/{key}");
                let none = Err("it has no .png, .jpg, .jpeg, .jfif or .webp".to_owned());
                group = Some((key.to_owned(), Entry::new(id, none)));
            }
            let (start, size) = (member.raw_file_position(), member.size());
            if start.checked_add(size).is_none_or(|end| end > length) {
                return Err(format!("{path} goes on behind the end of the file"));
            }
            let place = Place {
                file: file.clone(),
                part: Stretch::Bytes(start, size),
            };
            if let Some((_, entry)) = &mut group
                && !add(entry, &ending.to_ascii_lowercase(), place)
            {
                strange.push(path.into_owned());
            }
        }
        match ended {
            true => Ok(()),
            false => Err("it has no end mark".to_owned()),
        }
    };
    let ended = add_all();
    match (&ended, group) {
        (Ok(()), group) => entries.extend(group.map(|(_, entry)| entry)),
        (Err(reason), group) => {
            let id = group.map_or_else(|| shard.to_owned(), |(_, entry)| entry.id);
            let reason = format!("the shard breaks off here: {reason}");
            entries.push(Entry::new(id, Err(reason)));
        }
    }
    Ok(ended)
}

/// A shard's length, and whether it ends with the mark of an archive's end: blocks of zeros. Reads on from its beginning.
fn end(reader: &mut (impl Read + Seek)) -> std::io::Result<(u64, bool)> {
    const BLOCK: u64 = 512;
    let length = reader.seek(SeekFrom::End(0))?;
    let mut last = Vec::new();
    reader.seek(SeekFrom::Start(length.saturating_sub(BLOCK)))?;
    reader.take(BLOCK).read_to_end(&mut last)?;
    reader.rewind()?;
    let whole = length >= BLOCK && last.iter().all(|byte| *byte == 0);
    Ok((length, whole))
}

/// A member's key, folders included, and what follows the first dot of its name.
fn split(path: &str) -> (&str, &str) {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[name..].find('.') {
        Some(dot) => (&path[..name + dot], &path[name + dot + 1..]),
        None => (path, ""),
    }
}

/// Whether a member's ending says what it is.
fn add(entry: &mut Entry, ending: &str, place: Place) -> bool {
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
            _ => return false,
        },
        _ => return false,
    }
    true
}
