//! What is said of a scene.

use super::{
    Colour,
    english::{article, is_plural, number, plural},
    scene::{Background, Group, Relation},
};
use crate::random;

/// What people write who want one of a thing: `an owl`, `a blue banana`, `grapes`.
pub fn phrase(colour: Option<Colour>, noun: &str) -> String {
    group(&Group {
        count: 1,
        colour,
        noun: noun.to_owned(),
        class: 0,
        style: String::new(),
    })
}

/// A caption with `other` in the place of `noun`, in the plural where it says several, and with the article that goes with it:
/// `an orange owl, flat icon` is `an orange cat, flat icon`, `a red apple` is `red grapes`. `None` where it does not say
/// `noun`.
pub fn with_noun(caption: &str, noun: &str, other: &str) -> Option<String> {
    let several = plural(noun);
    let (start, said, one) = match (find(caption, noun), find(caption, &several)) {
        (Some(at), _) => (at, noun, true),
        (None, at) => (at?, several.as_str(), false),
    };
    let (before, after) = (&caption[..start], &caption[start + said.len()..]);
    let many = is_plural(other);
    if !one {
        let other = if many {
            other.to_owned()
        } else {
            plural(other)
        };
        return Some(format!("{before}{other}{after}"));
    }
    let last = |text: &str| {
        let at = text.trim_end().rfind(' ').map_or(0, |at| at + 1);
        (text[..at].to_owned(), text[at..].trim_end().to_owned())
    };
    let (head, word) = last(before);
    let (head, colour) = match Colour::of_word(&word.to_lowercase()) {
        Some(colour) => (head, Some(colour)),
        None => (before.to_owned(), None),
    };
    let (lead, word) = last(&head);
    let had = ["a", "an"].contains(&word.to_lowercase().as_str());
    let words = match colour {
        Some(colour) => format!("{} {other}", colour.word()),
        None => other.to_owned(),
    };
    Some(match (had, is_plural(noun)) {
        (true, _) if many => format!("{lead}{words}{after}"),
        (true, _) => format!("{lead}{} {words}{after}", article(&words)),
        (false, true) if !many => format!("{head}{} {words}{after}", article(&words)),
        (false, _) => format!("{head}{words}{after}"),
    })
}

/// Where a text says these words, as words and in any letters, first.
pub fn find(text: &str, words: &str) -> Option<usize> {
    let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let starts = text.char_indices().map(|(at, _)| at);
    let mut fits = starts.filter(|&at| {
        let end = at + words.len();
        let same = text
            .get(at..end)
            .is_some_and(|part| part.eq_ignore_ascii_case(words));
        same && !inside(text[..at].chars().next_back()) && !inside(text[end..].chars().next())
    });
    fits.next().filter(|_| !words.is_empty())
}

/// `two red apples`, `an owl`, `green grapes`.
pub(super) fn group(group: &Group) -> String {
    let noun = match group.count {
        1 => group.noun.clone(),
        _ => plural(&group.noun),
    };
    let words = match group.colour {
        Some(colour) => format!("{} {noun}", colour.word()),
        None => noun,
    };
    match group.count {
        1 if is_plural(&group.noun) => words,
        1 => format!("{} {words}", article(&words)),
        count => format!("{} {words}", number(count)),
    }
}

/// What a caption says beside what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Says {
    /// What is behind.
    pub ground: bool,
    /// How it is drawn.
    pub style: bool,
}

impl Says {
    /// In 60 % of captions the background, in half of them the style.
    pub fn drawn(seed: u64) -> Self {
        Self {
            ground: random::unit(seed, &[0]) < 0.6,
            style: random::unit(seed, &[1]) < 0.5,
        }
    }
}

/// The caption of a scene.
pub(super) fn caption(
    groups: &[Group],
    relation: Relation,
    background: Background,
    style: Option<&str>,
    says: Says,
) -> String {
    let named: Vec<String> = groups.iter().map(group).collect();
    let mut text = match (named.as_slice(), relation) {
        ([one], _) => one.clone(),
        ([first, second], relation) => format!("{first} {} {second}", relation.words()),
        (several, Relation::LeftOf) => format!("{} from left to right", list(several)),
        (several, _) => format!("{} from top to bottom", list(several)),
    };
    if says.ground {
        text += &match background {
            Background::Plain(colour) => {
                format!(
                    " on {} {} background",
                    article(colour.word()),
                    colour.word()
                )
            }
            Background::Stacked(top, bottom) => {
                format!(" on a background of {} above {}", top.word(), bottom.word())
            }
        };
    }
    match style.filter(|_| says.style) {
        Some(style) => format!("{text}, {style}"),
        None => text,
    }
}

fn list(parts: &[String]) -> String {
    match parts {
        [init @ .., last] if !init.is_empty() => format!("{} and {last}", init.join(", ")),
        parts => parts.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_are_exchanged() {
        let with = |caption, noun, other| with_noun(caption, noun, other);
        for (caption, noun, other, expected) in [
            ("an owl, flat icon", "owl", "cat", "a cat, flat icon"),
            (
                "a cat on a red background",
                "cat",
                "owl",
                "an owl on a red background",
            ),
            ("an orange owl", "owl", "cat", "an orange cat"),
            ("a red apple", "apple", "grapes", "red grapes"),
            ("grapes on white", "grapes", "owl", "an owl on white"),
            ("Green grapes", "grapes", "owl", "a green owl"),
            ("two red apples", "apple", "mouse", "two red mice"),
            ("two apples", "apple", "grapes", "two grapes"),
            ("owl, pet", "owl", "cat", "cat, pet"),
            ("a Cat", "cat", "owl", "an owl"),
            ("a teddy bear", "teddy bear", "car", "a car"),
        ] {
            assert_eq!(
                with(caption, noun, other).as_deref(),
                Some(expected),
                "{caption}"
            );
        }
        assert_eq!(with("a caterpillar", "cat", "owl"), None);
        assert_eq!(with("", "cat", "owl"), None);
        assert_eq!(with("été cat", "cat", "owl").as_deref(), Some("été owl"));
    }

    #[test]
    fn one_of_a_thing_is_asked_for() {
        assert_eq!(phrase(None, "owl"), "an owl");
        assert_eq!(phrase(Some(Colour::Blue), "owl"), "a blue owl");
        assert_eq!(phrase(None, "grapes"), "grapes");
        assert_eq!(find("a red cat, cat", "cat"), Some(6));
        assert_eq!(find("cats", "cat"), None);
        assert_eq!(find("cats", ""), None);
    }
}
