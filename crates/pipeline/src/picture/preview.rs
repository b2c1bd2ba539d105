//! A quick look at a latent, without a decoder: each cell becomes one pixel by a linear map.

use super::{Picture, resize::Filter};
use crate::request::Size;

/// How the four channels of a Stable Diffusion 1 latent show as red, green and blue in [−1, 1]: keturn's fit
/// (<https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204>).
const SD1: [[f32; 3]; 4] = [
    [0.298, 0.207, 0.208],
    [0.187, 0.286, 0.173],
    [-0.158, 0.189, 0.264],
    [-0.184, -0.271, -0.473],
];

/// The channels of the latents that can be shown.
pub const PREVIEWED: usize = SD1.len();

/// The picture of a latent `[4, height, width]` in the U-Net's scale (standard deviation near 1), one pixel a cell.
/// `None` for another number of values.
pub fn sd1(latent: &[f32], width: usize, height: usize) -> Option<Picture> {
    let area = width.checked_mul(height)?;
    if latent.len() != area.checked_mul(4)? {
        return None;
    }
    let planes: Vec<f32> = (0..3)
        .flat_map(|colour| (0..area).map(move |i| (colour, i)))
        .map(|(colour, i)| (0..4).map(|c| latent[c * area + i] * SD1[c][colour]).sum())
        .collect();
    Picture::from_planes(width, height, &planes, true)
}

/// The picture as text for a terminal of true colour: each character is two pixels, the upper one its background and
/// the lower one a half block. At most `columns` characters wide. Lines end in a colour reset.
pub fn terminal(picture: &Picture, columns: usize) -> String {
    let width = picture.width().min(columns.max(1));
    let height = (picture.height() * width / picture.width()).max(1);
    let small = picture.resize(Size { width, height }, Filter::Area);
    let mut text = String::new();
    for y in (0..height).step_by(2) {
        for x in 0..width {
            let [r, g, b] = small.pixel(x, y);
            text += &format!("\x1b[48;2;{r};{g};{b}m");
            match y + 1 < height {
                true => {
                    let [r, g, b] = small.pixel(x, y + 1);
                    text += &format!("\x1b[38;2;{r};{g};{b}m▄");
                }
                false => text.push(' '),
            }
        }
        text += "\x1b[0m\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_latent_is_grey() {
        let grey = sd1(&[0.0; 16], 2, 2).unwrap();
        assert_eq!(grey.rgb(), [128; 12]);
        assert!(sd1(&[0.0; 15], 2, 2).is_none());
        let red = sd1(&[3.0, 0.0, 0.0, 0.0], 1, 1).unwrap().pixel(0, 0);
        assert_eq!(red, [241, 207, 207]);
    }

    #[test]
    fn two_rows_make_a_line() {
        let text = terminal(&Picture::plain(4, 3, [1, 2, 3]), 80);
        assert_eq!(text.lines().count(), 2);
        assert_eq!(text.matches('▄').count(), 4);
        assert!(text.contains("48;2;1;2;3"));
        assert_eq!(
            terminal(&Picture::plain(40, 40, [0; 3]), 10)
                .lines()
                .count(),
            5
        );
    }
}
