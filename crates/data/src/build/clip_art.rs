//! The Open Clip Art Library, from Debian's packages: pictures from one, titles and tags from the other.

use std::{collections::HashMap, io::Read, path::Path, process::Command};

use super::{Fetcher, fetch};
use crate::{
    Error,
    compose::{Drawing, words},
};

const PICTURES: (&str, &str) = (
    "openclipart-png_1%3a0.18+dfsg-19_all.deb",
    "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
);
const TITLES: (&str, &str) = (
    "openclipart-svg_1%3a0.18+dfsg-19_all.deb",
    "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
);

pub(super) const NOTICE: &str = "Open Clip Art Library 0.18, its artists, https://openclipart.org\n  \
    Licence: public domain (drawings that say otherwise are left out). Debian packages openclipart-png and openclipart-svg";

/// Folders of computer-made stars, of parts of user interfaces and of marks that belong to somebody.
const LEFT_OUT: &[&str] = &["shapes/stars/", "computer/icons/", "logos/", "buttons/"];

/// A title that more files have is none; their names are.
const MOST_ALIKE: usize = 3;

/// Drawings with a title, decoded at use.
///
/// # Errors
/// A package that cannot be fetched or opened.
pub(super) fn clip_art(fetcher: &Fetcher) -> Result<Vec<Drawing>, Error> {
    let mut named: HashMap<String, (String, Vec<String>)> = HashMap::new();
    each_file(
        &fetcher.deb(TITLES.0, TITLES.1)?,
        ".svg",
        &mut |name, bytes| {
            let text = String::from_utf8_lossy(&bytes);
            let free = text.contains("web.resource.org/cc/PublicDomain")
                || text.contains("creativecommons.org/licenses/publicdomain");
            if let (true, Some(title)) = (free, title(&text)) {
                named.insert(name.to_owned(), (title, tags(&text)));
            }
        },
    )?;
    let mut times: HashMap<String, usize> = HashMap::new();
    for (title, _) in named.values() {
        *times.entry(title.clone()).or_default() += 1;
    }
    let mut drawings = Vec::new();
    each_file(
        &fetcher.deb(PICTURES.0, PICTURES.1)?,
        ".png",
        &mut |name, bytes| {
            let Some((title, tags)) = named.get(name) else {
                return;
            };
            let trusted = times[title] <= MOST_ALIKE
                && ![" by ", "clipart", "rollandin"]
                    .iter()
                    .any(|word| title.contains(word));
            let file = || plain(name.rsplit('/').next().unwrap_or(name), 3);
            let Some(title) = (if trusted { Some(title.clone()) } else { file() }) else {
                return;
            };
            let mut drawing = Drawing::file(title, "clip art", bytes);
            drawing.category = name.split('/').next().unwrap_or_default().to_owned();
            drawing.tags = tags.clone();
            drawings.push(drawing);
        },
    )?;
    drawings.sort_by(|a, b| (&a.category, &a.concept).cmp(&(&b.category, &b.concept)));
    Ok(drawings)
}

/// Files of that ending, by their place below `openclipart/FORMAT/` and without the ending.
fn each_file(
    package: &Path,
    ending: &str,
    each: &mut dyn FnMut(&str, Vec<u8>),
) -> Result<(), Error> {
    let mut command = Command::new("dpkg-deb");
    let tar = fetch::run(command.arg("--fsys-tarfile").arg(package), package)?;
    let name = package.display().to_string();
    let failed = |e: std::io::Error| Error::damaged(&name, e);
    let mut archive = tar::Archive::new(&tar[..]);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let inside = path
            .split_once("/openclipart/")
            .and_then(|(_, rest)| rest.split_once('/'));
        let Some(place) = inside.and_then(|(_, rest)| rest.strip_suffix(ending)) else {
            continue;
        };
        if !entry.header().entry_type().is_file()
            || LEFT_OUT.iter().any(|out| place.starts_with(out))
        {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(failed)?;
        each(place, bytes);
    }
    Ok(())
}

/// What lies between the first pair of such tags.
fn between<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>"))
}

fn title(text: &str) -> Option<String> {
    let (title, _) = between(text, "dc:title")?;
    plain(title, 6)
}

/// Articles, and a maker of many signs.
const NO_NAMES: &[&str] = &["a", "an", "the", "aiga"];

/// As words of letters without the digits behind them, where there are some and no more than `most`.
fn plain(text: &str, most: usize) -> Option<String> {
    let text = words(text.trim());
    let letters = |word: &&str| word.chars().all(|c| c.is_ascii_alphabetic() || c == '\'');
    let kept: Vec<&str> = text
        .split(' ')
        .filter(letters)
        .filter(|word| !word.is_empty())
        .collect();
    let kept = match kept.split_first() {
        Some((first, rest)) if !rest.is_empty() && NO_NAMES.contains(first) => rest,
        _ => &kept,
    };
    (!kept.is_empty() && kept.len() <= most && kept.iter().any(|word| word.len() > 2))
        .then(|| kept.join(" "))
}

fn tags(text: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let Some((_, after)) = text.split_once("<dc:subject>") else {
        return tags;
    };
    let mut rest = after.split("</dc:subject>").next().unwrap_or_default();
    while let Some((tag, after)) = between(rest, "rdf:li") {
        tags.extend(plain(tag, 3).filter(|tag| tag != "hash" && !tag.starts_with("unsorted")));
        rest = after;
    }
    tags.dedup();
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_and_tags_are_read() {
        let text = "<dc:title>Red_Apple 01</dc:title><dc:subject><rdf:Bag><rdf:li>fruit</rdf:li>\
            <rdf:li>HASH(0x8)</rdf:li><rdf:li>food</rdf:li></rdf:Bag></dc:subject>";
        assert_eq!(title(text).as_deref(), Some("red apple"));
        assert_eq!(tags(text), ["fruit", "food"]);
        assert_eq!(title("<dc:title>0042</dc:title>"), None);
        assert_eq!(title("<dc:title>a b c d e f g</dc:title>"), None);
    }
}
