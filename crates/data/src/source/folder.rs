//! Pictures in folders: with captions beside them, or one folder for each class.

use std::collections::{BTreeSet, HashMap};

use super::{
    about::named,
    entries::{Entry, Part},
};
use crate::{
    config::Pairs,
    decode::{self, is_picture_name},
    json::Class,
    store::Place,
};

/// The endings of captions' files in any letters, the first coming before the second.
pub(crate) const CAPTIONS: &[&str] = &[".txt", ".caption"];

/// The caption's file of each name without ending.
pub(crate) fn captions(files: &[String]) -> HashMap<&str, &str> {
    let mut found = HashMap::new();
    for ending in CAPTIONS {
        for file in files {
            let start = file.len().saturating_sub(ending.len());
            let ends = file
                .get(start..)
                .is_some_and(|end| end.eq_ignore_ascii_case(ending));
            if ends {
                found.entry(stem(file)).or_insert(file.as_str());
            }
        }
    }
    found
}

/// Every picture, with the caption's file of its name.
pub(super) fn entries(files: &[String], pairs: &Pairs) -> Vec<Entry> {
    let partners = Partners::find(files, pairs);
    let captions = captions(files);
    let pictures = files.iter().filter(|file| is_picture_name(file));
    let entry = |file: &String| {
        let mut entry = Entry::new(file, Ok(Place::file(file.as_str())));
        let text = captions.get(stem(file));
        entry.caption = text.map(|text| Part::File(Place::file(*text)));
        partners.add_to(&mut entry, file);
        if let Some(kind) = decode::unread_kind(file) {
            entry.picture = Err(format!(
                "{kind} pictures are not read here: save it as PNG, JPEG or WebP"
            ));
        }
        entry
    };
    pictures
        .filter(|file| !pairs.hold(file))
        .map(entry)
        .collect()
}

/// The same, of the class that the first folder of its path is called.
pub(super) fn classes(files: &[String], pairs: &Pairs) -> Vec<Entry> {
    let mut entries = entries(files, pairs);
    for entry in &mut entries {
        match entry.id.split_once('/') {
            Some((folder, _)) => entry.class = Some(Part::Given(Class::Name(folder.to_owned()))),
            None => entry.picture = Err("it lies in no folder of a class".to_owned()),
        }
    }
    entries
}

/// Folders that could have been classes, had no picture lain beside them.
pub(super) fn not_classes(read: &[&str], pairs: &Pairs) -> Option<String> {
    let pictures = read
        .iter()
        .filter(|file| is_picture_name(file) && !pairs.hold(file));
    let (inside, beside): (Vec<&str>, Vec<&str>) = pictures.partition(|file| file.contains('/'));
    let folders: BTreeSet<&str> = inside
        .iter()
        .filter_map(|file| Some(file.split_once('/')?.0))
        .collect();
    let texts = read.len() > inside.len() + beside.len();
    (!texts && folders.len() > 1 && !beside.is_empty()).then(|| {
        format!(
            "the folders {} are no classes, because {} lies beside them; format = \"classes\" makes them so",
            named(folders),
            named(beside)
        )
    })
}

/// A name without its ending.
pub(crate) fn stem(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

/// The files of the pairs' folders, by the names of their pictures without endings.
struct Partners<'a> {
    /// What they are, their folder with `/`, their files.
    kinds: Vec<(Kind, String, HashMap<&'a str, &'a str>)>,
}

#[derive(Clone, Copy)]
enum Kind {
    Mask,
    Boxes,
    Low,
}

impl<'a> Partners<'a> {
    fn find(files: &'a [String], pairs: &Pairs) -> Self {
        let given = [
            (Kind::Mask, &pairs.masks),
            (Kind::Boxes, &pairs.boxes),
            (Kind::Low, &pairs.low),
        ];
        let mut kinds = Vec::new();
        for (kind, folder) in given {
            let Some(folder) = folder else { continue };
            let folder = format!("{}/", folder.trim_matches('/'));
            let fits = |name: &str| match kind {
                Kind::Boxes => name.ends_with(".json"),
                Kind::Mask | Kind::Low => is_picture_name(name),
            };
            let inside = files.iter().filter_map(|file| {
                let name = file.strip_prefix(&folder)?;
                fits(name).then_some((stem(name), file.as_str()))
            });
            kinds.push((kind, folder.clone(), inside.collect()));
        }
        Self { kinds }
    }

    fn add_to(&self, entry: &mut Entry, file: &str) {
        for (kind, folder, files) in &self.kinds {
            let Some(partner) = files.get(stem(file)) else {
                entry.picture = Err(format!("{folder} holds no file of its name"));
                return;
            };
            let place = Place::file(*partner);
            match kind {
                Kind::Mask => entry.mask = Some(place),
                Kind::Boxes => entry.boxes = Some(Part::File(place)),
                Kind::Low => entry.low = Some(place),
            }
        }
    }
}
