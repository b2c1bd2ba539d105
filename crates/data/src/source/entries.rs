//! The one table of places that most formats are.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{About, Source};
use crate::{
    Error, LabelledBox, Labels, Raw, decode,
    json::{self, Class},
    store::{Place, Store},
};

/// Captions and class files are no longer.
const MAX_TEXT: u64 = 1 << 16;
/// Enough of a file for its header in almost every case.
const HEADER: u64 = 1 << 16;

/// Something that the index holds, or a file of its own does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part<T> {
    Given(T),
    File(Place),
}

/// Where the parts of one picture lie.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub id: String,
    /// The picture, or why there is none.
    pub picture: Result<Place, String>,
    pub caption: Option<Part<String>>,
    pub class: Option<Part<Class>>,
    pub mask: Option<Place>,
    pub boxes: Option<Part<Value>>,
    pub low: Option<Place>,
    /// What the further columns hold that were asked for.
    pub columns: Vec<String>,
    /// A JSON object that may hold caption, class and boxes.
    pub json: Option<Place>,
}

impl Entry {
    pub fn new(id: impl Into<String>, picture: Result<Place, String>) -> Self {
        Self {
            id: id.into(),
            picture,
            caption: None,
            class: None,
            mask: None,
            boxes: None,
            low: None,
            columns: Vec::new(),
            json: None,
        }
    }
}

/// Pictures by their places.
#[derive(Debug)]
pub(super) struct Entries {
    pub store: Store,
    pub entries: Vec<Entry>,
    pub classes: Vec<String>,
    pub background: [u8; 3],
    pub about: About,
}

/// The sorted names that classes are given by: as numbers where all are numbers, so that 10 comes after 9.
pub(super) fn names(entries: &[Entry]) -> Vec<String> {
    let name = |entry: &Entry| match &entry.class {
        Some(Part::Given(Class::Name(name))) => Some(name.clone()),
        _ => None,
    };
    let names: BTreeSet<String> = entries.iter().filter_map(name).collect();
    let mut names: Vec<String> = names.into_iter().collect();
    let number = |name: &String| name.parse::<u64>().ok();
    if names.iter().all(|name| number(name).is_some()) {
        names.sort_by_key(number);
    }
    names
}

/// A small text file without the mark that some editors put before it.
pub(super) fn text(name: &str, bytes: Vec<u8>) -> Result<String, Error> {
    let wide = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    let text = String::from_utf8(bytes).map_err(|_| {
        let reason = match wide {
            true => "it is UTF-16: save it as UTF-8",
            false => "it is not UTF-8: save it as UTF-8",
        };
        Error::damaged(name, reason)
    })?;
    Ok(text.trim_start_matches('\u{feff}').trim().to_owned())
}

/// The first of the usual names that an object has.
pub(super) fn member<'a>(object: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    let found = names.iter().find_map(|name| object.get(*name));
    found.filter(|value| !value.is_null())
}

/// A caption: a text, a number as one, or the first of several.
pub(super) fn caption(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Array(list) if !list.is_empty() => caption(&list[0]),
        other => Err(format!("the caption {other} is no text")),
    }
}

/// A class from a number or a name.
pub(super) fn class(value: &Value) -> Result<Class, String> {
    match value {
        Value::String(name) => Ok(Class::of_text(name)),
        Value::Number(n) => n
            .as_u64()
            .or_else(|| n.as_f64().filter(|v| v.fract() == 0.0).map(|v| v as u64))
            .and_then(|n| u32::try_from(n).ok())
            .map(Class::Id)
            .ok_or_else(|| format!("the class {n} is no whole number of 32 bits")),
        other => Err(format!("the class {other} is neither a number nor a name")),
    }
}

pub(super) const CAPTION: &[&str] = &["text", "caption", "prompt"];
pub(super) const CLASS: &[&str] = &["class", "label"];
pub(super) const BOXES: &[&str] = &["boxes"];

impl Entries {
    fn entry(&self, index: usize) -> Result<(&Entry, &Place), Error> {
        let entry = self
            .entries
            .get(index)
            .ok_or_else(|| Error::setting("index", index, format!("there are {}", self.len())))?;
        match &entry.picture {
            Ok(place) => Ok((entry, place)),
            Err(reason) => Err(Error::damaged(&entry.id, reason)),
        }
    }

