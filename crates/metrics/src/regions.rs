//! What stands before a plain background: its pixels, and how many things they make up.

use crate::Error;

/// Two colours are one where they are no farther apart: Euclidean, in 0..=441. Noise of a decoder is nearer, things that
/// should stand out are farther.
const APART: f64 = 45.0;
/// A background is plain where so many pixels along the edges have its colour.
const PLAIN: f64 = 0.9;

/// The pixels of a picture that are not its background.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreground {
    /// The background's red, green and blue.
    pub background: [u8; 3],
    /// Whether a pixel stands before it: `[height, width]`.
    pub mask: Vec<bool>,
}

/// Pixels that touch, by side or by corner.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Their places in the picture, row · width + column, ascending.
    pub pixels: Vec<usize>,
    /// Their mean column and row.
    pub centre: [f64; 2],
}

/// Finds the background of a picture by its edge, 1/64 of the shorter side wide and 1 pixel at least: the median of
/// each channel there. `None` where less than 90 % of the edge has that colour, so that the background is not plain.
///
/// # Shapes
/// `rgb`: `[height, width, 3]`, bytes
///
/// # Errors
/// Bytes that do not fill the shape, or none.
pub fn foreground(rgb: &[u8], [height, width]: [usize; 2]) -> Result<Option<Foreground>, Error> {
    length("a picture's bytes", rgb.len(), 3 * height * width)?;
    let (pixels, _) = rgb.as_chunks::<3>();
    let border = (height.min(width) / 64).max(1);
    let inside = |at: usize, side: usize| at >= border && at + border < side;
    let on_edge = |i: &usize| !(inside(i / width, height) && inside(i % width, width));
    let edge: Vec<[u8; 3]> = (0..pixels.len())
        .filter(on_edge)
        .map(|i| pixels[i])
        .collect();
    let background = [0, 1, 2].map(|channel| {
        let mut values: Vec<u8> = edge.iter().map(|pixel| pixel[channel]).collect();
        let middle = values.len() / 2;
        *values.select_nth_unstable(middle).1
    });
    let same = |pixel: &&[u8; 3]| near(**pixel, background);
    let plain = edge.iter().filter(same).count() as f64 >= PLAIN * edge.len() as f64;
    Ok(plain.then(|| Foreground {
        background,
        mask: pixels
            .iter()
            .map(|pixel| !near(*pixel, background))
            .collect(),
    }))
}

/// The components of a mask that have `least` pixels or more, in the order of their first pixels.
///
/// # Shapes
/// `mask`: `[height, width]`
///
/// # Errors
/// A mask that does not fill the shape, or is empty.
pub fn components(
    mask: &[bool],
    [height, width]: [usize; 2],
    least: usize,
) -> Result<Vec<Component>, Error> {
    length("a mask", mask.len(), height * width)?;
    let mut left = mask.to_vec();
    let mut found = Vec::new();
    for first in 0..mask.len() {
        if !std::mem::take(&mut left[first]) {
            continue;
        }
        let mut pixels = vec![first];
        let mut at = 0;
        while at < pixels.len() {
            let (row, column) = (pixels[at] / width, pixels[at] % width);
            for y in row.saturating_sub(1)..(row + 2).min(height) {
                for x in column.saturating_sub(1)..(column + 2).min(width) {
                    if std::mem::take(&mut left[y * width + x]) {
                        pixels.push(y * width + x);
                    }
                }
            }
            at += 1;
        }
        if pixels.len() < least {
            continue;
        }
        pixels.sort_unstable();
        let mean = |of: fn(usize, usize) -> usize| {
            let sum: usize = pixels.iter().map(|i| of(*i, width)).sum();
            sum as f64 / pixels.len() as f64
        };
        found.push(Component {
            centre: [mean(|i, width| i % width), mean(|i, width| i / width)],
            pixels,
        });
    }
    Ok(found)
}

fn near(a: [u8; 3], b: [u8; 3]) -> bool {
    let squares = a
        .iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - f64::from(b)).powi(2));
    squares.sum::<f64>() <= APART * APART
}

fn length(what: &'static str, found: usize, expected: usize) -> Result<(), Error> {
    match found == expected && found > 0 {
        true => Ok(()),
        false => Err(Error::Length {
            what,
            found,
            expected: expected.max(1),
        }),
    }
}
