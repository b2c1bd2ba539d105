//! How a drawing is put into a picture of its own.

use rayon::prelude::*;

use super::{Drawing, orient::orient};

/// How large a drawing is, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// 72 to 94 % of the picture's side in the box that its file gives it, about the middle.
    #[default]
    Loose,
    /// Cut to the box of what can be seen of it, the longer side 88 % of the picture's, in the middle.
    Fitted,
}

/// What is behind a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ground {
    /// One colour, or one above another, whether the caption says so or not.
    #[default]
    Any,
    /// One colour, whether the caption says so or not.
    Plain,
    /// White where the caption says nothing of it, else one colour. What does not stand out before white has pale blue,
    /// grey or black behind it instead, the first of them before which it does.
    White,
}

/// How drawings become pictures. The default is how the model that ships learnt them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manner {
    /// How large drawings are, and where.
    pub framing: Framing,
    /// What is behind them.
    pub ground: Ground,
    /// Whether all drawings of a thing look the same way, in place of half of the pictures being mirrored.
    pub oriented: bool,
    /// Whether the pictures of a drawing are its own colours, one other, a silhouette, grey and further colours, each once;
    /// else the first has its own colours and every other one at times another.
    pub styled: bool,
    /// Styles that captions may leave unsaid; all where there are none.
    pub house: Vec<String>,
}

/// How much of the picture's side a fitted drawing takes.
pub(super) const FITTED: f64 = 0.88;

impl Manner {
    /// Prepares drawings for [`singles`](super::singles): how they are cut, and which are mirrored.
    pub fn prepare(&self, drawings: &mut [Drawing]) {
        if self.framing == Framing::Fitted {
            drawings
                .par_iter_mut()
                .for_each(|drawing| drawing.cut = true);
        }
        if self.oriented {
            orient(drawings);
        }
    }

    /// Whether a caption has to say this style.
    pub(super) fn must_say(&self, style: &str) -> bool {
        !self.house.is_empty() && !self.house.iter().any(|house| house == style)
    }
}
