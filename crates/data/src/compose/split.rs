//! What is kept for tests.

use crate::random;

/// Which part of everything that could be composed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Split {
    /// Everything.
    #[default]
    All,
    /// Neither a held-out drawing nor a held-out pair of things.
    Train,
    /// Scenes of one kind of thing show held-out drawings, scenes of several a held-out pair of things.
    Test,
}

/// One in so many drawings, and pairs of things, is held out.
const HELD_OUT: u64 = 10;

impl Split {
    /// Whether a drawing is held out: a hash of what it shows, colour included where it has one, and how.
    pub fn holds_out(concept: &str, style: &str) -> bool {
        random::key(&format!("{concept}\u{0}{style}")).is_multiple_of(HELD_OUT)
    }

    /// Whether two things are held out together, in either order.
    pub fn holds_out_pair(one: &str, other: &str) -> bool {
        let (first, second) = if one <= other {
            (one, other)
        } else {
            (other, one)
        };
        random::key(&format!("{first}\u{0}and\u{0}{second}")).is_multiple_of(HELD_OUT)
    }
}