    fn small(&self, place: &Place) -> Result<String, Error> {
        let name = self.store.name(&place.file);
        let bytes = self.store.read_up_to(place, MAX_TEXT + 1)?;
        match bytes.len() as u64 > MAX_TEXT {
            true => Err(Error::damaged(name, "a text of more than 64 KiB")),
            false => text(&name, bytes),
        }
    }

    fn json(&self, place: &Place) -> Result<Value, Error> {
        let bytes = self.store.read(place)?;
        serde_json::from_slice(&bytes).map_err(|e| Error::damaged(self.store.name(&place.file), e))
    }

    fn boxes(&self, entry: &Entry, value: Value) -> Result<Vec<LabelledBox>, Error> {
        // A file may hold the list itself or an object around it.
        let list = match value {
            Value::Object(mut object) => object.remove("boxes").unwrap_or(Value::Null),
            list => list,
        };
        json::boxes(&entry.id, list, &self.classes)
    }

    /// Fills in what the picture's JSON object says.
    fn add_json(&self, entry: &Entry, place: &Place, labels: &mut Labels) -> Result<(), Error> {
        let Value::Object(object) = self.json(place)? else {
            return Err(Error::damaged(&entry.id, "its JSON is no object"));
        };
        let damaged = |reason| Error::damaged(&entry.id, reason);
        if let (None, Some(value)) = (&labels.caption, member(&object, CAPTION)) {
            labels.caption = Some(caption(value).map_err(damaged)?);
        }
        if let (None, Some(value)) = (labels.class, member(&object, CLASS)) {
            let class = class(value).map_err(damaged)?;
            labels.class = Some(class.resolve(&entry.id, &self.classes)?);
        }
        if let Some(boxes) = member(&object, BOXES) {
            labels.boxes = self.boxes(entry, boxes.clone())?;
        }
        Ok(())
    }

    /// What belongs to an entry.
    fn labels_of(&self, entry: &Entry, mask: bool) -> Result<Labels, Error> {
        let mut labels = Labels {
            caption: match &entry.caption {
                None => None,
                Some(Part::Given(text)) => Some(text.clone()),
                Some(Part::File(place)) => Some(self.small(place)?),
            },
            ..Labels::default()
        };
        let class = match &entry.class {
            None => None,
            Some(Part::Given(class)) => Some(class.clone()),
            Some(Part::File(place)) => Some(Class::of_text(&self.small(place)?)),
        };
        labels.class = class
            .map(|class| class.resolve(&entry.id, &self.classes))
            .transpose()?;
        if let Some(place) = entry.mask.as_ref().filter(|_| mask) {
            let name = self.store.name(&place.file);
            labels.mask = Some(decode::grey(&name, &self.store.read(place)?)?);
        }
        match &entry.boxes {
            None => {}
            Some(Part::Given(value)) => labels.boxes = self.boxes(entry, value.clone())?,
            Some(Part::File(place)) => labels.boxes = self.boxes(entry, self.json(place)?)?,
        }
        if let Some(place) = &entry.json {
            self.add_json(entry, place, &mut labels)?;
        }
        Ok(labels)
    }
}

impl Source for Entries {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn id(&self, index: usize) -> String {
        self.entries
            .get(index)
            .map_or_else(String::new, |e| e.id.clone())
    }

    fn size(&self, index: usize) -> Result<[u32; 2], Error> {
        let (entry, place) = self.entry(index)?;
        let start = self.store.read_up_to(place, HEADER)?;
        match decode::size(&entry.id, &start) {
            Err(_) if start.len() as u64 == HEADER => {
                decode::size(&entry.id, &self.store.read(place)?)
            }
            size => size,
        }
    }

    fn read(&self, index: usize) -> Result<Raw, Error> {
        let (entry, place) = self.entry(index)?;
        let picture = decode::rgb(&entry.id, &self.store.read(place)?, self.background)?;
        let low = match &entry.low {
            None => None,
            Some(place) => {
                let name = self.store.name(&place.file);
                let bytes = self.store.read(place)?;
                Some(decode::rgb(&name, &bytes, self.background)?)
            }
        };
        let labels = self.labels_of(entry, true)?;
        Ok(Raw {
            id: entry.id.clone(),
            picture,
            caption: labels.caption,
            class: labels.class,
            mask: labels.mask,
            boxes: labels.boxes,
            low,
            columns: entry.columns.clone(),
        })
    }

    fn labels(&self, index: usize, mask: bool) -> Result<Labels, Error> {
        let (entry, _) = self.entry(index)?;
        self.labels_of(entry, mask)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn about(&self) -> About {
        self.about.clone()
    }
}
