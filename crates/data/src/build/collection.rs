//! Everything that may be drawn from: emoji, icons and clip art, with plain names.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::{
    Fetcher, Notice,
    clip_art::{self, clip_art},
    packages::{self, EMOJIBASE, FLUENT_3D, art, member, members},
};
use crate::{
    Error,
    compose::{Art, Drawing, words},
    random,
};

/// What an emoji is called.
#[derive(Debug, Deserialize)]
struct Label {
    label: String,
    hexcode: String,
    #[serde(default)]
    tags: Vec<String>,
}

/// Labels by what they are called and by code point.
struct Labels {
    all: Vec<Label>,
    by_name: HashMap<String, usize>,
    by_code: HashMap<String, usize>,
    /// Names without their spaces, for a set that writes them so.
    joined: HashMap<String, usize>,
}

impl Labels {
    fn read(fetcher: &Fetcher) -> Result<Self, Error> {
        let file = fetcher.npm(EMOJIBASE.name, EMOJIBASE.version, EMOJIBASE.sha256)?;
        let text = member(&file, "package/en/data.json")?;
        let mut all: Vec<Label> =
            serde_json::from_slice(&text).map_err(|e| Error::damaged(EMOJIBASE.name, e))?;
        for label in &mut all {
            label.label = plain(&label.label);
        }
        let places = || all.iter().enumerate();
        let by_name = places().map(|(at, l)| (l.label.clone(), at)).collect();
        let by_code = places().map(|(at, l)| (code(&l.hexcode), at)).collect();
        let joined = places()
            .map(|(at, l)| (l.label.replace(' ', ""), at))
            .collect();
        Ok(Self {
            by_name,
            by_code,
            joined,
            all,
        })
    }
}

/// Code points without the marks that only choose a style of presentation.
fn code(hex: &str) -> String {
    let parts = hex
        .split('-')
        .map(|part| part.trim_start_matches('0').to_ascii_lowercase());
    parts
        .filter(|part| part != "fe0f")
        .collect::<Vec<_>>()
        .join("-")
}

/// Lower case, without marks: `flag: France` is `flag france`.
fn plain(label: &str) -> String {
    let letters = label
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    words(&letters.collect::<String>())
}

/// Folders of icons that show things.
const THINGS: &[&str] = &[
    "Animals",
    "Baby",
    "Clothes",
    "Energy",
    "Foods",
    "Game",
    "Hands",
    "Hardware",
    "Health",
    "Industry",
    "Life",
    "Makeups",
    "Measurement",
    "Music",
    "Peoples",
    "Sports",
    "Travel",
    "Weather",
];

/// Words of names that show no thing, show it by letters, belong to a firm, or are no gift for a child.
const NOT_SHOWN: &[&str] = &[
    "middle finger",
    "regional indicator",
    "regional",
    "ideograph",
    "keycap",
    "button",
    "squared",
    "kanji",
    "katakana",
    "symbol for",
    "dribbble",
    "stumbleupon",
    "facebook",
    "twitter",
    "linkedin",
    "google",
    "android os",
    "apple logo",
    "vkontakte",
    "spotify",
];

/// Names of skin tones, as sets write them behind a name.
const TONES: &[&str] = &["medium light", "medium dark", "light", "medium", "dark"];

/// One in so many drawings that differ by the tone of skin alone is kept.
const TONES_KEPT: u64 = 5;

