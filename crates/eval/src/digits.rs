//! Numbers on sheets, in letters of five by seven points.

use image::{Rgb, RgbImage};

/// Pixels of a point.
const POINT: u32 = 2;
/// Height of a number in pixels.
pub(crate) const HEIGHT: u32 = 7 * POINT;

/// Rows of each digit from above, five bits each, the highest on the left.
const SHAPES: [[u8; 7]; 10] = [
    [0x0E, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0E],
    [0x04, 0x0C, 0x04, 0x04, 0x04, 0x04, 0x0E],
    [0x0E, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1F],
    [0x0E, 0x11, 0x01, 0x06, 0x01, 0x11, 0x0E],
    [0x02, 0x06, 0x0A, 0x12, 0x1F, 0x02, 0x02],
    [0x1F, 0x10, 0x1E, 0x01, 0x01, 0x11, 0x0E],
    [0x06, 0x08, 0x10, 0x1E, 0x11, 0x11, 0x0E],
    [0x1F, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
    [0x0E, 0x11, 0x11, 0x0E, 0x11, 0x11, 0x0E],
    [0x0E, 0x11, 0x11, 0x0F, 0x01, 0x02, 0x0C],
];

/// Writes a number in black with its upper left corner there; what lies outside the picture is cut off.
pub(crate) fn write(picture: &mut RgbImage, [left, top]: [u32; 2], number: usize) {
    for (place, digit) in number.to_string().bytes().enumerate() {
        let shape = SHAPES[usize::from(digit - b'0')];
        let left = left + place as u32 * 6 * POINT;
        for (y, row) in (0..).zip(shape) {
            for x in (0..5).filter(|x| row >> (4 - x) & 1 == 1) {
                for (dx, dy) in (0..POINT).flat_map(|x| (0..POINT).map(move |y| (x, y))) {
                    let (x, y) = (left + x * POINT + dx, top + y * POINT + dy);
                    if let Some(pixel) = picture.get_pixel_mut_checked(x, y) {
                        *pixel = Rgb([0; 3]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_stay_inside() {
        let written = |number| {
            let mut picture = RgbImage::from_pixel(40, HEIGHT, Rgb([255; 3]));
            write(&mut picture, [0, 0], number);
            picture
        };
        let all: Vec<RgbImage> = (0..=12).map(written).collect();
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "{i}");
        }
        let mut small = RgbImage::new(4, 4);
        write(&mut small, [2, 2], 123_456);
    }
}
