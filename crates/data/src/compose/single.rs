//! One drawing by itself.

use image::{RgbImage, imageops};

use super::{
    Colour, Drawing, Framing, Ground, Manner,
    caption::{self, Says},
    looks::{CONTRAST, Finish, Look, distance, looks, may_mirror, styled},
    manner::FITTED,
    scene::{Background, Group, Relation, background, plain},
};
use crate::{decode::over, random};

/// A picture of one thing, and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Single {
    /// The picture.
    pub picture: RgbImage,
    /// What it shows, in words.
    pub caption: String,
    /// The thing.
    pub group: Group,
    /// What is behind it.
    pub background: Background,
}

/// Backgrounds tried before a drawing is given up.
const TRIES: u64 = 32;

/// What is behind a drawing of which nothing else is said: the first before which it stands out.
const UNSAID: [Colour; 4] = [Colour::White, Colour::Blue, Colour::Grey, Colour::Black];

/// How often a caption has another name for the thing, where there are some.
const OTHER_NAMES: f64 = 0.3;

/// Pictures of a drawing, at most one for each seed, `size` pixels wide and high, the first as it is drawn. Fewer where a
/// drawing stands out before no background, or has no more colours. Of a drawing that is
/// [held out](super::Split::holds_out) there is only the first, and no other is painted into one that is.
pub fn singles(drawing: &Drawing, size: u32, seeds: &[u64], manner: &Manner) -> Vec<Single> {
    let looks = looks(drawing, true);
    let Some(own) = looks.first() else {
        return Vec::new();
    };
    let seeds = match own.held_out {
        true => &seeds[..seeds.len().min(1)],
        false => seeds,
    };
    let shown = match manner.styled {
        true => in_turn(drawing, &looks, seeds),
        false => at_random(&looks, seeds),
    };
    let pictures = seeds.iter().zip(shown).filter_map(|(&seed, look)| {
        let tries = (0..TRIES).map(|attempt| random::draw(seed, &[3, attempt]));
        tries
            .into_iter()
            .find_map(|seed| single(drawing, &look, size, seed, manner))
    });
    pictures.collect()
}

/// As it is drawn, then half of the time in some colour.
fn at_random(looks: &[Look], seeds: &[u64]) -> Vec<Look> {
    let allowed: Vec<&Look> = looks.iter().filter(|look| !look.held_out).collect();
    let look = |(at, &seed): (usize, &u64)| {
        let painted = at > 0 && random::unit(seed, &[1]) < 0.5;
        match painted {
            true => *allowed[random::below(seed, &[2], allowed.len())],
            false => looks[0],
        }
    };
    seeds.iter().enumerate().map(look).collect()
}

/// As it is drawn, in another colour, as a silhouette, in grey, then in further colours.
fn in_turn(drawing: &Drawing, looks: &[Look], seeds: &[u64]) -> Vec<Look> {
    let Some((own, painted)) = looks.split_first() else {
        return Vec::new();
    };
    let mut painted: Vec<Look> = painted.iter().filter(|l| !l.held_out).copied().collect();
    random::shuffle(
        &mut painted,
        seeds.first().copied().unwrap_or_default(),
        &[4],
    );
    let mut painted = painted.into_iter();
    let [silhouette, grey] = styled(drawing);
    let first = [Some(*own), painted.next(), silhouette, grey];
    first.into_iter().flatten().chain(painted).collect()
}

