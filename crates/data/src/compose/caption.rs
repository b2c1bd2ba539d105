//! What is said of a scene.

use super::{
    english::{article, is_plural, number, plural},
    scene::{Background, Group, Relation},
};
use crate::random;

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
