//! The colours in which a drawing can be shown.

use image::RgbaImage;

use super::colour::{self, Colour, mean};
use super::{Drawing, Split};

/// Colours are measured at this size.
const MEASURE: u32 = 64;
/// The least distance of an object's mean colour to the background's, in 0..=441.
pub(super) const CONTRAST: f64 = 90.0;

/// What is done to a drawing's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// Nothing.
    Own,
    /// It is painted in the look's colour.
    Painted,
    /// What can be seen of it is black.
    Silhouette,
    /// Brightness takes the place of colours.
    Grey,
}

/// A drawing in one colour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// As captions call it, where they do.
    pub colour: Option<Colour>,
    /// What was done to it.
    pub finish: Finish,
    /// The mean colour of what can be seen, 0 to 255.
    pub mean: [f64; 3],
    /// For tests.
    pub held_out: bool,
}

impl Look {
    /// Makes a drawing as it has it look like this.
    pub fn apply(&self, picture: &mut RgbaImage) {
        match (self.finish, self.colour) {
            (Finish::Own, _) | (Finish::Painted, None) => {}
            (Finish::Painted, Some(colour)) => colour.paint(picture),
            (Finish::Silhouette, _) => colour::blacken(picture),
            (Finish::Grey, _) => colour::grey(picture),
        }
    }
}

/// The looks of a drawing, first as it is drawn; none where nothing can be seen.
pub(super) fn looks(drawing: &Drawing, paint: bool) -> Vec<Look> {
    let Some(picture) = drawing.render(MEASURE) else {
        return Vec::new();
    };
    let (named, noun) = drawing.named_colour();
    // A `black cat` whose pixels are purple is called neither.
    let measured = Colour::of_picture(&picture);
    let own = match (named, measured) {
        (Some(named), Some(measured)) => (named == measured).then_some(named),
        (named, measured) => named.or(measured),
    };
    let held_out = Split::holds_out(&drawing.concept, &drawing.style);
    let mut looks = vec![Look {
        colour: own,
        finish: Finish::Own,
        mean: mean(&picture),
        held_out,
    }];
    let paints = Colour::PAINTS
        .into_iter()
        .filter(|colour| paint && Some(*colour) != own);
    looks.extend(paints.filter_map(|colour| {
        let mut painted = picture.clone();
        colour.paint(&mut painted);
        // Not every drawing has enough hue to take a colour.
        (Colour::of_picture(&painted) == Some(colour)).then(|| Look {
            colour: Some(colour),
            finish: Finish::Painted,
            mean: mean(&painted),
            // A painted red apple is a `blue apple` and no red one; a painted cat is a `blue cat` and still a cat.
            held_out: named.is_none() && held_out
                || Split::holds_out(&format!("{} {noun}", colour.word()), &drawing.style),
        })
    }));
    looks
}

/// A drawing as a silhouette and in grey: not a black one as a silhouette, and none without a hue in grey, for they are that
/// already.
pub(super) fn styled(drawing: &Drawing) -> [Option<Look>; 2] {
    let Some(picture) = drawing.render(MEASURE) else {
        return [None, None];
    };
    let look = |finish| {
        let mut look = Look {
            colour: None,
            finish,
            mean: [0.0; 3],
            held_out: false,
        };
        let mut changed = picture.clone();
        look.apply(&mut changed);
        look.mean = mean(&changed);
        look
    };
    [
        (!colour::is_black(&picture)).then(|| look(Finish::Silhouette)),
        colour::any_hue(&picture).then(|| look(Finish::Grey)),
    ]
}

/// Of two colours, in 0..=441.
pub(super) fn distance(a: [f64; 3], b: [u8; 3]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - f64::from(b)).powi(2));
    squares.sum::<f64>().sqrt()
}

/// Letters and arrows mean something else the other way round.
pub(super) fn may_mirror(drawing: &Drawing) -> bool {
    !["arrow", "left", "right", "sign", "button", "book"]
        .iter()
        .any(|word| drawing.concept.contains(word))
}
