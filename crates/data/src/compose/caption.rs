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

/// The caption of a scene. Whether background and style are named is drawn from the seed.
pub(super) fn caption(
    groups: &[Group],
    relation: Relation,
    background: Background,
    style: Option<&str>,
    seed: u64,
) -> String {
    let named: Vec<String> = groups.iter().map(group).collect();
    let mut text = match (named.as_slice(), relation) {
        ([one], _) => one.clone(),
        ([first, second], relation) => format!("{first} {} {second}", relation.words()),
        (several, Relation::LeftOf) => format!("{} from left to right", list(several)),
        (several, _) => format!("{} from top to bottom", list(several)),
    };
    if random::unit(seed, &[0]) < 0.6 {
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
    match style.filter(|_| random::unit(seed, &[1]) < 0.5) {
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
