//! One orientation for all drawings of a thing: most animals look either way, and their mean is a blur of both.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Drawing, looks::may_mirror};

/// The side of masks.
const SIDE: usize = 32;
/// Rounds after which no drawing is turned any more; a few suffice.
const ROUNDS: usize = 20;

/// How opaque a drawing is over a square of 32×32, 0 to 255, by rows. Its longer side fills the square, and it is centred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask(Vec<u8>);

impl Mask {
    /// The mask of a drawing; all 0 where nothing can be seen.
    pub fn of(drawing: &Drawing) -> Self {
        let mut cells = vec![0; SIDE * SIDE];
        if let Some(picture) = drawing.render(SIDE as u32) {
            let start = |length: u32| (SIDE as u32 - length) / 2;
            let (left, top) = (start(picture.width()), start(picture.height()));
            for (x, y, pixel) in picture.enumerate_pixels() {
                cells[(top + y) as usize * SIDE + (left + x) as usize] = pixel.0[3];
            }
        }
        Self(cells)
    }

    fn cells(&self, mirrored: bool) -> impl Iterator<Item = i64> + '_ {
        (0..SIDE * SIDE).map(move |at| {
            let (row, column) = (at / SIDE, at % SIDE);
            let column = if mirrored { SIDE - 1 - column } else { column };
            i64::from(self.0[row * SIDE + column])
        })
    }
}

/// Sets [`Drawing::mirrored`] so that drawings of one [noun](Drawing::noun) look the same way.
pub fn orient(drawings: &mut [Drawing]) {
    let masks: Vec<Mask> = drawings.par_iter().map(Mask::of).collect();
    let mut things: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, drawing) in drawings.iter().enumerate() {
        things
            .entry(drawing.noun().to_owned())
            .or_default()
            .push(at);
    }
    for places in things.into_values() {
        let shown: Vec<(&Mask, bool)> = places
            .iter()
            .map(|&at| (&masks[at], may_mirror(&drawings[at])))
            .collect();
        let turned = orientations(&shown);
        for (at, mirrored) in places.into_iter().zip(turned) {
            drawings[at].mirrored = mirrored;
        }
    }
}

/// Which drawings of one thing are mirrored, of masks and whether they may be. Each in turn takes the orientation that is
/// nearer to the mean of all others, until none changes; of two such arrangements that are each other's mirror image it is the
/// one in which more are as they were drawn. Whole numbers alone decide, so all machines agree.
///
/// Of m and its mirror image m', which have the same norm, the one with the larger scalar product with the others' sum is
/// the nearer to their mean.
pub fn orientations(shown: &[(&Mask, bool)]) -> Vec<bool> {
    let mut mirrored = vec![false; shown.len()];
    let mut sum = vec![0i64; SIDE * SIDE];
    let (free, fixed): (Vec<usize>, Vec<usize>) = (0..shown.len()).partition(|&at| shown[at].1);
    for &at in &fixed {
        add(&mut sum, shown[at].0, false, 1);
    }
    // At first by those that came before: with all others as they are drawn, halves that look either way would stay so.
    for &at in &free {
        mirrored[at] = nearer(&sum, shown[at].0, false);
        add(&mut sum, shown[at].0, mirrored[at], 1);
    }
    for _ in 0..ROUNDS {
        let mut changed = false;
        for &at in &free {
            let (mask, was) = (shown[at].0, mirrored[at]);
            add(&mut sum, mask, was, -1);
            mirrored[at] = nearer(&sum, mask, was);
            add(&mut sum, mask, mirrored[at], 1);
            changed |= mirrored[at] != was;
        }
        if !changed {
            break;
        }
    }
    let many = mirrored.iter().filter(|mirrored| **mirrored).count();
    if fixed.is_empty() && 2 * many > shown.len() {
        mirrored
            .iter_mut()
            .for_each(|mirrored| *mirrored = !*mirrored);
    }
    mirrored
}

/// Whether a mask lies nearer when mirrored; where both lie equally near, as it is.
fn nearer(sum: &[i64], mask: &Mask, is: bool) -> bool {
    let product = |mirrored| -> i64 { mask.cells(mirrored).zip(sum).map(|(a, b)| a * b).sum() };
    match product(!is) > product(is) {
        true => !is,
        false => is,
    }
}

fn add(sum: &mut [i64], mask: &Mask, mirrored: bool, times: i64) {
    for (sum, cell) in sum.iter_mut().zip(mask.cells(mirrored)) {
        *sum += times * cell;
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    /// A bar with a foot at the left or at the right, `high` pixels high.
    fn boot(left: bool, high: u32) -> Drawing {
        let seen = |x: u32, y: u32| {
            let x = if left { x } else { 31 - x };
            (20..28).contains(&x) || y >= high - 8 && x < 28
        };
        let picture = RgbaImage::from_fn(32, high, |x, y| {
            Rgba([200, 30, 30, if seen(x, y) { 255 } else { 0 }])
        });
        Drawing::pixels("boot", format!("style {high}"), picture)
    }

    #[test]
    fn drawings_of_a_thing_are_turned_the_same_way() {
        let sides = [true, false, true, true, false, true];
        let mut drawings: Vec<Drawing> = sides
            .iter()
            .zip(24..)
            .map(|(left, high)| boot(*left, high))
            .collect();
        // A thing of its own is as it is drawn, whatever others do.
        let mut other = boot(false, 30);
        other.concept = "sock".to_owned();
        drawings.push(other);
        orient(&mut drawings);
        let mirrored: Vec<bool> = drawings.iter().map(|drawing| drawing.mirrored).collect();
        assert_eq!(mirrored, [false, true, false, false, true, false, false]);
    }

    #[test]
    fn what_may_not_be_mirrored_decides_for_all() {
        let mut drawings = vec![boot(true, 26), boot(true, 27), boot(false, 28)];
        for drawing in &mut drawings {
            drawing.concept = "book".to_owned();
        }
        orient(&mut drawings);
        assert!(drawings.iter().all(|drawing| !drawing.mirrored));
        let masks: Vec<Mask> = drawings.iter().map(Mask::of).collect();
        let shown = [(&masks[0], true), (&masks[1], true), (&masks[2], false)];
        assert_eq!(orientations(&shown), [true, true, false]);
    }

    #[test]
    fn symmetric_drawings_stay() {
        let block = |high: u32| {
            let picture = RgbaImage::from_pixel(32, high, Rgba([9, 9, 9, 255]));
            Mask::of(&Drawing::pixels("block", "flat", picture))
        };
        let masks: Vec<Mask> = (20..26).map(block).collect();
        let shown: Vec<(&Mask, bool)> = masks.iter().map(|mask| (mask, true)).collect();
        assert_eq!(orientations(&shown), [false; 6]);
        assert_eq!(orientations(&[]), Vec::<bool>::new());
    }
}
