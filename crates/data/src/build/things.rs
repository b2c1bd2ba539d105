//! What people call the things that drawings show.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

use super::collection::unnumbered;
use crate::{
    Error,
    compose::{Colour, Drawing},
};

/// A thing with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    /// What it is called.
    pub name: String,
    /// What people call it as well, which captions say at times.
    pub also: Vec<String>,
    /// What sets of drawings call it, which captions never say.
    pub drawn_as: Vec<String>,
}

/// A list of things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Things {
    list: Vec<Thing>,
    by_name: HashMap<String, usize>,
}

/// The first line of a list.
const HEAD: &str = "thing\talso\tdrawn as";

/// The list of the data set that [`default_set`](super::default_set) makes.
const OWN: &str = include_str!("../../../../configs/default/things.tsv");

impl Things {
    /// The list that the program carries: 375 things that people ask for and at least five drawings show.
    ///
    /// # Errors
    /// None: its form is tested.
    pub fn own() -> Result<Self, Error> {
        Self::parse("the program's list of things", OWN)
    }

    /// Reads a list from a file: [`Self::parse`].
    ///
    /// # Errors
    /// A file that cannot be read, is not UTF-8 or no list.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|e| Error::read(&name, e))?;
        Self::parse(&name, &text)
    }

    /// A table with tabs between its columns `thing`, `also` and `drawn as`, names of the last two with commas between them.
    /// `name` is what errors call it.
    ///
    /// # Errors
    /// Another first line, more columns, a thing without a name, a name that two things have, no thing.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let damaged = |line: usize, reason: String| {
            Err(Error::damaged(format!("{name}, line {}", line + 1), reason))
        };
        let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        match lines.next() {
            Some((_, head)) if head.trim_end() == HEAD => {}
            _ => {
                return damaged(
                    0,
                    "expected the columns `thing`, `also` and `drawn as` with tabs between them"
                        .to_owned(),
                );
            }
        }
        let mut list = Vec::new();
        for (line, row) in lines.filter(|(_, row)| !row.trim().is_empty()) {
            let columns: Vec<&str> = row.split('\t').collect();
            if columns.len() > 3 {
                return damaged(
                    line,
                    format!("{} columns, expected at most 3", columns.len()),
                );
            }
            let names = |at: usize| -> Vec<String> {
                let column = columns.get(at).copied().unwrap_or_default();
                let names = column.split(',').map(crate::compose::words);
                names.filter(|name| !name.is_empty()).collect()
            };
            let called = crate::compose::words(columns[0].trim());
            if called.is_empty() {
                return damaged(line, "the thing has no name".to_owned());
            }
            list.push(Thing {
                name: called,
                also: names(1),
                drawn_as: names(2),
            });
        }
        let mut by_name: HashMap<String, usize> = HashMap::new();
        for (at, thing) in list.iter().enumerate() {
            let own = std::iter::once(&thing.name);
            for called in own.chain(&thing.also).chain(&thing.drawn_as) {
                if let Some(before) = by_name.insert(called.clone(), at) {
                    return Err(Error::damaged(
                        name,
                        format!(
                            "`{called}` is a name of `{}` and again of `{}`: leave it with one",
                            list[before].name, thing.name
                        ),
                    ));
                }
            }
        }
        match list.is_empty() {
            false => Ok(Self { list, by_name }),
            true => Err(Error::damaged(name, "it lists nothing")),
        }
    }

    /// Every thing that the drawings show, under the name that they give it.
    pub fn of(drawings: &[Drawing]) -> Self {
        let mut names: Vec<&str> = drawings.iter().map(Drawing::noun).collect();
        names.sort_unstable();
        names.dedup();
        let thing = |name: &&str| Thing {
            name: (*name).to_owned(),
            also: Vec::new(),
            drawn_as: Vec::new(),
        };
        Self {
            list: names.iter().map(thing).collect(),
            by_name: names
                .iter()
                .map(|name| (*name).to_owned())
                .zip(0..)
                .collect(),
        }
    }

    /// The things in the order of the list.
    pub fn list(&self) -> &[Thing] {
        &self.list
    }

    /// The thing of that name.
    pub fn find(&self, name: &str) -> Option<&Thing> {
        self.by_name.get(name).map(|&at| &self.list[at])
    }

    /// What a drawing shows, and its name here: `doughnut 2` is a `donut`, `green doughnut` a `green donut`.
    pub fn named(&self, concept: &str) -> Option<(&Thing, String)> {
        let plain = unnumbered(concept);
        let whole = self.find(concept).or_else(|| self.find(&plain));
        if let Some(thing) = whole {
            return Some((thing, thing.name.clone()));
        }
        let (word, rest) = plain.split_once(' ')?;
        let colour = Colour::of_word(word)?;
        let thing = self.find(rest)?;
        Some((thing, format!("{} {}", colour.word(), thing.name)))
    }

    /// Gives drawings their names here, and other names for captions in place of tags.
    pub fn name(&self, drawings: &mut [Drawing]) {
        for drawing in drawings.iter_mut() {
            match self.named(&drawing.concept) {
                Some((thing, concept)) => {
                    drawing.concept = concept;
                    drawing.names = thing.also.clone();
                    drawing.tags.clear();
                }
                None => drawing.concept = unnumbered(&drawing.concept),
            }
        }
    }

    /// Leaves out drawings of no thing of the list: letters, times, marks and parts of user interfaces, by their names, and
    /// silhouettes whose name no other drawing has. Gives how many.
    pub fn leave_out(&self, drawings: &mut Vec<Drawing>) -> usize {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for drawing in drawings.iter() {
            *counts.entry(drawing.noun().to_owned()).or_default() += 1;
        }
        let before = drawings.len();
        drawings.retain(|drawing| {
            let lone = drawing.style == "silhouette" && counts[drawing.noun()] == 1;
            self.find(drawing.noun()).is_some() || !is_sign(&drawing.concept) && !lone
        });
        before - drawings.len()
    }

    /// The names of things that none of the drawings shows.
    pub fn missing(&self, drawings: &[Drawing]) -> Vec<String> {
        let shown: HashSet<&str> = drawings.iter().map(Drawing::noun).collect();
        let missing = self
            .list
            .iter()
            .filter(|thing| !shown.contains(thing.name.as_str()));
        missing.map(|thing| thing.name.clone()).collect()
    }

    /// The list as [`Self::parse`] reads it, without the things of those names.
    pub fn table(&self, without: &[String]) -> String {
        let mut text = format!("{HEAD}\n");
        for thing in self
            .list
            .iter()
            .filter(|thing| !without.contains(&thing.name))
        {
            let (also, drawn_as) = (thing.also.join(", "), thing.drawn_as.join(", "));
            text += &format!("{}\t{also}\t{drawn_as}\n", thing.name);
        }
        text
    }
}

