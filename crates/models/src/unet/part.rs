//! The parts that the network is computed in.

/// A part of the network, by its level and its place there. What one part makes is all that the next
/// one sees, besides the tensors kept on the way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The first convolution.
    In,
    /// A resblock on the way down and its attention.
    Down(usize, usize),
    /// A change to half the resolution.
    Halve(usize),
    /// A resblock in the middle and its attention.
    Mid(usize),
    /// A resblock on the way up and its attention.
    Up(usize, usize),
    /// A change to twice the resolution.
    Double(usize),
    /// The last norm and convolution.
    Out,
}

impl Part {
    /// Whether what it makes is kept for the way up.
    pub(crate) fn keeps(self) -> bool {
        matches!(self, Self::In | Self::Down(..) | Self::Halve(_))
    }

    /// Whether it is a resblock with its attention: what [`UNetConfig::blocks`] counts.
    pub(crate) fn is_block(self) -> bool {
        matches!(self, Self::Down(..) | Self::Mid(_) | Self::Up(..))
    }

    /// What it is given of the tensors kept: the last one, to join or for its size alone.
    pub(crate) fn skip<T: Clone>(self, kept: &mut Vec<T>) -> Option<T> {
        match self {
            Self::Up(..) => kept.pop(),
            Self::Double(_) => kept.last().cloned(),
            _ => None,
        }
    }
}
