//! One drawing by itself.

use image::{RgbImage, imageops};

use super::{
    Drawing, caption,
    looks::{CONTRAST, Look, distance, looks, may_mirror},
    scene::{Background, Group, Relation, background},
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

/// Pictures of a drawing, one for each seed, `size` pixels wide and high: the first as it is drawn, the others also in other
/// colours. Fewer where a drawing stands out before no background. Of a drawing that is
/// [held out](super::Split::holds_out) there is only the first, and no other is painted into one that is.
pub fn singles(drawing: &Drawing, size: u32, seeds: &[u64]) -> Vec<Single> {
    let looks = looks(drawing, true);
    let Some(own) = looks.first() else {
        return Vec::new();
    };
    let allowed: Vec<&Look> = looks.iter().filter(|look| !look.held_out).collect();
    let seeds = match own.held_out {
        true => &seeds[..seeds.len().min(1)],
        false => seeds,
    };
    let pictures = seeds.iter().enumerate().filter_map(|(at, &seed)| {
        let painted = at > 0 && random::unit(seed, &[1]) < 0.5;
        let look = match painted {
            true => allowed[random::below(seed, &[2], allowed.len())],
            false => own,
        };
        let tries = (0..TRIES).map(|attempt| random::draw(seed, &[3, attempt]));
        tries
            .into_iter()
            .find_map(|seed| single(drawing, look, size, seed))
    });
    pictures.collect()
}

/// None where the drawing does not stand out.
fn single(drawing: &Drawing, look: &Look, size: u32, seed: u64) -> Option<Single> {
    let behind = background(seed);
    let stands_out = |colour| distance(look.mean, Background::rgb(colour)) >= CONTRAST;
    if !behind.colours().all(stands_out) {
        return None;
    }
    let side = f64::from(size) * (0.72 + 0.22 * random::unit(seed, &[40]));
    let mut cut = drawing.render((side as u32).max(8))?;
    if let (true, Some(colour)) = (look.painted, look.colour) {
        colour.paint(&mut cut);
    }
    if may_mirror(drawing) && random::unit(seed, &[41]) < 0.5 {
        imageops::flip_horizontal_in_place(&mut cut);
    }
    let mut picture = behind.picture(size);
    // In the middle, give or take half of what is left.
    let start = |length: u32, purpose: u64| {
        let free = f64::from(size - length.min(size));
        (free * (0.25 + 0.5 * random::unit(seed, &[purpose]))) as u32
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
        style: drawing.style.clone(),
    };
    Some(Single {
        caption: words(drawing, &group, behind, seed),
        picture,
        group,
        background: behind,
    })
}

/// The caption, at times with other words for what is shown.
fn words(drawing: &Drawing, group: &Group, behind: Background, seed: u64) -> String {
    let mut text = caption::caption(
        std::slice::from_ref(group),
        Relation::None,
        behind,
        Some(&drawing.style),
        random::draw(seed, &[44]),
    );
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
            let made = singles(drawing, 64, &seeds);
            assert_eq!(made, singles(drawing, 64, &seeds));
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
