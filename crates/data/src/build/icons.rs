//! Drawings of a folder, with what is said of them.

use std::path::Path;

use image::RgbaImage;

use super::collection::unnumbered;
use crate::{
    Error,
    compose::{Art, Drawing, article, clear_ground, is_opaque, trim, words},
    counted, decode,
    source::{CAPTIONS, captions, named, stem},
    store::{Place, Store},
};

/// The drawings of a folder.
#[derive(Debug, Clone)]
pub struct Icons {
    /// The drawings.
    pub art: Art,
    /// What was left out, and what is perhaps not as it was meant: a sentence each.
    pub notes: Vec<String>,
}

/// An SVG drawing on a ground of its own is cut out at this size.
const CUT_AT: u32 = 512;

/// The SVG, PNG, WebP and JPEG files of a folder. `cat.txt` or `cat.caption` beside `cat.png` says what it shows: up to the
/// first comma and without the article its name, behind that words that go with it. Where there is none, the file's name says it
/// (`red-apple.png`), a number at its end aside. The folder a file lies in says how it is drawn, or `style` where it lies in the
/// folder itself. A picture without transparency is cut out of its ground where that is plain.
///
/// # Errors
/// A folder that cannot be read or holds no drawing; a drawing that is damaged, shows nothing, or whose caption is not UTF-8 or
/// empty.
pub fn icons(folder: &Path, style: &str) -> Result<Icons, Error> {
    let path = folder.display().to_string();
    let (mut store, file) = Store::open(&path, &[])?;
    if file.is_some() {
        return Err(Error::read(
            path,
            "it is a file, expected a folder of drawings",
        ));
    }
    let listing = store.list()?;
    let mut notes = listing.notes;
    let texts = captions(&listing.files);
    let mut drawings = Vec::new();
    let (mut others, mut whole): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for file in &listing.files {
        let name = store.name(file);
        let ending = file.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
        let ending = ending.unwrap_or_default();
        let is_svg = ending == "svg";
        if !is_svg && !decode::ENDINGS.contains(&ending.as_str()) {
            let caption = CAPTIONS.iter().any(|known| known[1..] == ending);
            if !caption {
                others.push(file);
            }
            continue;
        }
        let (place, last) = file.rsplit_once('/').unwrap_or(("", file));
        let style = if place.is_empty() {
            style.to_owned()
        } else {
            words(place)
        };
        let (concept, tags) = match texts.get(stem(file)) {
            Some(text) => said(&store, text)?,
            None => (unnumbered(&words(stem(last))), Vec::new()),
        };
        let bytes = store.read(&Place::file(file.as_str()))?;
        let nothing = || Error::damaged(&name, "it shows nothing that can be seen");
        let mut drawing = if is_svg {
            let text =
                String::from_utf8(bytes).map_err(|_| Error::damaged(&name, "it is not UTF-8"))?;
            let drawing = Drawing::svg(concept.as_str(), style.as_str(), text);
            let mut picture = drawing.render(CUT_AT).ok_or_else(nothing)?;
            match is_opaque(&picture) && clear_ground(&mut picture) {
                true => Drawing::pixels(concept, style, trim(&picture, 1).ok_or_else(nothing)?),
                false => drawing,
            }
        } else {
            let mut picture: RgbaImage = decode::dynamic(&name, &bytes)?.into_rgba8();
            if is_opaque(&picture) && !clear_ground(&mut picture) {
                whole.push(file);
            }
            let picture = trim(&picture, 1).ok_or_else(nothing)?;
            let drawing = Drawing::pixels(concept, style, picture);
            drawing.render(64).ok_or_else(nothing)?;
            drawing
        };
        drawing.tags = tags;
        drawings.push(drawing);
    }
    if drawings.is_empty() {
        return Err(Error::Empty {
            path,
            reason: "looked for .svg, .png, .webp and .jpg".to_owned(),
        });
    }
    let mut note = |files: Vec<&str>, what: &str, said: &str| {
        if !files.is_empty() {
            notes.push(format!(
                "{} {said}: {}",
                counted(files.len(), what),
                named(files)
            ));
        }
    };
    note(others, "file", "neither drawings nor captions, left out");
    note(
        whole,
        "picture",
        "without transparency or a plain ground, taken whole",
    );
    Ok(Icons {
        art: Art { drawings },
        notes,
    })
}

/// The name and the other words of a caption's file.
fn said(store: &Store, file: &str) -> Result<(String, Vec<String>), Error> {
    let name = store.name(file);
    let text = String::from_utf8(store.read(&Place::file(file))?)
        .map_err(|_| Error::damaged(&name, "it is not UTF-8"))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    let (concept, tags) = parts(text);
    match concept.is_empty() {
        false => Ok((concept, tags)),
        true => Err(Error::damaged(&name, "it says nothing of what is drawn")),
    }
}

/// `A red cat, pet` is a `red cat` with the word `pet`.
fn parts(text: &str) -> (String, Vec<String>) {
    let mut parts = text
        .split([',', '\n'])
        .map(plain)
        .filter(|part| !part.is_empty());
    let first = parts.next().unwrap_or_default();
    let without = first.split_once(' ').filter(|(word, rest)| {
        *word == "the" || ["a", "an"].contains(word) && article(rest) == *word
    });
    let concept = without.map_or(first.as_str(), |(_, rest)| rest).to_owned();
    (concept, parts.collect())
}

/// Lower case with single spaces, without a full stop.
fn plain(text: &str) -> String {
    let text = text.trim().trim_end_matches('.').to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Icons {
    /// The style that most drawings have; of several the first by name.
    pub fn house(&self) -> Option<String> {
        let mut styles = std::collections::BTreeMap::<&str, usize>::new();
        for drawing in &self.art.drawings {
            *styles.entry(&drawing.style).or_default() += 1;
        }
        let most = styles
            .into_iter()
            .max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0)));
        most.map(|(style, _)| style.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_taken_apart() {
        let (concept, tags) = parts("A red cat, pet,  Sitting\n");
        assert_eq!(
            (concept.as_str(), tags),
            ("red cat", vec!["pet".to_owned(), "sitting".to_owned()])
        );
        assert_eq!(parts("An owl.").0, "owl");
        assert_eq!(parts("the moon").0, "moon");
        assert_eq!(parts("a").0, "a");
        assert_eq!(parts(" , ").0, "");
    }
}