/// None where the drawing does not stand out.
fn single(drawing: &Drawing, look: &Look, size: u32, seed: u64, manner: &Manner) -> Option<Single> {
    let says = says(drawing, look, seed, manner);
    let stands_out = |colour| distance(look.mean, Background::rgb(colour)) >= CONTRAST;
    let behind = match (manner.ground, says.ground) {
        (Ground::Any, _) => background(seed),
        (Ground::White, false) => {
            Background::Plain(UNSAID.into_iter().find(|&colour| stands_out(colour))?)
        }
        (Ground::Plain | Ground::White, _) => plain(seed),
    };
    if !behind.colours().all(stands_out) {
        return None;
    }
    let side = match manner.framing {
        Framing::Loose => f64::from(size) * (0.72 + 0.22 * random::unit(seed, &[40])),
        Framing::Fitted => (f64::from(size) * FITTED).round(),
    };
    let mut cut = drawing.render((side as u32).max(8))?;
    look.apply(&mut cut);
    let mirrored = match manner.oriented {
        true => drawing.mirrored,
        false => may_mirror(drawing) && random::unit(seed, &[41]) < 0.5,
    };
    if mirrored {
        imageops::flip_horizontal_in_place(&mut cut);
    }
    let mut picture = behind.picture(size);
    let start = |length: u32, purpose: u64| {
        let free = f64::from(size - length.min(size));
        let part = match manner.framing {
            // In the middle, give or take half of what is left.
            Framing::Loose => 0.25 + 0.5 * random::unit(seed, &[purpose]),
            Framing::Fitted => 0.5,
        };
        (free * part) as u32
    };
    let (left, top) = (start(cut.width(), 42), start(cut.height(), 43));
    for (x, y, pixel) in cut.enumerate_pixels() {
        let (x, y) = (left + x, top + y);
        if x < size && y < size {
            let [r, g, b, alpha] = pixel.0;
            let under = picture.get_pixel_mut(x, y);
            under.0 = over([r, g, b], alpha, under.0);
        }
    }
    let group = Group {
        count: 1,
        colour: look.colour,
        noun: drawing.noun().to_owned(),
        class: 0,
        style: style(drawing, look, true),
    };
    Some(Single {
        caption: words(drawing, look, &group, behind, says, seed),
        picture,
        group,
        background: behind,
    })
}

/// What the caption says. A silhouette and grey are always said, and other styles where they are not of the house.
fn says(drawing: &Drawing, look: &Look, seed: u64, manner: &Manner) -> Says {
    let drawn = Says::drawn(random::draw(seed, &[44]));
    Says {
        style: match look.finish {
            Finish::Silhouette => true,
            _ => drawn.style || manner.must_say(&drawing.style),
        },
        ..drawn
    }
}

/// How a look of the drawing is called; of a grey one it need not be said how it is drawn.
fn style(drawing: &Drawing, look: &Look, whole: bool) -> String {
    match (look.finish, whole) {
        (Finish::Silhouette, _) => "silhouette".to_owned(),
        (Finish::Grey, true) => format!("greyscale {}", drawing.style),
        (Finish::Grey, false) => "greyscale".to_owned(),
        (Finish::Own | Finish::Painted, _) => drawing.style.clone(),
    }
}

/// The caption, at times with other words for what is shown.
fn words(
    drawing: &Drawing,
    look: &Look,
    group: &Group,
    behind: Background,
    says: Says,
    seed: u64,
) -> String {
    let mut group = group.clone();
    if !drawing.names.is_empty() && random::unit(seed, &[48]) < OTHER_NAMES {
        group.noun = drawing.names[random::below(seed, &[49], drawing.names.len())].clone();
    }
    let style = style(drawing, look, says.style);
    let says = Says {
        style: says.style || look.finish == Finish::Grey,
        ..says
    };
    let mut text = caption::caption(&[group], Relation::None, behind, Some(&style), says);
    if random::unit(seed, &[45]) < 0.3 {
        let most = drawing.tags.len().min(3);
        let first = random::below(seed, &[46], drawing.tags.len().max(1));
        for at in 0..random::below(seed, &[47], most + 1) {
            let tag = &drawing.tags[(first + at) % drawing.tags.len()];
            if !text.contains(tag.as_str()) {
                text += &format!(", {tag}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{Art, Split};

    #[test]
    fn a_drawing_is_painted_and_named() {
        let art = Art::shapes();
        let mut colours = std::collections::BTreeSet::new();
        for drawing in &art.drawings {
            let seeds: Vec<u64> = (0..4).collect();
            let made = singles(drawing, 64, &seeds, &Manner::default());
            assert_eq!(made, singles(drawing, 64, &seeds, &Manner::default()));
            if Split::holds_out(&drawing.concept, &drawing.style) {
                assert!(made.len() <= 1);
            }
            for single in &made {
                assert_eq!(single.picture.dimensions(), (64, 64));
                assert!(
                    single.caption.contains(&single.group.noun),
                    "{}",
                    single.caption
                );
                let colour = single.group.colour.expect("a shape has a colour");
                assert!(single.caption.contains(colour.word()), "{}", single.caption);
                colours.insert(colour);
            }
        }
        assert!(colours.len() > 4);
    }
}
