//! Light and colour: luminance, threshold, a grid of colours.

use super::field::Field;
use super::resize::{Filter, resize_bytes};

/// Bits behind the point of linear light, and of the cube roots' table.
const LIGHT: u32 = 3;
const ROOT: u32 = 15;
/// Bits of the weights of red, green and blue.
const WEIGHT: u32 = 12;

/// CIE's lightness L* of a byte picture in sRGB, 0 to 255 for 0 to 100, in the fixed point in which OpenCV computes it.
pub fn lightness(picture: &Field<u8>) -> Field<u8> {
    let linear: Vec<i64> = (0..=255).map(linear).collect();
    // Y of BT.709's primaries, 0.212671 R + 0.715160 G + 0.072169 B.
    let weights =
        [0.212_671, 0.715_160, 0.072_169].map(|share: f64| share * f64::from(1 << WEIGHT));
    let weights = weights.map(|weight| weight.round_ties_even() as i64);
    let scale = (116 * 255 + 50) / 100;
    let shift = -((16 * 255 * (1 << ROOT) + 50) / 100);
    picture.fold(|rgb| {
        let light = rgb
            .iter()
            .zip(weights)
            .map(|(v, w)| linear[usize::from(*v)] * w);
        let light = rounded(light.sum(), WEIGHT);
        rounded(scale * root(light) + shift, ROOT).clamp(0, 255) as u8
    })
}

/// A byte's light, 255 · 2³ for white.
fn linear(byte: i64) -> i64 {
    let share = byte as f64 / 255.0;
    let light = match share <= 0.04045 {
        true => share / 12.92,
        false => ((share + 0.055) / 1.055).powf(2.4),
    };
    (light * f64::from(255 << LIGHT)).round_ties_even() as i64
}

/// L*'s cube root of light, 2¹⁵ for white.
fn root(light: i64) -> i64 {
    let share = light as f64 / f64::from(255 << LIGHT);
    let root = match share < 0.008_856 {
        true => share * 7.787 + 0.137_931_034_482_758_62,
        false => share.cbrt(),
    };
    (root * f64::from(1 << ROOT)).round_ties_even() as i64
}

fn rounded(value: i64, bits: u32) -> i64 {
    (value + (1 << (bits - 1))) >> bits
}

/// The lightness to the power `gamma`.
pub fn luminance(picture: &Field<u8>, gamma: f64) -> Field<u8> {
    let lightness = lightness(picture);
    match gamma == 1.0 {
        true => lightness,
        false => lightness.map(|v| ((f64::from(v) / 255.0).powf(gamma) * 255.0) as u8),
    }
}

/// White where all channels are above `threshold`, black elsewhere.
pub fn threshold(picture: &Field<u8>, threshold: u8) -> Field<u8> {
    picture.fold(|rgb| match rgb.iter().all(|v| *v > threshold) {
        true => 255,
        false => 0,
    })
}

/// Squares of one colour, about `side` pixels wide (`color grid`).
pub fn colour_grid(picture: &Field<u8>, side: usize) -> Field<u8> {
    let squares = |length: usize| (length / side).max(1);
    let (across, down) = (squares(picture.width), squares(picture.height));
    let small = resize_bytes(picture, across, down, Filter::Cubic);
    resize_bytes(&small, picture.width, picture.height, Filter::Nearest)
}

/// The picture made smaller by `factor` (`tile_resample`); below 1.1, as it is.
pub fn tile(picture: &Field<u8>, factor: f64) -> Field<u8> {
    if factor < 1.1 {
        return picture.clone();
    }
    let smaller = |length: usize| ((length as f64 / factor) as usize).max(1);
    let (width, height) = (smaller(picture.width), smaller(picture.height));
    resize_bytes(picture, width, height, Filter::Area)
}
