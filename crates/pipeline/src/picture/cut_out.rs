//! The object of a picture on a plain background, cut out.

use super::{Grey, Picture};

/// How far from the background's colour a pixel may be to belong to it, in levels of the channel that differs most.
const NEAR: i32 = 14;
/// The share of the edge's pixels that must have that colour for a background to be plain.
const PLAIN: f64 = 0.6;
/// How many pixels around the background an object's soft edge may be wide.
const EDGE: usize = 2;

impl Picture {
    /// The picture with an alpha channel that leaves the background out: what has the colour of the picture's edge and
    /// can be reached from there. The pixels between it and the object are taken for mixtures of the two, and get the
    /// object's colour and its share. `None` where the edge has no one colour.
    pub fn cut_out(&self) -> Option<Self> {
        let (width, height) = (self.width, self.height);
        let edge = || {
            (0..width * height).filter(|at| {
                let (x, y) = (at % width, at / width);
                x == 0 || y == 0 || x + 1 == width || y + 1 == height
            })
        };
        let colour = |at: usize| -> [u8; 3] { [0, 1, 2].map(|c| self.rgb[3 * at + c]) };
        let back: [u8; 3] = [0, 1, 2].map(|c| {
            let mut values: Vec<u8> = edge().map(|at| self.rgb[3 * at + c]).collect();
            values.sort_unstable();
            values[values.len() / 2]
        });
        let apart: Vec<i32> = (0..width * height)
            .map(|at| {
                let differences = colour(at).into_iter().zip(back);
                let each = differences.map(|(a, b)| (i32::from(a) - i32::from(b)).abs());
                each.max().unwrap_or(0)
            })
            .collect();
        let plain = edge().filter(|&at| apart[at] <= NEAR).count() as f64;
        if plain < PLAIN * edge().count() as f64 {
            return None;
        }

        let around = |at: usize, reach: usize| {
            let (x, y) = (at % width, at / width);
            let columns = x.saturating_sub(reach)..=(x + reach).min(width - 1);
            let rows = y.saturating_sub(reach)..=(y + reach).min(height - 1);
            rows.flat_map(move |y| columns.clone().map(move |x| y * width + x))
        };
        let mut outside = vec![false; width * height];
        let mut open: Vec<usize> = edge().filter(|&at| apart[at] <= NEAR).collect();
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut outside[at], true) {
                open.extend(around(at, 1).filter(|&next| !outside[next] && apart[next] <= NEAR));
            }
        }

        let mut rgb = self.rgb.clone();
        let mut alpha = vec![255; width * height];
        for at in 0..width * height {
            if outside[at] {
                alpha[at] = 0;
            } else if around(at, EDGE).any(|near| outside[near]) {
                // The object's own colour is that of the neighbour that is furthest from the background.
                let far = around(at, EDGE).max_by_key(|&near| apart[near]);
                let far = far.unwrap_or(at);
                let share = f64::from(apart[at]) / f64::from(apart[far].max(1));
                alpha[at] = (255.0 * share).round() as u8;
                if far != at {
                    rgb[3 * at..3 * at + 3].copy_from_slice(&colour(far));
                }
            }
        }
        let alpha = Grey::new(width, height, alpha)?;
        Self::new(width, height, rgb)?.with_alpha(alpha)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::{files::Format, metadata::Metadata};

    /// A dark disc on a light ground, its rim mixed of the two, with a hole of the ground's colour.
    fn disc() -> Picture {
        let mut rgb = Vec::new();
        for at in 0..32 * 32 {
            let (x, y) = ((at % 32) as f64 - 15.5, (at / 32) as f64 - 15.5);
            let radius = x.hypot(y);
            let share = if radius < 3.0 {
                0.0
            } else {
                (10.5 - radius).clamp(0.0, 1.0)
            };
            rgb.extend(
                [200.0, 210.0, 190.0].map(|back| (20.0 * share + back * (1.0 - share)) as u8),
            );
        }
        Picture::new(32, 32, rgb).unwrap()
    }

    #[test]
    fn an_object_is_cut_out_and_laid_back_where_it_was() {
        let picture = disc();
        let cut = picture.cut_out().unwrap();
        let alpha = cut.alpha().unwrap();
        let at = |x: usize, y: usize| alpha.values()[y * 32 + x];
        assert_eq!((at(0, 0), at(31, 16), at(16, 8)), (0, 0, 255));
        assert_eq!(at(15, 15), 255, "a hole is not reached from the edge");
        assert!(alpha.values().iter().any(|a| (1..255).contains(a)));
        for format in [Format::Png, Format::WebP] {
            let file = cut.encode(format, 95, &Metadata::default()).unwrap();
            assert_eq!(Picture::decode("cut", &file).unwrap(), cut);
        }
        let back = cut.flatten([200, 210, 190]);
        let most = back.rgb().iter().zip(picture.rgb());
        let most = most.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(most <= 14, "{most}");
    }

    #[test]
    fn a_picture_without_a_plain_edge_is_not_cut() {
        let rgb = (0..16 * 16 * 3).map(|i| (i * 37 % 251) as u8).collect();
        assert!(Picture::new(16, 16, rgb).unwrap().cut_out().is_none());
    }
}
