//! Passes of a U-Net with attention blocks that do something else than what they were trained to.

use std::fmt;
use std::str::FromStr;

use super::part::Part;

/// Which part of the network's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The way down.
    Down,
    /// The middle.
    Middle,
    /// The way up.
    Up,
}

/// Attention blocks by where they stand: `mid`, `down.2` (a level, counted in the order in which it is computed), `up.1.0`
/// (one block of a level), `down` or `up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The side.
    pub side: Side,
    /// One level of it; `None`: all.
    pub level: Option<usize>,
    /// One block of the level; `None`: all.
    pub block: Option<usize>,
}

/// The middle.
pub const MIDDLE: Spot = Spot {
    side: Side::Middle,
    level: None,
    block: None,
};

/// What attention blocks do in one pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alter {
    /// What they were trained to.
    #[default]
    Nothing,
    /// At these, each pixel attends to itself alone: the map of self-attention is the identity (Ahn et al., 2403.17377).
    Identity(Vec<Spot>),
    /// These are left out: what goes in comes out.
    Skip(Vec<Spot>),
}

/// What one attention block does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    Identity,
    Skip,
}

impl Spot {
    /// Whether it means the attention of a part.
    pub(super) fn covers(&self, part: Part) -> bool {
        let (side, level, block) = match part {
            Part::Down(level, block) => (Side::Down, level, block),
            Part::Mid(_) => (Side::Middle, 0, 0),
            Part::Up(level, block) => (Side::Up, level, block),
            Part::In | Part::Halve(_) | Part::Double(_) | Part::Out => return false,
        };
        side == self.side
            && self.level.is_none_or(|own| own == level)
            && self.block.is_none_or(|own| own == block)
    }
}

impl Alter {
    /// Where it changes something.
    pub fn spots(&self) -> &[Spot] {
        match self {
            Self::Nothing => &[],
            Self::Identity(spots) | Self::Skip(spots) => spots,
        }
    }

    pub(super) fn at(&self, part: Part) -> Change {
        if !self.spots().iter().any(|spot| spot.covers(part)) {
            return Change::Nothing;
        }
        match self {
            Self::Nothing => Change::Nothing,
            Self::Identity(_) => Change::Identity,
            Self::Skip(_) => Change::Skip,
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.side {
            Side::Down => "down",
            Side::Middle => "mid",
            Side::Up => "up",
        })?;
        let places = [self.level, self.block];
        places
            .iter()
            .flatten()
            .try_for_each(|at| write!(f, ".{at}"))
    }
}

/// How spots are written, for messages.
pub const SPOTS: &str = "mid, down, up, down.LEVEL or down.LEVEL.BLOCK (and the same with up)";

/// A text that names no attention blocks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" names no attention blocks: expected {SPOTS}")]
pub struct SpotError(String);

impl FromStr for Spot {
    type Err = SpotError;

    fn from_str(text: &str) -> Result<Self, SpotError> {
        let wrong = || SpotError(text.to_owned());
        let mut names = text.trim().split('.');
        let side = match names.next() {
            Some("down") => Side::Down,
            Some("mid") => Side::Middle,
            Some("up") => Side::Up,
            _ => return Err(wrong()),
        };
        let mut number = || names.next().map(|name| name.parse().map_err(|_| wrong()));
        let (level, block) = (number().transpose()?, number().transpose()?);
        match names.next().is_some() || (side == Side::Middle && level.is_some()) {
            true => Err(wrong()),
            false => Ok(Self { side, level, block }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spots_are_read_as_they_are_written() {
        for text in ["mid", "down", "up.1", "down.2.0"] {
            let spot: Spot = text.parse().expect(text);
            assert_eq!(spot.to_string(), text);
        }
        for text in ["", "middle", "mid.0", "down.x", "up.1.2.3", "down.-1"] {
            let error = text.parse::<Spot>().expect_err(text).to_string();
            assert!(error.contains("down.LEVEL"), "{error}");
        }
    }

    #[test]
    fn a_spot_covers_what_stands_there() {
        let covers = |text: &str, part| text.parse::<Spot>().expect("a spot").covers(part);
        assert!(covers("mid", Part::Mid(0)) && !covers("mid", Part::Down(0, 0)));
        assert!(covers("down.1", Part::Down(1, 2)) && !covers("down.1", Part::Down(0, 2)));
        assert!(covers("up.1.2", Part::Up(1, 2)) && !covers("up.1.2", Part::Up(1, 1)));
        assert!(!covers("down", Part::Halve(0)) && !covers("up", Part::Out));
    }
}
