//! What cannot be measured.

/// Why there is no number.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Numbers that do not fill the shape they are said to have.
    #[error("{what}: {found} numbers, expected {expected}")]
    Length {
        /// Which input.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A picture that is too small for the window.
    #[error("a picture of {height}×{width} pixels: {measure} needs at least {least} each way")]
    Small {
        /// The measure.
        measure: &'static str,
        /// Of the picture.
        height: usize,
        /// Of the picture.
        width: usize,
        /// Of either side.
        least: usize,
    },
    /// Too few feature vectors.
    #[error("{found} feature vectors: {measure} needs at least {least}")]
    Few {
        /// The measure.
        measure: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        least: usize,
    },
    /// Feature vectors of two networks.
    #[error("feature vectors of {a} and of {b} numbers: both sets must come from one network")]
    Width {
        /// Numbers of a vector of the first set.
        a: usize,
        /// Of the second.
        b: usize,
    },
    /// A number that is none.
    #[error("{what} is not finite")]
    NotFinite {
        /// Which input.
        what: &'static str,
    },
}