/// Every drawing of every set, each once, and whose they are.
///
/// # Errors
/// A package that cannot be fetched or is damaged.
pub fn collection(
    fetcher: &Fetcher,
    note: &mut dyn FnMut(&str),
) -> Result<(Art, Vec<Notice>), Error> {
    let labels = Labels::read(fetcher)?;
    let mut drawings = Vec::new();
    let mut notices = Vec::new();
    for package in packages::packages() {
        note(package.key);
        let set = art(fetcher, package, &[])?;
        let names: HashSet<String> = set.drawings.iter().map(|d| d.concept.clone()).collect();
        for mut drawing in set.drawings {
            match package.key {
                "fxemoji" => match labels.joined.get(&drawing.concept.replace(' ', "")) {
                    Some(&at) => drawing.concept = labels.all[at].label.clone(),
                    None => continue,
                },
                "icon-park" if !THINGS.contains(&drawing.category.as_str()) => continue,
                "icon-park" | "streamline-color" => drawing.concept = unnumbered(&drawing.concept),
                _ => {}
            }
            if let Some(concept) = toned(&drawing.concept, &names) {
                if !random::key(&format!("{concept} {}", drawing.style)).is_multiple_of(TONES_KEPT)
                {
                    continue;
                }
                drawing.concept = concept;
            }
            drawings.push(drawing);
        }
        notices.push(Notice::Package(*package));
    }
    note(FLUENT_3D.key);
    drawings.extend(fluent_3d(fetcher, &labels)?);
    notices.push(Notice::Package(FLUENT_3D));
    note("openclipart");
    drawings.extend(clip_art(fetcher)?);
    notices.push(Notice::Credit(clip_art::NOTICE.to_owned()));
    for drawing in &mut drawings {
        if let Some(&at) = labels.by_name.get(&drawing.concept) {
            let tags = labels.all[at].tags.iter().map(|tag| plain(tag));
            drawing.tags = tags
                .filter(|tag| !drawing.concept.contains(tag.as_str()))
                .collect();
        }
    }
    drawings.retain(|drawing| !NOT_SHOWN.iter().any(|word| drawing.concept.contains(word)));
    notices.push(Notice::Package(EMOJIBASE));
    Ok((Art { drawings }, notices))
}

/// The name with its tone of skin in full, if it has one: `man walking light` beside `man walking`.
fn toned(concept: &str, names: &HashSet<String>) -> Option<String> {
    if concept.contains("skin tone") {
        return Some(concept.to_owned());
    }
    let (base, tone) = TONES.iter().find_map(|tone| {
        let base = concept.strip_suffix(tone)?.strip_suffix(' ')?;
        Some((base, tone))
    })?;
    names
        .contains(base)
        .then(|| format!("{base} with {tone} skin tone"))
}

/// Without the number of a variant: `sofa two` and `kiosk 1`.
pub(super) fn unnumbered(concept: &str) -> String {
    const NUMBERS: &[&str] = &["one", "two", "three", "four", "five"];
    match concept.rsplit_once(' ') {
        Some((base, last))
            if NUMBERS.contains(&last) || last.bytes().all(|b| b.is_ascii_digit()) =>
        {
            base.to_owned()
        }
        _ => concept.to_owned(),
    }
}

/// The pictures of the set that lies in files, by code point; without flags of countries, which are not its maker's.
fn fluent_3d(fetcher: &Fetcher, labels: &Labels) -> Result<Vec<Drawing>, Error> {
    let file = fetcher.npm(FLUENT_3D.name, FLUENT_3D.version, FLUENT_3D.sha256)?;
    let mut drawings = Vec::new();
    members(&file, &mut |name, bytes| {
        let stem = name
            .strip_prefix("package/assets/")
            .and_then(|n| n.strip_suffix(".webp"));
        let Some(stem) = stem.map(code) else {
            return;
        };
        // Tones of skin have their code points.
        let toned = (0x1f3fb..=0x1f3ff).any(|tone| stem.contains(&format!("{tone:x}")));
        let Some(&at) = labels.by_code.get(&stem) else {
            return;
        };
        let label = &labels.all[at].label;
        if toned || label.starts_with("flag ") {
            return;
        }
        drawings.push(Drawing::file(label.as_str(), FLUENT_3D.style, bytes));
    })?;
    drawings.sort_by(|a, b| a.concept.cmp(&b.concept));
    Ok(drawings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_plain() {
        assert_eq!(plain("flag: France"), "flag france");
        assert_eq!(code("0023-FE0F-20E3"), "23-20e3");
        assert_eq!(unnumbered("sofa two"), "sofa");
        assert_eq!(unnumbered("kiosk 1"), "kiosk");
        assert_eq!(unnumbered("two"), "two");
        let names = HashSet::from(["man walking".to_owned()]);
        assert_eq!(
            toned("man walking medium light", &names).as_deref(),
            Some("man walking with medium light skin tone")
        );
        assert_eq!(toned("traffic light", &names), None);
    }
}