/// Words of names that stand for letters, times, marks and parts of user interfaces.
const SIGNS: &[&str] = &[
    "oclock",
    "thirty",
    "keycap",
    "letters",
    "arrow",
    "arrows",
    "sign",
    "symbol",
    "mark",
    "input",
    "button",
    "abstract",
    "align",
    "alignment",
    "app",
    "browser",
    "chart",
    "code",
    "cursor",
    "data",
    "database",
    "download",
    "email",
    "file",
    "folder",
    "logo",
    "menu",
    "network",
    "tarot",
    "text",
    "upload",
    "user",
    "zodiac",
    "aries",
    "taurus",
    "gemini",
    "cancer",
    "leo",
    "virgo",
    "libra",
    "scorpio",
    "sagittarius",
    "capricorn",
    "aquarius",
    "pisces",
    "ophiuchus",
];

/// Whether a name stands for a letter, a time, a mark or a part of a user interface.
fn is_sign(concept: &str) -> bool {
    // A bow and arrow is a thing.
    let first = concept
        .split(' ')
        .take_while(|word| !["and", "with"].contains(word));
    let words: Vec<&str> = first.collect();
    let short = |word: &str| word.chars().count() == 1;
    words.iter().any(|word| SIGNS.contains(word))
        || !words.is_empty() && words.iter().all(|word| short(word))
        || matches!(words[..], ["letter", letter] if short(letter))
        || words.len() > 1 && words[0] == "no"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Things {
        let text =
            "thing\talso\tdrawn as\ncat\tkitten, kitty\tcat face\ndonut\tdoughnut\t\n\norange\n";
        Things::parse("list", text).unwrap()
    }

    fn drawing(concept: &str, style: &str) -> Drawing {
        Drawing::svg(concept, style, "")
    }

    #[test]
    fn drawings_get_the_names_that_people_use() {
        let things = list();
        let named = |concept: &str| things.named(concept).map(|(_, name)| name);
        assert_eq!(named("cat face").as_deref(), Some("cat"));
        assert_eq!(named("doughnut 2").as_deref(), Some("donut"));
        assert_eq!(named("green doughnut").as_deref(), Some("green donut"));
        assert_eq!(named("orange").as_deref(), Some("orange"));
        assert_eq!(named("hot cat"), None);
        assert_eq!(named("red"), None);
        let mut drawings = vec![
            drawing("cat face", "cartoon"),
            drawing("two oclock", "cartoon"),
            drawing("letter b", "cartoon"),
            drawing("love letter", "cartoon"),
            drawing("bow and arrow", "cartoon"),
            drawing("p90", "silhouette"),
            drawing("owl", "silhouette"),
            drawing("owl", "cartoon"),
            drawing("orange", "silhouette"),
            drawing("zoo 3", "cartoon"),
        ];
        drawings[0].tags = vec!["pet".to_owned()];
        things.name(&mut drawings);
        assert_eq!(things.leave_out(&mut drawings), 3);
        let names: Vec<&str> = drawings.iter().map(|d| d.concept.as_str()).collect();
        let kept = [
            "cat",
            "love letter",
            "bow and arrow",
            "owl",
            "owl",
            "orange",
            "zoo",
        ];
        assert_eq!(names, kept);
        assert_eq!(drawings[0].names, ["kitten", "kitty"]);
        assert!(drawings[0].tags.is_empty());
        assert_eq!(things.missing(&drawings), ["donut"]);
    }

    #[test]
    fn lists_are_read_and_written() {
        let things = list();
        assert_eq!(things.list().len(), 3);
        assert_eq!(Things::parse("again", &things.table(&[])).unwrap(), things);
        let less = Things::parse("less", &things.table(&["donut".to_owned()])).unwrap();
        assert!(less.find("donut").is_none() && less.find("kitten").is_some());
        let refused = |text: &str| Things::parse("list", text).unwrap_err().to_string();
        assert!(refused("cat\n").contains("line 1"), "{}", refused("cat\n"));
        for (rows, said) in [
            ("cat\n\tkitten", "line 3"),
            ("cat\ta\tb\tc", "4 columns"),
            (
                "cat\nlion\tcat",
                "`cat` is a name of `cat` and again of `lion`",
            ),
            ("", "lists nothing"),
        ] {
            let error = refused(&format!("{HEAD}\n{rows}\n"));
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_programs_own_list_is_whole() {
        let things = Things::own().unwrap();
        assert_eq!(things.list().len(), 375);
        for (name, thing) in [
            ("cat face", "cat"),
            ("doughnut", "donut"),
            ("sauropod", "dinosaur"),
            ("t rex", "dinosaur"),
            ("gem stone", "diamond"),
            ("couch and lamp", "sofa"),
            ("red apple", "red apple"),
        ] {
            let named = things.named(name).map(|(_, name)| name);
            assert_eq!(named.as_deref(), Some(thing), "{name}");
        }
        let sorted = things.list().is_sorted_by(|a, b| a.name < b.name);
        assert!(sorted, "the list is in the order of names");
    }
}
