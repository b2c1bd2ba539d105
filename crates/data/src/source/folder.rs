//! Pictures in folders: with captions beside them, or one folder for each class.

use std::collections::HashMap;

use super::entries::{Entry, Part};
use crate::{config::Pairs, decode::is_picture_name, json::Class, store::Place};

/// Every picture, with the `.txt` file of its name.
pub(super) fn entries(files: &[String], pairs: &Pairs) -> Vec<Entry> {
    let partners = Partners::find(files, pairs);
    let pictures = files.iter().filter(|file| is_picture_name(file));
    let entry = |file: &String| {
        let mut entry = Entry::new(file, Ok(Place::file(file.as_str())));
        let text = format!("{}.txt", stem(file));
        let found = files.binary_search(&text).is_ok();
        entry.caption = found.then(|| Part::File(Place::file(text)));
        partners.add_to(&mut entry, file);
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

/// A name without its ending.
fn stem(file: &str) -> &str {
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
