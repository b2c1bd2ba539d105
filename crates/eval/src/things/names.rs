//! What things there are, and what they are called.

use std::collections::{BTreeSet, HashMap};

use latent_data::build;
use latent_data::compose::with_noun;

/// The things of a data set, by numbers.
#[derive(Debug)]
pub(crate) struct Names {
    /// What each is called.
    pub all: Vec<String>,
    /// What people call it as well.
    also: Vec<Vec<String>>,
    numbers: HashMap<String, usize>,
}

impl Names {
    /// Everything that the values of a column name; with a list, those things of it alone, by any of their names.
    pub fn of<'a>(values: impl Iterator<Item = &'a str>, list: Option<&build::Things>) -> Self {
        let mut numbers = HashMap::new();
        let mut also = Vec::new();
        let values: BTreeSet<&str> = values.collect();
        let Some(list) = list else {
            let all: Vec<String> = values.into_iter().map(str::to_owned).collect();
            numbers.extend(all.iter().cloned().zip(0..));
            also.resize(all.len(), Vec::new());
            return Self { all, also, numbers };
        };
        let mut all: Vec<String> = Vec::new();
        for value in values {
            let Some(thing) = list.find(&value.to_lowercase()) else {
                continue;
            };
            let number = match all.iter().position(|name| *name == thing.name) {
                Some(number) => number,
                None => {
                    all.push(thing.name.clone());
                    also.push(thing.also.clone());
                    all.len() - 1
                }
            };
            numbers.insert(value.to_owned(), number);
        }
        Self { all, also, numbers }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The thing that a value of the column names.
    pub fn number(&self, value: Option<&str>) -> Option<usize> {
        self.numbers.get(value?).copied()
    }

    /// The caption with others in the place of the thing; `None` where it says none of the thing's names.
    pub fn swapped(&self, caption: &str, thing: usize, others: &[usize]) -> Option<Vec<String>> {
        let names = std::iter::once(&self.all[thing]).chain(&self.also[thing]);
        let said = |name: &&String| with_noun(caption, name, name).is_some();
        let said = names.filter(said).max_by_key(|name| name.len())?;
        let with = |other: &usize| with_noun(caption, said, &self.all[*other]);
        others.iter().map(with).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_what_counts() {
        let text = "thing\talso\tdrawn as\ncat\tkitten\tcat face\nowl\t\t\nfox\t\t\n";
        let list = build::Things::parse("list", text).unwrap();
        let values = ["owl", "cat", "tree", "Cat face"];
        let names = Names::of(values.into_iter(), Some(&list));
        assert_eq!(names.all, ["cat", "owl"]);
        assert_eq!(names.number(Some("Cat face")), Some(0));
        assert_eq!(names.number(Some("tree")), None);
        assert_eq!(names.number(None), None);
        let all = Names::of(values.into_iter(), None);
        assert_eq!(all.all, ["Cat face", "cat", "owl", "tree"]);
        let swapped = |caption: &str| names.swapped(caption, 0, &[1]);
        assert_eq!(
            swapped("a kitten, flat icon").unwrap(),
            ["an owl, flat icon"]
        );
        assert_eq!(swapped("a red cat").unwrap(), ["a red owl"]);
        assert_eq!(swapped("a dog"), None);
    }
}
