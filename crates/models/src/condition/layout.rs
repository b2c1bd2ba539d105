//! Layouts as sequences of tokens.
//!
//! As the published layout models have it: an object is three tokens, its class and the upper left and lower right corner
//! of its box, where a corner is a cell of a square grid with as many cells as the vocabulary allows. Objects that are
//! not there are three times the last token. Two more tokens may say which part of the whole picture is seen.

use serde::{Deserialize, Serialize};

/// One object of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutBox {
    /// The object's class, from 0.
    pub class: u32,
    /// Left, upper, right and lower edge as fractions of the picture, 0 to 1.
    #[serde(rename = "box")]
    pub edges: [f32; 4],
}

/// How layouts become tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutTokens {
    /// Classes of objects.
    pub classes: usize,
    /// The most objects of a layout; those with the smallest boxes are left out.
    pub objects: usize,
    /// Whether two tokens at the end give the corners of the crop.
    #[serde(default)]
    pub crop: bool,
}

impl LayoutTokens {
    /// Tokens of every layout.
    pub fn length(&self) -> usize {
        3 * self.objects + if self.crop { 2 } else { 0 }
    }

    /// The tokens of a layout, of a vocabulary of `vocabulary`; `crop` has the edges of the part of the whole picture
    /// that is seen. No boxes make the empty layout, which stands for "no condition".
    pub fn encode(&self, boxes: &[LayoutBox], crop: [f32; 4], vocabulary: usize) -> Vec<u32> {
        let side = vocabulary.isqrt();
        let corner = |x: f32, y: f32| {
            let cell =
                |v: f32| (v.clamp(0.0, 1.0) * side.saturating_sub(1) as f32).round() as usize;
            (cell(y) * side + cell(x)) as u32
        };
        let nothing = vocabulary.saturating_sub(1) as u32;
        let area = |b: &LayoutBox| (b.edges[2] - b.edges[0]) * (b.edges[3] - b.edges[1]);
        let mut largest: Vec<&LayoutBox> = boxes.iter().collect();
        largest.sort_by(|a, b| area(b).total_cmp(&area(a)));
        let mut tokens: Vec<u32> = largest
            .iter()
            .take(self.objects)
            .flat_map(|b| {
                let [left, top, right, bottom] = b.edges;
                [b.class, corner(left, top), corner(right, bottom)]
            })
            .collect();
        tokens.resize(3 * self.objects, nothing);
        if self.crop {
            tokens.extend([corner(crop[0], crop[1]), corner(crop[2], crop[3])]);
        }
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_objects_come_first_and_the_rest_is_nothing() {
        let tokens = LayoutTokens {
            classes: 5,
            objects: 3,
            crop: true,
        };
        let of = |class, edges| LayoutBox { class, edges };
        let whole = [0.0, 0.0, 1.0, 1.0];
        let small = of(4, [0.5, 0.0, 1.0, 0.5]);
        let got = tokens.encode(&[small, of(2, whole)], whole, 103);
        // A grid of 10×10 cells: the middle of an edge is cell 4.5, rounded away from zero.
        assert_eq!(got, [2, 0, 99, 4, 5, 59, 102, 102, 102, 0, 99]);
        assert_eq!(got.len(), tokens.length());
        let many = vec![small; 7];
        assert_eq!(tokens.encode(&many, whole, 103).len(), tokens.length());
        assert_eq!(tokens.encode(&[], whole, 103)[..9], [102; 9]);
    }
}
