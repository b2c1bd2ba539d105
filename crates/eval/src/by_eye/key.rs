//! What the numbered pictures are, and what counts as their name.

use latent_data::build::Things;
use latent_data::compose::{Colour, find, number, plural};
use serde::{Deserialize, Serialize};

/// What the pictures are, in the order of their numbers, which begin at 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The model that drew.
    pub model: String,
    /// What the order and the noise were drawn from.
    pub seed: u64,
    /// The pictures.
    pub pictures: Vec<Picture>,
}

/// A picture of the test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// On the sheet, and in the name of its file.
    pub number: usize,
    /// Where it comes from.
    pub kind: Kind,
    /// The prompt, or the real picture's name in its set.
    pub from: String,
    /// What may be said of it. More can be written here before the words are scored.
    pub names: Vec<String>,
}

/// Where a picture comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The model drew it.
    Drawn,
    /// It is a real held-out drawing.
    Real,
}

/// Words before a name that say nothing of what the thing is: articles, numbers, colours.
fn is_beside(word: &str) -> bool {
    ["a", "an", "the", "some"].contains(&word)
        || Colour::of_word(word).is_some()
        || (1..=10).any(|count| number(count) == word)
        || word.bytes().all(|b| b.is_ascii_digit())
}

/// In small letters with single spaces, without a mark at the end, articles, numbers and colours before the name: `Two red apples!`
/// is `apples`. A colour alone is itself.
pub(super) fn bare(text: &str) -> String {
    let text = text.to_lowercase();
    let words = text
        .split(|c: char| c.is_whitespace() || ['-', '_'].contains(&c))
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    let beside = words.iter().take_while(|word| is_beside(word)).count();
    words[beside.min(words.len().saturating_sub(1))..].join(" ")
}

/// The part of a prompt that says what is drawn: before the first comma, its ground, and what is told of with whom or where.
fn subject(prompt: &str) -> &str {
    let ends = [",", " on a ", " on an ", " with ", " in front of "];
    let end = ends.iter().filter_map(|end| prompt.find(end)).min();
    &prompt[..end.unwrap_or(prompt.len())]
}

/// What may be said of a picture that a prompt asks for: its own words, and every name of the things of the list that these say.
pub(super) fn of_prompt(prompt: &str, list: &Things) -> Vec<String> {
    let said = subject(prompt);
    let whole = prompt.split(',').next().unwrap_or_default();
    let whole = whole.split(" on a").next().unwrap_or_default();
    let mut names = vec![bare(said), bare(whole)];
    let says = |name: &String| find(said, name).or_else(|| find(said, &plural(name)));
    // A longer name covers those within it: a teddy bear is no bear.
    let mut found: Vec<(usize, &str, &latent_data::build::Thing)> = Vec::new();
    for thing in list.list() {
        for name in std::iter::once(&thing.name)
            .chain(&thing.also)
            .chain(&thing.drawn_as)
        {
            if let Some(at) = says(name) {
                found.push((at, name, thing));
            }
        }
    }
    let covered = |(at, name, _): &(usize, &str, &latent_data::build::Thing)| {
        found.iter().any(|(from, longer, _)| {
            longer.len() > name.len() && *from <= *at && at + name.len() <= from + longer.len()
        })
    };
    for one in found.iter().filter(|one| !covered(one)) {
        names.push(one.1.to_owned());
        names.extend(of_thing(&one.2.name, list));
    }
    distinct(names)
}

/// What may be said of a thing: its name in a column, and the list's names for it.
pub(super) fn of_thing(thing: &str, list: &Things) -> Vec<String> {
    let mut names = vec![thing.to_lowercase()];
    if let Some(thing) = list.find(&thing.to_lowercase()) {
        names.push(thing.name.clone());
        names.extend(thing.also.iter().cloned());
    }
    distinct(names)
}

/// Each once, in the order in which they come; none that is empty.
fn distinct(names: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        if !name.is_empty() && !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// Whether words name a picture: its names, one or several of it, with an article, a number or a colour before it or without;
/// where more than one thing is shown, each part between "and"s and commas.
pub(super) fn is_named(words: &str, names: &[String]) -> bool {
    let known = |part: &str| {
        let part = bare(part);
        names
            .iter()
            .map(|name| bare(name))
            .any(|name| part == name || part == plural(&name) || plural(&part) == name)
    };
    let lower = words.to_lowercase();
    let mut parts = lower
        .split([',', '/', '&'])
        .flat_map(|part| part.split(" and "));
    known(words) || parts.all(|part| !part.trim().is_empty() && known(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Things {
        let text = "thing\talso\tdrawn as\ncar\tautomobile, auto\t\nbear\t\tbear face\nteddy bear\t\t\ncup of coffee\tcoffee\t\n\
                    apple\t\t\nbanana\t\t\npizza\tslice of pizza\t\nsunglasses\t\t\ncat\tkitten\t\ndog\tpuppy\t\nchili\thot pepper\t\n";
        Things::parse("list", text).unwrap()
    }

    #[test]
    fn prompts_have_names() {
        let list = list();
        let of = |prompt: &str| of_prompt(prompt, &list);
        assert_eq!(of("a red automobile"), ["automobile", "car", "auto"]);
        assert_eq!(of("a teddy bear"), ["teddy bear"]);
        assert_eq!(of("two red apples"), ["apples", "apple"]);
        let slice = of("a slice of pizza, cartoon");
        assert!(
            slice.contains(&"pizza".to_owned()) && slice.contains(&"slice of pizza".to_owned())
        );
        let smile = of("a smiling face with sunglasses");
        assert_eq!(smile, ["smiling face", "smiling face with sunglasses"]);
        let both = of("a cat above a dog");
        assert!(
            both.contains(&"kitten".to_owned()) && both.contains(&"puppy".to_owned()),
            "{both:?}"
        );
        assert_eq!(of("a blue gizmo on a white background"), ["gizmo"]);
        assert_eq!(of_thing("Car", &list), ["car", "automobile", "auto"]);
        assert_eq!(of_thing("gizmo", &list), ["gizmo"]);
    }

    #[test]
    fn words_are_names_in_any_form() {
        let names = ["apple".to_owned(), "red fruit".to_owned()];
        for words in [
            "apple",
            "An Apple.",
            "red apple",
            "two apples",
            "the red fruit",
            " APPLE! ",
            "apples",
        ] {
            assert!(is_named(words, &names), "{words}");
        }
        for words in [
            "",
            "pear",
            "apple pie",
            "pineapple",
            "a",
            "red",
            "apple and pear",
            "?",
        ] {
            assert!(!is_named(words, &names), "{words}");
        }
        let pair = ["cat".to_owned(), "dog".to_owned()];
        for words in ["cat and dog", "a cat, a dog", "dog", "cats & dogs"] {
            assert!(is_named(words, &pair), "{words}");
        }
        assert!(!is_named("cat and mouse", &pair));
        assert!(
            is_named("orange", &["orange".to_owned()]),
            "a colour may be a name"
        );
        assert!(is_named("spectacles", &["spectacles".to_owned()]));
    }
}
