//! Lines and scribbles: differences of Gaussians.

use super::field::Field;
use super::gaussian::blur;

/// The deviations of the two blurs of a scribble.
const SCRIBBLE: [f64; 2] = [0.5, 5.0];
/// The deviation of the blur that lines are darker than.
const LINES: f64 = 6.0;
/// Darker by less than this is no line to go by.
const FAINT: f32 = 8.0;
/// Lines are scaled by their median, and by this at least.
const LEAST: f32 = 16.0;

/// The least of the channels' differences.
fn least(a: &Field<f32>, b: &Field<f32>) -> Field<f32> {
    let values = a.values.iter().zip(&b.values).map(|(a, b)| a - b).collect();
    let difference = Field {
        width: a.width,
        height: a.height,
        channels: a.channels,
        values,
    };
    difference.fold(|place| place.iter().copied().fold(f32::INFINITY, f32::min))
}

/// White scribbles on black, where a narrow blur is darker than a wide one (`scribble_xdog`).
///
/// Twice the difference is taken in a byte, as the published extension takes it: of 128 and more, 256 goes away.
pub fn scribble(picture: &Field<u8>, threshold: u8) -> Field<u8> {
    let picture = picture.map(f32::from);
    let [narrow, wide] = SCRIBBLE.map(|sigma| blur(&picture, sigma));
    least(&wide, &narrow).map(|difference| {
        let paper = (255.0 - difference).clamp(0.0, 255.0) as u8;
        match (255 - paper).wrapping_mul(2) > threshold {
            true => 255,
            false => 0,
        }
    })
}

/// White lines on black, where a picture is darker than its surroundings (`lineart_standard`).
pub fn line_art(picture: &Field<u8>) -> Field<u8> {
    let picture = picture.map(f32::from);
    let lines = least(&blur(&picture, LINES), &picture).map(|v| v.clamp(0.0, 255.0));
    let mut strong: Vec<f32> = lines
        .values
        .iter()
        .copied()
        .filter(|v| *v > FAINT)
        .collect();
    strong.sort_by(f32::total_cmp);
    let middle = strong.len() / 2;
    let median = match strong.len() {
        0 => LEAST,
        count if count.is_multiple_of(2) => (strong[middle - 1] + strong[middle]) / 2.0,
        _ => strong[middle],
    };
    let scale = median.max(LEAST);
    lines.map(|v| (v / scale * 127.0).clamp(0.0, 255.0) as u8)
}
